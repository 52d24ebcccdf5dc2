"""What keeps a repository from whoever holds its own key: shown, set, proven by attack, extended, undone after one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backup.repository.care.spans import moment_or_ago
from backup.repository.format.layout import told
from backup.repository.ports import Store
from backup.repository.retaining import Mode, Retaining, Retention
from ncia.app.repository import CLOCK, Access, Answer, holder, retained_as
from ncia.app.repository_store import store_of
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError

if TYPE_CHECKING:
    from backup.repository.retaining import Verdict


def show(access: Access) -> Answer:
    from backup.repository.care.extending import survey

    with access.opened() as repository:
        store = _demand_retaining(repository.store, access.url)
        repository.load_index()
        found = survey(store, frozenset(repository.index.packs()), CLOCK.now())
        return {
            "retained": retained_as(repository.store),
            "old": found.old,
            "unretained": [told(*each) for each in found.unretained],
            "soonest": to_text(found.soonest) if found.soonest else None,
        }


def extend(access: Access) -> Answer:
    from backup.repository.care.extending import extend_due

    with access.opened() as repository:
        store = _demand_retaining(repository.store, access.url)
        repository.load_index()
        found = extend_due(store, frozenset(repository.index.packs()), CLOCK.now())
        return {"retained": retained_as(repository.store), "old": found.old, "extended": found.extended}


def set_rule(url: str, days: int, mode: str) -> Answer:
    """By whoever owns the bucket; the repository's password is not asked for."""
    from backup.repository.stores.retry import RetryingRetained
    from backup.repository.stores.ruled import RuledS3Store

    with _store(url) as store:
        ruled = store.below if isinstance(store, RetryingRetained) else None
        if not isinstance(ruled, RuledS3Store):
            raise _cannot(url)
        ruled.set(Retention(Mode(mode.upper()), days))
        return {"retained": retained_as(ruled)}


def prove(url: str) -> Answer:
    """By attack, with the key that backups use; a place that holds nothing against it is told with each way in."""
    with _store(url) as store:
        attacked = getattr(store, "prove", None)
        if not callable(attacked):
            raise _cannot(url)
        verdict: Verdict = attacked()
        return {
            "where": verdict.where,
            "tried": list(verdict.tried),
            "broken": list(verdict.broken),
            "holds": verdict.holds,
        }


def undelete(url: str, since: str) -> Answer:
    """No password is asked for: the configuration and the keys may be among what was removed."""
    with _store(url) as store:
        moment = moment_or_ago(since, CLOCK.now())
        found = _demand_retaining(store, url).undelete(moment)
        return {
            "since": to_text(moment),
            "back": [told(*each) for each in found.back],
            "gone": [told(*each) for each in found.gone],
            "told": str(found),
        }


def unlock(access: Access, whole: bool) -> Answer:
    from backup.repository.locks import clear_locks

    with access.opened() as repository:
        cleared = clear_locks(repository, holder(), CLOCK.now(), whole)
        return {"removed": cleared.removed, "kept": [str(each) for each in cleared.kept]}


@contextmanager
def _store(url: str) -> Iterator[Store]:
    store = store_of(url)
    try:
        yield store
    finally:
        store.close()


def _demand_retaining(store: Store, url: str) -> Retaining:
    if not isinstance(store, Retaining):
        raise _cannot(url)
    return store


def _cannot(url: str) -> NciaError:
    why = "such a place retains nothing: no folder or host can be asked to keep files from our own account for a time"
    return NciaError("repository.no-retention", f"ask how {url} retains files", why, "a bucket with Object Lock can")
