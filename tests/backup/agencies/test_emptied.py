"""Stores of documents that list nothing, or little: emptied by somebody, or a root that is not there."""

from __future__ import annotations

from pathlib import Path

from backup.agencies.plan import FIRST_AFTER_SECONDS, MAKE_AFTER_SECONDS, RETRY_SECONDS_MIN
from ncia.core.work.documents import MARK
from tests.backup.agencies.world import EAST, INTERVAL, TAX, WEST, World


def test_a_store_whose_documents_have_all_gone_is_kept_as_empty_only_where_somebody_says_so(tmp_path: Path) -> None:
    world = World(tmp_path).kept()
    world.documents[EAST].held.clear()
    (job,) = world.tick(INTERVAL)
    assert (job.state, len(world.fact(EAST).expected)) == ("failed", 1)
    assert "it lists none, and the snapshot before has 1: perhaps its root is not there" in job.sentence
    assert world.jobs.wait(world.task.ask(TAX, "kim").id, 60).state == "failed"  # who asks may not know
    assert world.jobs.wait(world.task.ask(TAX, "kim", emptied=True).id, 60).state == "succeeded"
    newest = world.fact(EAST).expected[-1].kept
    assert [each.kept.files for each in world.fact(EAST).expected] == [1, 0]
    assert newest.reason == "kim asked for it, and said that the store was emptied"
    (job,) = world.tick(INTERVAL)
    assert job.state == "succeeded", job.sentence  # somebody has said so
    world.close()


def test_the_first_backup_of_a_store_that_lists_nothing_is_told_and_no_snapshot_of_nothing(tmp_path: Path) -> None:
    world = World(tmp_path).made()
    world.documents[EAST].held.clear()
    (job,) = world.tick(FIRST_AFTER_SECONDS - MAKE_AFTER_SECONDS + 1)
    assert (job.state, world.fact(EAST).expected) == ("failed", ())
    assert "it lists none, and no canary is in it: perhaps its root is not there" in job.sentence
    assert {site for _, site in world.states.snapshot().snapshot_failures} == {EAST, WEST}
    world.documents[EAST].put(MARK, b"the platform's own")  # whoever writes canaries makes a root that is missing
    world.documents[WEST].put("2026/a", b"a citizen's return", 1000.0)
    (job,) = world.tick(RETRY_SECONDS_MIN)
    assert (job.state, "it lists none, and west lists some" in job.sentence) == ("failed", True), job.sentence
    world.documents[WEST].held.clear()  # a new system: both stores say that there is nothing
    (job,) = world.tick(2 * RETRY_SECONDS_MIN)
    assert (job.state, [each.kept.files for each in world.fact(EAST).expected]) == ("succeeded", [0]), job.sentence
    world.close()


def test_few_documents_where_many_were_are_kept_and_told(tmp_path: Path) -> None:
    """An application goes on writing into the folder in which its disk should be mounted."""
    world = World(tmp_path).made()
    for number in range(30):
        world.documents[EAST].put(f"2026/{number}", b"a citizen's return", 1000.0)
    world.tick(FIRST_AFTER_SECONDS - MAKE_AFTER_SECONDS + 1)
    world.documents[EAST].held.clear()
    world.documents[EAST].put("2026/new", b"written beside it", 2000.0)
    (job,) = world.tick(INTERVAL)
    assert job.state == "failed"
    assert "its snapshot is partial: east: it lists 1, and the snapshot before has 30: perhaps" in job.sentence
    first, newest = world.fact(EAST).expected
    assert (first.whole, newest.whole, newest.kept.files) == (True, False, 1)
    assert world.jobs.wait(world.task.ask(TAX, "kim", emptied=True).id, 60).state == "succeeded"
    assert world.states.snapshot().snapshot_failures == {}
    world.close()
