"""A repository on its own, without an estate: what ``ncia repo`` asks, answered in plain values.

An answer's ``partial`` says that something is missing in it, and its ``losses`` what.
"""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup.repository.format.keys import Holder, add_key, list_keys, remove_key
from backup.repository.format.snapshots import ANY, Narrowing, Snapshot, chosen, demand_read, narrowed, tags_in
from backup.repository.format.times import moment_text, ns_text
from backup.repository.format.trees import shown, told, told_raw
from backup.repository.location import password_in
from backup.repository.locks import MAY_NOT, NO_PATIENCE, Lock, Patience
from backup.repository.ports import Store, StoreFault
from backup.repository.repository import Repository, create, open_repository
from backup.repository.retaining import Mode, Retaining, Retention
from backup.repository.save.walk import absolute
from ncia.app.interrupts import hurried
from ncia.app.repository_store import store_of, user
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError

if TYPE_CHECKING:
    from backup.repository.care.checking import Checked
    from backup.repository.restore.restoring import Restored
    from backup.repository.save.scan import Losses

Answer = dict[str, Any]
Meanwhile = Callable[[Callable[[], bool]], None]  # what is done until it is told to be over
Tell = Callable[[int, int, int], None]  # files so far, bytes so far, bytes in all (0: not known)
CLOCK = SystemClock()
OF_A_PLACE = ("repository.none", "repository.exists", "repository.wrong-password")


@dataclass(frozen=True)
class Access:
    """Where a repository is, and how it is entered. Without ``lock`` nothing is written where only reading is asked.
    ``retry_lock``: for how long one that somebody holds is waited for; ``hear`` is told of it."""

    url: str
    password_file: Path
    lock: bool = True
    workers: int = 0
    retry_lock: str = ""
    hear: Callable[[str], None] = lambda _: None

    @property
    def patience(self) -> Patience:
        from backup.repository.care.spans import seconds_of

        return Patience(seconds_of(self.retry_lock), self.hear) if self.retry_lock else NO_PATIENCE

    def password(self) -> str:
        return password_in(self.password_file)

    @contextmanager
    def opened(self, locked: bool = False, meanwhile: Meanwhile | None = None) -> Iterator[Repository]:
        password, store = self.password(), store_of(self.url)
        try:
            with hurried(store):
                with placed(self.url):
                    repository = open_repository(store, password, meanwhile)
                with self.reading(repository) if locked and self.lock else nullcontext():
                    yield repository
        finally:
            store.close()

    @contextmanager
    def reading(self, repository: Repository) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(Lock(repository, holder(), CLOCK, patience=self.patience))
            except StoreFault as fault:
                if fault.code not in MAY_NOT:
                    raise
                hint = "--no-lock reads without one; a prune without grace at the same time may remove what is read"
                raise StoreFault(fault.code, "lock the repository to read it", fault.why, hint) from fault
            yield


@contextmanager
def placed(url: str) -> Iterator[None]:
    """A command may be about two repositories: an error says which of them it means. A URL holds no password."""
    try:
        yield
    except NciaError as error:
        if error.code not in OF_A_PLACE:
            raise
        hint = "is the URL right? ncia repo init makes one" if error.code == "repository.none" else error.hint
        raise NciaError(error.code, f"{error.what} at {url}", error.why, hint) from error


def holder(host: str = "") -> Holder:
    return Holder(user(), host or socket.gethostname())


def program() -> str:
    from importlib.metadata import version  # a tenth of what a listing takes in all

    return f"ncia {version('ncia')}"


def init(access: Access, twin: Access | None, retain_days: int = 0, retain_mode: str = "compliance") -> Answer:
    """``retain_days``: the rule of a bucket that has none yet; 0: no word is said."""
    retention = Retention(Mode(retain_mode.upper()), retain_days) if retain_days else None
    password, store = access.password(), store_of(access.url, retention=retention)
    try:
        with twin.opened() if twin else nullcontext() as other:
            with placed(access.url):
                made = create(store, password, holder(), CLOCK.now(), twin=other)
        return {"id": made.config.id, "url": access.url, "retained": retained_as(store)}
    finally:
        store.close()


def narrowing_of(hosts: Sequence[str], tags: Sequence[str], paths: Sequence[str]) -> Narrowing:
    """As they are given on a command line: ``tags`` are lists with commas, ``paths`` count from this folder."""
    return Narrowing(tuple(hosts), tuple(map(tags_in, tags)), tuple(os.fsdecode(absolute(path)) for path in paths))


def snapshots(access: Access, narrowing: Narrowing = ANY) -> Answer:
    with access.opened() as repository:
        found = narrowed(repository.snapshots(), narrowing)
        return {"snapshots": [snapshot_told(each) for each in found], "damaged": repository.damaged}


def ls(access: Access, word: str, paths: Sequence[str], narrowing: Narrowing = ANY) -> Iterator[Answer]:
    from backup.repository.restore.listing import demand_way, entries

    with access.opened() as repository:
        tree = _ready(repository, word, narrowing).tree
        for path, node in entries(repository, tree, demand_way(repository, tree, tuple(map(absolute, paths)))):
            yield {
                **told("path", path),
                "type": node.type,
                "mode": f"{node.permissions:04o}",
                "uid": node.uid,
                "gid": node.gid,
                "size": node.size,
                "mtime": ns_text(node.mtime_ns),
                **(told("target", node.target) if node.target else {}),
            }


def diff(access: Access, first: str, second: str, metadata: bool, narrowing: Narrowing = ANY) -> Iterator[Answer]:
    from backup.repository.restore.listing import changes

    with access.opened() as repository:
        one, two = (_ready(repository, word, narrowing, not number) for number, word in enumerate((first, second)))
        for change in changes(repository, one.tree, two.tree):
            if metadata or change.sign != "U":
                yield {"change": change.sign, **told("path", change.path)}


def restore(
    access: Access,
    word: str,
    target: Path,
    paths: Sequence[str],
    tell: Tell,
    overwrite: str | None = None,
    narrowing: Narrowing = ANY,
) -> Answer:
    """``overwrite``: what of the target may be replaced, in restic's words; None: it must be empty."""
    from backup.repository.restore.existing import Overwrite
    from backup.repository.restore.listing import demand_way
    from backup.repository.restore.restoring import Restoring

    if target.exists() and not target.is_dir():
        hint = "name a folder: a file comes below it, by its whole path"
        raise NciaError("repository.no-target", f"restore into {target}", "it is no folder", hint)
    with access.opened(locked=True) as repository:
        snapshot = _ready(repository, word, narrowing)
        way = demand_way(repository, snapshot.tree, tuple(map(absolute, paths)))
        whole = 0 if paths else int(snapshot.summary.get("total_bytes_processed", 0))

        def heard(restored: Restored) -> None:
            tell(restored.files, restored.bytes + restored.bytes_found, whole)

        over = Overwrite(overwrite) if overwrite else None
        with Restoring(repository, access.workers, heard, over) as restoring:
            restored = restoring.run(snapshot, target, way)
    return {
        "snapshot": snapshot.id,
        **told("target", os.fsencode(target)),
        "partial": restored.partial,
        "files": restored.files,
        "folders": restored.folders,
        "others": restored.others,
        "links": restored.links,
        "bytes": restored.bytes,
        "bytes_found": restored.bytes_found,
        "kept": restored.kept,
        "losses": losses_told(restored.losses),
        "damaged": repository.damaged,
    }


def restore_changes(
    access: Access,
    word: str,
    target: Path,
    paths: Sequence[str],
    overwrite: str,
    faults: list[str],
    narrowing: Narrowing = ANY,
) -> Iterator[Answer]:
    """What such a restore would do; ``faults`` hears what could not be looked at. Nothing is written."""
    from backup.repository.restore.comparing import Comparing
    from backup.repository.restore.existing import Overwrite
    from backup.repository.restore.listing import demand_way

    with access.opened() as repository:
        snapshot = _ready(repository, word, narrowing)
        way = demand_way(repository, snapshot.tree, tuple(map(absolute, paths)))
        comparing = Comparing(repository, Overwrite(overwrite))
        for change in comparing.run(snapshot.tree, target, way):
            yield {"change": change.sign, **told("path", change.path)}
        faults += comparing.faults


def check(access: Access, share: tuple[int, int] | None, tell: Tell) -> Answer:
    """``share``: which part of how many is read; None for the structure alone."""

    from backup.repository.care.checking import STRUCTURE_ONLY, Checking, Share

    def heard(checked: Checked) -> None:
        tell(checked.snapshots, checked.bytes_read, checked.bytes if share else 0)

    with access.opened(locked=True) as repository:
        checking = Checking(repository, Share(*share) if share else STRUCTURE_ONLY, access.workers, heard)
        checked = checking.run()
    return {**asdict(checked), "share_read": checked.share_read, "holds": checked.holds}


def keys(access: Access) -> list[Answer]:
    with access.opened() as repository:
        return [{**asdict(each), "current": each.name == repository.key_name} for each in list_keys(repository.store)]


def key_add(access: Access, new_password_file: Path, whose: str) -> Answer:
    new = Access(access.url, new_password_file).password()
    with access.opened() as repository:
        mine = holder()
        name = add_key(
            repository.store, repository.key, new, Holder(whose or mine.username, mine.hostname), CLOCK.now()
        )
    return {"name": name}


def key_remove(access: Access, word: str) -> Answer:
    """``word``: the beginning of the key's name; refused for the one that opens the repository just now."""
    with access.opened() as repository:
        found = [each.name for each in list_keys(repository.store) if len(word) >= 4 and each.name.startswith(word)]
        if len(found) != 1:
            why = f"{len(found)} begin with it" if found else "none begins with it (four letters at least)"
            raise NciaError("repository.no-key", f"find key {word!r}", why, "ncia repo key list")
        remove_key(repository.store, found[0], repository.key_name)
    return {"name": found[0]}


def retained_as(store: Store) -> Answer | None:
    """How files are retained there; None where they are not."""
    retention = store.retention() if isinstance(store, Retaining) else None
    return None if retention is None else {"mode": retention.mode.lower(), "days": retention.days}


def extended(repository: Repository) -> int:
    """After a backup: what it reuses, and whatever else an index names, is kept from losing its retention."""
    store = repository.store
    if not isinstance(store, Retaining):
        return 0
    from backup.repository.care.extending import extend_due

    return extend_due(store, frozenset(repository.index.packs()), CLOCK.now()).extended


def _ready(repository: Repository, word: str, narrowing: Narrowing = ANY, read: bool = True) -> Snapshot:
    """The snapshot meant, with the index read."""
    known = repository.snapshots()
    demand_read(repository.unread, word)
    snapshot = chosen(known, word, narrowing)
    if read:
        repository.load_index(repository.packs_there())  # a blob may be named twice, and one of its packs be gone
    return snapshot


def snapshot_told(each: Snapshot) -> Answer:
    return {
        "id": each.id,
        "time": moment_text(each.time),
        "hostname": each.hostname,
        "username": each.username,
        **_paths_told(each.paths),
        "tags": list(each.tags),
        "tree": each.tree.hex(),
        "parent": each.parent,
        "program": each.program_version,
        "files": each.summary.get("total_files_processed"),
        "bytes": each.summary.get("total_bytes_processed"),
    }


def _paths_told(paths: Sequence[str]) -> Answer:
    """``paths``; where one of them is no UTF-8 also ``paths_base64``, of each of them."""
    each = [told("path", os.fsencode(path)) for path in paths]
    raw = [base64.b64encode(os.fsencode(path)).decode() for path in paths]
    return {
        "paths": [one["path"] for one in each],
        **({"paths_base64": raw} if any(len(one) > 1 for one in each) else {}),
    }


def for_people(answer: Answer, key: str = "path") -> str:
    """What an answer tells under ``key``, which is a path, on a terminal."""
    return shown(told_raw(key, answer))


def paths_for_people(answer: Answer) -> list[str]:
    encoded = answer.get("paths_base64")
    raw = [path.encode() for path in answer["paths"]] if encoded is None else map(base64.b64decode, encoded)
    return [shown(each) for each in raw]


def losses_told(losses: Losses) -> Answer:
    return {"counts": dict(losses.counts), "named": losses.named}
