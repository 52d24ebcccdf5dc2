"""A hostile holder of our key, played on one small file: whether Object Lock holds is seen by what happens, not heard.

The file lies beside the repository's under ``probe/``, where no reader looks, and is retained for minutes; the next
attack sweeps up what earlier ones left.
"""

from __future__ import annotations

import secrets as entropy
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from backup.clients.s3 import ABSENT, code_of, versions
from backup.repository.retaining import Mode

RETAINED_SECONDS = 600  # longer than two clocks differ where signatures still count (900 is refused), and short
FOLDER = "probe/"
SWEPT_MAX = 100
REFUSALS = ("AccessDenied", "403", "InvalidRequest", "ObjectLocked", "InvalidRetentionPeriod", "MethodNotAllowed")


class Attack:
    """Once each. ``tried`` says in which ways, in their order."""

    def __init__(self, client: Any, bucket: str, prefix: str, mode: Mode, now: datetime) -> None:
        self._client = client
        self._bucket = bucket
        self._folder = prefix + FOLDER
        self._mode = mode
        self._now = now
        self._until = (now + timedelta(seconds=RETAINED_SECONDS + 1)).replace(microsecond=0)
        self._key = f"{self._folder}{entropy.token_hex(16)}"
        self._content = entropy.token_bytes(32)
        self._words = {"ObjectLockMode": str(mode), "ObjectLockRetainUntilDate": self._until}
        self.tried: tuple[str, ...] = ()

    def carried_out(self) -> tuple[str, ...]:
        """The ways in which it succeeded, a sentence each. Raises ``ClientError`` where the file is not taken."""
        self._sweep()
        made = self._client.put_object(Bucket=self._bucket, Key=self._key, Body=self._content, **self._words)
        version = str(made.get("VersionId") or "")
        self.tried = ("keep versions",)
        if version in ("", "null"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key)
            return ("it takes the request to retain a file and keeps no versions: what is removed is gone",)
        broken: list[str] = []
        for way, attack, meaning in (
            ("shorten", self._shorten, "our own key can shorten the retention of a file"),
            ("shorten, bypassing", self._bypass, f"our own key can lift {self._mode} from a file"),
            ("remove the version", self._remove, "it says that a file is retained, and lets our own key remove it"),
            (
                "remove, bypassing",
                self._remove_bypassing,
                f"our own key can remove a file under {self._mode}",
            ),
            ("overwrite", self._overwrite, "a file that is overwritten is gone"),
            ("remove", self._hide, "a file that is removed is gone"),
        ):
            if attack == self._bypass and broken:
                continue  # what falls by itself needs no bypass
            self.tried += (way,)
            if attack(version):
                broken.append(meaning)
            if not self._is_there(version):
                return tuple(dict.fromkeys((*broken, meaning)))
        return tuple(broken)

    def _shorten(self, version: str) -> bool:
        return self._retention_falls(version, {})

    def _bypass(self, version: str) -> bool:
        return self._retention_falls(version, {"BypassGovernanceRetention": True})

    def _retention_falls(self, version: str, words: dict[str, Any]) -> bool:
        """Whether the store now tells an earlier end than the one that was asked for, whatever it answered."""
        sooner = {"Mode": str(self._mode), "RetainUntilDate": self._until - timedelta(seconds=RETAINED_SECONDS // 2)}
        here = {"Bucket": self._bucket, "Key": self._key, "VersionId": version}
        self._refusable(lambda: self._client.put_object_retention(**here, Retention=sooner, **words))
        held: dict[str, Any] = {}

        def asked() -> None:
            held.update(self._client.get_object_retention(**here)["Retention"])

        self._refusable(asked)
        return held.get("Mode") != str(self._mode) or held.get("RetainUntilDate", self._now) < self._until

    def _remove(self, version: str) -> bool:
        self._refusable(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key, VersionId=version))
        return False  # whether it is there is looked at

    def _remove_bypassing(self, version: str) -> bool:
        here = {"Bucket": self._bucket, "Key": self._key, "VersionId": version}
        self._refusable(lambda: self._client.delete_object(**here, BypassGovernanceRetention=True))
        return False

    def _overwrite(self, version: str) -> bool:
        """For minutes too: where the bucket has a rule of its own, it would be kept for as long as that says."""
        here = {"Bucket": self._bucket, "Key": self._key, "Body": b"other"}
        self._refusable(lambda: self._client.put_object(**here, **self._words))
        return False

    def _hide(self, version: str) -> bool:
        self._refusable(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key))
        return False

    def _is_there(self, version: str) -> bool:
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key, VersionId=version)
            content: bytes = found["Body"].read()
        except ClientError as error:
            if code_of(error) in (*ABSENT, "NoSuchVersion", "MethodNotAllowed"):
                return False
            raise
        return content == self._content

    def _refusable(self, ask: Any) -> None:
        """A store may refuse in its own words; only silence and its own failures are no answer."""
        try:
            ask()
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code_of(error) not in (*REFUSALS, *ABSENT) and ((status >= 500 and status != 501) or status == 429):
                raise

    def _sweep(self) -> None:
        """Earlier attacks' files, where their time is over; at most some at once, and no fault where it is not."""
        old = self._now - timedelta(seconds=2 * RETAINED_SECONDS)
        try:
            found = [each for each in versions(self._client, self._bucket, self._folder) if each.at < old]
        except ClientError:
            return  # it may have no versions to list: the attack will tell
        for each in found[:SWEPT_MAX]:
            self._refusable(
                lambda each=each: self._client.delete_object(Bucket=self._bucket, Key=each.key, VersionId=each.id)
            )
