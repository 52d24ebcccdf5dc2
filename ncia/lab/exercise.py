"""The main job as one command: the lab comes up, citizens act, one site burns, two people approve, everything returns.

The exercise knows the product only as people do: its API, its command line, its journal. Every figure in the
:class:`~ncia.lab.outcome.Outcome` was measured in this run; ``correct`` judges content, never seconds.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ncia.cli.client import Api
from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.requests.approval import sign
from ncia.core.requests.policy import MAY_APPROVE
from ncia.lab.citizens.referee import Judgement, databases_at, documents_at, referee
from ncia.lab.green import not_green
from ncia.lab.lab import Lab
from ncia.lab.outcome import Moments, Outcome, SystemOutcome, named_loss, timing, wrongs

GREEN_SECONDS_MAX = 90.0
PROVEN_SECONDS_MAX = 300.0
INCIDENT_SECONDS_MAX = 60.0
RUN_SECONDS_MAX = 180.0
POLL_SECONDS = 0.2
WATCHED_POLL_SECONDS = 0.05  # of a run that somebody disturbs: from one point of it to the next may be less than 0.2 s
LOAD_BEFORE_SECONDS = 15.0
LOAD_AFTER_SECONDS = 10.0
CITIZENS = SiteId("citizens")

T = TypeVar("T")
Watcher = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Recovered:
    """What stands once the other site serves: the status before the loss, its moments, the run, backups proven.
    ``unwatched_seconds``: from the asking for that status until every byte of the site was swallowed."""

    before: Mapping[str, Any]
    unwatched_seconds: float
    moments: Moments
    run: Mapping[str, Any]
    proven: int


class Exercise:
    """One burning, from an empty folder to an empty folder. ``say`` receives each line for a person; ``watcher`` each
    look at the run as the API tells it, from the second approval on: the place for whoever wants to disturb it.
    ``before_burn`` is called when all is proven and nothing has burnt yet."""

    def __init__(
        self,
        home: Path,
        lost: SiteId,
        say: Callable[[str], None],
        watcher: Watcher | None = None,
        before_burn: Callable[[], None] = lambda: None,
    ) -> None:
        self.lab = Lab(home, say)
        self.watcher = watcher
        self.before_burn = before_burn
        self.lost = lost
        self.say = say
        self.began = time.monotonic()
        self.failures: list[str] = []

    def run(self) -> Outcome:
        self.lab.down()
        self.lab.up()
        try:
            return self.burn_and_recover()
        finally:
            self.lab.down()

    def burn_and_recover(self) -> Outcome:
        """On a lab that is up, whether or not citizens act already; the lab is not taken down."""
        estate = self.lab.estate()
        return self._finish(estate, self.lose_and_recover(estate, self.lab.burn))

    def lose_and_recover(self, estate: Estate, lose: Callable[[SiteId], None]) -> Recovered:
        """From a lab that is up to a site that was lost and whose systems the other one serves."""
        survivor = estate.peer_of(self.lost)
        api, other = self._api(survivor), self._api(self.lost)
        wait_until("every system is green", lambda: demand_green(api.get("/v1/status")), GREEN_SECONDS_MAX)
        self.tell("all systems are green; citizens begin to act")
        loaded = self._begin_load()
        proven = self._protect(estate, api, other)
        linger(loaded + LOAD_BEFORE_SECONDS)
        self.before_burn()

        looked, before = time.monotonic(), api.get("/v1/status")
        self.tell(f"{self.lost} is lost")
        killed_at, killed = SystemClock().now(), time.monotonic()
        burning = threading.Thread(target=lose, args=(self.lost,), name="burn")
        burning.start()  # deleting what burnt takes a while; the clock runs from the first swallowed byte
        incident = wait_until(
            f"an incident names {self.lost}",
            lambda: incident_of(api.get("/v1/incidents"), f"site:{self.lost}"),
            INCIDENT_SECONDS_MAX,
        )
        detect_seconds = time.monotonic() - killed
        self.tell(f"incident after {detect_seconds:.1f} s: {incident['sentence']}")
        self.tell(f"run next: {incident['run_next']}")
        plan = self._plan(api, estate)
        approved_at = self._approve(api, estate, plan)
        self.tell(f"two approvals after {time.monotonic() - killed:.1f} s; the run goes on by itself")
        look = partial(self._look_at_run, api, plan["run"])
        poll_seconds = WATCHED_POLL_SECONDS if self.watcher else POLL_SECONDS
        run = wait_until("the run ends", look, RUN_SECONDS_MAX, poll_seconds)
        burning.join()
        unwatched_seconds = max(0.0, self.lab.swallowed - looked)
        self.tell(f"{self.lost} fell silent {unwatched_seconds:.2f} s after the last look at what that would cost")
        self.tell(run["sentence"])
        if run["outcome"] != "succeeded":
            self.failures.append(f"the run ended {run['outcome'] or run['state']}: {run['sentence']}")
        linger(time.monotonic() + LOAD_AFTER_SECONDS)
        moments = Moments(killed_at=killed_at, detect_seconds=detect_seconds, approved_at=approved_at)
        return Recovered(before, unwatched_seconds, moments, run, proven)

    def _finish(self, estate: Estate, recovered: Recovered) -> Outcome:
        survivor, moments, run = estate.peer_of(self.lost), recovered.moments, recovered.run
        after = self._api(survivor).get("/v1/status")
        self.lab.stop(CITIZENS, "load")
        self._cli(survivor, "report", "continuity")
        judgements = self._referee(estate, after)
        systems = self._judge(estate, recovered, after, judgements)
        named = self._name_loss(survivor, run["run"], judgements)
        verified = self._cli(survivor, "journal", "verify", str(self.lab.settings(survivor).state / "journal.db"))
        return Outcome(
            systems=systems,
            detect_seconds=round(moments.detect_seconds, 2),
            restores_proven=recovered.proven,
            named_loss_matches=named,
            journal_verified=verified,
            wall_seconds=round(time.monotonic() - self.began, 1),
            failures=tuple(self.failures),
            **timing(moments, run),
        )

    def _begin_load(self) -> float:
        """Since when citizens act, on the monotonic clock; the distant past where they did already."""
        if any(p.alive for p in self.lab.processes() if (p.site, p.name) == (CITIZENS, "load")):
            return float("-inf")
        self.lab.start(CITIZENS, "load")
        return time.monotonic()

    def _protect(self, estate: Estate, *sites: Api) -> int:
        """Back up and prove every dataset of rows, with the load running; the number proven."""
        wanted = {dataset.id for dataset in estate.datasets.values() if dataset.kind == "postgresql"}
        proven: set[str] = set()

        def look() -> bool:
            proven.clear()
            for api in sites:
                proven.update(proven_datasets(api.get("/v1/status")))
            return proven >= wanted

        if not look():
            for api in sites:
                api.post("/v1/backups/prove")
        try:
            wait_until("every system is backed up and proven", look, PROVEN_SECONDS_MAX)
        except NciaError as error:
            self.failures.append(f"{error}; unproven: {', '.join(sorted(wanted - proven))}")
        self.tell(f"{len(proven & wanted)} of {len(wanted)} systems backed up, restored elsewhere and compared")
        return len(proven & wanted)

    def move(self, system: str, to: SiteId) -> Mapping[str, Any]:
        """One system moves there while both sites live; the run as it ended. Two people approve it."""
        estate, api = self.lab.estate(), self._api(to)
        plan = self._plan(api, estate, "system_failover", system)
        self._approve(api, estate, plan)
        run = wait_until(f"{system} is at {to}", lambda: self._look_at_run(api, plan["run"]), RUN_SECONDS_MAX)
        self.tell(run["sentence"])
        return run

    def _plan(self, api: Api, estate: Estate, runbook: str = "site_failover", subject: str = "") -> Mapping[str, Any]:
        asked = {"runbook": runbook, "site": subject or self.lost, "by": approvers(estate)[0]}
        plan: Mapping[str, Any] = wait_until(
            "a plan can be made", lambda: api.post("/v1/recovery/plans", asked), INCIDENT_SECONDS_MAX
        )
        self.tell(f"plan {plan['run']}: {plan['sentence']}; hash {plan['plan_hash'][:16]}…")
        return plan

    def _approve(self, api: Api, estate: Estate, plan: Mapping[str, Any]) -> str:
        """Two people sign the plan, each with their own key; answers when the second approval was taken."""
        expires_at = to_text(SystemClock().now() + timedelta(minutes=10))
        for person in approvers(estate)[:2]:
            named = {"plan_hash": plan["plan_hash"], "person": person, "expires_at": expires_at}
            signature = sign(self.lab.person_key(person).read_bytes(), run=plan["run"], **named)
            api.post(f"/v1/recovery/runs/{plan['run']}/approvals", {**named, "signature": signature})
        return to_text(SystemClock().now())

    def _look_at_run(self, api: Api, run: str) -> Mapping[str, Any] | None:
        """The run once it has ended or stopped."""
        seen: Mapping[str, Any] = api.get(f"/v1/recovery/runs/{run}")
        if self.watcher:
            self.watcher(seen)
        return ended(seen)

    def _referee(self, estate: Estate, after: Mapping[str, Any]) -> tuple[Judgement, ...]:
        alive = {s["id"]: SiteId(s["active_site"]) for s in after["systems"] if s["active_site"] != self.lost}
        homes = {site: self.lab.settings(site).secrets / "pgpass" for site in set(alive.values())}
        documents = documents_at(estate, alive, self.lab.layout)
        ledger = self.lab.layout.site(CITIZENS) / "acts.jsonl"
        return referee(ledger, databases_at(estate, alive, homes), self.lost, documents)

    def _judge(
        self, estate: Estate, recovered: Recovered, after: Mapping[str, Any], judgements: Iterable[Judgement]
    ) -> tuple[SystemOutcome, ...]:
        before = {system["id"]: system for system in recovered.before["systems"]}
        active = {system["id"]: SiteId(system["active_site"]) for system in after["systems"]}
        found = []
        for judgement in judgements:
            system = SystemOutcome(
                id=judgement.system,
                grade=estate.system(judgement.system).grade,
                acked=judgement.acked,
                lost_acked=len(judgement.lost_acked),
                documents=judgement.documents,
                predicted_loss_seconds=before[judgement.system]["predicted_loss_seconds"],
                unwatched_seconds=0.0 if before[judgement.system]["commits_wait"] else recovered.unwatched_seconds,
                lost_seconds=judgement.lost_seconds,
                rto_seconds=judgement.rto_seconds,
                active_site=active[judgement.system],
            )
            self.failures += wrongs(system, judgement, moved=estate.system(system.id).home == self.lost)
            if estate.system(system.id).documents and not system.documents:
                self.failures.append(f"{system.id}: no document was compared, so nothing was shown of them")
            found.append(system)
        self.failures += [f"{system} is still at {self.lost}" for system, site in active.items() if site == self.lost]
        return tuple(found)

    def _name_loss(self, survivor: SiteId, run: str, judgements: Iterable[Judgement]) -> bool:
        """Whether the product's own list of lost acts is exactly what the citizens miss."""
        self._cli(survivor, "report", "loss", "--run", run)
        report = self._api(survivor).post("/v1/reports/loss", {"run": run})
        wrong = named_loss(report, judgements).wrongs()
        self.failures += wrong
        return not wrong

    def _cli(self, site: SiteId, *arguments: str) -> bool:
        """Run the product's command line as a person at ``site`` would, and show what it says."""
        environment = self.lab.environment(NCIA_API=f"unix:{self.lab.settings(site).run / 'api.sock'}", COLUMNS="110")
        command = [sys.executable, "-m", "ncia", *arguments]
        told = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.say((told.stdout + told.stderr).rstrip())
        if told.returncode != 0:
            self.failures.append(f"`ncia {' '.join(arguments[:2])}` ended with {told.returncode}")
        return told.returncode == 0

    def _api(self, site: SiteId) -> Api:
        return Api(f"unix:{self.lab.settings(site).run / 'api.sock'}")

    def tell(self, sentence: str) -> None:
        self.say(f"{time.monotonic() - self.began:6.1f} s  {sentence}")


def approvers(estate: Estate) -> list[str]:
    """The people of the estate who may approve, in the order of its file."""
    return [person.id for person in estate.people.values() if person.role in MAY_APPROVE]


def all_green(status: Mapping[str, Any]) -> bool:
    """Every system up at its active site, with a replica whose lag is known."""
    return not not_green(status)


def demand_green(status: Mapping[str, Any]) -> bool:
    """True where all is green; raises with what is not, so that whoever waits in vain can say it."""
    wrong = not_green(status)
    if wrong:
        raise NciaError("lab.not-green", "see all green", "; ".join(wrong), "ncia status")
    return True


def proven_datasets(status: Mapping[str, Any]) -> set[str]:
    return {proof["dataset"] for proof in status["proofs"] if proof["matched"]}


def incident_of(told: Mapping[str, Any], root: str) -> Mapping[str, Any] | None:
    return next((incident for incident in told["incidents"] if incident["root"] == root), None)


def ended(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return run if run["outcome"] or run["state"] == "stopped" else None


def linger(until: float) -> None:
    """Let citizens act until that moment of the monotonic clock."""
    time.sleep(max(0.0, until - time.monotonic()))


def wait_until(what: str, look: Callable[[], T | None], seconds_max: float, poll_seconds: float = POLL_SECONDS) -> T:
    """Poll the world until ``look`` answers something; raises with the last word when it does not in time."""
    deadline = time.monotonic() + seconds_max
    last = "ncia status"
    while time.monotonic() < deadline:
        try:
            found = look()
        except NciaError as error:
            found, last = None, str(error)
        if found:
            return found
        time.sleep(poll_seconds)
    raise NciaError("lab.too-late", f"wait until {what}", f"not within {seconds_max:g} s", last)
