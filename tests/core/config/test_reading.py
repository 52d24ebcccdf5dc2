"""Reading words: what a misspelt name was meant to be."""

from ncia.core.config.reading import nearest


def test_a_misspelt_word_finds_its_nearest() -> None:
    assert nearest("dependson", ["depends_on", "name", "id"]) == "depends_on"


def test_a_word_like_none_gets_all_of_them() -> None:
    assert nearest("zzz", ["b", "a"]) == "one of a, b"


def test_many_words_are_cut_short() -> None:
    assert nearest("zzz", [f"w{n}" for n in range(99)]).endswith("…")
