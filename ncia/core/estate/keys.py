"""Public keys of people, as OpenSSH writes them: plain Ed25519 keys, and those of hardware (FIDO) authenticators."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

PLAIN = "ssh-ed25519"  # RFC 8709, section 4
HARDWARE = "sk-ssh-ed25519@openssh.com"  # OpenSSH PROTOCOL.u2f: the key never leaves its authenticator
KINDS = (PLAIN, HARDWARE)
RAW_BYTES = 32


@dataclass(frozen=True)
class SshKey:
    """``raw`` is the Ed25519 point; ``application`` what a hardware key was made for (``ssh:``), empty for others."""

    kind: str
    raw: bytes
    application: str
    blob: bytes  # the wire form, as inside the base64 of a key's line

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")

    @property
    def line(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode('ascii')}"


def key_of_line(line: str) -> SshKey:
    """The key of a line of an ``authorized_keys`` or ``.pub`` file without options; ``ValueError`` where it is none."""
    words = line.split()
    if len(words) < 2 or words[0] not in KINDS:
        raise ValueError(f"it does not begin with one of {', '.join(KINDS)}")
    found = key_of_blob(base64.b64decode(words[1], validate=True))
    if found.kind != words[0]:
        raise ValueError(f"its first word says {words[0]}, its key {found.kind}")
    return found


def key_of_blob(blob: bytes) -> SshKey:
    """The key of a public key's wire form; ``ValueError`` where it is none."""
    kind, rest = take(blob)
    raw, rest = take(rest)
    application = b""
    if kind == HARDWARE.encode():
        application, rest = take(rest)
    elif kind != PLAIN.encode():
        raise ValueError(f"a key of kind {kind[:40]!r}")
    if rest or len(raw) != RAW_BYTES:
        raise ValueError("its length is not that of an Ed25519 key")
    return SshKey(kind.decode("ascii"), raw, application.decode("utf-8"), blob)


def take(blob: bytes) -> tuple[bytes, bytes]:
    """The first ``string`` of SSH's wire form (RFC 4251, section 5), and what follows it."""
    if len(blob) < 4:
        raise ValueError("it ends in the middle of a length")
    length = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + length:
        raise ValueError("it ends in the middle of a string")
    return blob[4 : 4 + length], blob[4 + length :]


def string(content: bytes) -> bytes:
    """``content`` as a ``string`` of SSH's wire form."""
    return len(content).to_bytes(4, "big") + content
