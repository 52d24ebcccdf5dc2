"""What is particular to a bucket: keys, a full store, a digest that does not fit, a bucket that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from backup.replicate.stores.s3 import Access, S3Bucket, client_of
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.work.documents import NotKept, StoreFull
from tests.backup.replicate.stores.stands import bucket_of, s3_stand
from tests.demand import demand
from tests.ports import free_port


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with s3_stand(tmp_path_factory.mktemp("s3") / "objects") as found:
        yield found


def test_another_secret_is_refused(access: Access) -> None:
    with pytest.raises(NciaError) as refused:
        bucket_of(replace(access, secret="another")).put("a", b"x")
    assert refused.value.code == "documents.refused"


def test_a_bucket_that_is_not_there_is_told_as_that(access: Access) -> None:
    with pytest.raises(NciaError) as refused:
        bucket_of(access, "no-such").put("a", b"x")
    assert refused.value.code == "documents.no-bucket"


def test_nobody_listening_is_unreachable(access: Access) -> None:
    away = replace(access, endpoint=replace(access.endpoint, port=free_port()))
    with pytest.raises(Unreachable, match="does not answer"):
        bucket_of(away).get("a")


def test_a_store_that_answers_with_another_digest_has_not_kept_it(access: Access) -> None:
    class Altering:
        def put_object(self, **asked: object) -> dict[str, str]:
            return {"ETag": '"' + "0" * 32 + '"'}

    with pytest.raises(NotKept, match="another MD5"):
        S3Bucket(Altering(), "bucket", "s3").put("a", b"x")


def test_a_full_store_is_a_clear_refusal_and_leaves_nothing_half(tmp_path: Path) -> None:
    demand("unshare", "a disk of its own size")
    with s3_stand(tmp_path / "objects", size="256k") as small:
        bucket = S3Bucket(client_of(small), "bucket", "s3")
        bucket.put("acts/fits", b"x" * 50_000)
        with pytest.raises(NciaError, match=r"500 InternalError.*look at its disk"):  # it says no more than that
            bucket.put("acts/too-much", b"x" * 400_000)
        assert bucket.get("acts/too-much") is None
        assert bucket.get("acts/fits") == b"x" * 50_000


def test_the_secret_is_not_shown(access: Access) -> None:
    assert access.secret not in repr(access)


@pytest.mark.parametrize(("status", "code", "text"), [(507, "InsufficientStorage", ""), (500, "E", "No space left")])
def test_a_store_that_says_it_is_full_is_told_as_full(status: int, code: str, text: str) -> None:
    class Full:
        def put_object(self, **asked: object) -> None:
            told = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(told, "PutObject")

    with pytest.raises(StoreFull):
        S3Bucket(Full(), "bucket", "s3").put("a", b"x")
