"""Whether a synchronous system's commits wait for the other site: what to do next, from one look. Pure.

etcd is told first when commits are about to wait for nobody, and last when they wait again. So whoever reads ``sync``
there may believe that every acknowledged act is at the other site, and ``async since T`` means: perhaps not, since T.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ncia.core.base.ids import SiteId
from ncia.core.estate.model import WithoutPartner
from recovery.fencing.keys import Sync, SyncMode
from recovery.receiving.wal import receiver_name

DEGRADE_AFTER = timedelta(seconds=5)
SILENT_SECONDS_MAX = 3.0
BEHIND_BYTES_MAX = 1 << 20  # a copy that is nearer than that has caught up: the next commit waits for it a moment
STREAMING = "streaming"
NOBODY = ""  # synchronous_standby_names of a primary whose commits wait for nobody
COUNTING = ("sync", "quorum")


def standby_names(site: SiteId) -> str:
    """``synchronous_standby_names`` of a primary whose other site is ``site``: its copy or its receiver, whichever
    writes a commit down first; one of them may be away. (Decision 0009 says why not FIRST.)"""
    return f'ANY 1 ("{site}", "{receiver_name(site)}")'


@dataclass(frozen=True)
class Keeper:
    """One that streams from the primary (``pg_stat_replication``). ``silent_seconds``: since its last word."""

    name: str
    state: str
    sync_state: str
    flushed: int
    silent_seconds: float

    @property
    def keeps(self) -> bool:
        return self.state == STREAMING and self.silent_seconds <= SILENT_SECONDS_MAX


@dataclass(frozen=True)
class Seen:
    """A primary, as it answered: whom its commits wait for, how far it has written, and who follows it."""

    names: str
    lsn: int
    keepers: tuple[Keeper, ...]


@dataclass(frozen=True)
class Memory:
    """Between looks. ``alone_since``: nobody kept its commits since then. ``asked``: the position that the other site
    must reach before etcd may say ``sync``, once commits wait again."""

    alone_since: datetime | None = None
    asked: int | None = None


class Action(StrEnum):
    NOTHING = "nothing"
    RECORD_ASYNC = "say in etcd that commits do not wait"
    DEGRADE = "say in etcd that commits do not wait, then let them"
    CLEAR = "let commits wait for nobody, as etcd says already"
    REQUIRE = "let commits wait for the other site again"
    RECORD_SYNC = "say in etcd that commits wait"


@dataclass(frozen=True)
class Decision:
    action: Action
    memory: Memory
    why: str = ""


def decide(
    peer: SiteId, policy: WithoutPartner, sync: Sync | None, seen: Seen, memory: Memory, now: datetime
) -> Decision:
    """``sync`` is what etcd says; ``None`` where it has never been told."""
    says_async = sync is not None and sync.mode is SyncMode.ASYNC
    if not seen.names:
        if not says_async:
            return Decision(Action.RECORD_ASYNC, Memory(), "commits were found to wait for nobody")
        caught_up = any(k.name == peer and k.keeps and k.flushed >= seen.lsn - BEHIND_BYTES_MAX for k in seen.keepers)
        if caught_up:
            return Decision(Action.REQUIRE, Memory(), f"the copy at {peer} follows again")
        return Decision(Action.NOTHING, Memory())
    ours = [k for k in seen.keepers if k.name in (peer, receiver_name(peer)) and k.keeps]
    if not ours:
        alone = replace(memory, alone_since=memory.alone_since or now, asked=None)
        why = f"neither the copy nor the receiver at {peer} keeps its commits since {alone.alone_since:%H:%M:%S}"
        due = alone.alone_since is not None and now - alone.alone_since >= DEGRADE_AFTER
        if policy is WithoutPartner.DEGRADE and due:
            return Decision(Action.CLEAR if says_async else Action.DEGRADE, alone, why)
        return Decision(Action.NOTHING, alone, why)
    if sync is not None and not says_async:
        return Decision(Action.NOTHING, Memory())
    if memory.asked is None:
        return Decision(Action.NOTHING, Memory(asked=seen.lsn))
    if any(k.sync_state in COUNTING and k.flushed >= memory.asked for k in ours):
        return Decision(Action.RECORD_SYNC, Memory(), f"{peer} keeps every commit")
    return Decision(Action.NOTHING, Memory(asked=memory.asked))
