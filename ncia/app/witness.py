"""Composition of ``ncia witness``: no database, no citizen's data; it dials nobody."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from ncia.app.logging import configure
from ncia.app.single import only_one
from ncia.app.tls import Identity, server_name
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate
from ncia.core.journal.checkpoint import load_key, load_keyring
from ncia.core.journal.cosign import Cosigner
from ncia.core.journal.kept import Keeper
from ncia.core.journal.witness import Witness
from ncia.core.journal.witness_door import open_door

RENEW_SECONDS = 60.0
FOLDER = "witness"  # of the site's state: one signed note per centre


def run(settings_path: str | Path | None = None) -> None:
    """Cosign the heads of the centres' journals until SIGTERM or SIGINT."""
    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("witness", settings.site, settings.log)
    own = estate.sites[settings.site].services.witness if settings.site in estate.sites else None
    if own is None:
        what = f"start the witness at {settings.site}"
        raise NciaError("witness.no-address", what, "the estate names no services.witness there", str(settings.file))
    ended = threading.Event()
    with only_one(settings.run, "witness"):
        witness = compose(settings, estate)
        keeper = Keeper(settings.state / FOLDER / "kept", witness)
        identity = Identity(settings, "witness")
        callers = [server_name(centre) for centre in estate.centres]
        door = open_door((own.host, own.port), identity.server(), callers, witness, keeper)

        def end(number: int, frame: object) -> None:
            ended.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        while not ended.wait(RENEW_SECONDS):
            identity.refresh()
        door.shutdown()


def compose(settings: SiteSettings, estate: Estate) -> Witness:
    """The witness of this site, for the logs of the estate's centres and no other."""
    known = load_keyring(settings.state / "peer_keys.yaml")
    keys = {site: key for site, key in known.items() if site in estate.centres}
    cosigner = Cosigner(settings.site, load_key(settings.secrets / "witness_key"))
    return Witness(settings.state / FOLDER, cosigner, keys, SystemClock())
