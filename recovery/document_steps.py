"""The steps of a planned move that see to documents: the mirror is near before the hold, and brought to its end after.

After the claim nobody pulls from the side that gave the system up. So what was acknowledged there is brought here while
nothing is written at either side; a system without documents passes both steps at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncia.core.base.errors import Refusal
from recovery.ports import Compared, Patience, World
from recovery.step import Done, Target, until
from recovery.system_steps import is_claimed

NEAR_SECONDS = 10.0  # citizens wait for the rest, after the hold
LOOK_SECONDS = 0.1
NAMES_TOLD_MAX = 3


def documents_are_near(world: World, target: Target, patience: Patience) -> Done | None:
    claimed = is_claimed(world, target, patience)
    if claimed:
        return claimed
    behind = world.both.drain.behind(target.system)
    if any(seconds is None or seconds > NEAR_SECONDS for seconds in behind.values()):
        return None
    if not behind:
        return Done("it has no documents")
    worst = max(seconds or 0.0 for seconds in behind.values())
    return Done(f"its documents here are {max(0.0, worst):.1f} s behind those at {target.lost_site}")


def catch_up_documents(world: World, target: Target, patience: Patience) -> Done:
    """Before citizens wait for it: the mirror here comes near by itself, or the system stays where it is."""
    behind: Mapping[str, float | None] = {}

    def look() -> Done | None:
        nonlocal behind
        behind = world.both.drain.behind(target.system)
        return documents_are_near(world, target, patience)

    def why() -> str:
        told = (f"{id}: {'no canary' if s is None else f'{s:.0f} s behind'}" for id, s in behind.items())
        return "; ".join(told)

    return until(look, why, f"catch up with the documents of {target.system}", target, patience, LOOK_SECONDS)


def documents_are_here(world: World, target: Target, patience: Patience) -> Done | None:
    """Only what is compared while nobody can write is known to stay so."""
    claimed = is_claimed(world, target, patience)
    if claimed:
        return claimed
    if world.both.holds.word_of(target.system) is None:
        return None
    compared = world.both.drain.compare(target.system)
    return None if compared.lacking else _all_here(target, compared, 0)


def drain_documents(world: World, target: Target, patience: Patience) -> Done:
    """Bring what is lacking until a comparison shows that nothing is."""
    what = f"bring the last documents of {target.system} from {target.lost_site}"
    compared: Compared | None = None
    brought = 0

    def look() -> Done | None:
        nonlocal compared, brought
        if world.both.holds.word_of(target.system) is None:
            why = f"{target.lost_site} has not given its word that its gate is shut (any more)"
            raise Refusal("recovery.not-held", what, why, f"ncia recover resume {target.run}")
        compared = world.both.drain.compare(target.system)
        if not compared.lacking:
            return _all_here(target, compared, brought)
        brought += world.both.drain.bring(target.system, patience.now())
        return None

    def why() -> str:
        if compared is None or not compared.lacking:
            return "nothing was compared"
        names = ", ".join(compared.lacking[:NAMES_TOLD_MAX])
        return f"{len(compared.lacking)} documents are not here: {names}"

    return until(look, why, what, target, patience, LOOK_SECONDS)


def _all_here(target: Target, compared: Compared, brought: int) -> Done:
    measured: dict[str, Any] = {"documents_compared": compared.looked_at, "documents_brought": brought}
    told = f"{compared.looked_at} documents at {target.lost_site} are here too, {brought} of them brought now"
    if compared.refused:
        measured["documents_refused"] = len(compared.refused)
        told += f"; {len(compared.refused)} names there may not be copied"
    return Done(told, measured)
