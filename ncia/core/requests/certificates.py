"""The estate's own certificates: a root that lies with people, an authority for each site, short ones for processes.

A process is called ``<process>.<site>.ncia`` and by nothing else: addresses change and are translated on the way. A
site's authority can name what is below its own site only (RFC 5280, name constraints), so that whoever takes one site's
key cannot speak as the other site. Pure: values in, values out, ``now`` passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId

DOMAIN = "ncia"
ROOT_VALID = timedelta(days=20 * 365)
SITE_VALID = timedelta(days=2 * 365)
PROCESS_VALID = timedelta(days=30)
RENEW_BEFORE_END = timedelta(days=10)
BACKDATED = timedelta(days=1)  # a clock that is wrong by hours must not shut the wire


@dataclass(frozen=True)
class ProcessName:
    """``serve`` of ``daejeon``."""

    process: str
    site: SiteId

    @property
    def dns(self) -> str:
        return f"{self.process}.{self.site}.{DOMAIN}"

    @staticmethod
    def of(name: str) -> ProcessName | None:
        """The process that such a name means; None where it is none of ours."""
        words = name.split(".")
        if len(words) != 3 or words[2] != DOMAIN or not all(words):
            return None
        return ProcessName(words[0], SiteId(words[1]))


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Facts:
    """A certificate as people read it; ``serial`` is hexadecimal."""

    name: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime

    def state(self, now: datetime) -> str:
        """``good``, ``due`` for renewal, ``expired`` or ``early`` (not valid yet)."""
        if now >= self.not_after:
            return "expired"
        if now < self.not_before:
            return "early"
        is_process = self.not_after - self.not_before <= PROCESS_VALID + BACKDATED
        return "due" if is_process and now >= self.not_after - RENEW_BEFORE_END else "good"


def new_root(estate: str, now: datetime) -> Authority:
    """The estate's root; its key is kept by people, at neither site."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(f"{estate} root", f"{estate} root", key, key, now, ROOT_VALID)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return Authority(builder.add_extension(_may_sign(), critical=True).sign(key, hashes.SHA256()), key)


def new_site(root: Authority, site: SiteId, now: datetime) -> Authority:
    """The authority of one site: it signs processes of that site, and no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(f"{site} authority", name_of(root.certificate), key, root.key, now, SITE_VALID)
    below = x509.NameConstraints([x509.DNSName(f"{site}.{DOMAIN}")], None)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(below, critical=True).add_extension(_may_sign(), critical=True)
    return Authority(builder.sign(root.key, hashes.SHA256()), key)


def new_process(site: Authority, name: ProcessName, now: datetime, valid: timedelta = PROCESS_VALID) -> Authority:
    """A certificate with which a process speaks and listens, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    until = site.certificate.not_valid_after_utc
    if now + valid > until:
        valid = until - now
    if valid <= timedelta(0):
        what, why = f"issue a certificate for {name.dns}", f"the site's authority expired at {until:%Y-%m-%d}"
        raise NciaError(
            "pki.authority-expired", what, why, f"ncia pki issue {name.site} --root FOLDER, by whoever keeps it"
        )
    builder = _builder(name.dns, name_of(site.certificate), key, site.key, now, valid)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_may(digital_signature=True), critical=True).add_extension(both, critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name.dns)]), critical=False)
    return Authority(builder.sign(site.key, hashes.SHA256()), key)


def facts_of(certificate: x509.Certificate) -> Facts:
    return Facts(
        name_of(certificate),
        str(certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value),
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def name_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def shown_by(peer: Any) -> tuple[ProcessName, str] | None:
    """Whose certificate a verified peer showed, and its serial, from :meth:`ssl.SSLSocket.getpeercert`'s answer."""
    if not peer:
        return None
    for kind, name in peer.get("subjectAltName", ()):
        found = ProcessName.of(name) if kind == "DNS" else None
        if found is not None:
            return found, f"{int(peer['serialNumber'], 16):x}"
    return None


def _builder(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    valid: timedelta,
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
        .add_extension(own, critical=False)
        .add_extension(above, critical=False)
    )


def _may_sign() -> x509.KeyUsage:
    return _may(key_cert_sign=True, crl_sign=True)


def _may(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
