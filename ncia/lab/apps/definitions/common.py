"""What several definitions say alike: people's names, the inquiry made at the shared registry, tax standing."""

from __future__ import annotations

import random
from typing import Any

from ncia.lab.apps.definition import Ask, Delegate, Values

PEOPLE = 5000  # ids 1 … PEOPLE are the same people in every system
LOCKED_EVERY = 97  # a person whose id divides by this has locked their record against sharing
ARREARS_EVERY = 89  # a taxpayer whose id divides by this owes tax


def someone(rng: random.Random, most: int = PEOPLE) -> int:
    """A person (or the firm of that person) with nothing against them."""
    while True:
        person = rng.randint(1, most)
        if person % LOCKED_EVERY and person % ARREARS_EVERY:
            return person


def name_sql(number: str) -> str:
    """SQL for a name that follows from ``number``."""
    return (
        f"(array['김','이','박','최','정','강','조','윤','장','임'])[1 + mod({number}, 10)]"
        f" || (array['민준','서연','도윤','하은','지호','유나','시우','수아'])[1 + mod({number} / 10, 8)]"
    )


def inquiry(key: str, document: int, purpose: str) -> Delegate:
    """The shared registry is asked for a document on person ``key``, with consent, and remembers that we asked."""

    def body(values: Values) -> dict[str, Any]:
        return {"person": values[key], "document": document, "purpose": purpose, "consent": True}

    return Delegate("share", body, "inquiry")


def registered(key: str) -> Ask:
    """The shared registry's word on person ``key`` (``name``, ``locked``): a read, for systems of lower grades, which
    must go on when the registry may not write."""
    return Ask("share", "resident", key)


def tax_standing(key: str) -> Ask:
    return Ask("hometax", "standing", key)
