"""A client of an S3 server, and its words. Checksums newer than MD5 are off, for some stores break on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

CONNECTIONS_MAX = 16
USER_AGENT = "ncia"
REGION = "us-east-1"  # what stores without regions call themselves
MD5 = re.compile(r"[0-9a-f]{32}")
ABSENT = ("NoSuchKey", "404", "NotFound")


@dataclass(frozen=True)
class Key:
    """What an S3 server knows us by; ``token`` is of keys that are lent for a time."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def s3_client(key: Key, endpoint: str, connect_seconds: float, answer_seconds: float, region: str = REGION) -> Any:
    """A client, safe to use from many threads; its connections are kept. ``endpoint`` is a URL without a path.

    The library guesses at the format of each time and describes itself anew with each request. That was three quarters
    of the processor time of a listing, and a fifth of a small GET: both are told to it here. Each session of it reads
    what S3 is from megabytes of JSON, six sevenths of what a client takes: ours share what one has read."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions())
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        aws_session_token=key.token or None,
        region_name=region,
        config=Config(
            connect_timeout=connect_seconds,
            read_timeout=answer_seconds,
            retries={"total_max_attempts": 1},  # who asks decides whether to ask again
            max_pool_connections=CONNECTIONS_MAX,
            user_agent=USER_AGENT,
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@cache
def _descriptions() -> Any:
    """The library's own, whose memory of what it has read is as long as itself; no client changes what it is given."""
    return botocore.loaders.create_loader()


def pages(client: Any, bucket: str, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
    """A listing. Not by the library's paginator, which is made anew from its description each time."""
    further: dict[str, str] = {"Delimiter": delimiter} if delimiter else {}
    while True:
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **further)
        yield page
        if not page.get("IsTruncated"):
            return
        further["ContinuationToken"] = page["NextContinuationToken"]


@dataclass(frozen=True)
class Version:
    """What was put under a key at some time: bytes, or a marker that it was removed."""

    key: str
    id: str
    at: datetime
    latest: bool
    marker: bool
    tag: str = ""
    size: int = 0


def versions(client: Any, bucket: str, prefix: str) -> Iterator[Version]:
    """Everything that was put under keys that begin so, markers of removals among it."""
    further: dict[str, str] = {}
    while True:
        page: dict[str, Any] = client.list_object_versions(Bucket=bucket, Prefix=prefix, **further)
        for marker, part in ((False, "Versions"), (True, "DeleteMarkers")):
            for each in page.get(part, ()):
                tag, size = str(each.get("ETag", "")), int(each.get("Size", 0))
                yield Version(
                    str(each["Key"]), str(each["VersionId"]), each["LastModified"], each["IsLatest"], marker, tag, size
                )
        if not page.get("IsTruncated"):
            return
        further = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def tag_of(told: object) -> str:
    """The MD5 in an ETag; empty where it is none (multipart, encrypted)."""
    text = str(told or "").strip('"')
    return text if MD5.fullmatch(text) else ""


def _moment(told: str) -> datetime:
    """A time as S3 writes it: ISO 8601 in bodies, as in RFC 5322 in headers. ``ValueError`` where it is neither."""
    return datetime.fromisoformat(told) if told[:1].isdigit() else parsedate_to_datetime(told)
