"""Approvals with any of a person's keys: a second one, an agent's, a hardware authenticator's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import PersonId
from ncia.core.estate.model import Person, Role
from ncia.core.requests import sshsig
from ncia.core.requests.approval import NAMESPACE, Approval, signed_bytes, signing_key, verify
from tests.core.requests.test_sshsig import KEY, OTHER, hardware, public

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = {"run": "run-1", "plan_hash": "cafe", "person": "kim", "expires_at": "2026-01-01T00:10:00.000000Z"}


def people(*lines: str) -> dict[PersonId, Person]:
    first, *more = lines
    return {PersonId("kim"): Person(PersonId("kim"), "Kim", Role.ON_CALL, first, tuple(more))}


def approval(namespace: str = NAMESPACE, **changes: str) -> Approval:
    return Approval(**TOLD, signature=sshsig.sign(OTHER, signed_bytes(**{**TOLD, **changes}), namespace))


def test_a_second_key_counts_and_is_the_one_that_is_named() -> None:
    known = people(public(KEY).line, public(OTHER).line)
    person = verify(approval(), known, now=NOW, valid_seconds_max=900)
    assert signing_key(approval(), person).fingerprint == public(OTHER).fingerprint


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (approval(), people(public(KEY).line)),
        (approval(namespace="ncia-sign-in"), people(public(OTHER).line)),
        (approval(plan_hash="beef"), people(public(OTHER).line)),
        (approval(), people(hardware(OTHER).line)),
    ],
    ids=["a key that is not theirs", "a signature for signing in", "another plan", "not by the authenticator"],
)
def test_what_was_not_signed_as_an_approval_is_none(given: Approval, known: dict[PersonId, Person]) -> None:
    with pytest.raises(Refusal) as refused:
        verify(given, known, now=NOW, valid_seconds_max=900)
    assert refused.value.code == "approval.forged"
