"""Composition of named loss: the receipts of one site, and what it asks about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncia.app.ground import Ground

if TYPE_CHECKING:
    from recovery.loss.desk import LossDesk


def loss_desk(ground: Ground) -> LossDesk:
    from ncia.app.documents import DocumentStores
    from recovery.loss.contents import PostgresContents
    from recovery.loss.desk import LossDesk, Parts
    from recovery.loss.store import ReceiptStore

    settings, estate = ground.settings, ground.estate
    receipts = ReceiptStore(settings.state / "receipts.db")
    ground.closing.callback(receipts.close)
    stores = DocumentStores(estate, settings.site, settings.secrets)
    ground.closing.callback(stores.close)
    return LossDesk(
        Parts(
            site=settings.site,
            estate=estate,
            receipts=receipts,
            contents=PostgresContents(estate, settings.site, settings.secrets / "pgpass", stores.of),
            journal=ground.journal,
            state=ground.state.snapshot,
            active=ground.active_at,
            clock=ground.clock,
        )
    )
