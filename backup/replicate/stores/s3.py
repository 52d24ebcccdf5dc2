"""A bucket over S3: each PUT carries its MD5, and the store's answer must bear the same one.

No conditional write, version or lock is leaned on: whoever offers them says so in other ways than by accepting the
header (decision 0008). Checksums newer than MD5 are off, for some stores break on them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from backup.clients.s3 import ABSENT, Key, code_of, pages, s3_client, tag_of
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.estate.model import Address
from ncia.core.work.documents import (
    DOCUMENT_BYTES_MAX,
    Folder,
    NotKept,
    Seen,
    StoreFull,
    demand_name,
    fault_of,
    is_own,
)

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Access:
    """An object store as dialled from here, and the key to it."""

    endpoint: Address
    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Access({self.endpoint})"


def client_of(access: Access) -> Any:
    """A client, safe to use from many threads; its connections are kept."""
    return s3_client(Key(access.key, access.secret), f"http://{access.endpoint}", CONNECT_SECONDS, ANSWER_SECONDS)


class S3Bucket:
    """One bucket, as :class:`~ncia.core.work.documents.Documents`. ``store`` names the store for a person."""

    def __init__(self, client: Any, bucket: str, store: str) -> None:
        self._client = client
        self._bucket = bucket
        self._store = store

    @property
    def where(self) -> str:
        return f"{self._store}/{self._bucket}"

    def put(self, name: str, content: bytes, modified_at: float | None = None) -> None:
        what = f"write {name} to {self.where}"
        digest = hashlib.md5(content, usedforsecurity=False)
        with self._asking(what):
            told = self._client.put_object(
                Bucket=self._bucket,
                Key=demand_name(name),
                Body=content,
                ContentMD5=base64.b64encode(digest.digest()).decode(),
            )
        tag = tag_of(told.get("ETag"))
        if tag and tag != digest.hexdigest():
            raise NotKept(
                "documents.not-kept", what, f"the store answers with another MD5 ({tag})", "look at the store"
            )

    def get(self, name: str) -> bytes | None:
        what = f"read {name} from {self.where}"
        with self._asking(what):
            try:
                told = self._client.get_object(Bucket=self._bucket, Key=demand_name(name))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
            content: bytes = told["Body"].read(DOCUMENT_BYTES_MAX + 1)
        if len(content) > DOCUMENT_BYTES_MAX:
            why = f"it has more than {DOCUMENT_BYTES_MAX} bytes"
            raise NciaError("documents.too-large", what, why, "keep it in a dataset of its own kind")
        return content

    def look(self, folder: str) -> Folder:
        prefix = f"{demand_name(folder)}/" if folder else ""
        documents: list[Seen] = []
        folders: list[str] = []
        refused: list[str] = []
        with self._asking(f"list {folder or '/'} of {self.where}"):
            for page in pages(self._client, self._bucket, prefix, "/"):
                for each in page.get("Contents", ()):
                    name = str(each["Key"])
                    if is_own(name.removeprefix(prefix)):
                        continue
                    if fault_of(name):
                        refused.append(name)
                        continue
                    moment = each["LastModified"].timestamp()
                    documents.append(Seen(name, int(each["Size"]), moment, tag_of(each.get("ETag"))))
                for each in page.get("CommonPrefixes", ()):
                    name = str(each["Prefix"]).rstrip("/")
                    if not is_own(name.removeprefix(prefix)):
                        (refused if fault_of(name) else folders).append(name)
        return Folder(tuple(documents), tuple(sorted(folders)), tuple(sorted(refused)))

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._refused(what, error) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            why = f"{self._store} does not answer: {str(error)[:200] or type(error).__name__}"
            raise Unreachable("documents.unreachable", what, why, "is the store up?") from error

    def _refused(self, what: str, error: ClientError) -> NciaError:
        code, text = code_of(error), str(error.response.get("Error", {}).get("Message", "")) or str(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in ("BadDigest", "InvalidDigest"):
            return NotKept("documents.not-kept", what, "the store received other bytes than were sent", "send it again")
        if status == 507 or "no space" in text.lower() or "quota" in text.lower() or code == "XMinioStorageFull":
            return StoreFull("documents.full", what, "the store has no room left", "make room there")
        if code in ("SignatureDoesNotMatch", "AccessDenied", "InvalidAccessKeyId"):
            return NciaError("documents.refused", what, f"{self._store} refuses our key: {code}", "secrets/s3_keys")
        if code == "NoSuchBucket":
            return NciaError("documents.no-bucket", what, "there is no such bucket", "make it at that store")
        hint = "look at its disk and its log" if status >= 500 else ""  # several stores say no more of a full disk
        return NciaError("documents.failed", what, f"{self._store} says {status} {code}: {text[:200]}", hint)
