"""Patterns by restic's rules; the real one judges the whole of them in test_excluding.py."""

from __future__ import annotations

import pytest

from backup.repository.save.patterns import Patterns, lowered
from ncia.core.base.errors import NciaError

MATCHING = [
    ("foo", "/srv/foo"),
    ("foo", "/srv/foo/below"),
    ("foo/", "/srv/foo"),
    ("srv/foo", "/home/srv/foo"),
    ("/srv", "/srv/foo"),
    ("/srv/*/x", "/srv/foo/x/deeper"),
    ("*.o", "/srv/a.o"),
    ("foo/**/x", "/srv/foo/x"),
    ("foo/**/x", "/srv/foo/a/b/x"),
    ("foo/**", "/srv/foo"),
    ("/**", "/srv"),
    ("**", "/srv"),
    ("[a-c]?", "/srv/b2"),
    (r"\*", "/srv/*"),
    ("*", "/srv/line\nbreak"),
    ("?", "/srv/\udcff"),
    ("./foo//bar/", "/foo/bar"),
]
OTHERS = [
    ("foo", "/srv/food"),
    ("/foo", "/srv/foo"),
    ("/srv/*/x", "/srv/x"),
    ("*", "/"),
    ("**", "/"),
    ("[^a]", "/a"),
    ("[z-a]", "/b"),
    (r"\*", "/srv/a"),
    ("..", "/srv"),
    ("!foo", "/srv/foo"),
    ("/**/a/**", "/a"),  # restic's own reckoning: each ** counts as a name
]


@pytest.mark.parametrize(("pattern", "path"), MATCHING)
def test_a_pattern_matches(pattern: str, path: str) -> None:
    assert Patterns([pattern]).match(path)
    assert Patterns([pattern, "/no/**/such/**/path"]).match(path)


@pytest.mark.parametrize(("pattern", "path"), OTHERS)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not Patterns([pattern]).match(path)


def test_a_later_pattern_takes_back_what_an_earlier_one_matched_and_a_third_matches_again() -> None:
    patterns = Patterns(["/home/*", "!/home/me", "*.o"])
    found = [patterns.match(path) for path in ("/home/you", "/home/me", "/home/me/x", "/home/me/a.o", "/srv")]
    assert found == [True, False, False, True, False]


def test_in_either_case_letters_are_the_same_and_no_length_changes() -> None:
    patterns = Patterns(["*.JPG", "ÉTÉ"], insensitive=True)
    assert [patterns.match(path) for path in ("/a.jpg", "/A.Jpg", "/été", "/a.jpeg")] == [True, True, True, False]
    assert lowered("İΣΣ\udcff") == "iσσ\ufffd"


@pytest.mark.parametrize("pattern", ["[", "[a", "[]a]", "[-]", "[a-]", "a\\", "x/[^]/y", "[\\", "[a\udcff]"])
def test_what_is_no_pattern_is_refused_in_a_sentence(pattern: str) -> None:
    with pytest.raises(NciaError, match="it is no pattern") as refused:
        Patterns(["fine", pattern])
    assert refused.value.code == "repository.bad-pattern"


def test_a_name_that_was_made_for_it_costs_no_more_than_another() -> None:
    """Six stars tried everywhere would take minutes."""
    patterns = Patterns(["*-*-*-*-*-*.log"])
    assert not patterns.match("/srv/" + "-" * 250)
    assert patterns.match("/srv/" + "-" * 246 + ".log")
