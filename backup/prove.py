"""Does the copy hold what the source held? Sums in, sentences out."""

from __future__ import annotations

from collections.abc import Sequence

from ncia.core.journal.entries import TableSum


def differences(source: Sequence[TableSum], copy: Sequence[TableSum]) -> tuple[str, ...]:
    """One sentence for each table that is not the same at both; none where the copy is the source."""
    theirs, ours = {each.table: each for each in source}, {each.table: each for each in copy}
    told = []
    for table in sorted(theirs.keys() | ours.keys()):
        there, here = theirs.get(table), ours.get(table)
        if here is None:
            told.append(f"{table}: missing in the copy")
        elif there is None:
            told.append(f"{table}: in the copy and not in the source")
        elif there.rows != here.rows:
            told.append(f"{table}: {there.rows} rows in the source, {here.rows} in the copy")
        elif there.sum128 != here.sum128:
            told.append(f"{table}: {there.rows} rows in both, of another content")
    return tuple(told)
