"""Two logs as one list, in causal order.

Whoever wrote an entry had seen ``peer_seen`` entries of the other log: those come before it. Entries of which neither
writer had seen the other's are told apart by time, then site, then number. The order is a function of the two logs
alone, so both sites, holding the same logs, see the same list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry


def merge(logs: Mapping[SiteId, Iterator[Entry]], passed: Mapping[SiteId, int] | None = None) -> Iterator[Entry]:
    """``logs`` holds the iterators of two logs; ``passed`` how many entries of each were passed over before.

    What the other log no longer holds cannot be waited for: a log that has ended holds nobody back.
    """
    first, second = sorted(logs)
    other = {first: second, second: first}
    taken = {site: (passed or {}).get(site, 0) for site in logs}
    heads = {site: next(logs[site], None) for site in logs}
    while True:
        ready = [
            entry
            for entry in heads.values()
            if entry is not None and (entry.peer_seen <= taken[other[entry.site]] or heads[other[entry.site]] is None)
        ]
        if not ready:
            left = [f"{entry.site} {entry.number}" for entry in heads.values() if entry is not None]
            if not left:
                return
            why = f"{' and '.join(left)} each claim to have seen the other"
            raise NciaError("journal.causal-loop", "merge two logs", why, "ncia journal verify FILE")
        entry = min(ready, key=lambda each: (each.at, each.site, each.number))
        yield entry
        taken[entry.site] += 1
        heads[entry.site] = next(logs[entry.site], None)
