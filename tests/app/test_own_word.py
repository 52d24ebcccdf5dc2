"""What a controller says of itself becomes an incident: a log that nobody vouches for, a certificate that ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from monitors.task import WatchTask
from ncia.app.own_word import UNVOUCHED_SECONDS_MAX, OwnWord
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.requests import pki
from ncia.core.requests.certificates import PROCESS_VALID
from ncia.core.requests.pki import SITE, SitePki
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, SOUTH, THIRD, World, active_of, estate_of
from tests.monitors.centres import Centre, centre
from tests.monitors.test_task import closed, opened, see

ESTATE = estate_of(CHAIN)
SILENT = Unreachable("journal.witness-unreachable", "ask the witness", "it does not answer within 2 s")


@dataclass
class Voucher:
    site: SiteId
    behind_since: datetime | None = None
    fault: NciaError | None = None


@dataclass
class Scene:
    south: Centre
    own: OwnWord
    witness: Voucher
    peer: Voucher
    folder: Path

    def go(self, seconds: float, *broken: str) -> None:
        see(self.south, World(ESTATE, active_of(CHAIN), frozenset(broken)), seconds)

    def days_pass(self, days: float) -> None:
        self.south.clock.go(days * 86_400)
        self.own.renew(self.south.clock.now())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    south = centre(tmp_path, SOUTH, ESTATE)
    certificates = SitePki(tmp_path / "pki", SOUTH)
    pki.init(tmp_path / "root", "sample", south.clock.now())
    pki.issue_site(tmp_path / "root", certificates, ("serve", "agent"), south.clock.now())
    peer, witness = Voucher(NORTH), Voucher(THIRD)
    own = OwnWord(SOUTH, (peer, witness), certificates, lambda: None)
    south.task = WatchTask(ESTATE, south.journal, south.intake, south.state.snapshot, south.clock, own.lacks)
    yield Scene(south, own, witness, peer, tmp_path)
    south.journal.close()


def test_a_log_that_goes_unvouched_for_a_minute_is_one_incident_that_closes_by_itself(scene: Scene) -> None:
    scene.go(10)
    scene.witness.behind_since, scene.witness.fault = scene.south.clock.now(), SILENT
    scene.go(UNVOUCHED_SECONDS_MAX - 5)
    assert opened(scene.south) == []
    scene.go(15)
    assert opened(scene.south) == ["vouch:third"]
    told = scene.south.open()["vouch:third"].now
    assert told.cause == "log-unvouched"
    assert told.sentence.startswith("The third does not vouch for the log of South since ")
    assert "(it does not answer within 2 s)" in told.sentence
    scene.witness.behind_since = scene.witness.fault = None
    scene.go(5)
    assert closed(scene.south) == [("vouch-third-1", "seen well again")]


def test_a_peer_that_answers_and_takes_nothing_new_is_told_so(scene: Scene) -> None:
    scene.peer.behind_since = scene.south.clock.now()
    scene.go(UNVOUCHED_SECONDS_MAX + 10)
    assert "(it answers, and takes nothing new)" in scene.south.open()["vouch:north"].now.sentence


def test_that_a_lost_site_vouches_for_nothing_is_part_of_its_loss(scene: Scene) -> None:
    scene.go(10)
    scene.peer.behind_since, scene.peer.fault = scene.south.clock.now(), SILENT
    scene.go(UNVOUCHED_SECONDS_MAX + 10, "site:north")
    assert opened(scene.south) == ["site:north"]
    assert "vouch:north" in scene.south.open()["site:north"].now.members


def test_a_certificate_that_cannot_be_renewed_is_an_incident_before_it_ends_and_closes_once_it_is(scene: Scene) -> None:
    shutil.move(scene.folder / "pki" / SITE, scene.folder / "taken.pem")
    (scene.folder / "pki" / SITE).write_text("rubbish")
    scene.days_pass(PROCESS_VALID.days - 9)
    scene.go(10)
    told = scene.south.open()["certificate:authority@south"].now  # what lies there is read first
    assert told.cause == "certificate-ending"
    assert "it holds no certificate in PEM" in told.sentence
    shutil.move(scene.folder / "taken.pem", scene.folder / "pki" / SITE)
    scene.days_pass(0)
    scene.go(5)
    assert [reason for _, reason in closed(scene.south)] == ["seen well again"]
    assert scene.south.open() == {}


def test_a_process_certificate_that_nobody_can_write_names_its_holder_and_the_days_left(scene: Scene) -> None:
    scene.days_pass(PROCESS_VALID.days - 11)
    own = OwnWord(SOUTH, (), ReadOnlyPki(scene.folder / "pki", SOUTH), lambda: None)
    scene.south.task = WatchTask(
        ESTATE, scene.south.journal, scene.south.intake, scene.south.state.snapshot, scene.south.clock, own.lacks
    )
    scene.south.clock.go(2 * 86_400)
    own.renew(scene.south.clock.now())
    scene.go(10)
    assert set(scene.south.open()) == {"certificate:agent@south", "certificate:serve@south"}
    sentence = scene.south.open()["certificate:serve@south"].now.sentence
    assert sentence.startswith("The certificate of serve at South is not renewed: serve.south.ncia ends in 9 days (")
    assert "Read-only file system" in sentence


class ReadOnlyPki(SitePki):
    """On a disk that went read-only."""

    def renew(self, now: datetime, *, every: bool = False) -> tuple[pki.Facts, ...]:
        raise OSError(30, "Read-only file system", str(self.folder))


def test_an_authority_near_its_end_explains_the_certificates_below_it(scene: Scene) -> None:
    scene.days_pass(2 * 365 - 5)
    scene.go(10)
    assert opened(scene.south) == ["certificate:authority@south"]
    sentence = scene.south.open()["certificate:authority@south"].now.sentence
    assert "the south authority ends in 5 days" in sentence
    assert "only whoever keeps the root can renew it" in sentence
