"""`ncia findings`, drawn from what the API tells."""

from __future__ import annotations

from ncia.cli.findings import findings_told, rules_told

FINDING = {
    "host": "dj-store1",
    "level": "critical",
    "sentence": "203.0.113.7 got in",
    "title": "Passwords guessed",
    "site": "daejeon",
    "first_at": "2026-03-01T04:00:00Z",
    "last_at": "2026-03-01T04:01:00Z",
    "closed_at": None,
    "reason": "",
    "examples": ["Failed password for root"],
}


def test_a_finding_is_its_sentence_where_it_comes_from_and_its_examples() -> None:
    assert list(findings_told([FINDING], None)) == [
        "CRITICAL 203.0.113.7 got in",
        "         Passwords guessed · daejeon · 2026-03-01T04:00:00Z to 2026-03-01T04:01:00Z · goes on",
        "           Failed password for root",
    ]


def test_a_closed_one_says_why_and_none_at_all_says_so() -> None:
    closed = {**FINDING, "closed_at": "2026-03-01T05:00:00Z", "reason": "nothing came for 900 s"}
    assert "closed 2026-03-01T05:00:00Z: nothing came for 900 s" in list(findings_told([closed], None))[1]
    assert list(findings_told([], "dj-db1")) == ["No rule has fired on dj-db1."]


def test_rules_say_whether_they_are_at_work_and_what_went_beyond_a_bound() -> None:
    rules = [
        {"level": "high", "title": "a", "inactive": ""},
        {"level": "low", "title": "b", "inactive": "no log source here is product windows"},
    ]
    counts = {"lines": 7, "unparsed": 1, "dropped": 3, "spilt": 0}
    told = {"site": "daejeon", "heard_at": "now", "counts": counts, "rules": rules}
    assert list(rules_told(told)) == [
        "7 lines read, 1 of another form, as of now",
        "Beyond a bound: 3 dropped",
        "high           a · at work",
        "low            b · can never fire here: no log source here is product windows",
    ]
    silent = {"site": "daejeon", "heard_at": None, "counts": {}, "rules": []}
    assert list(rules_told(silent)) == ["The agent of daejeon has not said yet which rules it runs."]
