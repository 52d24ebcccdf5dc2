"""The shared lab as its tests use it: what the sites say, what citizens remember, and how it is made whole again."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ncia.cli.client import Api
from ncia.core.alerts import clocks
from ncia.core.alerts.graph import parts
from ncia.core.alerts.incidents import CAUSES
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.lab.citizens import ledger
from ncia.lab.citizens.ledger import Act
from ncia.lab.citizens.load import LEDGER
from ncia.lab.citizens.referee import Judgement, databases_at, documents_at, referee
from ncia.lab.exercise import demand_green, incident_of, proven_datasets, wait_until
from ncia.lab.lab import Lab, tell

DAEJEON, GWANGJU, WITNESS, CITIZENS = (SiteId(name) for name in ("daejeon", "gwangju", "witness", "citizens"))
CENTRES = (DAEJEON, GWANGJU)
# Upper bounds for a machine that does much else; on an idle one all of this takes a few seconds.
SOON = 120.0
WHOLE_SECONDS_MAX = 240.0
PROVEN_SECONDS_MAX = 300.0

# What a machine that is busy elsewhere opens by itself: a copy or a mirror that lags, a canary or a clock that stood
# still for seconds, somebody who was not heard for so long, a backup that came late.
OF_LOAD = {"link-slow", clocks.CAUSE} | {
    CAUSES[kind] for kind in ("replica", "mirror", "mark", "canary", "slots", "agent", "api", "etcd", "vouch", "backup")
}
# What citizens feel, and what stands behind it.
FELT = ("app", "entry", "db", "gate", "host", "store", "site", "link", "quorum")

T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """A moment: how long each site's journal was, and the citizens' clock."""

    sizes: Mapping[SiteId, int]
    monotonic: float


class Scene:
    """Reads the product as people do (API, files of a site), the citizens by their ledger."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._apis: dict[SiteId, Api] = {}

    # --- its life ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Up, green, citizens acting, and every system asked to be backed up and proven: that goes on meanwhile."""
        self.lab.up()
        self.wait_until_whole()
        if not self.runs(CITIZENS, "load"):
            self.lab.start(CITIZENS, "load")
        wait_until("citizens act", (self.lab.layout.site(CITIZENS) / LEDGER).exists, SOON)
        if not self.unproven():
            return
        for site in CENTRES:
            self.api(site).post("/v1/backups/prove")

    def wait_until_whole(self) -> None:
        """Green as both sites see it."""
        for site in CENTRES:
            if site not in self.lab.lost:
                look = partial(self._green, site)
                wait_until(f"{site} sees all green", look, WHOLE_SECONDS_MAX)

    def _green(self, site: SiteId) -> bool:
        return demand_green(self.status(site))

    def make_whole(self) -> None:
        """Heal what is cut, start what ended, and wait for green; what burnt stays so."""
        if self.lab.lost:
            return
        self.lab.heal()
        for process in self.lab.processes():
            if not process.alive:
                self.lab.start(process.site, process.name)
        for site in CENTRES:
            self.lab.kill(site, "applications", signal.SIGHUP)
        self.wait_until_whole()

    def wait_until_proven(self) -> None:
        """Every system backed up, restored elsewhere and compared: a fault in the middle of that would cost minutes."""
        wait_until("every system is proven", lambda: not self.unproven(), PROVEN_SECONDS_MAX)

    def unproven(self) -> set[str]:
        proven = {dataset for site in CENTRES for dataset in proven_datasets(self.status(site))}
        return {str(d.id) for d in self.lab.estate().datasets.values() if d.kind == "postgresql"} - proven

    def runs(self, site: SiteId, process: str) -> bool:
        return any(p.alive for p in self.lab.processes() if (p.site, p.name) == (site, process))

    # --- what the product says -----------------------------------------------------------------------------------

    def api(self, site: SiteId) -> Api:
        address = f"unix:{self.lab.settings(site).run / 'api.sock'}"
        return self._apis.setdefault(site, Api(address))

    def status(self, site: SiteId) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.api(site).get("/v1/status")
        return told

    def incidents(self, site: SiteId) -> Sequence[Mapping[str, Any]]:
        told: Sequence[Mapping[str, Any]] = self.api(site).get("/v1/incidents")["incidents"]
        return told

    def wait_for_incident(self, site: SiteId, root: str, cause: str) -> Mapping[str, Any]:
        """The open incident with that root and cause, as ``site`` tells it."""

        def look() -> Mapping[str, Any] | None:
            found = incident_of(self.api(site).get("/v1/incidents"), root)
            return found if found and found["cause"] == cause else None

        return wait_until(f"{site} tells of {root}", look, SOON)

    def wait_until_over(self, site: SiteId, root: str) -> None:
        wait_until(f"{root} is over at {site}", lambda: root not in [i["root"] for i in self.incidents(site)], SOON)

    def standing(self, site: SiteId) -> dict[SystemId, tuple[SiteId, int]]:
        """Where each system is active and under which epoch, as ``site`` knows it."""
        return {SystemId(s["id"]): (SiteId(s["active_site"]), s["epoch"]) for s in self.status(site)["systems"]}

    def lease(self, site: SiteId) -> Mapping[str, Any]:
        return self._file(site, "lease.json")

    def gate(self, site: SiteId) -> Mapping[str, Any]:
        return self._file(site, "gate.json")

    def mark(self) -> Mark:
        sizes = {site: self.api(site).get("/v1/health")["journal_size"] for site in CENTRES}
        return Mark(sizes, time.monotonic())

    def entries(self, at: SiteId, since: Mark | None, *kinds: str) -> list[Mapping[str, Any]]:
        """The entries of both sites' logs that the controller ``at`` holds, in each log's order."""
        found: list[Mapping[str, Any]] = []
        for site in CENTRES:
            start = since.sizes[site] if since else 0
            while page := self.api(at).get(f"/v1/journal/{site}/entries", start=start, limit=5000)["entries"]:
                found += [entry for entry in page if entry["kind"] in kinds]
                start += len(page)
        return found

    def opened(self, since: Mark, at: SiteId = DAEJEON, of: Collection[str] = ()) -> list[str]:
        """The root of each incident that was opened since as far as ``at`` knows, one for each time, without what a
        busy machine opens; with ``of``, all of these kinds. What a failing test shows of them is printed."""
        entries = self.entries(at, since, "incident.opened")
        for entry in entries:
            tell(f"{entry['at']} {entry['site']}: {entry['body']['root']}: {entry['body']['sentence']}")
        told = [{"id": e["body"]["incident"], **e["body"]} for e in entries]
        return sorted(root for _, root in {(each["id"], each["root"]) for each in faults(told, of)})

    def _file(self, site: SiteId, name: str) -> Mapping[str, Any]:
        told: Mapping[str, Any] = json.loads((self.lab.settings(site).run / name).read_text())
        return told

    # --- what citizens remember ----------------------------------------------------------------------------------

    def acts(self, since: Mark | float, system: str = "") -> list[Act]:
        """Acts sent since then, of one system or of all."""
        moment = since if isinstance(since, float) else since.monotonic
        known = ledger.read(self.lab.layout.site(CITIZENS) / LEDGER)
        return [act for act in known if act.sent_monotonic >= moment and system in ("", act.system)]

    def wait_for_acts(self, what: str, since: float, systems: Iterable[str], holds: Callable[[Act], bool]) -> None:
        """Until every one of ``systems`` has an act, sent since then, of which ``holds`` is true."""
        wanted = set(systems)
        wait_until(what, lambda: wanted <= {a.system for a in self.acts(since) if holds(a)}, SOON)

    def judge(self) -> tuple[Judgement, ...]:
        """Every act that was ever acknowledged, by content, against rows and documents at its system's active site."""
        estate = self.lab.estate()
        active = {system: at for system, (at, _) in self.standing(GWANGJU).items()}
        passfiles = {site: self.lab.settings(site).secrets / "pgpass" for site in set(active.values())}
        ledger_file, documents = self.lab.layout.site(CITIZENS) / LEDGER, documents_at(estate, active, self.lab.layout)
        return referee(ledger_file, databases_at(estate, active, passfiles), None, documents)

    def assert_nothing_acknowledged_is_lost(self) -> None:
        for found in self.judge():
            assert (found.system, (), (), ()) == (found.system, found.lost_acked, found.altered, found.refused_found)

    def systems(self, *grades: int) -> list[str]:
        return [s.id for s in self.lab.estate().systems.values() if s.grade in grades]


def faults(incidents: Iterable[Mapping[str, Any]], of: Collection[str] = ()) -> list[Mapping[str, Any]]:
    """Those of the incidents that load alone does not open; with ``of``, all whose root is of one of these kinds."""
    if of:
        return [each for each in incidents if parts(each["root"])[0] in of]
    return [each for each in incidents if each["cause"] not in OF_LOAD]


def acked(act: Act) -> bool:
    return act.outcome == "acked"


def refusal_of(ask: Callable[[], object]) -> NciaError:
    """The error that ``ask`` ends with; it must end with one."""
    try:
        answer = ask()
    except NciaError as error:
        return error
    raise AssertionError(f"it was not refused but answered: {answer}")
