"""The receiver's life with programs that do as the test says: it is begun again, and never counts too early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SystemId
from recovery.receiving.receiver import AGAIN_SECONDS, AGAIN_SECONDS_MAX, Receiver, Standby
from recovery.receiving.term import Place
from recovery.receiving.wal import segment_of

MB = 1 << 20
SECOND_NS = 1_000_000_000
FIRST = "000000010000000000000010"
FIRST_START = 0x10 * MB


class FakeChild:
    def __init__(self) -> None:
        self.status: int | None = None
        self.said = ""

    def ended(self) -> int | None:
        return self.status

    def end(self) -> None:
        self.status = 0 if self.status is None else self.status

    def words(self) -> str:
        return self.said


class FakeTools:
    """``begun`` is what was begun, in order; ``record`` is the last record that a dump shows."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.missing = False
        self.child = FakeChild()
        self.record: int | None = FIRST_START + 0x100

    def _begin(self, what: str) -> FakeChild:
        self.begun.append(what)
        self.child = FakeChild()
        return self.child

    def create_slot(self) -> FakeChild:
        if self.missing:
            raise FileNotFoundError(2, "No such file or directory", "pg_receivewal")
        return self._begin("slot")

    def drop_slot(self) -> FakeChild:
        return self._begin("drop")

    def stream(self, folder: Path, counted: bool) -> FakeChild:
        return self._begin("counted" if counted else "joining")

    def end_strays(self) -> int:
        return 0

    def dump(self, folder: Path, timeline: int, start: int) -> Iterator[str]:
        if self.record is not None:
            yield f"rmgr: Heap, lsn: 0/{self.record:08X}, prev 0/0, desc: INSERT"


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now_ns = SECOND_NS
        self.replayed: int | None = None
        self.tools = FakeTools()
        self.place = Place(folder / "receiver")
        self.place.root.mkdir()
        self.asked = 0
        standby = Standby(self.ask)
        self.receiver = Receiver(SystemId("tax"), self.place, self.tools, standby, lambda: self.now_ns)

    def ask(self) -> int | None:
        self.asked += 1
        return self.replayed

    def turn(self, epoch: int | None = 1, seconds: float = 0.6) -> str:
        self.now_ns += int(seconds * SECOND_NS)
        self.receiver.turn(epoch)
        return str(self.receiver.status()["phase"])

    def receive(self, name: str = FIRST, epoch: int = 1, *, partial: bool = True) -> None:
        file = self.place.term(epoch) / (name + (".partial" if partial else ""))
        file.write_bytes(bytes(MB))

    def joined(self) -> None:
        self.turn()
        self.tools.child.status = 0
        self.turn()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_makes_its_slot_then_joins_and_counts_once_the_standby_has_its_first_byte(bench: Bench) -> None:
    assert bench.turn() == "slot"
    bench.tools.child.status = 0
    assert bench.turn() == "joining"
    bench.receive()
    bench.replayed = FIRST_START - 1
    assert bench.turn() == "joining"
    bench.replayed = FIRST_START
    assert bench.turn() == "counted"
    assert bench.tools.begun == ["slot", "joining", "counted"]


def test_it_does_not_count_while_the_standby_says_nothing(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    assert [bench.turn() for _ in range(3)] == ["joining"] * 3


def test_one_that_ends_is_begun_again_later_and_later_and_says_why(bench: Bench) -> None:
    waits = []
    bench.turn()
    for _ in range(8):
        bench.tools.child.status, bench.tools.child.said = 1, "connection refused"
        assert bench.turn(seconds=0.01) == "waiting"
        waited = 0.0
        while bench.turn(seconds=0.01) == "waiting":
            waited += 0.01
        waits.append(waited)
    assert bench.receiver.status()["why"] == "connection refused"
    assert bench.receiver.status()["restarts"] == 8
    assert waits[0] <= AGAIN_SECONDS
    assert waits == sorted(waits)
    assert waits[-1] <= AGAIN_SECONDS_MAX


def test_where_the_system_is_not_active_at_the_other_site_nothing_is_received(bench: Bench) -> None:
    bench.joined()
    assert bench.turn(None) == "idle"
    assert bench.tools.child.status == 0


def test_each_term_has_a_folder_of_its_own_and_old_ones_go(bench: Bench) -> None:
    for epoch in (1, 3, 5):
        bench.turn(epoch)
        bench.receive(epoch=epoch)
        bench.turn(None)
    assert sorted(path.name for path in bench.place.root.glob("term-*")) == ["term-3", "term-5"]


def test_what_was_handed_over_is_received_into_no_more_also_after_a_restart(bench: Bench, tmp_path: Path) -> None:
    bench.joined()
    bench.receive()
    held = bench.receiver.hand_over()
    assert held is not None
    assert (held.first_lsn, held.last_record_lsn, held.segments) == ("0/1000000", "0/1000100", 1)
    assert bench.turn() == "handed over"
    following = Receiver(SystemId("tax"), bench.place, FakeTools(), Standby(lambda: None), lambda: bench.now_ns)
    following.turn(1)
    assert following.status()["phase"] == "handed over"
    assert following.hand_over() == held
    assert [file.name for file in bench.place.handed.iterdir()] == [FIRST]


def test_a_hand_over_that_is_taken_back_goes_on_in_the_same_term(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    bench.receiver.hand_over()
    bench.receiver.follow_again()
    assert bench.turn() == "slot"
    assert not bench.place.handed.exists()


def test_the_next_term_makes_an_old_hand_over_void(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    bench.receiver.hand_over()
    bench.turn(3)
    assert not bench.place.handed.exists()


def test_history_files_are_handed_over_too(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    (bench.place.term(1) / "00000002.history").write_text("1\t0/1000000\tno recovery target specified\n")
    bench.receiver.hand_over()
    assert sorted(file.name for file in bench.place.handed.iterdir()) == [FIRST, "00000002.history"]


def test_one_that_received_nothing_hands_over_nothing(bench: Bench) -> None:
    assert bench.receiver.hand_over() is None
    bench.joined()
    assert bench.receiver.hand_over() is None


def test_one_that_lost_its_place_starts_over_only_where_the_standby_has_all_that_it_holds(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    bench.replayed = FIRST_START + 0x100  # not past the last record
    bench.tools.child.status, bench.tools.child.said = 1, "requested WAL segment has already been removed"
    assert bench.turn() == "waiting"
    assert segment_of(FIRST + ".partial", MB) in bench.place.segments(1)

    bench.replayed = FIRST_START + 0x101
    bench.turn(seconds=1)
    bench.tools.child.status = 0
    bench.turn()
    bench.tools.child.status, bench.tools.child.said = 1, "requested WAL segment has already been removed"
    assert bench.turn() == "dropping"
    assert bench.place.segments(1) == ()
    bench.tools.child.status = 0
    assert bench.turn() == "slot"


def test_a_program_that_is_not_there_is_told_and_tried_again(bench: Bench) -> None:
    bench.tools.missing = True
    assert bench.turn() == "waiting"
    assert "pg_receivewal" in bench.receiver.status()["why"]
    assert bench.turn(seconds=0.01) == "waiting"


def test_a_disk_without_room_for_the_hand_over_is_one_clear_sentence(bench: Bench) -> None:
    bench.joined()
    bench.receive()
    (bench.place.root / "staged").write_text("a file where a folder must be made")
    with pytest.raises(NciaError, match="hand over what the receiver of tax holds"):
        bench.receiver.hand_over()


def test_one_that_counts_asks_the_standby_seldom_and_prunes_what_that_has_replayed(bench: Bench) -> None:
    bench.joined()
    for number in range(0x10, 0x16):
        bench.receive(f"{1:08X}00000000{number:08X}", partial=False)
    bench.replayed = FIRST_START
    assert bench.turn() == "counted"
    asked = bench.asked
    bench.replayed = 0x20 * MB
    for _ in range(15):
        bench.turn()
    assert bench.asked == asked
    for _ in range(20):
        bench.turn()
    assert bench.asked > asked
    assert [segment.start for segment in bench.place.segments(1)] == [0x14 * MB, 0x15 * MB]
