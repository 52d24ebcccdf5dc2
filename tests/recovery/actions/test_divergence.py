"""Reading what PostgreSQL says of timelines and transactions; the rest of it is tested on real servers (test_hosts)."""

from __future__ import annotations

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.journal.entries_recovery import StrandedTable
from recovery.actions.divergence import (
    DIFFERS,
    ONLY_HERE,
    WAL_ENDS,
    Row,
    asking,
    committed,
    counted,
    fork_of,
    history_of,
)

HISTORY = "1\t0/30000A0\tno recovery target specified\n\n2\t0/4000028\tno recovery target specified\n"


def test_a_history_tells_where_each_timeline_was_left() -> None:
    assert history_of(HISTORY) == {1: "0/30000A0", 2: "0/4000028"}


def test_a_timeline_that_the_new_primary_does_not_know_is_refused() -> None:
    assert fork_of(1, {**history_of(HISTORY), 3: ""}, "list") == "0/30000A0"
    with pytest.raises(Refusal, match="no common past"):
        fork_of(7, history_of(HISTORY), "list")


def test_commits_are_counted_with_their_subtransactions_and_prepared_ones() -> None:
    head = "rmgr: Transaction len (rec/tot):     46/    46, tx: "
    lines = [
        f"{head}       745, lsn: 0/0156D7D8, prev 0/0156D7A0, desc: COMMIT 2026-09-26 11:15:00.1 UTC",
        f"{head}       750, lsn: 0/0156D8D8, prev 0/0156D7A0, desc: COMMIT 2026-09-26 UTC; subxacts: 751 752",
        f"{head}         0, lsn: 0/0156D9D8, prev 0/0156D7A0, desc: COMMIT_PREPARED 760: 2026-09-26 UTC",
        "something else",
    ]
    assert committed(lines) == (("745", "750", "751", "752", "760"), 3)


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        ("end pg_waldump: error: error in WAL record at 0/3000060: invalid record length at 0/3000098: got 0", True),
        ("end pg_waldump: error: could not find a valid record after 0/3000060", True),
        ("end ", True),
        ("end pg_waldump: error: could not open directory: Permission denied", False),
        ('end pg_waldump: error: could not find file "000000010000000000000003": No such file or directory', False),
    ],
)
def test_the_end_of_wal_is_told_from_wal_that_cannot_be_read(told: str, ends: bool) -> None:
    assert bool(WAL_ENDS.search(told)) is ends


def test_rows_are_counted_by_table_and_verdict() -> None:
    rows = [(Row("a.b", {}), ONLY_HERE), (Row("a.b", {}), DIFFERS), (Row("a.c", {}), ONLY_HERE)]
    assert counted(rows) == (
        StrandedTable(table="a.b", only_here=1, differs=1),
        StrandedTable(table="a.c", only_here=1, differs=0),
    )


def test_a_question_is_put_into_the_script_so_that_the_shell_expands_nothing() -> None:
    assert "cat > ask <<'--ncia--'\nselect '$(rm)';\n--ncia--\n" in asking("select '$(rm)';")
