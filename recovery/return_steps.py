"""The steps of a site's return: what its old primaries hold is listed, then they are rewound and follow again."""

from __future__ import annotations

from ncia.core.base.clock import to_text
from ncia.core.base.errors import Refusal
from ncia.core.journal.entries_recovery import DivergenceListed, DocumentsStranded
from recovery.fencing.keys import Epoch
from recovery.pair_steps import LOOK_SECONDS, forget_slots, lsn
from recovery.ports import Patience, Stranded, World
from recovery.step import Done, Target, until
from recovery.stranded_documents import StrandedDocuments
from recovery.sync import NOBODY, standby_names
from recovery.system_steps import demand_permit


def is_listed(world: World, target: Target, patience: Patience) -> Done | None:
    rows = world.both.copies.stranded_listed(target.system, target.run)
    documents = world.both.documents.stranded_listed(target.system, target.run)
    return None if rows is None or documents is None else _listed(target, rows, documents)


def list_stranded(world: World, target: Target, patience: Patience) -> Done:
    """What the old primary committed beyond the fork, acknowledged or not, before anything touches its files; and the
    documents that only the stores here hold. Rows that this run has listed are not listed again."""
    now = demand_elsewhere(world, target, f"list what is stranded of {target.system} at {target.site}")
    copies = world.both.copies
    old = copies.facts(target.system, target.site)
    if old.running and not old.standby:
        copies.stop(target.system, target.site)  # a primary that nobody may use; its files must stand still
    rows = copies.stranded_listed(target.system, target.run)
    if rows is None:
        rows = copies.list_stranded(target.system, target.site, target.lost_site, target.run)
    stranded = world.both.documents.list_stranded
    return _listed(target, rows, stranded(target.system, target.site, target.lost_site, target.run, now.run))


def _listed(target: Target, found: Stranded, documents: StrandedDocuments) -> Done:
    rows_listed = DivergenceListed(
        run=target.run,
        system=target.system,
        site=target.site,
        new_site=target.lost_site,
        timeline=found.timeline,
        fork_lsn=found.fork_lsn,
        transactions=found.transactions,
        rows=found.rows,
        tables=found.tables,
        evidence=found.evidence,
        sha256=found.sha256,
    )
    span = documents.span
    documents_listed = DocumentsStranded(
        run=target.run,
        system=target.system,
        site=target.site,
        new_site=target.lost_site,
        since=to_text(span.since) if span.since else "",
        until=to_text(span.until) if span.until else "",
        documents=documents.documents,
        size_bytes=documents.size_bytes,
        evidence=documents.evidence,
        sha256=documents.sha256,
    )
    if not found.timeline:
        told = "no old primary here: no rows can be stranded"
    else:
        told = f"{found.rows} rows of {found.transactions} transactions beyond {found.fork_lsn} stand only here"
    measured = {
        "stranded_rows": found.rows,
        "transactions": found.transactions,
        "stranded_documents": documents.documents,
    }
    told += f"; {documents.documents} documents stand only here"
    return Done(told, measured, (rows_listed, documents_listed))


def is_rewound(world: World, target: Target, patience: Patience) -> Done | None:
    here = world.both.copies.facts(target.system, target.site)
    if here.standby:
        return Done("the cluster here is told to follow: nothing to rewind")
    return Done("it is rewound") if here.rewound_by == target.run else None


def rewind(world: World, target: Target, patience: Patience) -> Done:
    """Irreversible: only what is listed, and only while the majority says that the other site has the system."""
    what = f"rewind {target.system} at {target.site}"
    demand_elsewhere(world, target, what)
    if is_listed(world, target, patience) is None:
        raise Refusal("recovery.not-listed", what, "what is stranded there is not listed", "make a new plan")
    right = demand_permit(world, target, what)
    how = world.both.copies.rewind(target.system, target.site, target.lost_site, target.run)
    return Done(f"it has {target.lost_site}'s history now, by {how}{right}", {"how": how})


def follows_here(world: World, target: Target, patience: Patience) -> Done | None:
    """And nothing is kept here for whom it sent to before."""
    found = _streams_here(world, target, patience)
    left = found and world.both.copies.slots_left(target.system, target.site, target.lost_site)
    return None if left else found


def _streams_here(world: World, target: Target, patience: Patience) -> Done | None:
    if not world.both.there.streams_to(target.system, target.site):
        return None
    return Done(f"our copy follows {target.system} at {target.lost_site}")


def attach(world: World, target: Target, patience: Patience) -> Done:
    what, copies = f"make our cluster of {target.system} follow {target.lost_site}", world.both.copies
    demand_elsewhere(world, target, what)
    here = copies.facts(target.system, target.site)
    if here.running and not here.standby:
        raise Refusal(
            "recovery.old-primary-runs", what, "a primary runs here, which our gate refuses", "make a new plan"
        )
    if not here.running:
        if not here.standby:
            copies.follow(target.system, target.site, target.lost_site)
        copies.start(target.system, target.site)

    def look() -> Done | None:
        return _streams_here(world, target, patience)

    done = until(look, lambda: "it does not stream", what, target, patience, LOOK_SECONDS)
    forget_slots(world, target, patience, target.site, target.lost_site)
    return done


def caught_up(world: World, target: Target, patience: Patience) -> Done | None:
    written, replayed = world.both.there.written_lsn(target.system), world.databases.replayed_lsn(target.system)
    if lsn(replayed) < lsn(written):
        return None
    return Done(f"our copy has replayed {replayed}, all that was written when asked", {"replayed_lsn": replayed})


def catch_up(world: World, target: Target, patience: Patience) -> Done:
    """As far as the other side had written when the step began: it goes on writing."""
    written = world.both.there.written_lsn(target.system)
    replayed = ""

    def look() -> Done | None:
        nonlocal replayed
        replayed = world.databases.replayed_lsn(target.system)
        if lsn(replayed) < lsn(written):
            return None
        return Done(f"our copy has replayed {replayed}, beyond {written}", {"replayed_lsn": replayed})

    what = f"catch up with {target.system} at {target.lost_site}"
    return until(look, lambda: f"it is at {replayed or 'nothing'}", what, target, patience, LOOK_SECONDS)


def is_protected(world: World, target: Target, patience: Patience) -> Done | None:
    wanted = standby_names(target.site) if target.synchronous else NOBODY
    if world.both.there.synchronous_standby_names(target.system) != wanted:
        return None
    who = f"commits at {target.lost_site} wait for our copy" if target.synchronous else "our copy follows"
    return Done(f"{who} again", {"protected_since": to_text(patience.now())})


def make_synchronous(world: World, target: Target, patience: Patience) -> Done:
    what = f"let commits of {target.system} wait for our copy again"
    demand_elsewhere(world, target, what)
    world.both.there.set_synchronous(target.system, standby_names(target.site) if target.synchronous else NOBODY)

    def look() -> Done | None:
        return is_protected(world, target, patience)

    return until(look, lambda: "the reload has not come through", what, target, patience, LOOK_SECONDS)


def demand_elsewhere(world: World, target: Target, what: str) -> Epoch:
    """The precondition of touching an old primary: the majority says, now, that the other site has the system."""
    found = world.claims.epochs().get(target.system)
    if found is None or (found.site, found.epoch) != (target.lost_site, target.epoch - 1):
        where = "unknown" if found is None else f"epoch {found.epoch} at {found.site}"
        planned = f"{target.epoch - 1} at {target.lost_site}"
        why = f"it is not where it was when the plan was made: {where}, planned was {planned}"
        raise Refusal("recovery.epoch-moved", what, why, "make a new plan")
    return found
