"""Composition of what a planned move needs: etcd's holds, the other site's servers, both sites' hosts and stores."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import PurePosixPath

from backup.replicate.drain import DocumentDrain
from ncia.app.documents import DocumentStores
from ncia.app.ssh import SshRemote
from ncia.core.base.ids import SystemId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.state import StateStore
from recovery.actions.dialling import Dialler
from recovery.actions.hosts import HostedCopies, Place
from recovery.actions.postgresql import PostgresDatabases
from recovery.actions.stranded_documents import StoredDocuments
from recovery.fencing.etcd import Etcd
from recovery.fencing.holds import Holds
from recovery.ports import Pair
from recovery.stranded_documents import Span, span_of


def pair_of(
    settings: SiteSettings, estate: Estate, stores: DocumentStores, state: StateStore, closing: ExitStack
) -> Pair:
    site = settings.site
    peer = estate.peer_of(site)
    remote = SshRemote(estate, site, settings.secrets)
    closing.callback(remote.close)
    own = Place(*map(PurePosixPath, (settings.data_root, settings.postgresql_tools, settings.host_pgpass)))
    there = Place(
        *map(PurePosixPath, (settings.peer_data_root, settings.peer_postgresql_tools, settings.peer_host_pgpass))
    )
    passfile = settings.secrets / "pgpass"
    dialler = Dialler(estate, site, passfile)

    def taken_in(system: SystemId, run: str) -> Span:
        return span_of(state.snapshot().runs.get(run), system)

    evidence = settings.state / "evidence"
    return Pair(
        holds=Holds(Etcd.of(estate, site)),
        there=PostgresDatabases(estate, peer, passfile, viewer=site),
        copies=HostedCopies(remote, {site: own, peer: there}, dialler, evidence),
        documents=StoredDocuments(estate, stores.of, taken_in, evidence),
        drain=DocumentDrain(estate, site, stores.of),
    )
