"""Composition of the recovery desk: which adapter does what in its world."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ncia.app.programs import drift_of
from ncia.app.secret import secret
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.state import StateStore

if TYPE_CHECKING:
    from ncia.core.journal.durable import TwoOfThree
    from recovery.task import RecoveryDesk


def recovery_desk(
    settings: SiteSettings,
    estate: Estate,
    journal: Journal,
    state: StateStore,
    durable: TwoOfThree,
    closing: ExitStack,
) -> RecoveryDesk:
    from ncia.app.documents import DocumentStores
    from ncia.app.pair import pair_of
    from recovery.actions.applications import HttpApplications
    from recovery.actions.documents import DocumentMarks
    from recovery.actions.front_door import FrontDoor
    from recovery.actions.postgresql import PostgresDatabases
    from recovery.fencing.claims import Claims, WardenControl
    from recovery.fencing.etcd import Etcd
    from recovery.outage import EntryOutages
    from recovery.permits import RunPermits
    from recovery.ports import World
    from recovery.receiving.control import ReceiverControl
    from recovery.task import RecoveryDesk, Surroundings

    site = settings.site
    stores = DocumentStores(estate, site, settings.secrets)
    closing.callback(stores.close)
    permits = RunPermits(journal, lambda entries, what, override: durable.demand(entries, what, override).site)
    journal.subscribe(permits.foresee)
    world = World(
        claims=Claims(Etcd.of(estate, site)),
        warden=WardenControl(settings.run / "warden.sock"),
        databases=PostgresDatabases(estate, site, settings.secrets / "pgpass"),
        applications=HttpApplications(estate, site),
        traffic=FrontDoor(estate, site, secret(settings, "traffic_token")),
        receivers=ReceiverControl(estate, settings.run / "receiver.sock"),
        permits=permits,
        marks=DocumentMarks(site, stores.of),
        pair=pair_of(settings, estate, stores, state, closing),
    )
    runbooks = Path(str(resources.files("runbooks")))
    watching = EntryOutages(site, lambda: state.snapshot().verdicts)
    desk = RecoveryDesk(Surroundings(site, estate, runbooks, journal, world, watching, drift=drift_of(estate, state)))
    closing.callback(desk.close)
    return desk
