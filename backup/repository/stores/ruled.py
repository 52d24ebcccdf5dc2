"""A bucket that says itself how long its files are retained, so that nobody who writes there has to remember it.

The word is the bucket's own default rule, as S3 has it: whoever writes without a word, restic too, has what it wrote
retained by the store. Here it is read once, asked for with each file and read back. A bucket with Object Lock and no
rule takes nothing from us: what would be written could be removed by whoever has our key, and nobody would be told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from backup.clients.s3 import ABSENT, code_of
from backup.repository.ports import Kind, StoreFault
from backup.repository.retaining import Mode, Retention, longer
from backup.repository.stores.retained import A_LOCKED_BUCKET, NO_LOCK, RetainedS3Store, now_utc
from backup.repository.stores.s3 import REFUSED

NO_RULE = "NoSuchBucket", "NoSuchObjectLockConfiguration", "NotImplemented", "NotFound", *NO_LOCK, *ABSENT
YEAR_DAYS = 366  # S3 counts rules in days or in years
SET_A_RULE = "whoever owns the bucket says it once: ncia repo retention set --days N"


@dataclass(frozen=True)
class Rule:
    """What a bucket says of itself. ``told``: whether it said anything to our key."""

    locks: bool
    retention: Retention | None = None
    told: bool = True


class RuledS3Store(RetainedS3Store):
    """Retains as the bucket says. ``asked``: what is to be the rule of a bucket that has none yet, at :meth:`create`.
    A bucket without Object Lock is a plain place. Nothing is asked of the bucket before the first file is saved."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        store: str,
        asked: Retention | None = None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        super().__init__(client, bucket, prefix, store, asked, now)
        self._asked_for = asked
        self._known: tuple[Retention | None] | None = None
        self._reading = threading.Lock()

    def create(self) -> None:
        """With ``asked``, or where the bucket has a rule: raises ``repository.no-lock``, ``repository.pretends``."""
        super(RetainedS3Store, self).create()
        self._set_where_none()
        if self.retention() is not None:
            self.prove().demand(A_LOCKED_BUCKET)

    def retention(self) -> Retention | None:
        with self._reading:
            if self._known is None:
                self._known = (self._read(),)
            return self._known[0]

    def set(self, retention: Retention) -> None:
        """The bucket's rule from now on, read back. What lies there already keeps its own end."""
        what = f"let {self._where} retain files under {retention}"
        told = {"Mode": str(retention.mode), "Days": retention.days}
        words = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": told}}
        with self._asking(what):
            try:
                self._client.put_object_lock_configuration(Bucket=self._bucket, ObjectLockConfiguration=words)
            except ClientError as error:
                raise self._no_lock(what, error) from error
        found = self.rule().retention
        if found != retention:
            why = f"{self._store} was asked for {retention} and says {found or 'nothing'}"
            raise StoreFault("repository.not-retained", what, why, A_LOCKED_BUCKET)
        with self._reading:
            self._known = None

    def rule(self) -> Rule:
        what = f"ask {self._where} how long it retains files"
        with self._asking(what):
            try:
                found = self._client.get_object_lock_configuration(Bucket=self._bucket)
            except ClientError as error:
                if code_of(error) in REFUSED:
                    return Rule(self._retains_config(), told=False)
                if code_of(error) in NO_RULE:
                    return Rule(locks=False)
                raise
        told = found.get("ObjectLockConfiguration") or {}
        default = (told.get("Rule") or {}).get("DefaultRetention") or {}
        days = int(default.get("Days") or 0) + YEAR_DAYS * int(default.get("Years") or 0)
        known = str(default.get("Mode")) in tuple(Mode) and days > 0
        retention = Retention(Mode(str(default["Mode"])), days) if known else None
        return Rule(told.get("ObjectLockEnabled") == "Enabled", retention)

    def _read(self) -> Retention | None:
        rule = self.rule()
        found = longer(self._asked_for, rule.retention)
        if found is None and rule.locks:
            what = f"find out how long files are to be retained in {self._where}"
            why = f"{self._bucket} has Object Lock, and no rule that says how long"
            hint = SET_A_RULE
            if not rule.told:
                why = f"files are retained in {self._bucket}, and its rule is not told to our key"
                hint = "let it have s3:GetBucketObjectLockConfiguration"
            raise StoreFault("repository.retention-unsaid", what, why, hint)
        return found

    def _set_where_none(self) -> None:
        if self._asked_for is None:
            return
        rule = self.rule()
        if rule.locks and rule.told and rule.retention is None:
            try:
                self.set(self._asked_for)
            except StoreFault as fault:
                if fault.code != "repository.refused":  # another's bucket: until they say it, nobody forgets it unheard
                    raise

    def _retains_config(self) -> bool:
        """What can be seen with less rights: that the configuration, which every repository has, is retained."""
        found = self._head(self._key(Kind.CONFIG, ""))
        return found is not None and bool(found.get("ObjectLockMode"))

    def _make_bucket(self) -> None:
        if self._asked_for is not None:
            super()._make_bucket()
        else:
            super(RetainedS3Store, self)._make_bucket()
