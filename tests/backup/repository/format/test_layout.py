"""Paths are restic's, and nothing but a file of the repository has one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.format.layout import folders, name_of, path_of
from backup.repository.ports import Kind
from ncia.core.base.errors import NciaError

ID = "ab" + "0123456789" * 6 + "cd"
NAMED = [kind for kind in Kind if kind is not Kind.CONFIG]


def test_files_lie_where_restic_looks_for_them() -> None:
    assert [path_of(kind, "" if kind is Kind.CONFIG else ID) for kind in Kind] == [
        "config",
        f"keys/{ID}",
        f"data/ab/{ID}",
        f"index/{ID}",
        f"snapshots/{ID}",
        f"locks/{ID}",
    ]


def test_a_new_repository_has_a_folder_for_each_kind_and_256_for_packs() -> None:
    assert len(folders()) == len(set(folders())) == 5 + 256
    assert folders()[:5] == ("keys", "data", "index", "snapshots", "locks")
    assert folders()[-1] == "data/ff"


@given(st.sampled_from(NAMED), st.binary(min_size=32, max_size=32))
def test_a_path_tells_its_name_again(kind: Kind, id: bytes) -> None:
    assert name_of(kind, path_of(kind, id.hex())) == id.hex()


BAD = ("", "ab", ID[:-1], ID + "0", ID.upper(), "../" + ID, ID[:-1] + "\n", ID[:-1] + "/", "é" * 64, ID + "\x00")


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_id_has_no_path(name: str) -> None:
    for kind in NAMED:
        with pytest.raises(NciaError) as refused:
            path_of(kind, name)
        assert refused.value.code == "repository.bad-name"


def test_the_configuration_has_no_name() -> None:
    with pytest.raises(NciaError, match="has no name"):
        path_of(Kind.CONFIG, ID)


@pytest.mark.parametrize("path", [f"data/{ID}", f"data/00/{ID}", f"data/ab/{ID}-tmp-1", f"keys/{ID.upper()}", "data"])
def test_what_lies_elsewhere_is_none_of_ours(path: str) -> None:
    assert [kind for kind in Kind if name_of(kind, path) is not None] == []
