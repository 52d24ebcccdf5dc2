"""A seeded life of an agency's repository under its controller: backups, forgetting, prunes, proofs and mends, with
places that go away, locks, hostile removals, other rules, officers, and engines that fail in the middle.

After each move: the newest proven snapshot is there, what is expected is there unless a burglar took it, and nothing
went that nobody may let go. At the end all is put right, and the place holds what the journal says, whole.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from backup.agencies.ports import Engine, Share
from backup.engines.own import OwnEngine
from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from backup.repository.ports import Kind
from ncia.core.base.errors import NciaError
from ncia.core.estate import Estate
from ncia.core.estate.repository import Keep, Rotation
from ncia.core.journal.entries_care import ForgetAllowed
from ncia.core.journal.entries_repositories import SnapshotForgotten
from ncia.core.state import State
from tests.backup.agencies.world import EAST, TAX, TREASURY, WEST, World, estate_of
from tests.backup.repository.sample import CHEAP
from tests.fakes.repository import FakeStore

DAY = 86_400.0
MOVES = 30
RULES = (Keep(2, daily=3), Keep(1), Keep(4, daily=7, weekly=4), Keep(100))
FAILS_ONE_IN = 25


def estate(rule: Keep) -> Estate:
    base = estate_of()
    changed = {
        "keep": rule,
        "interval_seconds": DAY / 4,
        "check": Rotation(DAY, parts=2),
        "prune_interval_seconds": DAY,
        "prove_interval_seconds": 3 * DAY,
    }
    repository = replace(base.agencies[TREASURY].repository, **changed)
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


class Gone(FakeStore):
    """A place of which nothing is heard."""

    def load(self, *_: object, **__: object) -> bytes:
        raise NciaError("repository.failed", "load a file", "no route to host")


class Failing:
    """An engine that is killed now and then: before a call, or after what it did."""

    def __init__(self, engine: Engine, dice: random.Random) -> None:
        self._engine = engine
        self._dice = dice
        self.honest = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name == "capabilities" or not callable(found):
            return found

        def call(*arguments: Any, **words: Any) -> Any:
            when = self._dice.randrange(2 * FAILS_ONE_IN) if not self.honest else -1
            if when == 0:
                raise NciaError("engine.failed", name, "it was killed before it began")
            answer = found(*arguments, **words)
            if when == 1:
                raise NciaError("engine.failed", name, "it was killed before it said what it did")
            return answer

        return call


@dataclass
class Dated(World):
    """The engine has this world's clock: locks go stale, and grace passes."""

    dice: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.failing = Failing(OwnEngine(lambda url: self.stores[url], self.clock, "0.1.0", cost=CHEAP), self.dice)
        self.engine = self.failing


class Life:
    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = Dated(folder, estate=estate(RULES[0]), dice=self.dice)
        self.world.failing.honest = True
        self.world.kept()
        self.world.failing.honest = False
        self.away: dict[str, FakeStore] = {}
        self.stolen: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.state = State()
        self.folded = 0

    def live(self) -> Life:
        moves: tuple[tuple[Callable[[], None], int], ...] = (
            (self.work, 12),
            (self.hide, 2),
            (self.find, 3),
            (self.lock, 2),
            (self.steal, 1),
            (self.mend, 2),
            (self.rule, 1),
            (self.officer, 1),
            (self.lonely, 1),
            (self.prove, 2),
            (self.restart, 1),
        )
        for _ in range(MOVES):
            (move,) = self.dice.choices([each for each, _ in moves], [weight for _, weight in moves])
            self.counts[move.__name__] += 1
            move()
            self.demand()
        self.put_right()
        return self

    # --- moves ---

    def work(self) -> None:
        for _ in range(self.dice.randrange(3)):
            name = f"2026/{self.dice.randrange(6)}"
            self.world.documents[EAST].put(name, self.dice.randbytes(2000), self.world.clock.moment.timestamp())
        self.world.tick(self.dice.choice((61, 900, 3600, DAY / 4, DAY)))

    def hide(self) -> None:
        site = self.dice.choice((EAST, WEST))
        if site not in self.away:
            self.away[site], self.world.stores[site] = self.world.stores[site], Gone()

    def find(self) -> None:
        for site, store in self.away.items():
            self.world.stores[site] = store
        self.away.clear()

    def lock(self) -> None:
        """Somebody holds one, and dies with it or lets it go."""
        site = self.dice.choice((EAST, WEST))
        if site in self.away:
            return
        lock = Lock(self.world.opened(site), Holder("somebody", "elsewhere"), self.world.clock, exclusive=True)
        try:
            lock.take()
        except NciaError:
            return  # somebody else has it
        self.work()
        if self.dice.random() < 0.5:
            lock.release()

    def steal(self) -> None:
        """By whoever has the key of the east's place."""
        here = self.world.snapshots(EAST) if EAST not in self.away else []
        if here:
            name = self.dice.choice(here)
            self.world.stores[EAST].remove(Kind.SNAPSHOTS, name)
            self.stolen.add(name)

    def mend(self) -> None:
        self.world.jobs.wait(self.world.task.mend(TAX, "kim").id, 60)
        if not self.away:
            self.stolen -= set(self.world.snapshots(EAST))

    def rule(self) -> None:
        rule = self.dice.choice(RULES)
        changed = estate(rule)
        self.world.estate = changed
        self.world.agency = changed.agencies[TREASURY]
        self.world.task.parts = replace(self.world.task.parts, estate=changed)
        self.world.task._forgetting._parts = self.world.task.parts

    def officer(self) -> None:
        try:
            self.world.task.forget(TREASURY, self.dice.randrange(1, 20), "a life", "han")
        except NciaError:
            self.counts["officers who were refused"] += 1

    def lonely(self) -> None:
        self.world.alone = not self.world.alone

    def prove(self) -> None:
        try:
            self.world.jobs.wait(self.world.task.prove(TAX, "kim").id, 60)
        except NciaError:
            self.counts["proofs of nothing"] += 1

    def restart(self) -> None:
        """A controller that forgets all that is in no journal."""
        self.world.task = type(self.world.task)(self.world.task.parts)

    # --- what must hold ---

    def demand(self) -> None:
        self.demand_permitted()
        self.demand_proven()
        if EAST in self.away:
            return
        here = set(self.world.snapshots(EAST))
        expected = {each.kept.snapshot for each in self.world.fact(EAST).expected}
        assert expected - here <= self.stolen, "what is expected is not there, and no burglar took it"

    def demand_proven(self) -> None:
        """What went was never the newest proven one, as the journal knew it then."""
        for entry in list(self.world.journal.entries(EAST))[self.folded :]:
            body = entry.body
            if isinstance(body, SnapshotForgotten) and body.site == EAST:
                known = self.state.repositories[TREASURY, EAST].proven_of(TAX, 2)
                assert not known or known[-1].kept.snapshot != body.snapshot, "the newest proven snapshot was forgotten"
                self.counts["forgotten"] += 1
                self.counts["proven ones that were older"] += body.snapshot in {e.kept.snapshot for e in known}
            self.state.apply(entry)
            self.folded += 1

    def demand_permitted(self) -> None:
        """What went at once was modest, or so many as an officer had let go."""
        entries = list(self.world.journal.entries(EAST))
        for index, entry in enumerate(entries):
            if not isinstance(entry.body, SnapshotForgotten) or _goes_on(entries, index):
                continue
            batch = 1
            while index + batch < len(entries) and _goes_on(entries, index + batch):
                batch += 1
            before = entries[index - 1].body
            if isinstance(before, ForgetAllowed) and entries[index - 1].by == entry.by == "han":
                assert before.going == batch <= before.remove_max
            else:
                assert entry.by == "calendar"

    def put_right(self) -> None:
        self.find()
        self.world.alone, self.world.failing.honest = False, True
        self.world.clock.moment += timedelta(hours=2)  # whoever died with a lock is passed over
        self.mend()
        for _ in range(4):
            self.world.tick(901)
        self.prove()
        fact = self.world.look()
        assert fact.looked is not None
        here, there = ({*self.world.snapshots(site)} for site in (EAST, WEST))
        expected = {each.kept.snapshot for each in fact.expected}
        lost = self.stolen - there  # kept here alone, while the other place was away, and then taken
        assert (len(fact.looked.missing), fact.looked.why) == (len(expected & lost), "")
        assert expected - here == expected & lost
        assert len(here - expected) == fact.looked.strangers  # of attempts that were killed before they told
        entries = self.world.journal.entries(EAST)
        forgotten = {e.body.snapshot for e in entries if isinstance(e.body, SnapshotForgotten) and e.body.site == EAST}
        assert not forgotten & here or expected & lost  # nothing goes while something is missing
        for site in (EAST, WEST):
            found = self.world.engine.check(self.world.place(self.world.agency, site), Share())
            assert found.faults == ()
        assert fact.proven_of(TAX, 2)
        self.demand()
        self.counts["snapshots"] = len(fact.expected)


def _goes_on(entries: list[Any], index: int) -> bool:
    """Whether it was written together with the forgetting before it."""
    return (
        index > 0
        and isinstance(entries[index].body, SnapshotForgotten)
        and isinstance(entries[index - 1].body, SnapshotForgotten)
        and entries[index].at == entries[index - 1].at
    )


def live(folder: Path, seed: int) -> Life:
    folder.mkdir(exist_ok=True)
    life = Life(folder, seed)
    try:
        return life.live()
    finally:
        life.world.close()
