"""Where certificates lie: ``pki/`` of a site's secrets, and the folder of whoever keeps the root.

Key and chain of a process stand in one file, ``<process>.pem``, put in place at once: a reader never sees a new key
beside an old certificate. Whatever is secret is readable by its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import SiteKind
from ncia.core.requests.certificates import (
    Authority,
    Facts,
    ProcessName,
    facts_of,
    new_process,
    new_root,
    new_site,
)

FOLDER = "pki"  # of a site's secrets
ROOT, ROOT_KEY, SITE = "root.pem", "root_key.pem", "site.pem"
PROCESSES = {SiteKind.CENTRE: ("serve", "agent"), SiteKind.WITNESS: ("agent", "witness"), SiteKind.PUBLIC: ()}
"""Who speaks on the wire, by kind of site."""


@dataclass(frozen=True)
class SitePki:
    """The certificates of one site. ``root.pem`` is what it trusts, ``site.pem`` its own authority with its key."""

    folder: Path
    site: SiteId

    def file(self, process: str) -> Path:
        return self.folder / f"{process}.pem"

    def authority(self) -> Authority:
        return _read_authority(self.folder / SITE, self.folder / SITE)

    def put_authority(self, root: Authority, authority: Authority) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(self.folder / ROOT, _pem(root.certificate))
        _put(self.folder / SITE, _key(authority) + _pem(authority.certificate))

    def issue(self, process: str, now: datetime) -> Facts:
        """A new certificate for a process, in place of an old one; running processes take it up by themselves."""
        authority = self.authority()
        made = new_process(authority, ProcessName(process, self.site), now)
        _put(self.file(process), _key(made) + _pem(made.certificate) + _pem(authority.certificate))
        return facts_of(made.certificate)

    def processes(self) -> tuple[str, ...]:
        """Those that have a certificate here."""
        names = (
            file.stem for file in sorted(self.folder.glob("*.pem")) if file.name not in (ROOT, SITE, "console.pem")
        )
        return tuple(names)

    def facts(self, process: str) -> Facts:
        return facts_of(_read_certificate(self.file(process)))

    def all_facts(self) -> tuple[Facts, ...]:
        """Of everything that lies here: root, authority, processes."""
        files = [self.folder / ROOT, self.folder / SITE, *(self.file(each) for each in self.processes())]
        return tuple(facts_of(_read_certificate(file)) for file in files)

    def renew(self, now: datetime, *, every: bool = False) -> tuple[Facts, ...]:
        """New certificates for those that are due (or for every one); answers what was issued. One that ends with its
        authority cannot be had any longer, and is left as it is."""
        due = [each for each in self.processes() if every or self._gains(self.facts(each), now)]
        return tuple(self.issue(each, now) for each in due)

    def _gains(self, facts: Facts, now: datetime) -> bool:
        state = facts.state(now)
        if state != "due":
            return state != "good"
        return facts.not_after < self.authority().certificate.not_valid_after_utc


def init(folder: Path, estate: str, now: datetime) -> Facts:
    """Make the estate's root in ``folder``, once."""
    if (folder / ROOT).exists() or (folder / ROOT_KEY).exists():
        why = f"{folder} holds a root already; another one would cut off everything that trusts it"
        raise Refusal("pki.root-exists", f"make the root of {estate}", why, "name an empty folder")
    root = new_root(estate, now)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _put(folder / ROOT_KEY, _key(root))
    _put(folder / ROOT, _pem(root.certificate))
    return facts_of(root.certificate)


def issue_site(root: Path, into: SitePki, processes: Sequence[str], now: datetime) -> tuple[Facts, ...]:
    """A site's authority, signed by the root in that folder, and a certificate for each of its processes."""
    keeper = _read_authority(root / ROOT, root / ROOT_KEY)
    authority = new_site(keeper, into.site, now)
    into.put_authority(keeper, authority)
    return (facts_of(authority.certificate), *(into.issue(each, now) for each in processes))


def _read_authority(certificate: Path, key: Path) -> Authority:
    found = _read_certificate(certificate)
    try:
        secret = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise _unreadable(key, error.strerror or str(error)) from error
    except (ValueError, TypeError) as error:
        raise _unreadable(key, "it holds no private key in PEM") from error
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != found.public_key():
        raise _unreadable(key, f"it is not the key of {certificate.name}")
    return Authority(found, secret)


def _read_certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(file, "it holds no certificate in PEM") from error


def _unreadable(file: Path, why: str) -> NciaError:
    return NciaError("pki.unreadable", f"read {file}", why, "ncia pki issue SITE --root FOLDER --into SECRETS/pki")


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key(authority: Authority) -> bytes:
    return authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _put(file: Path, content: bytes) -> None:
    """In place at once, for the owner only."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, file)
