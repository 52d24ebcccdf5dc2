"""A system's rows, through the gate of the own site: acts written whole or not at all, and read back by content.

Everything here blocks and runs in the service's bounded threads. A COMMIT is never cancelled: whoever waits for the
synchronous copy waits until it answers or the gate closes the connection, for a cancelled wait acknowledges what only
this site holds.
"""

from __future__ import annotations

import json
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ncia.core.base.errors import NciaError
from ncia.lab.apps.definition import CONTENT, DOCUMENT, Definition, Rule, RuleRefused, Step
from ncia.lab.apps.documents import Document

LOCK_MILLISECONDS_MAX = 1500
IDLE_IN_TRANSACTION_MILLISECONDS_MAX = 10_000
CONNECT_SECONDS_MAX = 2
EPOCH_PARAMETER = "ncia_epoch"  # the gate adds it to PostgreSQL's own start-up parameters

Connection = psycopg.Connection[dict[str, Any]]
Connect = Callable[[], Connection]


class NotRecorded(NciaError):
    """The act is not in the database and will not come: it may be sent again."""


class OutcomeUnknown(NciaError):
    """The COMMIT left and no clear word came back."""


class AlreadyRecorded(NciaError):
    """An act of that id is in the database; whether it is what was sent is the caller's to compare."""


@dataclass(frozen=True)
class Recorded:
    """An act that is committed, and its content as the rows hold it."""

    id: str
    epoch: int
    content_sha256: str


@dataclass(frozen=True)
class Seen:
    """What a read gave. ``epoch`` is the one of the connection that read."""

    epoch: int
    row: Mapping[str, Any] | None


class Attempt:
    """One write, watched by two: the caller may give it up until COMMIT begins, never after."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._committing = False

    @property
    def given_up(self) -> bool:
        return self._given_up

    def give_up(self) -> bool:
        """True where nothing will be committed; false where COMMIT has begun and nobody can know."""
        with self._lock:
            self._given_up = not self._committing
            return self._given_up

    def begin_commit(self) -> bool:
        with self._lock:
            self._committing = not self._given_up
            return self._committing


def gate_connect(host: str, port: int, database: str, passfile: str, application: str) -> Connect:
    """How to reach the database through the gate. Nothing here can time out a COMMIT: the lock and idle limits act
    inside a transaction only, and there is no statement timeout."""
    limits = (
        f"-c lock_timeout={LOCK_MILLISECONDS_MAX}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MILLISECONDS_MAX}"
    )

    def connect() -> Connection:
        return psycopg.connect(
            host=host,
            port=port,
            user="app",
            dbname=database,
            passfile=passfile,
            connect_timeout=CONNECT_SECONDS_MAX,
            client_encoding="utf8",
            application_name=application,
            options=limits,
            row_factory=dict_row,
        )

    return connect


class Connections:
    """Open connections that wait for work, the last used first. Bounded by the threads that use it."""

    def __init__(self, connect: Connect, autocommit: bool) -> None:
        self._connect = connect
        self._autocommit = autocommit
        self._idle: deque[Connection] = deque()

    def take(self, epoch_min: int) -> Connection:
        """A connection of at least that epoch; older ones were opened before a promotion and are closed."""
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                opened = self._connect()
                opened.autocommit = self._autocommit
                return opened
            if is_quiet(kept) and epoch_of(kept) >= epoch_min:
                return kept
            kept.close()

    def put(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


def is_quiet(connection: Connection) -> bool:
    """An idle connection on which something waits to be read was closed by the gate or by PostgreSQL."""
    if connection.closed:
        return False
    return not select.select([connection.fileno()], [], [], 0)[0]


def epoch_of(connection: Connection) -> int:
    """The epoch under which the gate let this connection in; 0 where no gate said one."""
    told = connection.info.parameter_status(EPOCH_PARAMETER)
    return int(told) if told else 0


class Store:
    """The rows of one system."""

    def __init__(self, definition: Definition, connect: Connect) -> None:
        self._definition = definition
        self._latest = LATEST.format(seen=definition.read.format(id="latest.id::uuid")).encode()
        self._writers = Connections(connect, autocommit=False)
        self._readers = Connections(connect, autocommit=True)

    def close(self) -> None:
        self._writers.close()
        self._readers.close()

    # --- writing -------------------------------------------------------------------------------------------------

    def record(self, values: Mapping[str, Any], *, marked: bool, epoch_min: int, attempt: Attempt) -> Recorded:
        """Carry out the transaction for ``values`` (``id``, the act's fields, what calls gave, the document that was
        kept for it) and commit it.

        Raises :class:`RuleRefused`, :class:`AlreadyRecorded`, :class:`NotRecorded`, :class:`OutcomeUnknown`.
        """
        late = NotRecorded("act.late", "record the act", "it did not reach COMMIT in time", "send it again")
        if attempt.given_up:
            raise late
        try:
            connection = self._writers.take(epoch_min)
        except psycopg.Error as error:
            raise not_recorded(error) from error
        try:
            content_sha256 = self._before_commit(connection, values, marked)
            if not attempt.begin_commit():
                raise late
            commit(connection)
            return Recorded(str(values["id"]), epoch_of(connection), content_sha256)
        except OutcomeUnknown:
            connection.close()
            raise
        finally:
            roll_back(connection)
            self._writers.put(connection)

    def _before_commit(self, connection: Connection, values: Mapping[str, Any], marked: bool) -> str:
        try:
            return perform(connection, self._definition, values, marked)
        except psycopg.errors.IntegrityError as error:
            if error.diag.constraint_name == "acts_pkey":
                why = f"act {values['id']} is recorded already"
                raise AlreadyRecorded("act.already", "record the act", why, "read it back by its id") from error
            raise RuleRefused(409, f"a rule of the rows refuses it: {error.diag.constraint_name}") from error
        except psycopg.errors.DataError as error:
            raise RuleRefused(422, f"a value does not fit: {error.diag.message_primary}") from error
        except psycopg.Error as error:
            raise not_recorded(error) from error

    # --- reading -------------------------------------------------------------------------------------------------

    def latest(self, epoch_min: int) -> Seen:
        """The characteristic read: the latest act with its content, and what the definition shows beside it."""

        return self._read(lambda connection: connection.execute(self._latest).fetchone(), epoch_min)

    def act(self, act: str, epoch_min: int) -> Seen:
        return self._read(lambda connection: connection.execute(ONE_ACT, {"id": act}).fetchone(), epoch_min)

    def query(self, name: str, key: str, epoch_min: int) -> Seen:
        """What another system asks; raises :class:`RuleRefused` (422) where ``key`` is not of that query's kind."""
        sql = self._definition.queries[name].sql
        try:
            return self._read(lambda connection: connection.execute(sql, {"key": key}).fetchone(), epoch_min)
        except psycopg.errors.DataError as error:
            raise RuleRefused(422, f"no such key: {error.diag.message_primary}") from error

    def sync_partner(self, epoch_min: int) -> Seen:
        """``required`` (does a COMMIT wait for a copy?), its ``state`` and the age of its last word."""
        return self._read(lambda connection: connection.execute(SYNC_PARTNER).fetchone(), epoch_min)

    def _read(self, read: Callable[[Connection], Mapping[str, Any] | None], epoch_min: int) -> Seen:
        """A connection that the gate closed while it was idle costs one more try; reads may be repeated."""
        try:
            return self._read_once(read, epoch_min)
        except psycopg.OperationalError:
            self._readers.close()
            return self._read_once(read, epoch_min)

    def _read_once(self, read: Callable[[Connection], Mapping[str, Any] | None], epoch_min: int) -> Seen:
        connection = self._readers.take(epoch_min)
        try:
            return Seen(epoch_of(connection), read(connection))
        finally:
            self._readers.put(connection)


LATEST = f"""
with latest as materialized ({CONTENT} where id = (select id from acts order by number desc limit 1))
select latest.*, ({{seen}}) as seen from latest
"""  # noqa: S608 -- constants
KEEP_DOCUMENT = "insert into act_documents values (%(act)s, %(name)s, %(size_bytes)s, %(sha256)s)"
ONE_ACT = CONTENT + " where id = %(id)s::uuid"
SYNC_PARTNER = """
select current_setting('synchronous_standby_names') <> '' as required, p.state, p.age_seconds
from (select 1) as always left join ncia.sync_partner() p on true
"""


def perform(connection: Connection, definition: Definition, values: Mapping[str, Any], marked: bool) -> str:
    """The statements of one act, without COMMIT; answers the hash of the content as the rows now hold it.

    Statements travel in a pipeline: what need not be waited for goes with what must, so that an act costs three or
    four round trips through the gate however many rows it writes.
    """
    known = dict(values)
    refuse_by_rules(definition.steps, known)
    with connection.pipeline():
        connection.execute("insert into acts (id, marked) values (%(id)s, %(marked)s)", {**known, "marked": marked})
        for step in definition.steps:
            if isinstance(step, Rule):
                apply(step, known)
                continue
            cursor = connection.execute(step.sql, known)
            row = cursor.fetchone() if step.awaited else None
            if row is None and step.otherwise:
                raise RuleRefused(step.status, step.otherwise.format_map(known))
            known.update(row or {})
        if isinstance(document := known.get(DOCUMENT), Document):
            connection.execute(KEEP_DOCUMENT, {"act": known["id"], **document.as_told()})
        cursor = connection.execute(ONE_ACT, {"id": known["id"]})
    content = cursor.fetchone()
    if content is None:
        raise NotRecorded("act.no-content", "record the act", "its rows give no content", "mend the definition's view")
    return str(content["content_sha256"])


def refuse_by_rules(steps: Sequence[Rule | Step], known: Mapping[str, Any]) -> None:
    """The rules before the first statement need no database."""
    for step in steps:
        if isinstance(step, Step):
            return
        apply(step, known)


def apply(rule: Rule, known: Mapping[str, Any]) -> None:
    if not rule.holds(known):
        raise RuleRefused(rule.status, rule.otherwise.format_map(known))


def commit(connection: Connection) -> None:
    """COMMIT, and believe it only where no warning came with it: "canceling the wait for synchronous replication"
    means that this site holds the act and no other may."""
    warnings: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(str(diagnostic.message_primary))

    connection.add_notice_handler(hear)
    try:
        connection.commit()
    except psycopg.Error as error:
        raise OutcomeUnknown("act.unknown", "commit the act", brief(error), "read it back by its id") from error
    finally:
        connection.remove_notice_handler(hear)
    if warnings:
        raise OutcomeUnknown("act.unknown", "commit the act", "; ".join(warnings), "read it back by its id")


def roll_back(connection: Connection) -> None:
    """Leave no transaction open; a connection that cannot even do that is closed."""
    try:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.rollback()
    except psycopg.Error:
        connection.close()


def not_recorded(error: psycopg.Error) -> NotRecorded:
    return NotRecorded("act.not-recorded", "record the act", brief(error), "send it again")


def brief(error: psycopg.Error) -> str:
    """The database's or the gate's own sentence, in one line."""
    return (error.diag.message_primary or str(error) or type(error).__name__).strip().replace("\n", "; ")


def as_told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A read row as citizens are told it: the content as JSON, not as text."""
    return {**row, "content": json.loads(row["content"])}
