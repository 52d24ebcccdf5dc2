"""What is particular to a bucket: stores that say 200 and keep nothing, answers that go astray, keys, a full store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError, SSLError
from botocore.parsers import ResponseParserError

from backup.clients.s3 import Key, s3_client
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.stores.retry import NotKept, Retrying, Unanswered
from backup.repository.stores.s3 import S3Store
from ncia.core.base.errors import NciaError
from ncia.core.estate.model import Address
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.stores.places import client, id_of, pack
from tests.backup.repository.stores.relay import Astray, Wayward, relayed, wayward
from tests.demand import demand
from tests.ports import free_port


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with s3_stand(tmp_path_factory.mktemp("s3") / "objects") as access:
        yield access.endpoint


@pytest.fixture(scope="module")
def between(endpoint: Address) -> Iterator[Wayward]:
    with wayward(endpoint) as found:
        yield found


@pytest.fixture(scope="module")
def through(between: Wayward) -> Any:
    return client(between.address)


@pytest.fixture
def store(through: Any, between: Wayward, request: pytest.FixtureRequest) -> S3Store:
    between.plan.clear()
    found = S3Store(through, "bucket", f"through/{id_of(request.node.name.encode())[:8]}", "the store")
    found.save(Kind.CONFIG, "", b"a configuration")
    between.seen.clear()
    return found


def asking(store: S3Store) -> Retrying:
    return Retrying(store, pause=lambda _: None)


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
@pytest.mark.parametrize("astray", [Astray.SLOW_DOWN, Astray.LOST, Astray.CUT])
def test_a_save_that_goes_astray_is_done_when_asked_again(
    store: S3Store, between: Wayward, endpoint: Address, astray: Astray, method: str
) -> None:
    name, content = pack(300_000)
    between.plan = {method: deque([astray])}
    asking(store).save(Kind.DATA, name, content)
    assert between.plan[method] == deque()
    assert store.load(Kind.DATA, name) == content
    assert [(each.name, each.size) for each in store.names(Kind.DATA)] == [(name, len(content))]


def test_an_upload_that_breaks_off_leaves_nothing_under_its_name(store: S3Store, between: Wayward) -> None:
    name, content = pack(300_000)
    between.plan = {"PUT": deque([Astray.CUT])}
    with pytest.raises(Unanswered):
        store.save(Kind.DATA, name, content)
    assert list(store.names(Kind.DATA)) == []
    with pytest.raises(Missing):
        store.load(Kind.DATA, name)


def test_a_put_whose_answer_was_lost_is_not_sent_twice(store: S3Store, between: Wayward) -> None:
    name, content = pack(300_000)
    between.plan = {"PUT": deque([Astray.LOST])}
    asking(store).save(Kind.DATA, name, content)
    assert [each for each in between.seen if each.startswith("PUT")] == ["PUT LOST"]


def test_a_store_that_says_200_and_keeps_nothing_is_found_out_at_once(store: S3Store, between: Wayward) -> None:
    name, content = pack(1000)
    between.plan = {"PUT": deque([Astray.NOTHING] * 3)}
    with pytest.raises(NotKept, match="took it and has no such file"):
        asking(store).save(Kind.DATA, name, content)
    assert [each for each in between.seen if each.startswith("PUT")] == ["PUT NOTHING"] * 3
    between.plan = {"PUT": deque([Astray.NOTHING] * 2)}
    asking(store).save(Kind.DATA, name, content)
    assert store.load(Kind.DATA, name) == content


@pytest.mark.parametrize("astray", [Astray.SLOW_DOWN, Astray.LOST, Astray.FALSE])
def test_reads_listings_and_removals_that_go_astray_are_asked_again(
    store: S3Store, between: Wayward, astray: Astray
) -> None:
    name, content = pack(300_000)
    store.save(Kind.DATA, name, content)
    between.plan = {"GET": deque([astray] * 2)}
    assert asking(store).load(Kind.DATA, name) == content
    between.plan = {"GET": deque([astray] * 2)}
    assert asking(store).load(Kind.DATA, name, 1000, 250_000) == content[1000:251_000]
    between.plan = {"GET": deque([astray] * 2)}
    assert [each.name for each in asking(store).names(Kind.DATA)] == [name]
    if astray is not Astray.FALSE:
        between.plan = {"DELETE": deque([astray] * 2)}
        asking(store).remove(Kind.DATA, name)
        assert list(store.names(Kind.DATA)) == []


@pytest.mark.parametrize("tenths", range(0, 10, 2))
def test_an_upload_that_is_cut_at_any_byte_is_done_when_asked_again(endpoint: Address, tenths: int) -> None:
    with relayed(endpoint) as relay:
        found = S3Store(client(relay.address), "bucket", f"cut-{tenths}", "the store")
        found.create()
        name, content = pack(400_000)
        relay.cut_after(2000 + tenths * 40_000)
        asking(found).save(Kind.DATA, name, content)
        assert relay.cuts == 1
        assert found.load(Kind.DATA, name) == content
        found.close()


def test_a_bucket_is_made_with_the_repository_and_one_that_is_not_there_is_told(endpoint: Address) -> None:
    found = S3Store(client(endpoint), "made-here", "", "the store")
    for ask in (lambda: found.save(Kind.CONFIG, "", b"x"), lambda: list(found.names(Kind.DATA))):
        with pytest.raises(StoreFault, match=r"there is no bucket made-here.*init makes a new one") as none:
            ask()
        assert none.value.code == "repository.none"
    found.create()
    found.save(Kind.CONFIG, "", b"x")
    assert found.load(Kind.CONFIG, "") == b"x"


def test_repositories_in_one_bucket_do_not_see_each_other(endpoint: Address) -> None:
    name, content = pack(100)
    shared = client(endpoint)
    for prefix in ("", "a", "a/b", "ab"):
        S3Store(shared, "bucket", prefix, "the store").save(Kind.LOCKS, name, content)
    for prefix in ("", "a", "a/b", "ab"):
        store = S3Store(shared, "bucket", prefix, "the store")
        assert [each.name for each in store.names(Kind.LOCKS)] == [name]
        store.remove(Kind.LOCKS, name)
        assert list(store.names(Kind.LOCKS)) == []


def test_another_secret_is_refused_and_not_asked_again(endpoint: Address) -> None:
    found = S3Store(s3_client(Key("AKTEST", "another"), f"http://{endpoint}", 5, 5), "bucket", "", "the store")
    for ask in (lambda: found.save(Kind.CONFIG, "", b"x"), found.create, lambda: list(found.names(Kind.DATA))):
        with pytest.raises(StoreFault) as refused:
            ask()
        assert (type(refused.value), refused.value.code) == (StoreFault, "repository.refused")
        assert "another" not in str(refused.value)


def test_nobody_listening_is_unanswered_and_may_be_asked_again() -> None:
    with pytest.raises(Unanswered, match="the store does not answer"):
        S3Store(client(Address("127.0.0.1", free_port())), "bucket", "", "the store").size(Kind.CONFIG, "")


def test_a_full_store_is_told_and_leaves_nothing_half(tmp_path: Path) -> None:
    demand("unshare", "a disk of its own size")
    (one, first), (two, second) = pack(50_000), pack(900_000)
    with s3_stand(tmp_path / "objects", size="600k") as small:
        found = S3Store(client(small.endpoint), "bucket", "", "the store")
        found.save(Kind.DATA, one, first)
        with pytest.raises(StoreFault, match=r"500 InternalError.*look at its disk"):  # it says no more than that
            found.save(Kind.DATA, two, second)
        with pytest.raises(Missing):
            found.load(Kind.DATA, two)
        assert found.load(Kind.DATA, one) == first


class Saying:
    """A client whose store answers every HEAD with an absent file and every PUT with ``error``."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def head_object(self, **asked: object) -> None:
        raise told(404, "404")

    def put_object(self, **asked: object) -> None:
        raise self._error


def told(status: int, code: str, text: str = "") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize(
    ("error", "code", "type_"),
    [
        (told(503, "SlowDown"), "repository.busy", Unanswered),
        (told(429, "TooManyRequests"), "repository.busy", Unanswered),
        (told(400, "RequestTimeout"), "repository.busy", Unanswered),
        (told(400, "IncompleteBody"), "repository.busy", Unanswered),
        (told(500, "InternalError"), "repository.unreachable", Unanswered),
        (ResponseParserError("<html>"), "repository.unreachable", Unanswered),
        (SSLError(endpoint_url="https://store", error="EOF occurred"), "repository.unreachable", Unanswered),
        (
            SSLError(endpoint_url="https://store", error="CERTIFICATE_VERIFY_FAILED"),
            "repository.certificate",
            StoreFault,
        ),
        (told(400, "BadDigest"), "repository.not-kept", NotKept),
        (told(507, "InsufficientStorage"), "repository.full", StoreFault),
        (told(500, "E", "No space left on device"), "repository.full", StoreFault),
        (told(403, "QuotaExceeded", "quota exceeded"), "repository.full", StoreFault),
        (told(403, "RequestTimeTooSkewed"), "repository.clock", StoreFault),
        (told(403, "AccessDenied"), "repository.refused", StoreFault),
        (told(404, "NoSuchBucket"), "repository.none", StoreFault),
        (told(501, "NotImplemented"), "repository.failed", StoreFault),
        (told(400, "InvalidArgument", "what?"), "repository.failed", StoreFault),
        (ParamValidationError(report="no bucket"), "repository.failed", StoreFault),
    ],
)
def test_each_word_of_a_store_is_told_in_ours(error: Exception, code: str, type_: type[NciaError]) -> None:
    with pytest.raises(NciaError) as found:
        S3Store(Saying(error), "bucket", "", "the store").save(Kind.CONFIG, "", b"x")
    assert (found.value.code, type(found.value)) == (code, type_)
    assert found.value.what == "save config in the store/bucket"


class Encrypting:
    """A client whose store tells ETags that are no digests of the content, and keeps what ``keeps`` makes of it."""

    def __init__(self, keeps: bytes | None = None) -> None:
        self._keeps = keeps
        self._held: bytes | None = None

    def head_object(self, **asked: object) -> dict[str, object]:
        if self._held is None:
            raise told(404, "404")
        return {"ContentLength": len(self._held), "ETag": '"' + "0" * 32 + '"'}

    def put_object(self, Body: bytes, **asked: object) -> dict[str, object]:
        self._held = self._keeps or Body
        return {}

    def get_object(self, **asked: object) -> dict[str, object]:
        held = self._held or b""

        class Body:
            def read(self) -> bytes:
                return held

        return {"Body": Body()}


def test_where_an_etag_is_no_digest_the_content_itself_is_compared() -> None:
    store = S3Store(Encrypting(), "bucket", "", "the store")
    store.save(Kind.CONFIG, "", b"content")
    store.save(Kind.CONFIG, "", b"content")
    with pytest.raises(StoreFault, match="other bytes have that name"):
        store.save(Kind.CONFIG, "", b"CONTENT")
    with pytest.raises(NotKept, match="took it and has other bytes"):
        S3Store(Encrypting(b"CONTENT"), "bucket", "", "the store").save(Kind.CONFIG, "", b"content")


def test_a_store_that_knows_of_no_ranges_is_read_whole_and_cut_here() -> None:
    store = S3Store(Encrypting(), "bucket", "", "the store")
    store.save(Kind.CONFIG, "", b"0123456789")
    assert store.load(Kind.CONFIG, "", 3, 4) == b"3456"
    assert store.load(Kind.CONFIG, "", 8) == b"89"


def test_the_secret_is_not_shown() -> None:
    assert repr(Key("AK", "hidden", "hidden too")) == "Key(id='AK')"
