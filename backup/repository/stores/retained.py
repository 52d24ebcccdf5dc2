"""A repository in a bucket with S3 Object Lock: each file is retained when it is saved, and the store's word read back.

The store's word is not proof: some echo the header and keep nothing from anybody. :meth:`RetainedS3Store.prove` attacks
a file of its own, and a new repository is made only where the attack fails (decision 0019).
A removal in such a bucket puts a marker over the file, and an overwriting another version: :meth:`undelete` takes the
markers away, and puts the version whose bytes have the digest that the file is named by on top again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from backup.clients.s3 import ABSENT, Version, code_of, pages, versions
from backup.repository.format.layout import name_of, told
from backup.repository.ports import Kind, StoreFault
from backup.repository.retaining import Capabilities, File, Mode, Retention, Undeleted, Verdict
from backup.repository.stores.attack import Attack
from backup.repository.stores.s3 import S3Store

NO_LOCK = (
    "InvalidRequest",
    "InvalidBucketState",
    "ObjectLockConfigurationNotFoundError",
    "NotImplemented",
    "MethodNotAllowed",
)
NO_RETENTION = ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest")
A_LOCKED_BUCKET = "a bucket made with Object Lock, on a store that keeps its word: init makes one"


def now_utc() -> datetime:
    return datetime.now(UTC)


class RetainedS3Store(S3Store):
    """As :class:`S3Store` with ``retention`` on each file; also :class:`~backup.repository.retaining.Retaining`."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        store: str,
        retention: Retention | None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        super().__init__(client, bucket, prefix, store)
        self._retention = retention
        self._now = now
        self._proven = False

    def create(self) -> None:
        """As of any bucket, and where Object Lock holds: raises ``repository.no-lock``, ``repository.pretends``."""
        super().create()
        self.prove().demand(A_LOCKED_BUCKET)

    def retention(self) -> Retention | None:
        return self._retention

    def capabilities(self) -> Capabilities:
        retention = self.retention()
        return Capabilities(retention.mode, self._proven, undeletes=True) if retention else Capabilities()

    def prove(self) -> Verdict:
        what = f"prove that {self._where} retains files"
        self._proven = False
        mode = self._demand_retention(what).mode
        with self._asking(what):
            attack = Attack(self._client, self._bucket, self._prefix, mode, self._now())
            try:
                broken = attack.carried_out()
            except ClientError as error:
                raise self._no_lock(what, error) from error
        self._proven = not broken
        return Verdict(self._where, attack.tried, broken)

    def retained_until(self, kind: Kind, name: str) -> datetime | None:
        what, key = f"look how long {told(kind, name)} is retained in {self._where}", self._key(kind, name)
        with self._asking(what):
            return self._held(what, key).until

    def extend(self, kind: Kind, name: str, until: datetime) -> None:
        what, key = f"retain {told(kind, name)} in {self._where} until {until:%F %T}", self._key(kind, name)
        wanted = (until + timedelta(microseconds=999_999)).replace(microsecond=0)  # stores keep whole seconds
        with self._asking(what):
            self._extend(what, key, self._held(what, key), wanted)

    def saved_before(self, kind: Kind, moment: datetime) -> Iterator[str]:
        with self._asking(f"list {kind} of {self._where}"):
            if kind is Kind.CONFIG:
                found = self._head(self._key(kind, ""))
                if found is not None and found["LastModified"] < moment:
                    yield ""
                return
            for page in pages(self._client, self._bucket, f"{self._prefix}{kind}/"):
                for each in page.get("Contents", ()):
                    name = name_of(kind, str(each["Key"]).removeprefix(self._prefix))
                    if name is not None and each["LastModified"] < moment:
                        yield name

    def undelete(self, since: datetime, expected: Collection[File] = ()) -> Undeleted:
        what = f"bring back what was removed from {self._where} since {since:%F %T}"
        back: list[File] = []
        gone: list[File] = []
        seen: set[File] = set()
        with self._asking(what):
            for file, found in self._histories():
                seen.add(file)
                if _was_removed(found, since):
                    continue
                good = self._good(file, found)
                if good is None:
                    gone.append(file)
                elif good is not found[0]:
                    self._put_on_top(what, file, found, good)
                    back.append(file)
        gone += [each for each in expected if each not in seen]
        return Undeleted(tuple(back), tuple(sorted(set(gone))))

    def _words(self, kind: Kind) -> dict[str, Any]:
        retention = None if kind is Kind.LOCKS else self.retention()
        if retention is None:
            return {}
        return {"ObjectLockMode": str(retention.mode), "ObjectLockRetainUntilDate": retention.until(self._now())}

    def _demand_retention(self, what: str) -> Retention:
        retention = self.retention()
        if retention is None:
            why = f"{self._store} does not retain files in {self._bucket}"
            raise StoreFault("repository.no-lock", what, why, A_LOCKED_BUCKET)
        return retention

    def _put(self, what: str, **words: Any) -> None:
        try:
            super()._put(what, **words)
        except ClientError as error:
            raise self._no_lock(what, error) from error

    def _settle(self, what: str, key: str, found: dict[str, Any], words: dict[str, Any]) -> None:
        """A file that was there already is retained anew: it is saved again because it is needed again."""
        if words:
            held = _Held.of(found.get("ObjectLockMode"), found.get("ObjectLockRetainUntilDate"))
            if not held.covers(Mode(words["ObjectLockMode"]), words["ObjectLockRetainUntilDate"]):
                self._extend(what, key, held, words["ObjectLockRetainUntilDate"])

    def _make_bucket(self) -> None:
        self._client.create_bucket(Bucket=self._bucket, ObjectLockEnabledForBucket=True)

    def _held(self, what: str, key: str) -> _Held:
        try:
            found = self._client.get_object_retention(Bucket=self._bucket, Key=key)["Retention"]
        except ClientError as error:
            if code_of(error) in (*ABSENT, "MethodNotAllowed"):  # the latter of a marker
                raise self._missing(what) from error
            if self._head(key) is None:
                raise self._missing(what) from error
            if code_of(error) in NO_RETENTION:
                return _Held(None, None)
            raise self._no_lock(what, error) from error
        return _Held.of(found.get("Mode"), found.get("RetainUntilDate"))

    def _extend(self, what: str, key: str, held: _Held, until: datetime) -> None:
        asked = self._demand_retention(what).mode
        if not held.covers(asked, until):
            mode = Mode.COMPLIANCE if Mode.COMPLIANCE in (held.mode, asked) else Mode.GOVERNANCE
            words = {"Mode": str(mode), "RetainUntilDate": max(until, held.until or until)}
            try:
                self._client.put_object_retention(Bucket=self._bucket, Key=key, Retention=words)
            except ClientError as error:
                raise self._no_lock(what, error) from error
        held = self._held(what, key)
        if not held.covers(asked, until):
            why = f"{self._store} was asked for {asked} until {until:%FT%TZ} and says {held}"
            raise StoreFault("repository.not-retained", what, why, A_LOCKED_BUCKET)

    def _no_lock(self, what: str, error: ClientError) -> Exception:
        """A store that takes no retention; another refusal is told as such."""
        if code_of(error) not in NO_LOCK:
            return self._refused(what, error)
        text = str(error.response.get("Error", {}).get("Message") or "")[:200]
        why = f"{self._store} does not retain files in {self._bucket}: {code_of(error)} {text}".rstrip()
        return StoreFault("repository.no-lock", what, why, A_LOCKED_BUCKET)

    def _histories(self) -> Iterator[tuple[File, list[Version]]]:
        """Every file that was ever there but for locks, with its versions and markers, the newest first."""
        for kind in Kind:
            if kind is Kind.LOCKS:
                continue
            together: dict[str, list[Version]] = {}
            for each in versions(self._client, self._bucket, f"{self._prefix}{kind}"):
                name = name_of(kind, each.key.removeprefix(self._prefix))
                if name is not None:
                    together.setdefault(name, []).append(each)
            for name, found in together.items():
                yield (kind, name), sorted(found, key=lambda each: (each.latest, each.at), reverse=True)

    def _good(self, file: File, found: Sequence[Version]) -> Version | None:
        """The newest version that holds what its name says. Of several that are the same none is read; the
        configuration, which is named by nothing and never changes, is as the oldest."""
        held = [each for each in found if not each.marker]
        if file[0] is Kind.CONFIG and held:
            return next(each for each in held if (each.tag, each.size) == (held[-1].tag, held[-1].size))
        if len({(each.tag, each.size) for each in held}) < 2:
            return held[0] if held else None
        return next((each for each in held if hashlib.sha256(self._content(each)).hexdigest() == file[1]), None)

    def _put_on_top(self, what: str, file: File, found: Sequence[Version], good: Version) -> None:
        """Markers that lie over it are taken away; over another's bytes, which may be retained too, it is put anew."""
        above = found[: found.index(good)]
        for each in above:
            if each.marker:
                self._client.delete_object(Bucket=self._bucket, Key=each.key, VersionId=each.id)
        words = self._words(file[0])
        if not all(each.marker for each in above):
            self._put(what, Bucket=self._bucket, Key=good.key, Body=self._content(good), **words)
        now = self._head(good.key)
        if now is None or int(now["ContentLength"]) != good.size:
            why = f"{self._store} still does not give {told(*file)} after its removal was undone"
            raise StoreFault("repository.failed", what, why, "look at the store")
        self._settle(what, good.key, now, words)

    def _content(self, version: Version) -> bytes:
        answer = self._client.get_object(Bucket=self._bucket, Key=version.key, VersionId=version.id)
        content: bytes = answer["Body"].read()
        return content


@dataclass(frozen=True)
class _Held:
    """How a store says that it retains a file."""

    mode: Mode | None
    until: datetime | None

    @staticmethod
    def of(mode: object, until: datetime | None) -> _Held:
        return _Held(Mode(str(mode)), until) if str(mode) in tuple(Mode) and until is not None else _Held(None, None)

    def covers(self, mode: Mode, until: datetime) -> bool:
        if self.mode is None or self.until is None:
            return False
        strong = self.mode is Mode.COMPLIANCE or mode is Mode.GOVERNANCE
        return strong and self.until >= until

    def __str__(self) -> str:
        return "nothing" if self.until is None else f"{self.mode} until {self.until:%FT%TZ}"


def _was_removed(found: Sequence[Version], since: datetime) -> bool:
    """Whether it had been removed before ``since``, and was not there at that time."""
    before = next((each for each in found if each.at < since), None)
    return before is not None and before.marker
