"""Keys, passwords and certificates of one lab: made at `up`, written where each belongs, known nowhere else."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from ncia.core.base.ids import AgencyId, HostId, PersonId, SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, SiteKind
from ncia.lab.layout import Layout, endpoints_at, linked
from ncia.lab.relay.tunnel import certificate_name

ROLES = ("app", "replicator", "ncia_watch", "ncia_backup", "ncia_recover")
CERTIFICATE_DAYS = 30
REPOSITORIES = "repositories"  # as ncia.app.agencies reads them


def password() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Keys:
    """Everything secret of a new lab, before it is written."""

    passwords: Mapping[SystemId, Mapping[str, str]]  # system → role → password
    controllers: Mapping[SiteId, Ed25519PrivateKey]  # the SSH key of a site's controller
    files: Mapping[SiteId, Ed25519PrivateKey]  # the SFTP key of a site's applications, agent and mirror
    stores: Mapping[SiteId, tuple[str, str]]  # access key and secret of a site's object store
    hosts: Mapping[HostId, Ed25519PrivateKey]
    journals: Mapping[SiteId, Ed25519PrivateKey]  # the centres' signers, and the witness that cosigns
    people: Mapping[PersonId, Ed25519PrivateKey]
    repositories: Mapping[AgencyId, str] = field(default_factory=dict)  # the password of each agency's own
    peer_token: str = field(default_factory=password)
    traffic_token: str = field(default_factory=password)
    receipts_token: str = field(default_factory=password)

    @staticmethod
    def make(estate: Estate) -> Keys:
        new = Ed25519PrivateKey.generate
        return Keys(
            {system: {role: password() for role in ROLES} for system in estate.systems},
            {site: new() for site in estate.centres},
            {site: new() for site in estate.centres},
            {site: (f"AK{secrets.token_hex(8).upper()}", password()) for site in estate.centres},
            {host: new() for host in estate.hosts},
            {site: new() for site in (*estate.centres, *([estate.cosigner] if estate.cosigner else []))},
            {person: new() for person in estate.people},
            {agency.id: password() for agency in estate.agencies.values() if agency.repository},
        )


def write_site(keys: Keys, estate: Estate, layout: Layout, site: SiteId) -> None:
    """The ``secrets`` folder of ``site``, and the public halves of the journal keys in its ``state``."""
    kind, folder = estate.sites[site].kind, layout.secrets(site)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kind is SiteKind.WITNESS:
        write_witness(keys, layout, site)
    if kind is SiteKind.PUBLIC:
        write(folder / "traffic_token", keys.traffic_token)
        write(folder / "receipts_token", keys.receipts_token)
    if kind is not SiteKind.CENTRE:
        return
    for name, token in (
        ("peer_token", keys.peer_token),
        ("traffic_token", keys.traffic_token),
        ("receipts_token", keys.receipts_token),
    ):
        write(folder / name, token)
    (folder / REPOSITORIES).mkdir(mode=0o700, exist_ok=True)
    for agency, secret in keys.repositories.items():
        write(folder / REPOSITORIES / agency, secret)
    write(folder / "pgpass", pgpass(keys, estate, site))
    write(folder / "ssh_key", openssh_private(keys.controllers[site]))
    write(folder / "files_key", openssh_private(keys.files[site]))
    write(folder / "s3_keys", s3_keys(keys, estate, site))
    write(folder / "known_hosts", known_hosts(keys, estate, site))
    write(folder / "journal_key", pem(keys.journals[site]))
    write_signers(keys, layout, site)
    for host in estate.hosts.values():
        if host.site == site:
            write_host(keys, layout.site(site) / "hosts" / host.id, host.id)


def write_witness(keys: Keys, layout: Layout, site: SiteId) -> None:
    """What `ncia witness` needs, where the estate has it run at ``site``."""
    if site in keys.journals:
        write(layout.secrets(site) / "witness_key", pem(keys.journals[site]))
        write_signers(keys, layout, site)


def write_signers(keys: Keys, layout: Layout, site: SiteId) -> None:
    """The public halves of all who sign or cosign journals."""
    state = layout.site(site) / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    signers = [f"{signer}: {raw_public(key)}" for signer, key in sorted(keys.journals.items())]
    write(state / "peer_keys.yaml", "\n".join(signers) + "\n")


def write_host(keys: Keys, folder: Path, host: HostId) -> None:
    """What the SSH host itself needs: its own key, and whose keys it lets in (the controllers of both sites)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(folder / "host_key", openssh_private(keys.hosts[host]))
    lines = [f"{openssh_public(key)} ncia@{site}\n" for site, key in keys.controllers.items()]
    write(folder / "authorized_keys", "".join(lines))
    lines = [f"{openssh_public(key)} files@{site}\n" for site, key in keys.files.items()]
    write(folder / "authorized_files_keys", "".join(lines))


def write_people(keys: Keys, folder: Path) -> None:
    """The private halves: with the people, outside every site."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for person, key in keys.people.items():
        write(folder / person, openssh_private(key))


def pgpass(keys: Keys, estate: Estate, site: SiteId) -> str:
    """One line per address that a process of ``site`` dials and role that may log in there."""
    lines = []
    for system in estate.systems.values():
        passwords = keys.passwords[system.id]
        for copy in system.postgres.copies.values():
            lines += entries(estate.seen(copy.server, copy.site, site), passwords, ROLES)
            if copy.site == site:
                lines += entries(copy.gate, passwords, ("app",))
    return "\n".join(lines) + "\n"


def entries(address: Address, passwords: Mapping[str, str], roles: Iterable[str]) -> list[str]:
    return [f"{address.host}:{address.port}:*:{role}:{passwords[role]}" for role in roles]


def s3_keys(keys: Keys, estate: Estate, site: SiteId) -> str:
    """One line per object store as a process of ``site`` dials it: address, access key, secret."""
    lines = []
    for at in estate.centres:
        for endpoint in endpoints_at(estate, at):
            lines.append(" ".join((str(estate.seen(endpoint, at, site)), *keys.stores[at])))
    return "\n".join(lines) + "\n"


def known_hosts(keys: Keys, estate: Estate, site: SiteId) -> str:
    lines = []
    for host in estate.hosts.values():
        seen = estate.seen(host.ssh, host.site, site)
        lines.append(f"[{seen.host}]:{seen.port} {openssh_public(keys.hosts[host.id])}")
    return "\n".join(lines) + "\n"


def write_relay(estate: Estate, layout: Layout) -> None:
    """An authority for the ends of the relay, and a certificate for each; the authority's key is not kept."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate("lab relay authority", authority_key, None, authority_key)
    for site in estate.sites:
        if not linked(estate, site):
            continue
        folder = layout.relay(site)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = certificate(site, key, authority, authority_key)
        write(folder / "authority.pem", authority.public_bytes(Encoding.PEM).decode())
        write(folder / "certificate.pem", issued.public_bytes(Encoding.PEM).decode())
        write(folder / "key.pem", pem(key))


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A certificate for ``name``; its own authority where none is given."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if authority is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(certificate_name(name))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def write(path: Path, text: str) -> None:
    """A file that only its owner may read; never half there."""
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.rename(path)


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def openssh_private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def openssh_public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def raw_public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
