"""What a controller lacks itself and nobody else can see: words for its journal, new certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from ncia.core.alerts.evidence import Lack
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.requests.expiry import endings
from ncia.core.requests.pki import SitePki

UNVOUCHED_SECONDS_MAX = 60.0
"""A voucher is asked twice a second; a peer that does not follow is left behind after 30 s, a controller that is
started anew is away for about 20: what lasts a minute is neither, and nobody needs to be woken sooner, for whoever
permits what cannot be undone asks for a second place by itself, at once."""

log = structlog.get_logger("serve")


class Voucher(Protocol):
    """:class:`ncia.core.journal.vouching.Vouching`."""

    @property
    def site(self) -> SiteId: ...

    @property
    def behind_since(self) -> datetime | None: ...

    @property
    def fault(self) -> NciaError | None: ...


class OwnWord:
    """``lacks`` is asked twice a second, ``renew`` called each minute."""

    def __init__(self, site: SiteId, vouchers: Sequence[Voucher], pki: SitePki, refresh: Callable[[], None]) -> None:
        self._site = site
        self._vouchers = tuple(vouchers)
        self._pki = pki
        self._refresh = refresh
        self._ending: tuple[Lack, ...] = ()

    def lacks(self, now: datetime) -> tuple[Lack, ...]:
        return (*self._unvouched(now), *self._ending)

    def renew(self, now: datetime) -> None:
        """Renew the certificates of this site that are due, take up what was renewed, and see what cannot be."""
        failure = ""
        try:
            for issued in self._pki.renew(now):
                log.info("pki.renewed", name=issued.name, serial=issued.serial, until=to_text(issued.not_after))
        except NciaError as error:
            log.error("pki.not-renewed", **error.as_problem())
            failure = f"{error.what}: {error.why}"
        except OSError as error:
            log.error("pki.not-renewed", why=str(error))
            failure = f"{error.filename}: {error.strerror}"
        self._refresh()
        try:
            facts = self._pki.all_facts()
        except NciaError as error:
            self._ending = (Lack("certificate", f"authority@{self._site}", now, f"{error.what}: {error.why}"),)
            return
        found = endings(facts, failure, now)
        self._ending = tuple(Lack("certificate", f"{e.holder}@{self._site}", e.since, e.why) for e in found)

    def _unvouched(self, now: datetime) -> Iterator[Lack]:
        for voucher in self._vouchers:
            since = voucher.behind_since
            if since is not None and now - since >= timedelta(seconds=UNVOUCHED_SECONDS_MAX):
                why = "it answers, and takes nothing new" if voucher.fault is None else voucher.fault.why
                yield Lack("vouch", voucher.site, since, why)
