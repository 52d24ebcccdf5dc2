"""Who is dead: by counters and our own clock alone."""

from ncia.core.work.heartbeat import Watched


def looking(*looks: tuple[float, dict[str, int]]) -> list[set[str]]:
    watched = Watched(look_seconds=1.0, dead_seconds=3.0)
    return [set(watched.look(beats, now)) for now, beats in looks]


def test_an_executor_whose_counter_stands_still_for_long_enough_is_dead() -> None:
    looks = [(float(second), {"a": 7, "b": second}) for second in range(5)]
    assert looking(*looks) == [set(), set(), set(), {"a"}, {"a"}]


def test_a_beat_in_between_begins_the_silence_anew() -> None:
    looks = [(0.0, {"a": 1}), (2.0, {"a": 1}), (4.0, {"a": 2}), (6.0, {"a": 2}), (8.0, {"a": 2})]
    assert looking(*looks) == [set(), set(), set(), set(), {"a"}]


def test_an_observer_that_was_frozen_itself_does_not_wake_and_find_everybody_dead() -> None:
    looks = [(0.0, {"a": 1}), (1000.0, {"a": 1}), (1001.0, {"a": 2}), (1002.0, {"a": 2})]
    assert looking(*looks) == [set()] * 4


def test_who_has_come_back_after_its_row_was_gone_is_new() -> None:
    looks = [(0.0, {"a": 1}), (2.0, {}), (4.0, {"a": 1}), (5.0, {"a": 1})]
    assert looking(*looks) == [set()] * 4
