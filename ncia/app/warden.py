"""Composition of ``ncia warden``: few modules, no database; it must stay up when all else is down."""

from __future__ import annotations

import secrets
import signal
import threading
from pathlib import Path

from ncia.app.logging import configure
from ncia.app.single import only_one
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate, Isolated
from recovery.fencing.claims import WardenControl
from recovery.fencing.doors import PeerDoor, open_control, open_peer
from recovery.fencing.etcd import BUDGET_SECONDS, Etcd
from recovery.fencing.lease import Policy
from recovery.fencing.warden import Warden

BUDGET_SHARE = 0.15  # of the TTL: a pass that fails twice must leave time for the peer's word


def run(settings_path: str | Path | None = None) -> None:
    """Hold the site's lease until SIGTERM or SIGINT. Ending does not fence: the next warden carries on."""
    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("warden", settings.site, settings.log)
    ended = threading.Event()
    with only_one(settings.run, "warden"):
        settings.state.mkdir(parents=True, exist_ok=True)
        warden = compose(settings, estate)
        own = estate.sites[settings.site].services.warden
        doors = [open_control(settings.run / "warden.sock", warden)]
        if own is not None:
            doors.append(open_peer(own, peer_token(settings), warden))

        def end(number: int, frame: object) -> None:
            ended.set()
            # not from the handler itself: the lock may be held by the very frame that it interrupted
            threading.Thread(target=warden.wake, daemon=True).start()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        warden.serve(ended)
        for door in doors:
            door.shutdown()


def control(settings_path: str | Path | None = None) -> WardenControl:
    """This site's warden, as people and the controller command it."""
    return WardenControl(load_settings(settings_path).run / "warden.sock")


def compose(settings: SiteSettings, estate: Estate) -> Warden:
    """The warden of ``settings.site`` on the real etcd and the real peer."""
    site, peer = settings.site, estate.peer_of(settings.site)
    ttl_seconds = estate.settings.lease_ttl_seconds
    continues = frozenset(s.id for s in estate.systems.values() if s.isolated is Isolated.CONTINUE)
    peer_door = estate.sites[peer].services.warden
    if peer_door is None:
        raise NciaError("fencing.no-peer-warden", "start the warden", f"site {peer} has no services.warden")
    budget = min(BUDGET_SECONDS, ttl_seconds * BUDGET_SHARE)
    return Warden(
        Policy(site, peer, ttl_seconds, continues),
        Etcd.of(estate, site, budget_seconds=budget),
        PeerDoor(estate.seen(peer_door, peer, site), peer_token(settings)),
        SystemClock(),
        settings.run,
        settings.state,
        identity=f"{site}-{secrets.token_hex(4)}",
    )


def peer_token(settings: SiteSettings) -> str:
    try:
        return (settings.secrets / "peer_token").read_text(encoding="ascii").strip()
    except OSError as error:
        raise NciaError("fencing.no-token", "read the peer's token", str(error), "write secrets/peer_token") from error
