"""Object Lock on a real gateway of Ceph's: what is saved is kept from our own key; pretenders are found out."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup.clients.s3 import code_of, s3_client
from backup.replicate.stores.s3 import Access
from backup.repository.format.layout import path_of
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.retaining import Capabilities, Mode, Retention, Undeleted, capabilities_of
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.retained import RetainedS3Store, now_utc
from backup.repository.stores.retry import RetryingRetained
from ncia.core.base.errors import NciaError
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.stores.ceph import BACKUP, BACKUP_USER, ceph_stand
from tests.backup.repository.stores.places import client, pack
from tests.backup.repository.stores.relay import Astray, wayward
from tests.demand import demand

NOW = datetime.now(UTC)
KEPT = Retention(Mode.COMPLIANCE, 3)
PASSWORD = "a password of a test"
LONG_AGO = NOW - timedelta(days=1)

Opened = Callable[..., RetainedS3Store]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with ceph_stand(tmp_path_factory.mktemp("ceph")) as access:
        yield access


@pytest.fixture(scope="module")
def raw(gateway: Access) -> Any:
    """The client of whoever has our key."""
    return client(gateway.endpoint)


class Echo:
    """A store that says what is asked for and retains ``days`` at most: 0 is nothing at all."""

    def __init__(self, below: Any, days: int) -> None:
        self._below = below
        self._days = days
        self._told: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def put_object(self, **words: Any) -> Any:
        mode, until = words.pop("ObjectLockMode", None), words.pop("ObjectLockRetainUntilDate", None)
        if mode and self._days:
            until = min(until, datetime.now(UTC) + timedelta(days=self._days))
            words |= {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
        elif mode:
            self._told = {"Mode": mode, "RetainUntilDate": until}
        return self._below.put_object(**words)

    def put_object_retention(self, **words: Any) -> Any:
        if self._days:
            words["Retention"]["RetainUntilDate"] = min(
                words["Retention"]["RetainUntilDate"], datetime.now(UTC) + timedelta(days=self._days)
            )
            return self._below.put_object_retention(**words)
        return {}

    def get_object_retention(self, **words: Any) -> Any:
        return self._below.get_object_retention(**words) if self._days else {"Retention": self._told}


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def opened(raw: Any, numbers: Iterator[int]) -> Opened:
    """Opens a store on a bucket of the test's own, which is made by ``create``."""
    bucket = f"locked-{next(numbers)}"

    def open(retention: Retention = KEPT, now: Callable[[], datetime] = now_utc) -> RetainedS3Store:
        return RetainedS3Store(raw, bucket, "below/a", "the store", retention, now)

    return open


@pytest.fixture
def bucket(opened: Opened) -> str:
    return opened()._bucket


@pytest.fixture
def store(opened: Opened) -> RetainedS3Store:
    found = opened()
    found.create()
    found.save(Kind.CONFIG, "", b"a configuration")
    return found


def key_of(kind: Kind, name: str) -> str:
    return f"below/a/{path_of(kind, name)}"


def saved(store: RetainedS3Store, kind: Kind = Kind.DATA) -> tuple[str, bytes]:
    name, content = pack(1000)
    store.save(kind, name, content)
    return name, content


def test_what_is_saved_is_retained_and_its_version_cannot_be_removed_with_our_own_key(
    store: RetainedS3Store, raw: Any, bucket: str
) -> None:
    name, content = saved(store)
    until = store.retained_until(Kind.DATA, name)
    assert until is not None
    assert timedelta(days=3, minutes=-5) < until - datetime.now(UTC) < timedelta(days=3, minutes=5)
    version = raw.head_object(Bucket=bucket, Key=key_of(Kind.DATA, name))["VersionId"]
    with pytest.raises(ClientError) as refusal:
        raw.delete_object(Bucket=bucket, Key=key_of(Kind.DATA, name), VersionId=version, BypassGovernanceRetention=True)
    assert code_of(refusal.value) == "AccessDenied"
    assert store.load(Kind.DATA, name) == content


def test_a_gateway_that_keeps_its_word_is_proven_by_an_attack_that_leaves_no_file(store: RetainedS3Store) -> None:
    verdict = store.prove()
    assert (verdict.holds, verdict.broken) == (True, ())
    assert verdict.tried == (
        "keep versions",
        "shorten",
        "shorten, bypassing",
        "remove the version",
        "remove, bypassing",
        "overwrite",
        "remove",
    )
    assert store.capabilities() == Capabilities(Mode.COMPLIANCE, proven=True, undeletes=True)
    assert list(store.names(Kind.DATA)) == []


def test_a_store_that_was_not_attacked_yet_does_not_call_itself_proven(store: RetainedS3Store, opened: Opened) -> None:
    assert opened().capabilities() == Capabilities(Mode.COMPLIANCE, proven=False, undeletes=True)
    assert capabilities_of(FolderStore(Path("/anywhere"))) == Capabilities(None, proven=False, undeletes=False)


def test_governance_that_our_own_key_may_lift_is_not_taken_for_immutable(opened: Opened) -> None:
    with pytest.raises(StoreFault, match="our own key can lift GOVERNANCE from a file") as found:
        opened(Retention(Mode.GOVERNANCE, 3)).create()
    assert found.value.code == "repository.pretends"


BYPASS, SHORTEN = "BypassGovernanceRetention", "PutObjectRetention"
MAY = (
    "ListBucket",
    "ListBucketVersions",
    "GetObject",
    "GetObjectVersion",
    "GetObjectRetention",
    "PutObject",
    SHORTEN,
    "DeleteObject",
)


def policy(bucket: str, allowed: Sequence[str], denied: Sequence[str] = ()) -> str:
    """What the officer, whose bucket it is, lets the backup's account do there. What is to be denied must be said: the
    account owns what it saves, and to the gateway an owner may do all that no policy speaks of."""
    who = {"AWS": [f"arn:aws:iam:::user/{BACKUP_USER}"]}
    where = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    told = [
        {"Effect": effect, "Principal": who, "Action": [f"s3:{each}" for each in actions], "Resource": where}
        for effect, actions in (("Allow", allowed), ("Deny", denied))
        if actions
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": told})


def test_governance_holds_against_an_account_without_the_right_to_bypass_and_the_officer_removes(
    gateway: Access, raw: Any, bucket: str
) -> None:
    raw.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    raw.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, MAY, (BYPASS,)))
    backup = s3_client(BACKUP, f"http://{gateway.endpoint}", 10.0, 60.0)
    store = RetainedS3Store(backup, bucket, "below/a", "the store", Retention(Mode.GOVERNANCE, 3))
    store.create()
    assert store.capabilities() == Capabilities(Mode.GOVERNANCE, proven=True, undeletes=True)
    name, content = saved(store)
    key = key_of(Kind.DATA, name)
    version = backup.head_object(Bucket=bucket, Key=key)["VersionId"]
    with pytest.raises(ClientError):
        backup.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)
    assert store.load(Kind.DATA, name) == content
    raw.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)
    with pytest.raises(Missing):
        store.load(Kind.DATA, name)


def test_an_account_that_may_remove_versions_by_bypassing_and_nothing_else_of_it_is_found_out(
    gateway: Access, raw: Any, bucket: str
) -> None:
    raw.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rights = [each for each in (*MAY, "DeleteObjectVersion", BYPASS) if each != SHORTEN]
    raw.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, rights, (SHORTEN,)))
    backup = s3_client(BACKUP, f"http://{gateway.endpoint}", 10.0, 60.0)
    store = RetainedS3Store(backup, bucket, "below/a", "the store", Retention(Mode.GOVERNANCE, 3))
    assert store.prove().broken == ("our own key can remove a file under GOVERNANCE",)


def test_a_bucket_without_object_lock_is_refused_in_one_sentence(opened: Opened, raw: Any, bucket: str) -> None:
    raw.create_bucket(Bucket=bucket)
    with pytest.raises(StoreFault, match="the store does not retain files in locked-") as found:
        opened().create()
    assert found.value.code == "repository.no-lock"
    with pytest.raises(StoreFault, match="does not retain files"):
        saved(opened())
    assert raw.list_objects_v2(Bucket=bucket).get("Contents", []) == []


def test_a_store_that_echoes_the_header_and_retains_nothing_is_found_out(tmp_path: Path) -> None:
    with s3_stand(tmp_path / "objects") as access:
        pretender = client(access.endpoint)
        until = NOW + timedelta(days=3)
        words = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        pretender.put_object(Bucket="bucket", Key="echoed", Body=b"x", **words)
        store = RetainedS3Store(pretender, "bucket", "a", "rclone", KEPT)
        with pytest.raises(StoreFault, match="takes the request to retain a file and keeps no versions") as found:
            store.create()
        assert found.value.code == "repository.pretends"
        assert not store.capabilities().proven


def test_a_store_with_versions_that_only_says_that_it_retains_is_found_out(raw: Any, bucket: str) -> None:
    raw.create_bucket(Bucket=bucket)
    raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = RetainedS3Store(Echo(raw, days=0), bucket, "a", "the store", KEPT)
    with pytest.raises(StoreFault, match="says that a file is retained, and lets our own key remove it") as found:
        store.create()
    assert found.value.code == "repository.pretends"
    assert store.prove().tried == ("keep versions", "shorten", "shorten, bypassing", "remove the version")


def test_a_store_that_retains_for_less_than_it_was_asked_is_told_with_what_it_did(
    store: RetainedS3Store, raw: Any, bucket: str
) -> None:
    less = RetainedS3Store(Echo(raw, days=1), bucket, "below/a", "the store", KEPT)
    with pytest.raises(StoreFault, match=r"was asked for COMPLIANCE until .* and says COMPLIANCE until ") as found:
        saved(less)
    assert found.value.code == "repository.not-retained"


def test_a_pack_that_is_saved_again_or_extended_is_retained_anew_and_never_shorter(
    store: RetainedS3Store, opened: Opened
) -> None:
    name, content = saved(store)
    tomorrow = opened(now=lambda: datetime.now(UTC) + timedelta(days=1))
    tomorrow.save(Kind.DATA, name, content)
    until = store.retained_until(Kind.DATA, name)
    assert until is not None
    assert until > NOW + timedelta(days=4)
    store.extend(Kind.DATA, name, NOW + timedelta(days=2))
    assert store.retained_until(Kind.DATA, name) == until
    later = (NOW + timedelta(days=30)).replace(microsecond=0)
    store.extend(Kind.DATA, name, later)
    assert store.retained_until(Kind.DATA, name) == later
    with pytest.raises(Missing):
        store.extend(Kind.DATA, pack(20)[0], later)


def test_locks_are_not_retained_and_can_be_removed_for_good(store: RetainedS3Store) -> None:
    name, _ = saved(store, Kind.LOCKS)
    assert store.retained_until(Kind.LOCKS, name) is None
    store.remove(Kind.LOCKS, name)
    with pytest.raises(Missing):
        store.retained_until(Kind.LOCKS, name)


def test_a_file_that_was_overwritten_or_removed_twice_is_brought_back_as_its_name_says(
    store: RetainedS3Store, raw: Any, bucket: str
) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    name, content = saved(store)
    other, kept = saved(store, Kind.SNAPSHOTS)
    raw.put_object(Bucket=bucket, Key=key_of(Kind.DATA, name), Body=content[::-1])
    raw.put_object(Bucket=bucket, Key=key_of(Kind.CONFIG, ""), Body=b"another")
    for _ in range(2):
        raw.delete_object(Bucket=bucket, Key=key_of(Kind.SNAPSHOTS, other))
    found = store.undelete(since)
    assert set(found.back) == {(Kind.CONFIG, ""), (Kind.DATA, name), (Kind.SNAPSHOTS, other)}
    assert found.gone == ()
    assert store.load(Kind.DATA, name) == content
    assert store.load(Kind.SNAPSHOTS, other) == kept
    assert store.load(Kind.CONFIG, "") == b"a configuration"
    assert store.retained_until(Kind.DATA, name) is not None
    assert store.undelete(since) == Undeleted((), ())


def test_what_had_been_removed_before_stays_so_and_what_is_gone_for_good_is_named(
    store: RetainedS3Store, raw: Any, bucket: str
) -> None:
    name, _ = saved(store)
    store.remove(Kind.DATA, name)
    after = datetime.now(UTC) + timedelta(minutes=1)
    assert store.undelete(after) == Undeleted((), ())
    with pytest.raises(Missing):
        store.size(Kind.DATA, name)
    left, never = pack(100)[0], pack(100)[0]
    raw.delete_object(Bucket=bucket, Key=key_of(Kind.INDEX, left))  # a marker, and nothing under it
    found = store.undelete(after, expected=[(Kind.SNAPSHOTS, never), (Kind.DATA, name), (Kind.CONFIG, "")])
    assert found.gone == ((Kind.SNAPSHOTS, never),)
    found = store.undelete(LONG_AGO, expected=[(Kind.SNAPSHOTS, never)])
    assert found.back == ((Kind.DATA, name),)
    assert set(found.gone) == {(Kind.INDEX, left), (Kind.SNAPSHOTS, never)}
    assert str(found).startswith("1 file brought back; gone for good: ")


def test_what_the_gateway_does_not_answer_of_retention_is_asked_again(
    store: RetainedS3Store, gateway: Access, bucket: str
) -> None:
    name, _ = saved(store)
    later = (NOW + timedelta(days=30)).replace(microsecond=0)
    with wayward(gateway.endpoint) as between:
        through = RetainedS3Store(client(between.address), bucket, "below/a", "the store", KEPT)
        asking = RetryingRetained(through, pause=lambda _: None)
        between.plan = {"PUT": deque([Astray.SLOW_DOWN]), "GET": deque([Astray.LOST, Astray.CUT])}
        asking.extend(Kind.DATA, name, later)
        assert between.plan == {"PUT": deque(), "GET": deque()}
        between.plan = {"PUT": deque([Astray.LOST])}
        assert asking.prove().holds
    assert store.retained_until(Kind.DATA, name) == later
    assert capabilities_of(asking).proven


def test_a_retention_of_no_days_is_refused() -> None:
    with pytest.raises(NciaError, match="retain files for 0 days"):
        Retention(Mode.COMPLIANCE, 0)


def test_after_a_hostile_forget_and_prune_with_our_own_key_everything_comes_back(
    store: RetainedS3Store, gateway: Access, raw: Any, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / f"{number}").write_bytes(os.urandom(200_000))
    variables = {"AWS_ACCESS_KEY_ID": gateway.key, "AWS_SECRET_ACCESS_KEY": gateway.secret, "RESTIC_PASSWORD": PASSWORD}

    def restic(*arguments: str, url: str) -> str:
        command = [demand("restic"), "-r", url, "--no-cache", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    folder = tmp_path / "local"
    restic("init", url=str(folder))
    restic("backup", str(source), url=str(folder))
    (source / "more").write_bytes(b"of the second day" * 1000)
    restic("backup", str(source), url=str(folder))
    local = FolderStore(folder)
    ours = RetainedS3Store(raw, bucket, "estate", "the store", KEPT)
    ours.create()
    ours.save(Kind.CONFIG, "", local.load(Kind.CONFIG, ""))
    held = {(kind, each.name) for kind in Kind if kind is not Kind.CONFIG for each in local.names(kind)}
    for kind, name in held:
        ours.save(kind, name, local.load(kind, name))
    url = f"s3:http://{gateway.endpoint}/{bucket}/estate"
    since = datetime.now(UTC) - timedelta(seconds=1)
    before = restic("snapshots", "--json", "--no-lock", url=url)

    restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0", url=url)
    restic("forget", *[each.name for each in ours.names(Kind.SNAPSHOTS)], "--prune", "--max-unused", "0", url=url)
    assert list(ours.names(Kind.SNAPSHOTS)) == []
    assert list(ours.names(Kind.DATA)) == []

    found = ours.undelete(since, expected=held)
    assert found.gone == ()
    assert held <= {(kind, each.name) for kind in Kind if kind is not Kind.CONFIG for each in ours.names(kind)}
    assert restic("snapshots", "--json", "--no-lock", url=url) == before
    assert "no errors were found" in restic("check", "--read-data", url=url)
    restic("restore", "latest", "--target", str(tmp_path / "restored"), url=url)
    restored = tmp_path / "restored" / source.relative_to("/")
    assert {each.name: each.read_bytes() for each in restored.iterdir()} == {
        each.name: each.read_bytes() for each in source.iterdir()
    }
