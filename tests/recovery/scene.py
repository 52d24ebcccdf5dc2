"""What recovery's tests begin with: the reference estate with keys, the two-site world, and a desk in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate
from ncia.core.estate import Estate
from ncia.core.requests.approval import sign
from recovery.task import RecoveryDesk, Surroundings
from tests.fakes.journal import FakeJournal
from tests.fakes.world import FakeWorld, InlineHands

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "runbooks"
LOST, SURVIVOR = SiteId("daejeon"), SiteId("gwangju")


@cache
def keys() -> dict[str, bytes]:
    """A private key (OpenSSH) for every person of the reference estate, and one of a stranger."""
    people = [*load_estate(ROOT / "configs").people, "stranger"]
    made = {}
    for person in people:
        key = Ed25519PrivateKey.generate()
        made[person] = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return made


def public_line(key: bytes) -> str:
    from ncia.core.requests.approval import private_key

    public = private_key(key).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return public.decode()


@cache
def estate() -> Estate:
    found = load_estate(ROOT / "configs")
    people = {p: replace(who, public_key=f"{public_line(keys()[p])} {p}@desk") for p, who in found.people.items()}
    return replace(found, people=people)


@dataclass
class Scene:
    """A desk at the surviving site of a world in memory."""

    world: FakeWorld
    journal: FakeJournal
    desk: RecoveryDesk

    def restart(self) -> None:
        """The controller was killed; the next one finds journal and world as they are."""
        self.world.kill_at = None
        self.journal = self.journal.restarted()
        self.desk = desk_of(self.world, self.journal)

    def plan(self, **accept_loss: str) -> dict[str, Any]:
        return self.desk.plan("site_failover", LOST, "kim", accept_loss)

    def plan_return(self) -> dict[str, Any]:
        return self.desk.plan("site_failback", LOST, "kim", {})

    def approve(self, plan: dict[str, Any], person: str, **changed: Any) -> dict[str, Any]:
        return self.desk.approve(**approval(plan, person, self.world.now(), **changed))


def approval(
    plan: dict[str, Any],
    person: str,
    now: datetime,
    *,
    key: bytes | None = None,
    seconds: float = 600,
    plan_hash: str | None = None,
) -> dict[str, str]:
    """What a person sends; ``key`` and ``plan_hash`` are others than they should be in some tests."""
    expires_at = to_text(now + timedelta(seconds=seconds))
    told = {
        "run": plan["run"],
        "plan_hash": plan_hash or plan["plan_hash"],
        "person": person,
        "expires_at": expires_at,
    }
    return {**told, "signature": sign(key or keys()[person], **told)}


def scene(seed: int = 0, *, burnt: bool = True, change: Callable[[Estate], Estate] = lambda e: e) -> Scene:
    world = FakeWorld(change(estate()), SURVIVOR, seed)
    journal = FakeJournal(SURVIVOR, world.now)
    if burnt:
        world.burn(LOST)
        world.live(1.0)
    return Scene(world, journal, desk_of(world, journal))


def return_scene(seed: int = 0, *, change: Callable[[Estate], Estate] = lambda e: e) -> Scene:
    """The lost site is back and alive; the other one has its systems, and its old primaries hold two stranded acts."""
    world = FakeWorld(change(estate()), LOST, seed)
    world.pair.planned = True
    world.pair.take_over(SURVIVOR)
    journal = FakeJournal(LOST, world.now)
    return Scene(world, journal, desk_of(world, journal))


def move_scene(*, change: Callable[[Estate], Estate] = lambda e: e) -> Scene:
    """Both sites live and everything is at home; the desk is at the site that does not have the systems."""
    world = FakeWorld(change(estate()), SURVIVOR)
    world.pair.planned = True
    journal = FakeJournal(SURVIVOR, world.now)
    return Scene(world, journal, desk_of(world, journal))


def desk_of(world: FakeWorld, journal: FakeJournal) -> RecoveryDesk:
    journal.on_append = lambda when: world.moment(f"{when} an append")
    numbers = count(len(journal.written))
    world.pair.journalled = lambda: (entry.body for entry in journal.merged())
    around = Surroundings(
        site=world.own,
        estate=world.estate,
        runbooks=RUNBOOKS,
        journal=journal,
        world=world.world(),
        watching=world,
        clock=world,
        new_run=lambda now: f"run-{next(numbers)}",
    )
    return RecoveryDesk(around, InlineHands(world))
