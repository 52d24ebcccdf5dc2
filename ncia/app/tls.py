"""What a process of ours shows and trusts on the wire: TLS 1.3, certificates of the estate's own root on both sides.

A renewed certificate is taken up without a restart: :meth:`Identity.refresh` looks at the file's time, and whatever
shakes hands after that uses the new one.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate import Address
from ncia.core.requests.certificates import ProcessName
from ncia.core.requests.pki import FOLDER, ROOT, SitePki

CONSOLE = "console.pem"
_log = structlog.get_logger("tls")


class Identity:
    """One per process."""

    def __init__(self, settings: SiteSettings, process: str) -> None:
        self.name = ProcessName(process, settings.site)
        self.pki = SitePki(settings.secrets / FOLDER, settings.site)
        self._file = self.pki.file(process)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.verify_mode = ssl.CERT_REQUIRED
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (self._server, self._client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            _load(context.load_verify_locations, self.pki.folder / ROOT)
        self._loaded = self._stamp()
        self._take_up()

    def server(self) -> ssl.SSLContext:
        """For listening: whoever dials must show a certificate of the estate's."""
        return self._server

    def client(self) -> ssl.SSLContext:
        """For dialling: name whom you expect with :func:`server_name`."""
        return self._client

    def refresh(self) -> None:
        """Take up a certificate that was renewed since; one that cannot be read is told, and the old one stays."""
        try:
            stamp = self._stamp()
            if stamp != self._loaded:
                self._take_up()
                self._loaded = stamp
                _log.info("tls.renewed", name=self.name.dns)
        except NciaError as error:
            _log.error("tls.not-renewed", name=self.name.dns, why=error.why)

    def _take_up(self) -> None:
        for context in (self._server, self._client):
            _load(context.load_cert_chain, self._file)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._file.stat()
        except OSError as error:
            raise _missing(self._file, error.strerror or str(error)) from error
        return found.st_mtime_ns, found.st_ino


def server_name(site: SiteId, process: str = "serve") -> str:
    """Whom a client expects at the far end, whatever the address is translated to."""
    return ProcessName(process, site).dns


def console_context(settings: SiteSettings, address: Address) -> ssl.SSLContext | None:
    """How people's browsers are served: with ``pki/console.pem`` (key and chain of whatever authority they trust), or
    in the clear where nobody but this machine can listen."""
    file = settings.secrets / FOLDER / CONSOLE
    if not file.exists():
        if ipaddress.ip_address(address.host).is_loopback:
            return None
        what, why = f"serve the console at {address}", "people would sign in over a wire that others can read"
        raise NciaError("serve.console-in-the-clear", what, why, f"put key and certificate chain into {file}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context.load_cert_chain, file)
    return context


def _load(load: Callable[[str], object], file: Path) -> None:
    try:
        load(str(file))
    except ssl.SSLError as error:
        raise _missing(file, f"it is no certificate with its key: {error.reason or error}") from error
    except OSError as error:
        raise _missing(file, error.strerror or str(error)) from error


def _missing(file: Path, why: str) -> NciaError:
    hint = "ncia pki issue SITE --root FOLDER --into SECRETS/pki, by whoever keeps the root"
    return NciaError("tls.no-certificate", f"read {file}", why, hint)
