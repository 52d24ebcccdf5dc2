"""A repository in a bucket over S3: each file one PUT with its MD5, and then looked at, for stores may keep nothing.

No conditional write, version or lock is leaned on (decision 0008): two who save one name at the same moment both write
it, which with names that are digests of the content is the same file. An ETag that is the content's MD5
saves reading it back; where it is another thing, as with some encryptions, the content itself is read and compared.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from backup.clients.s3 import ABSENT, code_of, pages, tag_of
from backup.repository.format.layout import demand_range, name_of, path_of, told
from backup.repository.ports import Kind, Missing, Stored, StoreFault
from backup.repository.stores.retry import NotKept, Unanswered

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # a store may take long to keep a pack
BUSY = ("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout")
BROKEN_OFF = ("IncompleteBody", "RequestTimeout")
ALTERED = ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch")
REFUSED = ("SignatureDoesNotMatch", "AccessDenied", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "403")
OUT_OF_RANGE = ("InvalidRange", "416")
NOT_IMPLEMENTED = 501


class S3Store:
    """``bucket`` below ``prefix`` as :class:`~backup.repository.ports.Store`. ``store``: its name, for a person."""

    def __init__(self, client: Any, bucket: str, prefix: str, store: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._store = store
        self._where = f"{store}/{bucket}" + (f"/{prefix}" if prefix else "")

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        what = f"save {told(kind, name)} in {self._where}"
        key, content = self._key(kind, name), bytes(data)
        digest = hashlib.md5(content, usedforsecurity=False)
        words = self._words(kind)
        with self._asking(what):
            found = self._head(key)
            if found is not None:
                if not self._same(found, key, content, digest.hexdigest()):
                    hint = "if that file is damaged, remove it and save again"
                    raise StoreFault("repository.other-content", what, "other bytes have that name there", hint)
                self._settle(what, key, found, words)
                return
            md5 = base64.b64encode(digest.digest()).decode()
            self._put(what, Bucket=self._bucket, Key=key, Body=content, ContentMD5=md5, **words)
            kept = self._head(key)
            if kept is None or not self._same(kept, key, content, digest.hexdigest()):
                why = "the store took it and has " + ("no such file" if kept is None else "other bytes")
                raise NotKept("repository.not-kept", what, why, "look at the store")
            self._settle(what, key, kept, words)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        what = f"load {told(kind, name)} from {self._where}"
        demand_range(what, offset, length)
        key = self._key(kind, name)
        if length == 0:
            self.size(kind, name)
            return b""
        end = None if length is None else offset + length
        wanted = {} if offset == 0 and end is None else {"Range": f"bytes={offset}-{'' if end is None else end - 1}"}
        with self._asking(what):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, **wanted)
            except ClientError as error:
                if code_of(error) in OUT_OF_RANGE:
                    return b""
                raise
            content: bytes = answer["Body"].read()
        # Some say 200 of a part: its range tells, and a store that knows of no ranges sends the whole.
        partial = str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-")
        return content if partial or not wanted else content[offset:end]

    def size(self, kind: Kind, name: str) -> int:
        what, key = f"look at {told(kind, name)} in {self._where}", self._key(kind, name)
        with self._asking(what):
            found = self._head(key)
        if found is None:
            raise self._missing(what)
        return int(found["ContentLength"])

    def names(self, kind: Kind) -> Iterator[Stored]:
        with self._asking(f"list {kind} of {self._where}"):
            if kind is Kind.CONFIG:
                found = self._head(self._key(kind, ""))
                if found is not None:
                    yield Stored("", int(found["ContentLength"]))
                return
            for page in pages(self._client, self._bucket, f"{self._prefix}{kind}/"):
                for each in page.get("Contents", ()):
                    name = name_of(kind, str(each["Key"]).removeprefix(self._prefix))
                    if name is not None:
                        yield Stored(name, int(each["Size"]))

    def remove(self, kind: Kind, name: str) -> None:
        key = self._key(kind, name)
        with self._asking(f"remove {told(kind, name)} from {self._where}"):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if code_of(error) not in ABSENT:
                    raise

    def create(self) -> None:
        """A bucket has no folders; it is made where it is not there, as restic does."""
        what = f"make a repository in {self._where}"
        with self._asking(what):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if code_of(error) not in (*ABSENT, "NoSuchBucket"):
                    raise
                self._make_bucket()
            if self._head(self._key(Kind.CONFIG, "")) is not None:
                raise StoreFault("repository.exists", what, "there is one already", "choose another bucket or prefix")

    def close(self) -> None:
        self._client.close()

    def _words(self, kind: Kind) -> dict[str, Any]:
        """What is asked for with each file beside its content."""
        return {}

    def _put(self, what: str, **words: Any) -> None:
        self._client.put_object(**words)

    def _settle(self, what: str, key: str, found: dict[str, Any], words: dict[str, Any]) -> None:
        """See to it that a file which is there, as HEAD tells of it in ``found``, has what was asked for."""

    def _make_bucket(self) -> None:
        self._client.create_bucket(Bucket=self._bucket)

    def _key(self, kind: Kind, name: str) -> str:
        return self._prefix + path_of(kind, name)

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code_of(error) in ABSENT:
                return None
            raise
        return found

    def _same(self, found: dict[str, Any], key: str, content: bytes, digest: str) -> bool:
        if int(found["ContentLength"]) != len(content):
            return False
        if tag_of(found.get("ETag")) == digest:
            return True
        held: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return held == content

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._refused(what, error) from error
        except SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise self._silent(what, error) from error
            hint = "is it the right host? AWS_CA_BUNDLE names a file of authorities"
            why = f"the certificate of {self._store} is not trusted: {str(error)[:200]}"
            raise StoreFault("repository.certificate", what, why, hint) from error
        except (HTTPClientError, ConnectionError, IncompleteReadError, ResponseParserError, OSError) as error:
            raise self._silent(what, error) from error
        except BotoCoreError as error:
            raise StoreFault("repository.failed", what, f"it cannot be asked for: {str(error)[:200]}") from error

    def _silent(self, what: str, error: Exception) -> Unanswered:
        why = f"{self._store} does not answer: {str(error)[:200] or type(error).__name__}"
        return Unanswered("repository.unreachable", what, why, "is the store up?")

    def _missing(self, what: str) -> Missing:
        return Missing("repository.missing", what, "there is no such file", "is it the right bucket and prefix?")

    def _refused(self, what: str, error: ClientError) -> StoreFault | Missing:
        code, text = code_of(error), str(error.response.get("Error", {}).get("Message", "")) or str(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in ABSENT:
            return self._missing(what)
        if code == "NoSuchBucket":
            return StoreFault("repository.none", what, f"there is no bucket {self._bucket}", "init makes a new one")
        if code in ALTERED:
            return NotKept(
                "repository.not-kept", what, "the store received other bytes than were sent", "send it again"
            )
        if status == 507 or "no space" in text.lower() or "quota" in text.lower() or code == "XMinioStorageFull":
            return StoreFault("repository.full", what, "the store has no room left", "make room there, then again")
        if code == "RequestTimeTooSkewed":
            why = "the clock here and the store's are too far apart for a signature to count"
            return StoreFault("repository.clock", what, why, "set the clocks by NTP")
        if code in REFUSED:
            hint = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do there"
            return StoreFault("repository.refused", what, f"{self._store} refuses our key: {code}", hint)
        why = f"{self._store} says {status} {code}: {text[:200]}"
        if status in (429, 503) or code in BUSY or code in BROKEN_OFF:
            return Unanswered("repository.busy", what, why, "fewer writers at once")
        if status >= 500 and status != NOT_IMPLEMENTED:  # several stores say no more of a full disk
            return Unanswered("repository.unreachable", what, why, "look at its disk and its log")
        return StoreFault("repository.failed", what, why, "look at its log")
