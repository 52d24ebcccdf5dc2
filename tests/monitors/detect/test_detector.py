"""From log lines to attacks, with the reference estate's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from monitors.detect import correlate, detector
from monitors.detect.detector import Detector, Signal
from monitors.sources.event import Event
from monitors.sources.nginx import parse
from tests.monitors.detect.rules import FOUND, GUESSED, SEARCHED, let_in, one, reference, refused

RULES = reference()


@pytest.fixture
def watching() -> Detector:
    return Detector("daejeon", RULES)


def take(watching: Detector, events: Iterable[Event]) -> None:
    for event in events:
        watching.take("sshd", event)


def told(watching: Detector, now: float = 1000.0) -> list[tuple[str, int]]:
    return [(signal.rule, signal.count) for signal in watching.signals(now)]


def test_many_refused_passwords_and_then_a_login_are_told_in_a_sentence(watching: Detector) -> None:
    take(watching, (refused(n * 1.5) for n in range(40)))
    take(watching, [let_in(60)])
    found = {signal.rule: signal for signal in watching.signals(61)}
    assert set(found) == {GUESSED, FOUND}
    entered = found[FOUND]
    assert entered.sentence == "203.0.113.7 guessed passwords on dj-store1 40 times in 60 s, then got in as 'ncia'"
    assert (entered.level, entered.entered, entered.host, entered.count) == ("critical", True, "dj-store1", 40)
    assert entered.examples[-1] == "Accepted password for ncia from 203.0.113.7 port 4022 ssh2"
    assert len(entered.examples) == correlate.EXAMPLES_MAX


def test_nine_refused_passwords_in_a_minute_and_then_the_right_one_tell_nothing(watching: Detector) -> None:
    take(watching, (refused(n) for n in range(9)))
    take(watching, [let_in(10)])
    assert told(watching) == []


def test_passwords_that_are_mistyped_slowly_for_hours_tell_nothing(watching: Detector) -> None:
    take(watching, (refused(n * 7.0) for n in range(500)))
    assert told(watching) == []


def test_passwords_tried_on_one_host_from_many_places_or_on_many_hosts_are_not_added_up(watching: Detector) -> None:
    take(watching, (refused(n, ip=f"203.0.113.{n}") for n in range(100)))
    take(watching, (refused(n, host=f"host{n}") for n in range(100)))
    assert told(watching) == []


@pytest.mark.parametrize(
    "event",
    [let_in(61, ip="203.0.113.8"), let_in(61, host="dj-db1"), let_in(61, how="publickey"), let_in(700)],
    ids=["from elsewhere", "on another host", "with a key", "long after"],
)
def test_a_login_that_is_not_the_attackers_is_no_entry(watching: Detector, event: Event) -> None:
    take(watching, [*(refused(n) for n in range(40)), event])
    assert told(watching) == [(GUESSED, 40)]


def test_a_login_before_the_guessing_is_no_entry(watching: Detector) -> None:
    take(watching, [let_in(0), *(refused(n) for n in range(1, 41))])
    assert told(watching) == [(GUESSED, 40)]


def test_an_attack_that_goes_on_is_one_attack_told_again_when_it_doubled_or_time_passed(watching: Detector) -> None:
    ids, counts = set(), []
    for n in range(200):
        take(watching, [refused(n)])
        for signal in watching.signals(n):
            ids.add(signal.id)
            counts.append(signal.count)
    assert (len(ids), counts) == (1, [10, 20, 40, 70, 100, 130, 160, 190])


def test_an_attack_that_ended_is_told_once_more_with_its_last_count(watching: Detector) -> None:
    for n in range(15):
        take(watching, [refused(n)])
        watching.signals(n)
    assert (told(watching, 15.0), told(watching, 30.0), told(watching, 31.0)) == ([], [(GUESSED, 15)], [])


def test_after_its_quiet_time_the_next_one_is_another_attack(watching: Detector) -> None:
    take(watching, (refused(n) for n in range(10)))
    (first,) = watching.signals(10)
    take(watching, (refused(2000 + n) for n in range(10)))
    (second,) = watching.signals(2010)
    assert first.id != second.id
    assert second.count == 10


def test_an_attack_that_pauses_for_less_than_its_quiet_time_is_the_same_and_counts_on(watching: Detector) -> None:
    take(watching, (refused(n) for n in range(10)))
    (first,) = watching.signals(10)
    take(watching, (refused(300 + n) for n in range(10)))
    (second,) = watching.signals(310)
    assert (first.id, second.count) == (second.id, 20)


def test_a_restart_in_the_middle_changes_nothing(watching: Detector) -> None:
    events = [*(refused(n) for n in range(40)), let_in(50)]
    take(watching, events)
    whole = watching.signals(51)
    for cut in (3, 9, 10, 39, 40):
        first = Detector("daejeon", RULES)
        take(first, events[:cut])
        second = Detector("daejeon", RULES)
        second.load(json.loads(json.dumps(first.to_json())))
        take(second, events[cut:])
        assert second.signals(51) == whole


def test_of_rules_that_changed_nothing_is_taken_over(watching: Detector, tmp_path) -> None:
    take(watching, (refused(n) for n in range(9)))
    other = Detector("daejeon", one(tmp_path, "title: x\nlogsource: {product: linux, service: sshd}\n"
                                    "detection: {s: {user.name: nobody}, condition: s}\n"))  # fmt: skip
    other.load(watching.to_json())
    assert other.signals(100) == ()


def test_a_flood_of_sources_costs_bounded_memory_and_what_was_dropped_is_counted(watching: Detector) -> None:
    count = correlate.GROUPS_MAX + 100
    take(watching, (refused(n * 0.001, ip=f"2001:db8::{n:x}") for n in range(count)))
    assert watching.dropped == 100
    assert len(watching.to_json()["correlations"][GUESSED]) == correlate.GROUPS_MAX


def test_beyond_so_many_sources_on_a_host_the_others_are_counted_and_not_told(watching: Detector) -> None:
    extra = 7
    for source in range(detector.SOURCES_TOLD_MAX + extra):
        take(watching, (refused(n, ip=f"203.0.113.{source}") for n in range(10)))
    assert len(watching.signals(10)) == detector.SOURCES_TOLD_MAX
    assert watching.counts.untold == extra


def test_requests_that_search_an_application_for_holes_are_one_attack_on_it(watching: Detector) -> None:
    line = '203.0.113.7 - - [01/Mar/2026:04:00:0{} +0000] "GET /{} HTTP/1.1" 404 17 "-" "-"'
    for n, path in enumerate(("../etc/passwd", "a?f=..%2F", "${{jndi:ldap}}", "x/%2e%2e/y", "../../z", "acts/latest")):
        event = parse(line.format(n, path.replace("{{", "{").replace("}}", "}")), "hometax", 0)
        assert event is not None
        watching.take("nginx", event)
    (signal,) = watching.signals(1e10)
    assert (signal.rule, signal.host, signal.count) == (SEARCHED, "hometax", 5)
    assert signal.sentence == "203.0.113.7 searched hometax for holes with 5 requests in 4 s"


def test_what_an_attacker_writes_into_a_log_reaches_no_terminal_and_no_secret_a_finding(watching: Detector) -> None:
    names = ["x\x1b[2Jy", "my secret password!", "kim"]
    take(watching, (refused(n, user=names[n % 3]) for n in range(40)))
    take(watching, [let_in(41, user="hunter2 is it")])
    signals = watching.signals(42)
    text = json.dumps([vars(signal) for signal in signals], default=dict)
    assert ("\\u001b" in text, "secret password" in text, "hunter2" in text) == (False, False, False)
    assert "invalid user kim from" in text
    assert any("then got in as '[cut]'" in signal.sentence for signal in signals)


def test_a_host_name_from_a_log_becomes_a_word_that_can_stand_in_a_subject(watching: Detector) -> None:
    take(watching, (refused(n, host="Evil:host@x y") for n in range(10)))
    signal: Signal = watching.signals(10)[0]
    assert signal.host == "evil-host-x-y"
