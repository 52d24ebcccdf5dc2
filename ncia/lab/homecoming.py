"""A blackout and the way home as one command: a site goes dark, the other takes over, it returns, its systems go home.

Nothing may be lost in either direction, and everything stranded must be listed. What is stranded is found a second time
by other means: the lab keeps a copy of the dark site's disks, starts each database of it alone, and looks for every act
in it that the final rows do not have, and for every document on it that the other site does not have.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ncia.cli.client import Api
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.lab import disks
from ncia.lab.citizens import ledger
from ncia.lab.citizens.ledger import Act
from ncia.lab.citizens.load import LEDGER
from ncia.lab.citizens.referee import (
    Survivor,
    databases_at,
    documents_at,
    held_documents,
    judge,
    rto_seconds,
    surviving,
)
from ncia.lab.exercise import (
    CITIZENS,
    INCIDENT_SECONDS_MAX,
    LOAD_AFTER_SECONDS,
    RUN_SECONDS_MAX,
    Exercise,
    Recovered,
    all_green,
    incident_of,
    linger,
    wait_until,
)
from ncia.lab.outcome import Outcome, SystemOutcome, between, moment, timing

HOME_SECONDS_MAX = 120.0
BACKUPS = ("missed-run", "proof-failed")  # what a dark site did not back up is told, and is not the way home's business


@dataclass(frozen=True)
class HomecomingOutcome(Outcome):
    """``stranded_listed``: rows and documents that the platform listed before it rewound; ``stranded_acts``: acts that
    the lab found on the dark site's disks and not in the final rows. ``protected_again_seconds``: from the return of
    the site until every system was home, with a copy that follows and waits where it is promised. ``pause_seconds``:
    per system, between the last act acknowledged away and the first at home. ``failback_lost_acked``: acts whose rows
    or document did not come home; ``failback_documents``: how many documents were read and compared there."""

    stranded_listed: int = 0
    stranded_acts: int = 0
    protected_again_seconds: float | None = None
    failback_seconds: float | None = None
    failback_lost_acked: int = 0
    failback_documents: int = 0
    pause_seconds: tuple[tuple[str, float | None], ...] = ()

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "pause_seconds": dict(self.pause_seconds), "correct": self.correct})


@dataclass(frozen=True)
class Away:
    """What the loss cost, judged at the other site: each system's outcome, and the ids of its lost acts."""

    systems: tuple[SystemOutcome, ...]
    lost: Mapping[str, frozenset[str]]
    named: bool  # the product's list of lost acts is the citizens' own


@dataclass(frozen=True)
class Home:
    """``returned`` is of the monotonic clock; ``kept`` are the disks as they were when the power went, ``documents`` by
    system what only they held (name to SHA-256)."""

    returned: float
    protected_seconds: float | None
    kept: Path
    documents: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Listed:
    """What the platform listed of one system. ``ids``: whatever stands in a listed row, an act's id among it;
    ``documents``: path and SHA-256."""

    rows: int = 0
    ids: frozenset[str] = frozenset()
    documents: frozenset[tuple[str, str]] = frozenset()

    @property
    def acts_of_documents(self) -> frozenset[str]:
        """The hosted systems call a document by its act."""
        return frozenset(PurePosixPath(path).stem for path, _ in self.documents)


class Homecoming(Exercise):
    """One blackout, from an empty folder to an empty folder."""

    def burn_and_recover(self) -> Outcome:
        """On a lab that is up; the lab is not taken down."""
        return self.black_out_and_return()

    def black_out_and_return(self) -> HomecomingOutcome:
        estate = self.lab.estate()
        recovered = self.lose_and_recover(estate, self.lab.blackout)
        away = self._judge_away(estate, recovered)
        kept = self.lab.home / "dark-disks"
        disks.keep(self.lab.layout.site(self.lost), kept)
        documents = disks.documents_only_at(self.lab.layout, estate, self.lost)
        try:
            self._begin_load()
            returned = time.monotonic()
            api, run = self._return(estate)
            protected = self._wait_until_home(api, returned)
            linger(time.monotonic() + LOAD_AFTER_SECONDS)
            self.lab.stop(CITIZENS, "load")
            self._cli(self.lost, "report", "continuity")
            return self._home_outcome(estate, recovered, away, run, Home(returned, protected, kept, documents))
        finally:
            shutil.rmtree(kept, ignore_errors=True)

    def _judge_away(self, estate: Estate, recovered: Recovered) -> Away:
        """What the loss cost, by the other site's rows, while nobody acts: as after a burning."""
        survivor = estate.peer_of(self.lost)
        after = self._api(survivor).get("/v1/status")
        self.lab.stop(CITIZENS, "load")
        judgements = tuple(self._referee(estate, after))
        systems = self._judge(estate, recovered, after, judgements)
        named = self._name_loss(survivor, recovered.run["run"], judgements)
        return Away(systems, {j.system: frozenset(j.lost_acked) for j in judgements}, named)

    def _return(self, estate: Estate) -> tuple[Api, Mapping[str, Any]]:
        """The site comes back, two people approve, its systems go home; its own API and the run as it ended."""
        self.tell(f"{self.lost} has power again")
        self.lab.start(self.lost)
        api = self._api(self.lost)
        incident = wait_until(
            f"an incident says that the systems of {self.lost} are away",
            lambda: incident_of(api.get("/v1/incidents"), f"home:{self.lost}"),
            INCIDENT_SECONDS_MAX,
        )
        self.tell(f"incident: {incident['sentence']}")
        self.tell(f"run next: {incident['run_next']}")
        running = [
            p.name for p in self.lab.processes() if p.site == self.lost and p.alive and self._is_old(estate, p.name)
        ]
        if running:
            self.failures.append(f"old primaries of {self.lost} run after its return: {', '.join(running)}")
        plan = self._plan(api, estate, "site_failback")
        self._approve(api, estate, plan)
        run = wait_until("the run home ends", lambda: self._look_at_run(api, plan["run"]), 2 * RUN_SECONDS_MAX)
        self.tell(run["sentence"])
        if run["outcome"] != "succeeded":
            self.failures.append(f"the run home ended {run['outcome'] or run['state']}: {run['sentence']}")
        return api, run

    def _is_old(self, estate: Estate, process: str) -> bool:
        return process in {f"postgres/{system.id}" for system in estate.at_home(self.lost)}

    def _wait_until_home(self, api: Api, returned: float) -> float | None:
        """Seconds from the return until all is as it was before the loss; ``None`` where that did not come."""

        def whole() -> bool:
            status = api.get("/v1/status")
            promised = [s for s in status["systems"] if s["promise_rpo_seconds"] == 0]
            home = all(s["active_site"] == s["home"] for s in status["systems"])
            faults = [i for i in status["incidents"] if i["cause"] not in BACKUPS]
            return home and all_green({**status, "incidents": faults}) and all(s["commits_wait"] for s in promised)

        try:
            wait_until("every system is home and protected", whole, HOME_SECONDS_MAX)
        except NciaError as error:  # the story goes on to tell what is lost
            self.failures.append(str(error))
            return None
        seconds = round(time.monotonic() - returned, 2)
        self.tell(f"home and fully protected {seconds:.1f} s after the return")
        return seconds

    def _home_outcome(
        self, estate: Estate, recovered: Recovered, away: Away, run: Mapping[str, Any], home: Home
    ) -> HomecomingOutcome:
        acts = ledger.read(self.lab.layout.site(CITIZENS) / LEDGER)
        active = {s["id"]: SiteId(s["active_site"]) for s in self._api(self.lost).get("/v1/status")["systems"]}
        self.failures += [f"{s} is at {at}, not at home" for s, at in active.items() if at != estate.system(s).home]
        passfiles = {site: self.lab.settings(site).secrets / "pgpass" for site in set(active.values())}
        dsns = databases_at(estate, active, passfiles)
        listed, truth = self._listed(), disks.acts_at(self.lab, estate, self.lost, home.kept)
        stranded = {s: missing(truth[s], surviving(dsns[s], list(truth[s]))) for s in truth}
        self._demand_listed(stranded, home.documents, away, listed)
        homes = documents_at(estate, active, self.lab.layout)
        came = [self._came_home(s, acts, surviving(dsns[s], ids(acts, s)), homes.get(s), away) for s in active]
        count = sum(each.rows + len(each.documents) for each in listed.values())
        acts_there, documents_there = (sum(map(len, of.values())) for of in (stranded, home.documents))
        told = f"the disks hold {acts_there} stranded acts and {documents_there} documents that only they hold"
        self.tell(f"{count} stranded rows and documents listed; {told}")
        journals = [str(self.lab.settings(site).state / "journal.db") for site in estate.centres]
        verified = [self._cli(self.lost, "journal", "verify", journal) for journal in journals]
        moved = [s.id for s in estate.at_home(self.lost)]
        return HomecomingOutcome(
            systems=tuple(replace(system, active_site=active[system.id]) for system in away.systems),
            detect_seconds=round(recovered.moments.detect_seconds, 2),
            restores_proven=recovered.proven,
            named_loss_matches=away.named,
            journal_verified=all(verified),
            wall_seconds=round(time.monotonic() - self.began, 1),
            failures=tuple(self.failures),
            stranded_listed=count,
            stranded_acts=acts_there,
            protected_again_seconds=home.protected_seconds,
            failback_seconds=run_seconds(run),
            failback_lost_acked=sum(lost for lost, _ in came),
            failback_documents=sum(documents for _, documents in came),
            pause_seconds=tuple((s, self._pause(s, acts, home.returned)) for s in moved),
            **timing(recovered.moments, recovered.run),
        )

    def _came_home(
        self, system: str, acts: Sequence[Act], rows: Mapping[str, Survivor], documents: Path | None, away: Away
    ) -> tuple[int, int]:
        """Of the acknowledged acts of before and after the return: how many were there and are not at home, by their
        rows or their document; and how many documents were compared."""
        held = held_documents(documents, rows) if documents else None
        found = judge(system, [a for a in acts if a.system == system], rows, None, held)
        lost = set(found.lost_acked) - away.lost.get(system, frozenset())
        if lost:
            papers = len(lost & set(found.lost_documents))
            told = f", {papers} of them for want of their document" if papers else ""
            self.failures.append(f"{system}: {len(lost)} acknowledged acts were lost on the way home{told}")
        if found.altered:
            self.failures.append(f"{system}: {len(found.altered)} acknowledged acts are altered at home")
        if found.refused_found:
            self.failures.append(f"{system}: {len(found.refused_found)} refused acts are in the rows at home")
        return len(lost), found.documents

    def _pause(self, system: str, acts: Sequence[Act], returned: float) -> float | None:
        """What citizens felt of the way home: no act of theirs was acknowledged for so long."""
        acked = [a for a in acts if a.system == system and a.outcome == "acked" and a.sent_monotonic >= returned]
        away = self.lab.estate().peer_of(self.lost)
        return rto_seconds(sorted(acked, key=lambda a: a.known_monotonic or a.sent_monotonic), away)

    def _listed(self) -> dict[str, Listed]:
        """By system: the journal's lists, with what stands in their evidence."""
        state = self.lab.settings(self.lost).state
        found: dict[str, Listed] = {}
        for entry in self._entries("divergence.listed"):
            body = entry["body"]
            rows = json.loads((state / body["evidence"]).read_text())["rows"]
            found[body["system"]] = Listed(body["rows"], frozenset(str(v) for row in rows for v in row["row"].values()))
        for entry in self._entries("documents.stranded"):
            body = entry["body"]
            told = json.loads((state / body["evidence"]).read_text())["documents"]
            documents = frozenset((each["path"], each["sha256"]) for each in told)
            found[body["system"]] = replace(found.get(body["system"], Listed()), documents=documents)
        return found

    def _entries(self, kind: str) -> list[Mapping[str, Any]]:
        api, found, start = self._api(self.lost), list[Mapping[str, Any]](), 0
        while page := api.get(f"/v1/journal/{self.lost}/entries", start=start, limit=5000)["entries"]:
            found += [entry for entry in page if entry["kind"] == kind]
            start += len(page)
        return found

    def _demand_listed(
        self,
        stranded: Mapping[str, set[str]],
        documents: Mapping[str, Mapping[str, str]],
        away: Away,
        listed: Mapping[str, Listed],
    ) -> None:
        for system, found in stranded.items():
            if system not in listed:
                self.failures.append(f"{system}: nothing was listed before it was rewound")
            lost = away.lost.get(system, frozenset())
            self.failures += unlisted(system, found, documents[system], lost, listed.get(system, Listed()))


def unlisted(
    system: str, acts: Set[str], documents: Mapping[str, str], lost: Set[str], listed: Listed
) -> tuple[str, ...]:
    """Why a list is not whole. Every act that the dark disks hold and the final rows do not is in it, with its rows;
    every document that only those disks held is in it; and so is every acknowledged act that the loss cost, by its rows
    or by its document: an act may have lost only one of the two."""
    told = {
        "stranded acts are on its old disks and not in the list": acts - listed.ids,
        "documents are on its old disks alone and not in the list": set(documents.items()) - listed.documents,
        "acts that the loss cost are not listed as stranded": lost - listed.ids - listed.acts_of_documents,
    }
    return tuple(f"{system}: {len(unseen)} {sentence}" for sentence, unseen in told.items() if unseen)


def ids(acts: Sequence[Act], system: str) -> list[str]:
    return [act.id for act in acts if act.system == system]


def missing(truth: Mapping[str, str], rows: Mapping[str, Survivor]) -> set[str]:
    """Acts that the disks hold and the rows do not, or not with that content."""
    return {act for act, content in truth.items() if act not in rows or rows[act].content_sha256 != content}


def run_seconds(run: Mapping[str, Any]) -> float | None:
    return between(moment(run["started_at"]), moment(run["ended_at"]))
