"""Signatures of `ssh-keygen -Y sign`, both ways, and those of hardware keys as OpenSSH's PROTOCOL.u2f has them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ncia.core.estate.keys import HARDWARE, SshKey, key_of_blob, key_of_line, string
from ncia.core.requests import sshsig
from tests.demand import demand

MESSAGE, NAMESPACE = b"what is signed\n", "ncia-test"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"kim").digest())
OTHER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"lee").digest())


def public(key: Ed25519PrivateKey) -> SshKey:
    return key_of_line(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def hardware(key: Ed25519PrivateKey, application: bytes = b"ssh:") -> SshKey:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key_of_blob(string(HARDWARE.encode()) + string(raw) + string(application))


def signed_by_hardware(key: Ed25519PrivateKey, flags: int, counter: int = 7, application: bytes = b"ssh:") -> str:
    """What an authenticator answers, put together as ssh-keygen does."""
    inner = b"SSHSIG" + b"".join(
        string(part) for part in (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(MESSAGE).digest())
    )
    tail = bytes([flags]) + counter.to_bytes(4, "big")
    covered = hashlib.sha256(application).digest() + tail + hashlib.sha256(inner).digest()
    signature = string(HARDWARE.encode()) + string(key.sign(covered)) + tail
    parts = (hardware(key, application).blob, NAMESPACE.encode(), b"", b"sha512", signature)
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(string(part) for part in parts)
    return f"{sshsig.BEGIN}\n{base64.b64encode(blob).decode()}\n{sshsig.END}\n"


def test_what_was_signed_is_verified_and_the_key_named() -> None:
    assert sshsig.verify(sshsig.sign(KEY, MESSAGE, NAMESPACE), MESSAGE, NAMESPACE, [public(OTHER), public(KEY)]) == (
        public(KEY)
    )


@pytest.mark.parametrize(
    ("message", "namespace", "keys", "why"),
    [
        (MESSAGE + b"x", NAMESPACE, [public(KEY)], "not this key's signature"),
        (MESSAGE, "ncia-other", [public(KEY)], "was made for 'ncia-test', not for 'ncia-other'"),
        (MESSAGE, NAMESPACE, [public(OTHER)], "is not known"),
    ],
    ids=["another message", "another purpose", "another key"],
)
def test_what_was_not_signed_is_refused_in_a_clause(
    message: bytes, namespace: str, keys: list[SshKey], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        sshsig.verify(sshsig.sign(KEY, MESSAGE, NAMESPACE), message, namespace, keys)


def test_ssh_keygen_accepts_ours_and_we_accept_its(tmp_path: Path) -> None:
    keygen = demand("ssh-keygen", "apt-get install openssh-client")
    (tmp_path / "key").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (tmp_path / "key").chmod(0o600)
    told = subprocess.run(
        [keygen, "-q", "-Y", "sign", "-f", str(tmp_path / "key"), "-n", NAMESPACE], input=MESSAGE, capture_output=True
    )
    assert sshsig.verify(told.stdout.decode(), MESSAGE, NAMESPACE, [public(KEY)]) == public(KEY)
    (tmp_path / "signers").write_text(f"kim {public(KEY).line}\n")
    (tmp_path / "sig").write_text(sshsig.sign(KEY, MESSAGE, NAMESPACE))
    words = ["-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "kim", "-n", NAMESPACE, "-s", str(tmp_path / "sig")]
    checked = subprocess.run([keygen, *words], input=MESSAGE, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")
    listed = subprocess.run([keygen, "-l", "-f", "-"], input=public(KEY).line.encode(), capture_output=True)
    assert listed.stdout.split()[1].decode() == public(KEY).fingerprint


def test_a_touched_authenticator_signs() -> None:
    assert sshsig.verify(signed_by_hardware(KEY, 0x01), MESSAGE, NAMESPACE, [hardware(KEY)]) == hardware(KEY)


@pytest.mark.parametrize(
    ("signature", "keys", "why"),
    [
        (signed_by_hardware(KEY, 0x00), [hardware(KEY)], "nobody touched"),
        (signed_by_hardware(KEY, 0x01, application=b"ssh:x"), [hardware(KEY)], "is not known"),
        (signed_by_hardware(KEY, 0x01), [public(KEY)], "is not known"),
        (signed_by_hardware(KEY, 0x01).replace("AAAAB", "AAAAC", 1), [hardware(KEY)], r".+"),
    ],
    ids=["not touched", "made for another application", "the same point as a plain key", "bent"],
)
def test_an_authenticator_that_does_not_prove_it_is_refused(signature: str, keys: list[SshKey], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sshsig.verify(signature, MESSAGE, NAMESPACE, keys)


def test_a_changed_counter_or_flag_breaks_the_signature() -> None:
    one, two = (signed_by_hardware(KEY, 0x01, counter) for counter in (7, 8))
    blob = [base64.b64decode("".join(text.split("\n")[1:-2])) for text in (one, two)]
    mixed = blob[0][:-5] + blob[1][-5:]
    armoured = f"{sshsig.BEGIN}\n{base64.b64encode(mixed).decode()}\n{sshsig.END}"
    with pytest.raises(ValueError, match="not this key's signature"):
        sshsig.verify(armoured, MESSAGE, NAMESPACE, [hardware(KEY)])


@pytest.mark.parametrize("cut", [0, 40, 120, 200])
def test_a_signature_that_was_cut_off_is_refused(cut: int) -> None:
    text = sshsig.sign(KEY, MESSAGE, NAMESPACE)
    inner = "".join(text.split("\n")[1:-2])[:cut]
    with pytest.raises(ValueError, match=r".+"):
        sshsig.verify(f"{sshsig.BEGIN}\n{inner}\n{sshsig.END}", MESSAGE, NAMESPACE, [public(KEY)])


def test_a_signature_without_end_is_not_even_decoded() -> None:
    with pytest.raises(ValueError, match="longer than"):
        sshsig.parse(sshsig.BEGIN + "A" * 10_000 + sshsig.END)


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "ssh-ed25519 !!", "x y z"])
def test_a_line_that_is_no_key_is_told(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        key_of_line(line)
