from __future__ import annotations

import pytest

from backup.repository.faults import Damaged
from backup.repository.format.settings import Config, config_of, irreducible, new_polynomial
from ncia.core.base.errors import NciaError


def test_a_config_comes_back() -> None:
    config = Config.new()
    assert config_of(config.as_json()) == config


def test_no_two_repositories_cut_alike() -> None:
    found = {new_polynomial() for _ in range(10)}
    assert len(found) == 10
    assert all(each.bit_length() == 54 and irreducible(each) for each in found)


def test_the_test_for_irreducible_polynomials_agrees_with_division() -> None:
    def product(a: int, b: int) -> int:
        return 0 if not b else (a if b & 1 else 0) ^ product(a << 1, b >> 1)

    products = {product(a, b) for a in range(2, 128) for b in range(2, 128)}
    assert [each for each in range(2, 256) if irreducible(each)] == [
        each for each in range(2, 256) if each not in products
    ]


@pytest.mark.parametrize("text", [b"", b"[]", b'{"version":2}', b'{"version":2,"id":"xy","chunker_polynomial":"3"}'])
def test_a_config_of_another_shape_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        config_of(text)


def test_the_old_version_is_named_with_what_to_do() -> None:
    text = Config.new().as_json().replace(b'"version":2', b'"version":1')
    with pytest.raises(NciaError, match="upgrade_repo_v2"):
        config_of(text)
