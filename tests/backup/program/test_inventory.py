"""What differs between two sites, in words; and what may differ, in silence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backup.program.inventory import DIFFERENCES_MAX, File, Inventory, differences, doubtful
from tests.backup.program.world import ADDRESSES, CONTENT, EAST, SCHEMA, WEST, program_at

PROGRAM = program_at(Path("/srv"))
Change = dict[str, str | None]


def inventory(site: str, changed: Change | None = None, schema: str | None = SCHEMA, mode: str = "600") -> Inventory:
    """The whole program at a site; ``changed`` by path, None for a file that is not there."""
    texts = {p: t.replace("{address}", ADDRESSES[site]) for p, t in CONTENT.items()}  # type: ignore[index]
    texts |= {p: t for p, t in (changed or {}).items() if t is not None}
    for path, text in (changed or {}).items():
        if text is None:
            del texts[path]
    files = {
        path: File(path, mode, len(text), hashlib.sha256(text.encode()).hexdigest()) for path, text in texts.items()
    }
    return Inventory(files, {path: text.encode() for path, text in texts.items()}, schema)


def told(east: Change | None = None, west: Change | None = None) -> tuple[str, ...]:
    return differences(PROGRAM, {EAST: inventory(EAST, east), WEST: inventory(WEST, west)})


def test_two_sites_that_differ_in_their_own_addresses_alone_do_not_differ() -> None:
    assert doubtful(inventory(EAST), inventory(WEST)) == ("etc/app.yaml",)
    assert told() == ()


@pytest.mark.parametrize(
    ("west", "sentence"),
    [
        (
            {"etc/app.yaml": "listen: 198.51.100.10:8000\npassword: other\ndebug: false\n"},
            "etc/app.yaml is not the same at east and west, from line 2",
        ),
        (
            {"etc/app.yaml": "listen: 203.0.113.1:8000\npassword: swordfish\ndebug: false\n"},
            "etc/app.yaml is not the same at east and west, from line 1",
        ),
        ({"etc/app.yaml": None}, "etc/app.yaml is missing at west"),
        ({"etc/new.yaml": "x"}, "etc/new.yaml is missing at east"),
        ({"certs/entry.pem": "other"}, "certs/entry.pem is not the same at east and west, from line 1"),
        ({"packages.txt": "libpq 17.2\nopenssl 3.0.2\n"}, "package openssl is 3.0.1 at east, 3.0.2 at west"),
        ({"packages.txt": "libpq 17.2\n"}, "package openssl is 3.0.1 at east, missing at west"),
        (
            {"packages.txt": "openssl 3.0.1\nlibpq 17.2\n"},
            "the lists of packages are not the same at east and west",
        ),
    ],
)
def test_a_difference_names_its_file_its_line_or_its_package(west: Change, sentence: str) -> None:
    assert told(west=west) == (sentence,)


def test_a_sentence_never_shows_what_stands_in_a_file() -> None:
    sentences = told(west={"etc/app.yaml": "password: hunter2\n", "packages.txt": "a 1\n"})
    assert not any(word in sentence for sentence in sentences for word in ("hunter2", "swordfish"))


def test_the_same_content_under_another_mode_is_a_difference() -> None:
    sites = {EAST: inventory(EAST), WEST: inventory(WEST, mode="644")}
    assert differences(PROGRAM, sites)[0] == "certs/entry.pem has mode 600 at east, 644 at west"


def test_a_file_too_long_to_be_read_is_compared_by_its_hash() -> None:
    west = inventory(WEST, {"etc/app.yaml": "x"})
    without = Inventory(west.files, {}, SCHEMA)
    assert differences(PROGRAM, {EAST: inventory(EAST), WEST: without}) == (
        "etc/app.yaml is not the same at east and west",
    )


def test_an_item_that_is_at_neither_site_is_told() -> None:
    gone: Change = {"certs/entry.pem": None}
    assert told(gone, gone) == ("certs/entry.pem (certificate) is at neither site",)


def test_a_program_that_expects_another_schema_than_its_database_has_is_told_for_that_site() -> None:
    sites = {EAST: inventory(EAST), WEST: inventory(WEST, schema="fedcba9876543210")}
    assert differences(PROGRAM, sites) == (
        f"the program at west expects schema {SCHEMA}, its database there has fedcba9876543210",
    )
    assert differences(PROGRAM, {EAST: inventory(EAST), WEST: inventory(WEST, schema=None)}) == ()


def test_many_differences_are_bounded() -> None:
    many: Change = {f"etc/{n}.yaml": "x" for n in range(50)}
    found = told(west=many)
    assert (len(found), found[-1]) == (DIFFERENCES_MAX + 1, f"and {50 - DIFFERENCES_MAX} more")
