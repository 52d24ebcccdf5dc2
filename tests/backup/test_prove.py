"""Sums compared, LSNs ordered."""

from backup.prove import differences
from ncia.core.base.lsn import lsn_number
from ncia.core.journal.entries import TableSum


def table(name: str, rows: int = 3, content: str = "aa") -> TableSum:
    return TableSum(table=name, rows=rows, sum128=content)


def test_the_same_tables_have_no_difference_whatever_their_order() -> None:
    assert differences([table("a"), table("b")], [table("b"), table("a")]) == ()


def test_every_difference_is_told_by_table() -> None:
    source = [table("content"), table("gone"), table("rows"), table("same")]
    copy = [table("content", content="bb"), table("more"), table("rows", 2), table("same")]
    assert differences(source, copy) == (
        "content: 3 rows in both, of another content",
        "gone: missing in the copy",
        "more: in the copy and not in the source",
        "rows: 3 rows in the source, 2 in the copy",
    )


def test_lsns_are_compared_as_numbers() -> None:
    assert lsn_number("0/FFFFFFFF") < lsn_number("1/0") < lsn_number("A/1") < lsn_number("10/0")
