"""Two controllers with journals of their own in a folder, on the small estate of the random worlds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitors.intake import Intake
from monitors.task import WatchTask
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate
from ncia.core.journal import Journal, open_journal
from ncia.core.journal.entries import Body
from ncia.core.state import StateStore
from ncia.core.state.facts import Incident
from tests.core.alerts.world import CENTRES, NORTH, SOUTH
from tests.core.journal.sites import signer, sqlite_url
from tests.monitors.servers import SetClock


@dataclass
class Centre:
    """One site's controller, as far as watching goes."""

    site: SiteId
    clock: SetClock
    journal: Journal
    state: StateStore
    intake: Intake
    task: WatchTask

    def bodies(self, kind: type[Body]) -> list[Body]:
        entries = self.journal.entries(self.site, 0, 10_000)
        return [entry.body for entry in entries if isinstance(entry.body, kind)]

    def open(self) -> dict[str, Incident]:
        return {incident.now.root: incident for incident in self.state.snapshot().open_incidents()}

    def pull(self, peer: Centre) -> None:
        """What the peer link does: take over the peer's log."""
        held = self.journal.size(peer.site)
        entries = peer.journal.entries(peer.site, held, 10_000)
        self.journal.accept_peer(entries, peer.journal.checkpoint())


def centre(folder: Path, site: SiteId, estate: Estate, clock: SetClock | None = None) -> Centre:
    clock = clock or SetClock()
    keys = {each: signer(each).public_key for each in CENTRES}
    peer = SOUTH if site == NORTH else NORTH
    url = sqlite_url(folder, site)
    journal = open_journal(url, peer=peer, signer=signer(site), keys=keys, clock=clock)
    state = StateStore(journal)
    intake = Intake(journal, clock, estate, state.snapshot().verdicts)
    return Centre(site, clock, journal, state, intake, WatchTask(estate, journal, intake, state.snapshot, clock))


def report(clock: SetClock, verdicts: dict[str, str], **measures: float) -> dict[str, object]:
    """A report of those verdicts, first seen now; a measure's keyword is ``<name>__<subject>``."""
    at = to_text(clock.now())
    return {
        "tick": 1,
        "changes": [
            {"subject": s, "verdict": v, "previous": "unknown", "since": at, "evidence": "seen"}
            for s, v in verdicts.items()
        ],
        "measures": [
            {"name": key.split("__")[0], "subject": key.split("__")[1], "value": value, "at": at}
            for key, value in measures.items()
        ],
    }
