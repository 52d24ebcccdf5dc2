"""The lab as people and tests use it: bring it up, hurt it, look at it, take it down."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.lab import birth, etcd, green, ground, processes, readiness, returning, segments, table
from ncia.lab.layout import RELAY, Layout, check_length, linked, relay_address, silencing
from ncia.lab.postgres import Cluster
from ncia.lab.processes import Ledger, Record, Spec, Started
from ncia.lab.relay import control

VARIABLE = "NCIA_LAB"
HOME = ".lab"
STOP_SECONDS_MAX = 10.0
BURNT, DARK = "burnt", "dark"
RED, PLAIN = "\033[31m", "\033[0m"


@dataclass(frozen=True)
class ProcessState:
    site: SiteId
    name: str
    pid: int
    alive: bool


@dataclass(frozen=True)
class LinkState:
    """A link as one of its ends reports it; None where that end is gone."""

    a: SiteId
    b: SiteId
    reported_by: SiteId
    state: dict[str, Any] | None


def tell(sentence: str) -> None:
    print(sentence, flush=True)


class Lab:
    """One lab below ``home``. ``say`` receives each line of progress for a person."""

    def __init__(
        self, home: Path | None = None, say: Callable[[str], None] = tell, estate_folder: Path | None = None
    ) -> None:
        self.home = (home or Path(os.environ.get(VARIABLE, HOME))).absolute()
        self.layout = Layout(self.home)
        self._say = say
        self._estate_folder = estate_folder
        self._ledger = Ledger(self.layout.record)
        self._began = time.monotonic()
        self.swallowed = float("-inf")  # when the last lost site fell silent, on the monotonic clock

    # --- questions -----------------------------------------------------------------------------------------------

    def estate(self) -> Estate:
        """The estate as the lab's sites have it (any that still has its folder)."""
        for folder in sorted(self.home.glob("*/configs")):
            if (folder / "sites.yaml").exists() or any(folder.glob("*.yaml")):
                return load_estate(folder)
        raise NciaError("lab.not-up", "read the lab's estate", f"there is no lab in {self.home}", "lab up")

    def settings(self, site: SiteId) -> SiteSettings:
        return load_settings(self.layout.settings(site))

    def person_key(self, person: str) -> Path:
        """The private key (OpenSSH) of one of the lab's people."""
        return self.layout.people / person

    def environment(self, **variables: str) -> dict[str, str]:
        """For running the product's command line against this lab."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NCIA_")}
        return {**kept, VARIABLE: str(self.home), **variables}

    @property
    def lost(self) -> dict[str, str]:
        """Sites that burnt or went dark."""
        return dict(self._ledger.read().lost)

    @property
    def is_up(self) -> bool:
        return self._ledger.read().ready and any(one.alive for one in self._ledger.read().processes)

    def processes(self) -> tuple[ProcessState, ...]:
        """Every process that the lab started and did not stop since."""
        record = self._ledger.read()
        return tuple(ProcessState(p.site, p.name, *self._pid_of(p)) for p in record.processes)

    def links(self) -> tuple[LinkState, ...]:
        found = []
        for link in self.estate().links:
            for end, other in ((link.a, link.b), (link.b, link.a)):
                told: dict[str, Any] | None = None
                with suppress(NciaError, OSError):
                    told = control.state(self.layout.relay(end)).get(other)
                found.append(LinkState(link.a, link.b, end, told))
        return tuple(found)

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Bring everything up, until the controllers themselves see every system well, or it is plain what they do not
        see so; where it is up already, say so."""
        self._began = time.monotonic()
        if self.is_up:
            dead = [f"{p.name} at {p.site}" for p in self.processes() if not p.alive and p.site not in self.lost]
            self._tell("the lab is up already" + (f"; ended since: {', '.join(dead)}" if dead else ""))
            return
        check_length(self.home)
        self.clear()
        estate = ground.make(self.layout, self._estate_folder or ground.reference_estate())
        readiness.demand_free([relay_address(site) for site in estate.sites.values()])
        self._change(lambda record: Record(record.boot))
        self._tell(f"ground laid: {len(estate.sites)} sites, {len(estate.systems)} systems")
        self._start_all(table.relay_specs(self.layout, estate))
        self.wait_for_links()
        self._tell("WAN: every link is joined")
        for voter in estate.voters:
            etcd.write_hosts(estate, self.layout, voter)
            self._start(etcd.spec(estate, self.layout, voter))
        birth.of_clusters(self.layout, estate, self._note, self._tell)
        etcd.wait_for_quorum(estate, estate.voters[0], readiness.SECONDS_MAX)
        etcd.put_new(estate, estate.voters[0], etcd.birth_facts(estate))
        self._tell("etcd: three members agree; every system is in its first epoch")
        for site in estate.sites:
            rest = [s for s in table.site_specs(self.layout, estate, site) if s.at_up and self._ours_to_start(s)]
            self._start_all(rest)
        self._wait_until_serving(estate, tuple(estate.sites))
        self._tell("every process serves")
        wrong = green.wait({site: green.asking(self.settings(site)) for site in estate.centres}, self._tell)
        self._change(lambda record: replace(record, ready=True))
        seen = f"up: {' and '.join(estate.centres)} see all {len(estate.systems)} systems well"
        self._tell(f"{RED}up, but not well: {wrong}{PLAIN}" if wrong else seen)

    def down(self, keep: bool = False) -> None:
        """Stop everything and leave nothing; ``keep`` leaves the folders, for reading logs."""
        self._began = time.monotonic()
        record = self._ledger.read()
        marks = self._marks(record)
        ended = processes.end_all(self._folders(), record.processes, gently=True)
        segments.remove_leaked(marks)
        if not keep:
            self._remove_folders()
        else:
            self._change(lambda record: Record(record.boot))
        self._tell(f"down: {ended} processes ended")

    def clear(self) -> None:
        """Whatever an earlier lab left: processes, shared memory, folders."""
        record = self._ledger.read()
        marks = self._marks(record)
        ended = processes.end_all(self._folders(), record.processes, gently=False)
        removed = segments.remove_leaked(marks)
        self._remove_folders()
        if ended or removed:
            self._tell(f"cleared what was left: {ended} processes, {len(removed)} memory segments")

    # --- harm ----------------------------------------------------------------------------------------------------

    def burn(self, site: SiteId) -> None:
        """The site is gone for good: nothing answers, everything is killed, its folder is deleted."""
        self._lose(site, BURNT)
        shutil.rmtree(self.layout.site(site))
        self._tell(f"{site} burnt: its folder is gone")

    def blackout(self, site: SiteId) -> None:
        """The site's power is gone: as :meth:`burn`, but its disks stay, and ``start(site)`` brings it back."""
        self._lose(site, DARK)

    def cut(self, a: SiteId | None = None, b: SiteId | None = None) -> None:
        """Cut a link (the one between the data centres unless told): nothing passes, nobody is told."""
        self._set_link(a, b, cut=True)

    def slow(self, milliseconds: float, a: SiteId | None = None, b: SiteId | None = None) -> None:
        """Delay whatever passes, each way."""
        self._set_link(a, b, delay_seconds=milliseconds / 1000)

    def throttle(self, bytes_per_second: int, a: SiteId | None = None, b: SiteId | None = None) -> None:
        """Let only so many bytes a second pass, each way; 0 for as many as will."""
        self._set_link(a, b, bytes_per_second=bytes_per_second)

    def heal(self) -> None:
        """Every link is whole again, except to sites that are lost."""
        whole = {"delay_seconds": 0.0, "bytes_per_second": 0, "cut": False, "swallow": False}
        estate, lost = self.estate(), self.lost
        for site in estate.sites:
            peers = [peer for peer in linked(estate, site) if peer not in lost]
            if site not in lost and peers:
                control.set_faults(self.layout.relay(site), peers, **whole)
        self._tell("links healed" + (f" (not to {', '.join(lost)})" if lost else ""))

    def kill(self, site: SiteId, process: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process."""
        started = self._started(site, process)
        pid, alive = self._pid_of(started)
        if not alive:
            raise NciaError("lab.not-running", f"signal {process} of {site}", "it does not run", "lab status")
        processes.send(pid, number)

    def stop(self, site: SiteId, process: str) -> None:
        """End one process as it is used to being ended, and wait until it has."""
        started = self._started(site, process)
        pid, alive = self._pid_of(started)
        fast = process.startswith("postgres/")
        if alive:
            processes.send(pid, signal.SIGINT if fast else signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while self._pid_of(started)[1]:
            processes.reap()
            if time.monotonic() > deadline:
                processes.send(pid, signal.SIGKILL)
            time.sleep(processes.POLL_SECONDS)

    def start(self, site: SiteId, process: str | None = None) -> None:
        """Start one process, or bring back a whole site that went dark."""
        if process is None:
            self._return(site)
            return
        spec = self._spec(site, process)
        processes.reap()  # a child of ours that was killed still seems to own its lock files
        known = self._ledger.read().of(site, process)
        if known is not None and self._pid_of(known)[1]:
            raise Refusal("lab.runs-already", f"start {process} of {site}", "it runs", "lab status")
        self._start(spec)

    # --- within: losing and returning ----------------------------------------------------------------------------

    def _lose(self, site: SiteId, how: str) -> None:
        estate = self.estate()
        if site not in estate.sites:
            raise NciaError("lab.no-such-site", f"lose {site}", "the estate has no such site", ", ".join(estate.sites))
        if site in self.lost:
            raise Refusal("lab.lost-already", f"lose {site}", f"it is {self.lost[site]} already")
        marks = segments.of_postmasters(self.layout.site(site))
        self._change(lambda record: replace(record, lost={**record.lost, site: how}))
        self.swallow(estate, site)
        own = [p for p in self._ledger.read().processes if p.site == site or (p.site, p.name) == (RELAY, site)]
        ended = processes.end_all([self.layout.site(site), self.layout.relay(site)], own, gently=False)
        segments.remove_leaked(marks)
        self._change(lambda record: replace(record, processes=tuple(p for p in record.processes if p not in own)))
        self._tell(f"{site} is lost: swallowed, {ended} processes killed")

    def swallow(self, estate: Estate, site: SiteId) -> None:
        """Every byte from and to ``site`` vanishes: the citizens' first, never later than replication."""
        for end, peers in silencing(estate, site):
            with suppress(Unreachable):  # an end that is dead swallows already
                control.set_faults(self.layout.relay(end), peers, swallow=True)
        self.swallowed = time.monotonic()

    def _return(self, site: SiteId) -> None:
        estate, lost = self.estate(), self.lost
        if lost.get(site) != DARK:
            why = f"it is {lost.get(site, 'not lost')}; only a site that went dark can return"
            raise Refusal("lab.not-dark", f"bring back {site}", why)
        self._change(lambda record: replace(record, lost={s: h for s, h in record.lost.items() if s != site}))
        self._start(table.relay_spec(self.layout, site))
        self._wait_for_end(site)
        self.heal()
        self.wait_for_links()
        first, rest = returning.in_order([s for s in table.site_specs(self.layout, estate, site) if s.at_up])
        began = SystemClock().now()
        for spec in first:
            self._start(spec)
        warden = any(spec.name == "warden" for spec in first)  # a site without one has no databases either
        active = returning.wait_for_epochs(self.settings(site), began) if warden else {}
        old = [spec for spec in rest if returning.is_old_primary(spec, site, active)]
        for spec in old:
            self._note(returning.not_started(spec))
        self._start_all([spec for spec in rest if spec not in old])
        self._wait_until_serving(estate, (site,))
        names = ", ".join(spec.name for spec in old)
        self._tell(f"{site} is back" + (f"; they stay down, for the other site has them: {names}" if old else ""))

    # --- within: links -------------------------------------------------------------------------------------------

    def _set_link(self, a: SiteId | None, b: SiteId | None, **changes: Any) -> None:
        estate = self.estate()
        one, other = a or estate.centres[0], b or estate.centres[1]
        if other not in (linked(estate, one) if one in estate.sites else ()):
            links = ", ".join(f"{link.a} {link.b}" for link in estate.links)
            raise NciaError("lab.no-such-link", f"change the link {one} {other}", "there is none", links)
        for end, peer in ((one, other), (other, one)):
            if end not in self.lost:
                control.set_faults(self.layout.relay(end), [peer], **changes)
        self._tell(f"link {one}-{other}: " + ", ".join(f"{name} {value}" for name, value in changes.items()))

    def wait_for_links(self) -> None:
        """Until every link between sites that live is joined."""
        lost = self.lost

        def joined() -> bool:
            states = [link.state for link in self.links() if link.a not in lost and link.b not in lost]
            return all(state is not None and (state["connected"] or state["cut"]) for state in states)

        readiness.wait("every link is joined", joined)

    def _wait_for_end(self, site: SiteId) -> None:
        def answers() -> bool:
            with suppress(NciaError, OSError):
                return bool(control.state(self.layout.relay(site)))
            return False

        readiness.wait(f"the relay end of {site} answers", answers)

    def _wait_until_serving(self, estate: Estate, sites: Sequence[SiteId]) -> None:
        """Until what was started listens, or has died; the dead are told in red, not hidden."""
        started = [p for p in self._ledger.read().processes if p.site in sites and not p.name.startswith("postgres/")]
        for one, why in readiness.wait_until_serving(estate, started):
            log = self._spec(one.site, one.name).log
            self._tell(f"{RED}{one.name} at {one.site} {why}: {processes.last_words(log)}{PLAIN}")

    # --- within: processes ---------------------------------------------------------------------------------------

    def _ours_to_start(self, spec: Spec) -> bool:
        return self._ledger.read().of(spec.site, spec.name) is None

    def _start_all(self, specs: Sequence[Spec]) -> None:
        clusters = [spec for spec in specs if spec.name.startswith("postgres/")]
        with ThreadPoolExecutor(birth.AT_ONCE) as pool:
            for spec in specs:
                if spec not in clusters:
                    self._start(spec)
            list(pool.map(self._start, clusters))

    def _start(self, spec: Spec) -> None:
        missing = table.missing_module(spec)
        if missing:
            self._tell(f"{RED}{spec.name} at {spec.site} cannot start: {missing} is not there{PLAIN}")
            return
        if spec.name.startswith("postgres/"):
            self._note(self._cluster(spec.site, spec.name).start())
        else:
            self._note(processes.start(spec))

    def _note(self, started: Started) -> None:
        self._change(lambda record: record.with_process(started))

    def _change(self, change: Callable[[Record], Record]) -> None:
        with self._ledger.changing() as box:
            box[0] = change(box[0])

    def _spec(self, site: SiteId, process: str) -> Spec:
        estate = self.estate()
        specs = table.relay_specs(self.layout, estate) if site == RELAY else table.site_specs(self.layout, estate, site)
        found = next((spec for spec in specs if spec.name == process), None)
        if found is None:
            known = ", ".join(spec.name for spec in specs)
            raise NciaError("lab.no-such-process", f"find {process} at {site}", "there is none", known)
        return found

    def _started(self, site: SiteId, process: str) -> Started:
        self._spec(site, process)
        found = self._ledger.read().of(site, process)
        if found is None:
            raise NciaError("lab.not-running", f"find {process} of {site}", "the lab did not start it", "lab status")
        return found

    def _cluster(self, site: SiteId, process: str) -> Cluster:
        estate = self.estate()
        system: System = estate.system(process.removeprefix("postgres/"))
        return Cluster(self.layout, estate, system, system.postgres.copies[site])

    def _pid_of(self, started: Started) -> tuple[int, bool]:
        """The process's number now, and whether it lives; a postmaster may have been restarted by the platform."""
        if not started.alive and started.name.startswith("postgres/"):
            running = self._cluster(started.site, started.name).postmaster()
            if running is not None:
                return running, True
        return started.pid, started.alive

    def _marks(self, record: Record) -> segments.Marks:
        started = frozenset(p.pid for p in record.processes if p.name.startswith("postgres/"))
        return segments.Marks(makers=started) | segments.of_postmasters(self.home)

    def _folders(self) -> list[Path]:
        """Below these, every process is the lab's own. Read from disk: an earlier lab may have had other sites."""
        sites = {file.parent for file in self.home.glob("*/site.yaml")}
        known = {self.layout.site(p.site) for p in self._ledger.read().processes}
        return sorted(sites | known | {self.home / RELAY})

    def _remove_folders(self) -> None:
        for folder in [*self._folders(), self.layout.people]:
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.layout.record, self.layout.record.with_suffix(".lock")):
            file.unlink(missing_ok=True)

    def _tell(self, sentence: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {sentence}")
