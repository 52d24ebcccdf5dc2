"""Composition of what a planned move needs: etcd's holds, the other site's servers, and the hosts of both sites."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import PurePosixPath

from ncia.app.ssh import SshRemote
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from recovery.actions.dialling import Dialler
from recovery.actions.hosts import HostedCopies, Place
from recovery.actions.postgresql import PostgresDatabases
from recovery.fencing.etcd import Etcd
from recovery.fencing.holds import Holds
from recovery.ports import Pair


def pair_of(settings: SiteSettings, estate: Estate, closing: ExitStack) -> Pair:
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
    return Pair(
        holds=Holds(Etcd.of(estate, site)),
        there=PostgresDatabases(estate, peer, passfile, viewer=site),
        copies=HostedCopies(remote, {site: own, peer: there}, dialler, settings.state / "evidence"),
    )
