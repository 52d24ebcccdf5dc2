"""Runbooks: YAML procedures made of the steps in :data:`recovery.steps.KINDS`, refused with every fault at once.

What safety demands is not left to the writer: a step that must follow another (a promotion its claim, a claim the
fencing) is refused without it, and so is a runbook that one person alone could start.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.errors import InputFaults, NciaError
from ncia.core.config import marked
from ncia.core.config.marked import Node
from ncia.core.config.reading import Reading, Record, nearest
from ncia.core.requests.policy import APPROVALS_MIN
from recovery.planned import LOST_SITE, ONE_SYSTEM, SYSTEMS_AWAY
from recovery.step import Scope
from recovery.steps import KINDS

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
WHAT_MOVES = (LOST_SITE, SYSTEMS_AWAY, ONE_SYSTEM)
SECTIONS = {"before": Scope.RUN, "each_system": Scope.SYSTEM, "after": Scope.RUN}


@dataclass(frozen=True)
class RunbookStep:
    """``after_dependencies``: waits until the same step of every system that this one depends on is done;
    ``after_dependencies_moved``: until their last one is.
    ``timeout_seconds`` 0: the product's own."""

    kind: str
    why: str
    after_dependencies: bool = False
    timeout_seconds: float = 0.0
    after_dependencies_moved: bool = False


@dataclass(frozen=True)
class Runbook:
    """``sha256`` is of the file's bytes, so that a plan names exactly the procedure it was made from."""

    id: str
    title: str
    approvals: int
    before: tuple[RunbookStep, ...]
    each_system: tuple[RunbookStep, ...]
    after: tuple[RunbookStep, ...]
    sha256: str
    what_moves: str = LOST_SITE


def load_runbook(folder: Path, name: str) -> Runbook:
    """The runbook ``name`` of ``folder``; :class:`InputFaults` with every fault of its file."""
    path = folder / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise NciaError("runbook.unknown", f"find runbook {name!r}", f"not in {folder}", nearest(name, known))
    return read_runbook(path)


def read_runbook(path: Path) -> Runbook:
    reading = Reading()
    root = marked.read(path, reading.faults)
    if root is None:
        raise InputFaults(
            f"read runbook {path}", tuple(reading.faults) or (Node(str(path), 0, None).fault("is empty"),)
        )
    record = Record(reading, root, "runbook")
    id = record.text("runbook", pattern=NAME)
    if id and id != path.stem:
        record.tell(record.where("runbook"), f"is {id!r} in a file named {path.name}", f"runbook: {path.stem}")
    approvals = record.whole("approvals")
    if approvals and approvals < APPROVALS_MIN:
        record.tell(record.where("approvals"), f"{approvals}: nobody acts alone", f"approvals: {APPROVALS_MIN}")
    title = record.text("title")
    what_moves = record.text("what_moves", LOST_SITE)
    if what_moves and what_moves not in WHAT_MOVES:
        record.tell(
            record.where("what_moves"), f"{what_moves!r} is nothing that moves", nearest(what_moves, WHAT_MOVES)
        )
    seen: dict[str, Node] = {}
    sections = {key: _section(record, key, scope, seen) for key, scope in SECTIONS.items()}
    if not record.finish():
        raise InputFaults(f"read runbook {path}", tuple(reading.faults))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    before, each_system, after = (sections[key] for key in SECTIONS)
    return Runbook(id, title, approvals, before, each_system, after, digest, what_moves)


def _section(record: Record, key: str, scope: Scope, seen: dict[str, Node]) -> tuple[RunbookStep, ...]:
    found = []
    for node in record.items(key):
        step = record.part(node, key)
        kind = step.text("step")
        found.append(
            RunbookStep(
                kind,
                step.text("why"),
                _flag(step, "after_dependencies"),
                step.number("timeout_seconds", 0.0),
                _flag(step, "after_dependencies_moved"),
            )
        )
        if kind:
            _judge(step, kind, key, scope, seen)
        step.finish()
    return tuple(found)


def _judge(step: Record, kind: str, section: str, scope: Scope, seen: dict[str, Node]) -> None:
    place = step.where("step")
    known = KINDS.get(kind)
    if known is None:
        step.tell(place, f"no kind of step {kind!r}", nearest(kind, KINDS))
        return
    if known.scope is not scope:
        right = "each_system" if known.scope is Scope.SYSTEM else "before or after"
        step.tell(place, f"{kind!r} is a step of {'one system' if scope is Scope.RUN else 'the whole run'}", right)
    if kind in seen:
        step.tell(place, f"{kind!r} stands here twice (first on line {seen[kind].line})", "keep one of them")
    for earlier in known.follows:
        names = earlier.split("|")
        if not seen.keys() & set(names):
            lacking = " or ".join(map(repr, names))
            step.tell(place, f"{kind!r} without {lacking} before it is not safe", f"put `step: {names[0]}` before it")
    for key in ("after_dependencies", "after_dependencies_moved"):
        if scope is Scope.RUN and step.has(key):
            step.tell(step.where(key), "only a system has dependencies", "leave it out")
    seen[kind] = place


def _flag(record: Record, key: str) -> bool:
    node = record.get(key, required=False)
    if node is None:
        return False
    if not isinstance(node.value, bool):
        record.tell(node, f"{key!r} must be true or false", f"{key}: true")
    return node.value is True
