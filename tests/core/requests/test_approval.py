"""Who may say yes, and how a forged yes is told from a real one."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import PersonId
from ncia.core.estate.model import Person, Role
from ncia.core.requests.approval import (
    Approval,
    fingerprint,
    is_encrypted,
    key_line,
    person_of,
    sign,
    signed_bytes,
    verify,
)

NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
HASH = "ab" * 32


def openssh(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


KEYS = {name: openssh(Ed25519PrivateKey.generate()) for name in ("kim", "choi", "park", "jung", "stranger")}
ROLES = {"kim": Role.ON_CALL, "choi": Role.AUDITOR, "park": Role.OPERATOR, "jung": Role.ADMIN, "lee": Role.ON_CALL}
PEOPLE = {
    PersonId(name): Person(PersonId(name), name.title(), role, key_line(KEYS[name]) if name in KEYS else "")
    for name, role in ROLES.items()
}


def given(person: str, key: str = "", expires: datetime = NOW + timedelta(minutes=10)) -> Approval:
    told = {"run": "run-1", "plan_hash": HASH, "person": person, "expires_at": to_text(expires)}
    return Approval(**told, signature=sign(KEYS[key or person], **told))


def refusal_of(approval: Approval) -> Refusal:
    with pytest.raises(Refusal) as caught:
        verify(approval, PEOPLE, now=NOW, valid_seconds_max=900)
    return caught.value


def test_what_is_signed_is_exactly_what_the_contract_says() -> None:
    told = signed_bytes(run="run-1", plan_hash="ff", person="kim", expires_at="2026-09-26T20:30:00.000000Z")
    assert told == (
        b'ncia approval v1\n{"expires_at":"2026-09-26T20:30:00.000000Z","person":"kim","plan_hash":"ff","run":"run-1"}'
    )


@pytest.mark.parametrize("person", ["kim", "jung"])
def test_on_call_staff_and_administrators_may_approve(person: str) -> None:
    assert verify(given(person), PEOPLE, now=NOW, valid_seconds_max=900).id == person


@pytest.mark.parametrize(
    ("approval", "code"),
    [
        (given("choi"), "approval.role"),
        (given("park"), "approval.role"),
        (given("nobody", key="kim"), "approval.unknown-person"),
        (given("lee", key="kim"), "approval.no-key"),
        (given("kim", key="stranger"), "approval.forged"),
        (replace(given("kim"), plan_hash="cd" * 32), "approval.forged"),
        (replace(given("kim"), run="run-2"), "approval.forged"),
        (replace(given("kim"), person="jung"), "approval.forged"),
        (replace(given("kim"), expires_at=to_text(NOW + timedelta(minutes=11))), "approval.forged"),
        (replace(given("kim"), signature="not base64!"), "approval.forged"),
        (replace(given("kim"), signature=base64.b64encode(bytes(64)).decode()), "approval.forged"),
        (given("kim", expires=NOW), "approval.expired"),
        (given("kim", expires=NOW + timedelta(hours=1)), "approval.too-long"),
    ],
)
def test_what_does_not_count_is_refused_by_its_own_name(approval: Approval, code: str) -> None:
    assert refusal_of(approval).code == code


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
def test_with_a_clock_an_hour_ahead_on_either_side_the_refusal_shows_both_times(ahead: timedelta) -> None:
    """Nobody signs again and again for a reason that only the other clock knows."""
    given_now = given("kim")
    with pytest.raises(Refusal) as caught:
        verify(given_now, PEOPLE, now=NOW + ahead, valid_seconds_max=900)
    assert caught.value.code in ("approval.expired", "approval.too-long")
    assert given_now.expires_at in caught.value.why
    assert caught.value.why.endswith(f", and by the clock here it is {to_text(NOW + ahead)}")


def test_a_refusal_is_one_clear_sentence_with_what_to_try() -> None:
    told = refusal_of(given("choi"))
    assert (told.why, told.hint) == ("Choi is auditor; only on-call or admin may approve", "ask one of jung, kim, lee")


def test_the_person_is_found_by_the_key_alone_and_comments_do_not_count() -> None:
    assert person_of(PEOPLE, key_line(KEYS["kim"]) + " kim@desk").id == "kim"


def test_a_key_that_is_nobodys_is_refused_by_its_fingerprint() -> None:
    line = key_line(KEYS["stranger"])
    with pytest.raises(Refusal, match=r"SHA256:.* belongs to nobody"):
        person_of(PEOPLE, line)


def test_a_key_of_another_kind_is_told_as_that() -> None:
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with pytest.raises(NciaError, match="not Ed25519"):
        key_line(rsa)


def test_a_passphrase_is_asked_for_and_used() -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"night")
    )
    assert is_encrypted(locked)
    assert not is_encrypted(KEYS["kim"])
    assert key_line(locked, b"night").startswith("ssh-ed25519 ")


def test_keys_of_ssh_keygen_are_read_and_named_as_it_names_them() -> None:
    made = (Path(__file__).parent / "samples" / "ssh_keygen_ed25519").read_bytes()  # opens nothing
    assert fingerprint(key_line(made)) == "SHA256:vx6SfmPpu2U/dDbQbH4VEuNapc63CNR0p2h4w9NqYKA"
