"""Composition of named loss: the receipts of one site, and what it asks about them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncia.app.serve import Controller
    from recovery.loss.desk import LossDesk


def loss_desk(controller: Controller, closing: ExitStack) -> LossDesk:
    from ncia.app.documents import DocumentStores
    from recovery.loss.contents import PostgresContents
    from recovery.loss.desk import LossDesk, Parts
    from recovery.loss.store import ReceiptStore

    settings, estate = controller.settings, controller.estate
    receipts = ReceiptStore(settings.state / "receipts.db")
    closing.callback(receipts.close)
    stores = DocumentStores(estate, settings.site, settings.secrets)
    closing.callback(stores.close)
    return LossDesk(
        Parts(
            site=settings.site,
            estate=estate,
            receipts=receipts,
            contents=PostgresContents(estate, settings.site, settings.secrets / "pgpass", stores.of),
            journal=controller.journal,
            state=controller.state.snapshot,
            active=lambda: {system: at for system, (at, _) in controller.active().items()},
            clock=controller.clock,
        )
    )
