from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ncia.core.base.errors import NciaError
from ncia.core.journal.checkpoint import (
    Checkpoint,
    Signature,
    checkpoint_from_note,
    load_keyring,
    load_signer,
    raw_key,
    signed_by,
)
from ncia.core.journal.tree import leaf_hash
from tests.core.journal.sites import EAST, KEYS, WEST, signer

ROOT = leaf_hash(b"an entry")


def test_a_note_is_origin_size_root_and_signature() -> None:
    lines = signer(EAST).sign(7, ROOT).note().split("\n")
    assert ["ncia/journal/east", "7", base64.b64encode(ROOT).decode(), ""] == lines[:4]
    assert lines[4].startswith("— ncia/journal/east ")
    assert lines[5:] == [""]


def test_a_note_is_read_back_and_its_signature_holds() -> None:
    signed = signer(EAST).sign(7, ROOT)
    assert signed == checkpoint_from_note(signed.note())
    assert signed_by(signed, KEYS)


def test_cosignatures_are_kept_as_they_came() -> None:
    own = signer(EAST).sign(7, ROOT)
    cosigned = Checkpoint(EAST, 7, ROOT, own.signature, (Signature("witness", b"abcd", b"x" * 72),))
    assert cosigned == checkpoint_from_note(cosigned.note())
    assert signed_by(cosigned, KEYS)


@pytest.mark.parametrize(
    "other",
    [
        Checkpoint(EAST, 8, ROOT, signer(EAST).sign(7, ROOT).signature),
        Checkpoint(EAST, 7, leaf_hash(b"other"), signer(EAST).sign(7, ROOT).signature),
        Checkpoint(WEST, 7, ROOT, signer(EAST).sign(7, ROOT).signature),
        signer(EAST, "another key").sign(7, ROOT),
    ],
    ids=["size", "root", "site", "key"],
)
def test_a_signature_holds_for_one_head_and_one_key_only(other: Checkpoint) -> None:
    assert not signed_by(other, KEYS)


def test_a_site_whose_key_is_not_known_has_signed_nothing() -> None:
    assert not signed_by(signer(EAST).sign(7, ROOT), {WEST: KEYS[WEST]})


NOTE = signer(EAST).sign(7, ROOT).note()


@pytest.mark.parametrize(
    "note",
    [
        "",
        NOTE.replace("ncia/journal/", "other/log/"),
        NOTE.replace("\n7\n", "\n07\n"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("\n7\n", "\nseven\n"),
        NOTE.replace("— ", "- "),
        NOTE.split("\n\n")[0] + "\n\n",
        NOTE.replace("\n\n", "\nextension\n\n"),
        NOTE + NOTE.splitlines()[-1] + "\n",
        NOTE.replace(base64.b64encode(ROOT).decode(), "AAAA"),
        NOTE + "x" * 20_000,
    ],
)
def test_what_is_not_a_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(NciaError) as refused:
        checkpoint_from_note(note)
    assert refused.value.code == "journal.bad-checkpoint"


def test_keys_are_read_from_their_files(tmp_path: Path) -> None:
    own = signer(EAST)
    pem = own._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "journal_key").write_bytes(pem)
    (tmp_path / "peer_keys.yaml").write_text(f"east: {base64.b64encode(raw_key(own.public_key)).decode()}\n")
    signed = load_signer(EAST, tmp_path / "journal_key").sign(3, ROOT)
    assert signed_by(signed, load_keyring(tmp_path / "peer_keys.yaml"))


@pytest.mark.parametrize("told", ["", "east: 3", "east: '###'", "- east", "east: AAAA", "{"])
def test_a_keyring_that_is_none_is_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / "keys.yaml").write_text(told)
    with pytest.raises(NciaError) as refused:
        load_keyring(tmp_path / "keys.yaml")
    assert refused.value.code == "journal.no-keyring"


def test_a_missing_key_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(NciaError, match="journal_key"):
        load_signer(EAST, tmp_path / "journal_key")
