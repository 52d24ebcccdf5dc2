"""The queue's tables, on SQLite or PostgreSQL: jobs, who carries each out under which fence, and heartbeats.

Every change is one transaction that compares before it sets, so that of several executors one wins. What must be
decided over all jobs at once (who begins what) first takes the one row of ``ncia_jobs_turn``: executors do it in turn.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    event,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ncia.core.base.database import engine_of, shown
from ncia.core.base.errors import Unreachable
from ncia.core.work.jobs import Job, JobId, JobState, Limits, Order, admissible, begun, judged, no_such_job

OPEN = ("queued", "running")
ENDED_KEPT_MAX = 500
MAKE_ATTEMPTS_MAX = 5
FROZEN_SECONDS_MAX = 10  # a frozen executor keeps everybody waiting no longer than that (PostgreSQL)

METADATA = MetaData()
JOBS = Table(
    "ncia_jobs",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("holds", Text, nullable=False),
    Column("order", Text, nullable=False),  # JSON
    Column("state", Text, nullable=False),
    Column("sentence", Text, nullable=False, default=""),
    Column("executor", Text, nullable=False, default=""),
    Column("fence", Integer, nullable=False, default=0),
    Column("cancelled_by", Text, nullable=False, default=""),
)
_open = JOBS.c.state.in_(OPEN)
Index("ncia_jobs_one_open", JOBS.c.holds, unique=True, sqlite_where=_open, postgresql_where=_open)
EXECUTORS = Table(
    "ncia_executors", METADATA, Column("name", Text, primary_key=True), Column("beats", BigInteger, nullable=False)
)
TURN = Table(
    "ncia_jobs_turn",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turn", BigInteger, nullable=False),
)


class JobRows:
    """The tables in the database of a SQLAlchemy URL. Safe to use from many threads and processes."""

    def __init__(self, url: str) -> None:
        self.engine = engine_of(url)
        self.alone = self.engine.dialect.name == "sqlite"
        """A file has one executor, the process that opened it; a server's database any number."""
        if not self.alone:
            event.listen(self.engine, "connect", _bounded)
        self._making = threading.Lock()
        self._made = False

    def close(self) -> None:
        self.engine.dispose()

    def enqueue(self, order: Order) -> Job:
        """See :meth:`ncia.core.work.jobs.Jobs.enqueue`."""
        values = {"id": order.id, "holds": order.holds, "order": _order_text(order), "state": "queued"}
        while True:
            with self._transaction("order a job in") as connection:
                connection.execute(self._insert(JOBS).values(**values).on_conflict_do_nothing())
                found = _first(connection, JOBS.c.id == order.id)
                found = found or _first(connection, JOBS.c.holds == order.holds, JOBS.c.state.in_(OPEN))
            if found is not None:  # None: the dataset's open job ended between the two statements
                return found

    def get(self, job: JobId) -> Job | None:
        with self._transaction("read") as connection:
            return _first(connection, JOBS.c.id == job)

    def list(self) -> tuple[Job, ...]:
        with self._transaction("read") as connection:
            return tuple(map(_job, connection.execute(select(JOBS).order_by(JOBS.c.number))))

    def open(self) -> tuple[Job, ...]:
        with self._transaction("read") as connection:
            return _open_jobs(connection)

    def cancel(self, job: JobId, by: str) -> Job:
        with self._turn() as connection:
            known = _first(connection, JOBS.c.id == job)
            if known is None:
                raise no_such_job(job)
            if known.state == "queued":
                _set(connection, job, state="cancelled", cancelled_by=by, sentence=f"cancelled by {by}")
            elif known.state == "running":
                _set(connection, job, cancelled_by=by)
            return _first(connection, JOBS.c.id == job) or known

    def check(self, job: JobId, fence: int) -> Job:
        """The job as it stands; raises :class:`~ncia.core.work.jobs.Fenced` where ``fence`` is not its number."""
        known = self.known(job)
        judged(known, fence)
        return known

    def known(self, job: JobId) -> Job:
        found = self.get(job)
        if found is None:
            raise no_such_job(job)
        return found

    def end(self, job: JobId, fence: int, state: JobState, sentence: str) -> None:
        """Write down how the job ended, unless another executor has taken it over."""
        with self._turn() as connection:
            known = _first(connection, JOBS.c.id == job)
            if known is None:
                raise no_such_job(job)
            judged(known, fence)
            _set(connection, job, state=state, sentence=sentence)

    def begin(self, executor: str, limits: Limits, slots: int) -> tuple[Job, ...]:
        """Let ``executor`` begin what may be begun now."""
        if slots <= 0:
            return ()
        with self._turn() as connection:
            chosen = [begun(job, executor) for job in admissible(_open_jobs(connection), limits, slots)]
            for job in chosen:
                _set(connection, job.id, state=job.state, executor=job.executor, fence=job.fence)
        return tuple(chosen)

    def take_over(self, executor: str, alive: Collection[str], slots: int) -> tuple[Job, ...]:
        """Give ``executor`` up to ``slots`` jobs of executors that are not ``alive``, each under a new fence."""
        if slots <= 0 or all(job.executor in alive for job in self.open() if job.state == "running"):
            return ()
        with self._turn() as connection:
            lost = [job for job in _open_jobs(connection) if job.state == "running" and job.executor not in alive]
            taken = [begun(job, executor) for job in lost[:slots]]
            for job in taken:
                _set(connection, job.id, executor=job.executor, fence=job.fence)
        return tuple(taken)

    def beat(self, executor: str) -> Mapping[str, int]:
        """Count this executor's beat; answers every executor's counter."""
        upsert = self._insert(EXECUTORS).values(name=executor, beats=1)
        upsert = upsert.on_conflict_do_update(index_elements=["name"], set_={"beats": EXECUTORS.c.beats + 1})
        with self._transaction("beat in") as connection:
            connection.execute(upsert)
        return self.executors()

    def executors(self) -> Mapping[str, int]:
        with self._transaction("read") as connection:
            return {row.name: row.beats for row in connection.execute(select(EXECUTORS))}

    def leave(self, executors: Collection[str]) -> None:
        """These carry out nothing any more."""
        with self._transaction("leave") as connection:
            connection.execute(delete(EXECUTORS).where(EXECUTORS.c.name.in_(executors)))

    def forget(self, kept_max: int = ENDED_KEPT_MAX) -> tuple[Job, ...]:
        """Delete all but the newest ended jobs; answers those that are gone."""
        with self._turn() as connection:
            ended = select(JOBS).where(JOBS.c.state.not_in(OPEN)).order_by(JOBS.c.number.desc())
            gone = tuple(map(_job, connection.execute(ended.offset(kept_max))))
            connection.execute(delete(JOBS).where(JOBS.c.id.in_([job.id for job in gone])))
        return gone

    @contextmanager
    def _transaction(self, act: str) -> Iterator[Connection]:
        """The first one makes the tables: a queue that is out of reach must not keep a controller from starting."""
        with self._told(act):
            with self._making:  # two threads that make a file into a database at once would lock each other out
                if not self._made:
                    self._make()
                    self._made = True
            with self.engine.begin() as connection:
                yield connection

    def _make(self) -> None:
        for attempt in range(MAKE_ATTEMPTS_MAX):
            try:
                METADATA.create_all(self.engine)
                break
            except DBAPIError:  # another executor made one of them at the same moment
                if attempt + 1 == MAKE_ATTEMPTS_MAX:
                    raise
        with self.engine.begin() as connection:
            connection.execute(self._insert(TURN).values(id=1, turn=0).on_conflict_do_nothing())

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """A transaction that no other one of its kind overlaps: its first statement locks the one row of a table."""
        with self._transaction("change") as connection:
            connection.execute(update(TURN).values(turn=TURN.c.turn + 1))
            yield connection

    @contextmanager
    def _told(self, act: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", None) or error).splitlines()[0]
            what = f"{act} the queue of jobs in {shown(self.engine)}"
            raise Unreachable("jobs.store-failed", what, why, "is its database up? disk space, permissions") from error

    @property
    def _insert(self) -> Callable[[Table], Any]:
        return sqlite_insert if self.alone else postgresql_insert


def _open_jobs(connection: Connection) -> tuple[Job, ...]:
    found = connection.execute(select(JOBS).where(JOBS.c.state.in_(OPEN)).order_by(JOBS.c.number))
    return tuple(map(_job, found))


def _first(connection: Connection, *where: Any) -> Job | None:
    row = connection.execute(select(JOBS).where(*where)).first()
    return None if row is None else _job(row)


def _set(connection: Connection, job: JobId, **values: object) -> None:
    connection.execute(update(JOBS).where(JOBS.c.id == job).values(**values))


def _order_text(order: Order) -> str:
    told = {name: getattr(order, name) for name in Order.__dataclass_fields__}
    return json.dumps({**told, "details": dict(order.details)}, ensure_ascii=False, sort_keys=True)


def _job(row: Row[Any]) -> Job:
    told = json.loads(row.order)
    order = Order(**{**told, "hosts": tuple(told["hosts"])})
    return Job(order, row.state, row.sentence, row.executor, row.fence, row.cancelled_by)


def _bounded(connection: Any, _: Any) -> None:
    """The server ends a session that falls silent within a transaction: the process may be frozen, and holds locks."""
    before, connection.autocommit = connection.autocommit, True
    connection.execute(f"SET idle_in_transaction_session_timeout TO '{FROZEN_SECONDS_MAX}s'")
    connection.execute(f"SET lock_timeout TO '{2 * FROZEN_SECONDS_MAX}s'")
    connection.autocommit = before
