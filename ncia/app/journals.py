"""Composition of one site's journal, and of those who know of it: the peer and the witness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncia.app.tls import Identity, server_name
from ncia.core.base.clock import Clock, SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.journal import Journal, load_keyring, load_signer, open_journal
from ncia.core.requests.accounts import Accounts
from ncia.core.state import State

if TYPE_CHECKING:
    from ncia.core.journal.durable import TwoOfThree
    from ncia.core.journal.peer_http import HttpPeerSource
    from ncia.core.journal.peers import PeerLink
    from ncia.core.journal.tail import OwnTail, Place
    from ncia.core.journal.vouching import Vouching
    from ncia.core.journal.witness_http import HttpWitness

WITNESS = "witness"
TAIL_ANSWER_SECONDS = 2.0  # a dead peer costs so much at each start


def own_journal(settings: SiteSettings, estate: Estate, clock: Clock) -> Journal:
    signer = load_signer(settings.site, settings.secrets / "journal_key")
    keys = load_keyring(settings.state / "peer_keys.yaml")
    return open_journal(settings.journal_url, peer=estate.peer_of(settings.site), signer=signer, keys=keys, clock=clock)


def own_tail(settings: SiteSettings, estate: Estate, journal: Journal, identity: Identity) -> OwnTail:
    """The journal's own tail at the peer and at the witness; read only until one of them has answered."""
    from ncia.core.journal.tail import OwnTail

    witness = witness_source(settings, estate, identity)
    places: list[Place] = [peer_source(settings, estate, identity, TAIL_ANSWER_SECONDS)]
    return OwnTail(journal, [*places, witness] if witness else places)


def peer_link(settings: SiteSettings, estate: Estate, journal: Journal, clock: Clock, identity: Identity) -> PeerLink:
    from ncia.core.journal.peers import PeerLink

    return PeerLink(journal, peer_source(settings, estate, identity), clock)


def vouchings(settings: SiteSettings, estate: Estate, journal: Journal, identity: Identity) -> tuple[Vouching, ...]:
    """Who cosigns our log: the peer, and the witness where the estate has one."""
    from ncia.core.journal.vouching import by_peer, by_witness

    witness = witness_source(settings, estate, identity)
    peer = by_peer(journal, peer_source(settings, estate, identity, TAIL_ANSWER_SECONDS))
    return (peer, by_witness(journal, witness, peer)) if witness else (peer,)


def two_of_three(
    settings: SiteSettings, estate: Estate, journal: Journal, peer: Vouching, identity: Identity
) -> TwoOfThree:
    """How an entry that permits an irreversible act comes to be known at a second place."""
    from ncia.core.journal.durable import RealPace, TwoOfThree

    return TwoOfThree(journal, peer, witness_source(settings, estate, identity), RealPace())


def machines_only(settings: SiteSettings, estate: Estate, journal: Journal) -> Accounts:
    """Who is known before the journal is known to be whole: machines by their certificates, and nobody else."""
    return Accounts(settings.site, estate, journal, State, SystemClock())


def peer_source(
    settings: SiteSettings, estate: Estate, identity: Identity, timeout_seconds: float | None = None
) -> HttpPeerSource:
    from ncia.core.journal.peer_http import TIMEOUT_SECONDS, HttpPeerSource

    peer = estate.peer_of(settings.site)
    address = estate.sites[peer].services.api
    if address is None:
        raise NciaError("serve.no-peer", f"serve at {settings.site}", f"the estate names no services.api at {peer}")
    url = f"https://{estate.seen(address, peer, settings.site)}"
    seconds = timeout_seconds or TIMEOUT_SECONDS
    return HttpPeerSource(url, peer, timeout_seconds=seconds, tls=identity.client(), server_name=server_name(peer))


def witness_source(settings: SiteSettings, estate: Estate, identity: Identity) -> HttpWitness | None:
    from ncia.core.journal.witness_http import HttpWitness

    site = estate.cosigner
    address = estate.sites[site].services.witness if site else None
    if site is None or address is None:
        return None
    url = f"https://{estate.seen(address, site, settings.site)}"
    return HttpWitness(url, site, identity.client(), server_name(site, WITNESS))
