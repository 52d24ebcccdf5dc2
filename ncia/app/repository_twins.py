"""What ``ncia repo`` asks of two repositories: copies from one to the other, and mending from the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from backup.repository.locks import Lock
from backup.repository.snapshots import chosen
from ncia.app.repository import CLOCK, Access, Answer, holder

Tell = Callable[[int, int, int], None]  # files so far, bytes so far, bytes in all


def copy(access: Access, to: Access, words: Sequence[str], tell: Tell) -> Answer:
    """``words``: the beginnings of snapshots' ids; without any, everything."""
    from backup.repository.copying import Copied, Copying, twins
    from backup.repository.copying_blobs import CopyingBlobs

    def heard(copied: Copied) -> None:
        tell(copied.packs, copied.bytes, copied.bytes_all)

    with access.opened(locked=True) as one, to.opened() as other:
        alike = twins(one, other)
        known = one.snapshots() if words or not alike else []
        wanted = [chosen(known, word) for word in dict.fromkeys(words)] if words else None
        with Lock(other, holder(), CLOCK) as lock:
            if alike:
                copied = Copying(one, other, lock.demand, heard).run(wanted)
            else:
                one.load_index()
                other.load_index()
                copied = CopyingBlobs(one, other, lock.demand, heard).run(known if wanted is None else wanted)
        damaged = dict.fromkeys([*one.damaged, *other.damaged])
    return {**asdict(copied), "twin": alike, "partial": copied.partial or bool(damaged), "damaged": [*damaged]}
