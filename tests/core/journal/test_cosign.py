"""Cosignatures hold for one head, one cosigner and one moment, in the form that C2SP gives them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ncia.core.journal.checkpoint import Checkpoint, Signature, checkpoint_from_note, key_hash
from ncia.core.journal.cosign import Cosigner, Vouch, forged, newest, sound, vouches
from ncia.core.journal.tree import leaf_hash
from tests.core.journal.sites import ALL_KEYS, EAST, EPOCH, THIRD, WEST, cosigner, signer

HEAD = signer(EAST).sign(7, leaf_hash(b"an entry"))
LINE = cosigner(THIRD).cosign(HEAD, EPOCH)


def test_a_cosignature_is_the_keys_hash_the_time_and_a_signature_over_both_and_the_note() -> None:
    key = cosigner(THIRD).public_key
    assert LINE.name == "ncia/cosigner/third"
    assert LINE.key_hash == key_hash("ncia/cosigner/third", key, b"\x04")
    assert (len(LINE.value), int.from_bytes(LINE.value[:8], "big")) == (72, int(EPOCH.timestamp()))
    message = f"cosignature/v1\ntime {int(EPOCH.timestamp())}\n{HEAD.text()}"
    key.verify(LINE.value[8:], message.encode())


def test_who_vouches_for_a_head_is_told_with_size_and_time() -> None:
    both = HEAD.with_cosignatures([LINE, cosigner(WEST).cosign(HEAD, EPOCH + timedelta(hours=1))])
    assert both == checkpoint_from_note(both.note())
    assert {(each.by, each.size, each.at) for each in vouches(both, ALL_KEYS)} == {
        (THIRD, 7, EPOCH),
        (WEST, 7, EPOCH + timedelta(hours=1)),
    }
    assert forged(both, ALL_KEYS) == ()


@pytest.mark.parametrize(
    "altered",
    [
        replace(HEAD, size=8),
        replace(HEAD, root=leaf_hash(b"another")),
        replace(HEAD, site=WEST),
    ],
    ids=["size", "root", "site"],
)
def test_a_cosignature_holds_for_no_other_head(altered: Checkpoint) -> None:
    cosigned = altered.with_cosignatures([LINE])
    assert (vouches(cosigned, ALL_KEYS), forged(cosigned, ALL_KEYS)) == ((), (THIRD,))
    assert sound(cosigned, ALL_KEYS).cosignatures == ()


@pytest.mark.parametrize(
    "line",
    [
        replace(LINE, value=(int(EPOCH.timestamp()) + 1).to_bytes(8, "big") + LINE.value[8:]),
        replace(LINE, value=b"\xff" * 8 + LINE.value[8:]),
        replace(LINE, value=LINE.value[:40]),
        replace(LINE, value=b""),
    ],
    ids=["another time", "no time at all", "cut off", "empty"],
)
def test_a_line_that_its_cosigner_did_not_write_is_forged(line: Signature) -> None:
    cosigned = HEAD.with_cosignatures([line])
    assert (vouches(cosigned, ALL_KEYS), forged(cosigned, ALL_KEYS)) == ((), (THIRD,))


def test_nobody_vouches_for_their_own_log() -> None:
    cosigned = HEAD.with_cosignatures([cosigner(EAST).cosign(HEAD, EPOCH)])
    assert (vouches(cosigned, ALL_KEYS), forged(cosigned, ALL_KEYS)) == ((), (EAST,))


def test_unknown_cosigners_and_unknown_keys_say_nothing() -> None:
    stranger = Cosigner(THIRD, Ed25519PrivateKey.generate()).cosign(HEAD, EPOCH)
    lines = [stranger, replace(LINE, name="ncia/cosigner/nobody"), replace(LINE, name="elsewhere.example/third")]
    cosigned = HEAD.with_cosignatures(lines)
    assert (vouches(cosigned, ALL_KEYS), forged(cosigned, ALL_KEYS)) == ((), ())


def test_of_one_cosigner_the_last_line_counts() -> None:
    later = cosigner(THIRD).cosign(HEAD, EPOCH + timedelta(days=1))
    cosigned = HEAD.with_cosignatures([LINE]).with_cosignatures([later])
    assert [each.at for each in vouches(cosigned, ALL_KEYS)] == [EPOCH + timedelta(days=1)]


def test_the_newest_vouch_of_each_is_the_one_of_the_greatest_size() -> None:
    def vouch(by: str, size: int) -> Vouch:
        return Vouch(type(EAST)(by), EAST, size, b"", EPOCH)

    found = newest([vouch("west", 3), vouch("third", 5), vouch("west", 4), vouch("west", 1)])
    assert {by: each.size for by, each in found.items()} == {"west": 4, "third": 5}
