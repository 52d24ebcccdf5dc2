"""A person's own key: which one it is, and its signature. The private half stays where it is.

A key file of ours is used as it is. The key of a hardware authenticator, or one that an agent holds (``FILE.pub``),
signs through ``ssh-keygen -Y sign``, which asks for the touch or talks to the agent.
"""

from __future__ import annotations

import base64
import getpass
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.errors import NciaError
from ncia.core.estate.keys import KINDS, PLAIN, SshKey, key_of_blob, key_of_line, take
from ncia.core.requests import sshsig
from ncia.core.requests.approval import KEY_HINT, is_encrypted, private_key

BEGIN, END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
CONTAINER = b"openssh-key-v1\x00"  # OpenSSH, PROTOCOL.key
TOUCH_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class OwnKey:
    path: Path
    content: bytes
    public: SshKey

    def sign(self, message: bytes, namespace: str) -> str:
        """``message`` signed for one purpose, as armoured text."""
        if self.public.kind != PLAIN or self.content.startswith(PLAIN.encode()):
            return _by_ssh_keygen(self.path, message, namespace)
        passphrase = None
        if is_encrypted(self.content):
            passphrase = getpass.getpass(f"Passphrase of {self.path}: ", stream=sys.stderr).encode()
        return sshsig.sign(private_key(self.content, passphrase), message, namespace)


def own_key(path: Path) -> OwnKey:
    """The key in ``path``: an OpenSSH private key, the handle of a hardware key, or a public key of the agent's."""
    path = path.expanduser()
    what = f"read the key {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NciaError("approval.bad-key", what, error.strerror or str(error), KEY_HINT) from error
    try:
        text = content.decode("ascii")
        public = key_of_line(text) if text.startswith(KINDS) else _public_of(text)
    except ValueError as error:
        raise NciaError("approval.bad-key", what, f"it is no Ed25519 key of OpenSSH: {error}", KEY_HINT) from error
    return OwnKey(path, content, public)


def _public_of(private: str) -> SshKey:
    """The public half of an OpenSSH private key: it stands there unencrypted."""
    text = private.strip()
    if not (text.startswith(BEGIN) and text.endswith(END)):
        raise ValueError(f"it does not begin with {BEGIN}")
    rest = base64.b64decode("".join(text[len(BEGIN) : -len(END)].split()), validate=True)
    if not rest.startswith(CONTAINER):
        raise ValueError("it is no openssh-key-v1")
    rest = rest[len(CONTAINER) :]
    for _ in ("cipher", "key derivation", "its options"):
        _, rest = take(rest)
    blob, _ = take(rest[4:])  # after the number of keys
    return key_of_blob(blob)


def _by_ssh_keygen(path: Path, message: bytes, namespace: str) -> str:
    what = f"sign with the key {path}"
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(path), "-n", namespace]
    try:
        told = subprocess.run(command, input=message, capture_output=True, timeout=TOUCH_SECONDS_MAX)
    except OSError as error:
        hint = "install OpenSSH's client, or use a key file of ssh-keygen -t ed25519"
        raise NciaError("cli.no-ssh-keygen", what, error.strerror or str(error), hint) from error
    except subprocess.TimeoutExpired as error:
        why = f"ssh-keygen had no signature after {TOUCH_SECONDS_MAX:g} s"
        raise NciaError("cli.no-signature", what, why, "touch the authenticator when it blinks") from error
    if told.returncode != 0:
        why = told.stderr.decode(errors="replace").strip()[-300:] or f"ssh-keygen ended with {told.returncode}"
        raise NciaError(
            "cli.no-signature", what, why, "is the authenticator plugged in, the key in the agent (ssh-add -l)?"
        )
    return told.stdout.decode("ascii")
