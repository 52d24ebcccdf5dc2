"""The entries of a time, without reading all of a log."""

from collections.abc import Sequence
from datetime import timedelta

from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry, make_entry
from ncia.core.journal.window import STEPPED_BACK_MAX, first_at, since
from tests.core.journal.sites import EAST, EPOCH, said


class Log:
    """A log of entries at the given hours; counts what was read of it."""

    def __init__(self, *hours: float) -> None:
        self.written = [
            make_entry(EAST, n, EPOCH + timedelta(hours=hour), "t", 0, said(str(n))) for n, hour in enumerate(hours)
        ]
        self.read = 0

    def size(self, site: SiteId) -> int:
        return len(self.written)

    def entries(self, site: SiteId, start: int = 0, limit: int = 1000) -> Sequence[Entry]:
        found = self.written[start : start + limit]
        self.read += len(found)
        return found


def numbers(log: Log, hour: float) -> list[int]:
    return [entry.number for entry in since(log, EAST, EPOCH + timedelta(hours=hour))]


def test_all_that_was_written_at_that_moment_or_later_is_found() -> None:
    log = Log(0, 1, 2, 3, 4)
    assert (numbers(log, 2), numbers(log, 2.5), numbers(log, -9), numbers(log, 9)) == (
        [2, 3, 4],
        [3, 4],
        [*range(5)],
        [],
    )
    assert numbers(Log(), 0) == []


def test_a_clock_that_was_set_back_hides_no_entry() -> None:
    back = STEPPED_BACK_MAX / timedelta(hours=1)
    log = Log(0, 10, 10 + back * 0.9, 10.05, 10.1, 11)
    assert numbers(log, 10 + back * 0.5) == [2, 5]


def test_a_long_log_is_not_read_from_its_beginning() -> None:
    log = Log(*range(5000))
    assert (numbers(log, 4990), log.read < 100) == ([*range(4990, 5000)], True)


def test_a_log_began_with_its_first_entry() -> None:
    assert (first_at(Log(3, 4), EAST), first_at(Log(), EAST)) == (EPOCH + timedelta(hours=3), None)
