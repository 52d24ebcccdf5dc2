"""One mirror on two stores in memory: what follows, what lies, what escapes, what is set aside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from backup.replicate.perform import SWEEP_EVERY, Memory, Mirror, Turned
from ncia.core.base.errors import Unreachable
from ncia.core.work.documents import MARK, Folder, Mark, Seen
from tests.fakes.documents import FakeDocuments

BEGIN = datetime(2026, 11, 26, 4, 22, 30, tzinfo=UTC)
BEFORE = "2026/11/26/0422/20"
FOLDER = "2026/11/26/0422/30"


class World:
    def __init__(self, pool: ThreadPoolExecutor, *, tags: bool, by_time: bool = True, direct: bool = False) -> None:
        self.now = BEGIN
        clock = lambda: self.now.timestamp()  # noqa: E731
        self.source = FakeDocuments("west", tells_tags=tags, now=clock)
        self.target = FakeDocuments("east", tells_tags=tags, now=clock)
        self.mirror = Mirror(self.source, self.target, by_time, direct, pool)
        self.memory = Memory()

    def act(self, name: str, content: bytes = b"content") -> None:
        self.source.put(f"{FOLDER}/{name}", content, self.now.timestamp())

    def mark(self) -> None:
        self.now += timedelta(seconds=1)
        self.source.put(MARK, Mark(self.now, 1).to_bytes())

    def turn(self) -> Turned:
        return self.mirror.turn(self.memory, self.now)

    @property
    def marked(self) -> datetime | None:
        content = self.target.held.get(MARK)
        mark = Mark.from_bytes(content[0]) if content else None
        return mark.written_at if mark else None

    @property
    def alike(self) -> bool:
        return self.source.documents() == self.target.documents()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["tree", "bucket"])
def world(request: pytest.FixtureRequest, pool: ThreadPoolExecutor) -> World:
    return World(pool, tags=request.param)


def test_what_is_new_is_brought_over_and_then_the_mark_follows(world: World) -> None:
    world.act("a")
    world.mark()
    assert (world.turn().copied, world.alike, world.marked) == (1, True, world.now)
    world.act("b")
    world.act("c")
    world.mark()
    assert (world.turn().copied, world.alike, world.marked) == (2, True, world.now)


def test_a_turn_without_news_lists_two_folders_of_the_source_and_nothing_of_the_target(world: World) -> None:
    world.act("a")
    world.mark()
    world.turn()
    world.turn()
    world.source.calls.clear()
    world.target.calls.clear()
    world.mark()
    world.turn()
    assert [call for call in world.source.calls if call[1] != MARK] == [("look", BEFORE), ("look", FOLDER)]
    assert [call for call in world.target.calls if call[1] != MARK] == []


def test_a_document_that_does_not_get_over_keeps_the_mark_where_it_is(world: World) -> None:
    world.mark()
    world.turn()
    before = world.marked
    world.act("too-large", b"x" * 1000)
    world.target.bytes_max = 500
    world.mark()
    turned = world.turn()
    assert (world.marked, turned.whole) == (before, False)
    assert turned.sentence == f"write {FOLDER}/too-large to east: the disk there is full"
    world.target.bytes_max = 10**6
    assert (world.turn().sentence, world.alike, world.marked) == ("", True, world.now)


@pytest.mark.parametrize(("keeps", "holds"), [(None, "nothing of it"), (b"other", "other bytes")])
def test_a_target_that_lies_is_found_by_reading_back(world: World, keeps: bytes | None, holds: str) -> None:
    world.mark()
    world.turn()
    before = world.marked
    world.act("a")
    world.target.keeps = lambda content: keeps
    world.mark()
    turned = world.turn()
    why = f"the store said that it has it, and holds {holds}"
    assert (turned.sentence, world.marked) == (f"mirror {FOLDER}/a to east: {why}", before)
    world.target.keeps = lambda content: content
    assert (world.turn().sentence, world.alike, world.marked) == ("", True, world.now)


def test_what_was_there_before_the_first_mark_is_swept_over_before_anything_is_marked(world: World) -> None:
    for day in range(40):
        world.source.put(f"2026/10/{day:02}/0000/old", b"old")
    world.mark()
    marked = []
    while not world.alike:
        world.turn()
        marked.append(world.marked)
    assert (len(marked) > 1, marked[:-1]) == (True, [None] * (len(marked) - 1))
    world.turn()
    assert world.marked == world.now


def test_what_a_sweep_could_not_bring_over_is_tried_again_and_nothing_is_marked_before(world: World) -> None:
    world.source.put("2026/10/01/0000/00/large", b"x" * 1000)
    world.source.put("2026/10/01/0000/10/small", b"x")
    world.target.bytes_max = 500
    for _ in range(3):
        world.mark()
        turned = world.turn()
        assert ("large to east: the disk there is full" in turned.sentence, world.marked) == (True, None)
    assert [name for name in world.target.documents() if name.endswith("small")] != []
    world.target.bytes_max = 10**6
    world.turn()
    world.turn()
    assert (world.alike, world.marked) == (True, world.now)


def test_a_controller_that_starts_again_goes_on_from_the_targets_own_mark(world: World) -> None:
    world.mark()
    world.turn()
    world.act("while-away")
    world.now += timedelta(minutes=5)
    world.mark()
    world.memory = Memory()
    world.turn()
    assert (world.alike, world.marked) == (True, world.now)


def test_a_document_that_came_late_into_an_old_minute_is_found_by_the_next_sweep(world: World) -> None:
    world.mark()
    world.turn()
    world.source.put("2026/11/25/0000/late", b"late")
    world.mark()
    world.turn()
    assert not world.alike
    world.now += SWEEP_EVERY
    for _ in range(3):
        world.mark()
        world.turn()
    assert world.alike


def test_nothing_is_ever_deleted_at_the_target(world: World) -> None:
    world.act("a")
    world.mark()
    world.turn()
    del world.source.held[f"{FOLDER}/a"]
    world.now += SWEEP_EVERY
    world.mark()
    world.turn()
    assert world.target.documents() == {f"{FOLDER}/a": b"content"}


def test_what_the_target_has_newer_and_other_is_set_aside_and_not_lost(world: World) -> None:
    world.act("a", b"the source's")
    world.now += timedelta(seconds=5)
    world.target.put(f"{FOLDER}/a", b"written while cut off")
    world.mark()
    world.turn()
    kept = {name: content for name, (content, _) in world.target.held.items() if "/aside/" in name}
    assert world.alike
    assert list(kept.values()) == [b"written while cut off"]


def test_a_name_that_leads_out_of_the_tree_is_not_copied_and_is_told(world: World) -> None:
    class Escaping(FakeDocuments):
        def look(self, folder: str) -> Folder:
            seen = super().look(folder)
            return Folder(seen.documents, seen.folders, ("../../etc/passwd",) if folder == FOLDER else ())

    world.act("a")
    held = world.source.held
    source = Escaping("west")
    source.held = held
    world.mirror = Mirror(source, world.target, True, False, world.mirror.pool)
    world.mark()
    turned = world.turn()
    assert turned.sentence == "1 names at the source may not be copied: '../../etc/passwd'"
    assert list(world.target.documents()) == [f"{FOLDER}/a"]


def test_a_listing_that_names_what_is_not_ours_cannot_make_us_write_it(world: World) -> None:
    class Lying(FakeDocuments):
        def look(self, folder: str) -> Folder:
            return Folder((Seen("../escaped", 1, 0.0),)) if folder == FOLDER else Folder()

        def get(self, name: str) -> bytes | None:
            return b"x" if name == "../escaped" else super().get(name)

    source = Lying("west")
    world.mirror = Mirror(source, world.target, True, False, world.mirror.pool)
    source.put(MARK, Mark(world.now, 1).to_bytes())
    turned = world.turn()
    assert "use the document name '../escaped'" in turned.sentence
    assert world.target.documents() == {}


def test_a_silent_source_is_an_error_that_names_it(world: World) -> None:
    world.source.silent = True
    with pytest.raises(Unreachable, match="west does not answer"):
        world.turn()


def test_a_document_that_is_gone_again_is_no_trouble(world: World) -> None:
    class Vanishing(FakeDocuments):
        def get(self, name: str) -> bytes | None:
            return None if name.endswith("/a") else super().get(name)

    source = Vanishing("west")
    source.put(f"{FOLDER}/a", b"x")
    source.put(MARK, Mark(world.now, 1).to_bytes())
    world.mirror = Mirror(source, world.target, True, False, world.mirror.pool)
    assert (world.turn().sentence, world.marked) == ("", world.now)


def test_what_the_application_wrote_here_itself_is_not_copied_again(pool: ThreadPoolExecutor) -> None:
    world = World(pool, tags=False, direct=True)
    for name in ("a", "b"):
        world.act(name)
        world.target.put(f"{FOLDER}/{name}", b"content", world.now.timestamp())
        world.mark()
        assert (world.turn().copied, world.marked) == (0, world.now)


def test_without_minutes_the_whole_tree_is_compared_each_turn(pool: ThreadPoolExecutor) -> None:
    world = World(pool, tags=True, by_time=False)
    world.source.put("deep/er/a", b"1")
    world.source.put("b", b"2")
    world.mark()
    assert (world.turn().copied, world.alike, world.marked) == (2, True, world.now)
    world.source.put("deep/er/a", b"changed")
    world.now += timedelta(seconds=2)
    world.mark()
    assert (world.turn().copied, world.alike) == (1, True)
