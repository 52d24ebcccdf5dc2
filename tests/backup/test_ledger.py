"""What jobs write: once, under their fence, and nothing but their own kinds; in the controller and from a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backup.ledger import JournalLedger
from backup.ledger_http import HttpLedger
from backup.ports import Ledger
from ncia.api.doors import TCP, UNIX, WIRE
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.journal import Entry, Journal
from ncia.core.journal.entries import (
    BackupFailed,
    BackupStarted,
    EstateLoaded,
    PointBrought,
    PointCopied,
    PointDeleted,
    ProofFinished,
    ProofStarted,
)
from ncia.core.state import StateStore
from ncia.core.work.jobs import Fenced, Limits
from ncia.core.work.rows import JobRows
from tests.backup.served import served
from tests.backup.test_plan import backup
from tests.backup.world import DATASET, EAST, WEST
from tests.core.journal.sites import journal_of, sqlite_url
from tests.core.journal.specimens import SPECIMENS
from tests.fakes.jobs import order

BEGUN = BackupStarted(job="backup-1", dataset=DATASET, source_site=EAST, store_site=WEST, due_at="")
FAILED = BackupFailed(job="backup-1", dataset=DATASET, error="no")


class Controller:
    """A journal, a queue in which job backup-1 runs under fence 1, and the ledger over both."""

    def __init__(self, folder: Path) -> None:
        self.journal: Journal = journal_of(WEST, sqlite_url(folder, "west"))
        self.rows = JobRows(sqlite_url(folder, "jobs"))
        self.rows.enqueue(order())
        self.rows.begin("one", Limits(), 1)
        self.ledger = JournalLedger(self.journal, StateStore(self.journal), self.rows.check, jobs=self.rows.open)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.entries(WEST)]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    here = Controller(tmp_path)
    yield here
    here.rows.close()
    here.journal.close()


@pytest.fixture(params=["in the controller", "from a worker"])
def ledger(request: pytest.FixtureRequest, controller: Controller, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "in the controller":
        yield controller.ledger
        return
    with served(controller.rows, controller.ledger, tmp_path, UNIX) as address:
        over_http = HttpLedger(address)
        yield over_http
        over_http.close()


def test_an_entry_is_written_once_however_often_a_step_is_done(ledger: Ledger, controller: Controller) -> None:
    for body in (BEGUN, BEGUN, FAILED, FAILED, BEGUN):
        ledger.append("backup-1", 1, body, "kim")
    assert controller.kinds() == ["backup.started", "backup.failed"]
    assert controller.journal.entries(WEST)[0].by == "kim"


def test_who_was_replaced_writes_nothing(ledger: Ledger, controller: Controller) -> None:
    ledger.append("backup-1", 1, BEGUN, "kim")
    assert [job.fence for job in controller.rows.take_over("two", ["two"], 1)] == [2]
    with pytest.raises(Fenced, match="two took it over under fence 2"):
        ledger.append("backup-1", 1, FAILED, "kim")
    ledger.append("backup-1", 2, FAILED, "kim")
    assert controller.kinds() == ["backup.started", "backup.failed"]


def test_a_job_writes_of_nothing_but_backups_proofs_and_deletions(ledger: Ledger, controller: Controller) -> None:
    with pytest.raises(NciaError, match=r"write estate\.loaded for a job"):
        ledger.append("backup-1", 1, EstateLoaded(estate_hash="", systems=0, datasets=0), "kim")
    assert controller.kinds() == []


def test_a_deletion_is_written_while_the_point_is_known(ledger: Ledger, controller: Controller) -> None:
    kept = backup("p")
    controller.journal.append(kept, by="kim")
    gone = PointDeleted(point="p", dataset=DATASET, store_site=WEST, path=kept.path, reason="old")
    for _ in range(2):
        ledger.append("backup-1", 1, gone, "kim")
    assert controller.kinds() == ["backup.finished", "point.deleted"]


def test_what_was_let_go_is_known_with_its_place_for_a_deletion_may_not_have_been_carried_out(
    ledger: Ledger, controller: Controller
) -> None:
    point = backup("point-1")
    controller.journal.append(point, by="tester")
    assert ledger.let_go(point.dataset, point.store_site) == ()
    deleted = PointDeleted(
        point=point.point, dataset=point.dataset, store_site=point.store_site, path=point.path, reason="superseded"
    )
    ledger.append("backup-1", 1, deleted, "kim")
    assert ledger.let_go(point.dataset, point.store_site) == (point,)
    assert ledger.let_go("other/rows", point.store_site) == ()


def test_nothing_is_retired_while_nothing_is_proven(ledger: Ledger, controller: Controller) -> None:
    for name in "abcd":
        controller.journal.append(backup(name), by="kim")
    assert ledger.retired(DATASET, WEST) == ()


def proven_points(controller: Controller, *names: str) -> None:
    for name in names:
        point = backup(name)
        begun = BEGUN.model_copy(update={"job": point.job})
        job = f"proof-{name}"
        finished = ProofFinished(
            job=job, point=name, dataset=DATASET, matched=True, compare_lsn="0/10", source=(), copy_=(),
            differences=(), restore_seconds=1, seconds=1,
        )  # fmt: skip
        started = ProofStarted(job=job, point=name, dataset=DATASET)
        controller.journal.append_all((begun, point, started, finished), by="kim")


def test_a_point_that_a_job_reads_is_not_deleted_under_it(controller: Controller) -> None:
    proven_points(controller, "a", "b", "c", "d")
    assert [point.point for point in controller.ledger.retired(DATASET, WEST)] == ["a", "b"]
    told = {"point": backup("a").model_dump()}
    controller.rows.enqueue(order("keep-1", DATASET, "keep-point", details=told, lane="keep-point"))
    assert [point.point for point in controller.ledger.retired(DATASET, WEST)] == ["b"]


def test_what_came_back_out_of_a_repository_is_not_deleted_as_what_was_let_go_of(
    ledger: Ledger, controller: Controller
) -> None:
    """Its deletion is written, and it lies there: somebody has had it brought since."""
    proven_points(controller, "a", "b", "c", "d")
    point = backup("a")
    deleted = PointDeleted(point="a", dataset=DATASET, store_site=WEST, path=point.path, reason="newer ones")
    ledger.append("backup-1", 1, deleted, "kim")
    assert ledger.let_go(DATASET, WEST) == (point,)
    body = next(body for body in SPECIMENS if isinstance(body, PointBrought))
    same = {**point.model_dump(exclude={"job", "seconds"}), "taken_by": point.job, "taken_seconds": point.seconds}
    controller.journal.append(body.model_copy(update=same), by="kim")
    assert ledger.let_go(DATASET, WEST) == ()
    assert [each.point for each in ledger.retired(DATASET, WEST)] == ["b"]


def test_all_that_came_back_lately_is_spared_and_not_the_last_one_alone(controller: Controller) -> None:
    proven_points(controller, "a", "b", "c", "d", "e")
    body = next(body for body in SPECIMENS if isinstance(body, PointBrought))
    for name in "ab":
        point = backup(name)
        same = {**point.model_dump(exclude={"job", "seconds"}), "taken_by": point.job, "taken_seconds": point.seconds}
        told = body.model_copy(update={**same, "job": f"back-{name}"})
        for _ in range(2):  # what a step writes twice is there once
            controller.ledger.append("backup-1", 1, told, "kim")
    assert len(controller.journal.of_kind(PointBrought.KIND)) == 2
    assert [each.point for each in controller.ledger.retired(DATASET, WEST)] == ["c"]


def coming_back(controller: Controller, name: str) -> None:
    told = {"point": backup(name).model_dump()}
    controller.rows.enqueue(order("back-1", DATASET, "bring-point", details=told, lane="bring-point"))


def test_a_point_on_its_way_back_lies_in_the_store_unlisted_and_is_not_cleared_away(
    ledger: Ledger, controller: Controller
) -> None:
    """Its files are there before its entry is."""
    proven_points(controller, "a", "b", "c", "d")
    for name in "ab":
        gone = PointDeleted(point=name, dataset=DATASET, store_site=WEST, path=backup(name).path, reason="newer ones")
        ledger.append("backup-1", 1, gone, "kim")
    copied = next(body for body in SPECIMENS if isinstance(body, PointCopied))
    there = {"dataset": DATASET, "point": "a", "store_site": EAST}
    copy = copied.model_copy(update=there)
    deleted = PointDeleted(**there, path=copy.path, reason="newer copies")
    controller.journal.append_all((copy, deleted), by="kim")
    assert ledger.needless_copies(DATASET, EAST) == (copy,)
    coming_back(controller, "a")
    assert ledger.let_go(DATASET, WEST) == (backup("b"),)
    assert ledger.needless_copies(DATASET, EAST) == ()


def test_a_deletion_that_was_chosen_before_somebody_wanted_the_point_is_refused(
    ledger: Ledger, controller: Controller
) -> None:
    proven_points(controller, "a", "b", "c", "d")
    first, second = ledger.retired(DATASET, WEST)
    coming_back(controller, "a")
    for point in (first, second):
        gone = PointDeleted(point=point.point, dataset=DATASET, store_site=WEST, path=point.path, reason="newer ones")
        if point is first:
            with pytest.raises(NciaError, match="a job reads it or brings it back"):
                ledger.append("backup-1", 1, gone, "kim")
        else:
            ledger.append("backup-1", 1, gone, "kim")
    (entry,) = controller.journal.of_kind(PointDeleted.KIND)
    assert entry.body == gone


def test_nobody_writes_from_elsewhere_without_a_certificate(controller: Controller, tmp_path: Path) -> None:
    with served(controller.rows, controller.ledger, tmp_path, WIRE) as address:
        with pytest.raises(NciaError, match="nobody is signed in"):
            HttpLedger(address).append("backup-1", 1, BEGUN, "kim")
    assert controller.kinds() == []


def test_the_queue_is_looked_at_and_changed_on_the_controllers_host_and_by_nobody_unknown(
    controller: Controller, tmp_path: Path
) -> None:
    asked = {"job": "backup-1", "by": "kim"}
    for door, status, cancelled_by in ((TCP, 401, ""), (UNIX, 200, "kim")):
        with served(controller.rows, controller.ledger, tmp_path, door) as address:
            transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
            with httpx.Client(transport=transport, base_url="http://ncia") as client:
                listed = client.get("/v1/jobs")
                assert (listed.status_code, "jobs" in listed.json()) == (status, status == 200)
                assert client.post("/v1/jobs/cancel", json=asked).status_code == status
        assert controller.rows.get("backup-1").cancelled_by == cancelled_by


def test_a_controller_that_does_not_come_back_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="reach the controller at unix:"):
        HttpLedger(f"unix:{tmp_path}/nobody.sock", patience_seconds=0).append("backup-1", 1, BEGUN, "kim")


def test_a_deletion_is_written_once_and_answered_only_when_a_second_place_knows_of_it(controller: Controller) -> None:
    silent, asked = [True], []

    def permit(entry: Entry) -> None:
        asked.append((entry.kind, entry.number))
        if silent[0]:
            raise Refusal("journal.one-place", "delete a recovery point", "the peer and the witness are silent")

    point = backup("point-1")
    controller.journal.append(point, by="tester")
    states = StateStore(controller.journal)
    ledger = JournalLedger(controller.journal, states, controller.rows.check, permit)
    deleted = PointDeleted(
        point=point.point, dataset=point.dataset, store_site=point.store_site, path=point.path, reason="superseded"
    )
    with pytest.raises(Refusal):
        ledger.append("backup-1", 1, deleted, "kim")
    silent[0] = False
    ledger.append("backup-1", 1, deleted, "kim")
    assert controller.kinds() == ["backup.finished", "point.deleted"]
    assert asked == [("point.deleted", 1)] * 2


def test_what_deletes_nothing_asks_no_second_place(controller: Controller) -> None:
    def permit(entry: Entry) -> None:
        raise AssertionError(f"{entry.kind} permits nothing")

    ledger = JournalLedger(controller.journal, StateStore(controller.journal), controller.rows.check, permit)
    ledger.append("backup-1", 1, BEGUN, "kim")
    assert controller.kinds() == ["backup.started"]
