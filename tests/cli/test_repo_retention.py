"""`ncia repo` on a real gateway with Object Lock: retained unasked, attacked, emptied by our own key, brought back."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backup.replicate.stores.s3 import Access
from backup.repository.care.extending import Extended, extend_due, survey
from backup.repository.ports import Kind, StoreFault
from backup.repository.repository import create, open_repository
from backup.repository.retaining import Mode, Retention
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.ruled import RuledS3Store
from ncia.cli import build
from ncia.core.base.errors import NciaError
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.files import differences, noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.backup.repository.stores.ceph import BACKUP, BACKUP_USER, OWNER, ceph_stand
from tests.backup.repository.stores.places import client, pack
from tests.restic import demand_restic

TREE = build((("repo", "ncia.cli.repo"),))
PASSWORD = "open sesame"
NUMBERS = itertools.count()
MAY = (
    "ListBucket",
    "GetObject",
    "PutObject",
    "GetObjectRetention",
    "PutObjectRetention",
    "GetBucketObjectLockConfiguration",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with ceph_stand(tmp_path_factory.mktemp("ceph")) as access:
        yield access


@dataclass
class Desk:
    """A source, a password, and the command line pointed at a bucket of the test's own."""

    folder: Path
    gateway: Access
    bucket: str

    @property
    def keys(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.gateway.key, "AWS_SECRET_ACCESS_KEY": self.gateway.secret}

    @property
    def at(self) -> dict[str, str]:
        return {"NCIA_REPOSITORY": self.url, "NCIA_PASSWORD_FILE": str(self.folder / "password"), **self.keys}

    @property
    def url(self) -> str:
        return f"s3:http://{self.gateway.endpoint}/{self.bucket}/agency"

    def store(self, asked: Retention | None = None) -> RuledS3Store:
        return RuledS3Store(client(self.gateway.endpoint), self.bucket, "agency", "the store", asked)

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(TREE, ["repo", *map(str, arguments)], env=self.at)

    def make(self, days: int = 0) -> None:
        """As `init` does, with a key that is cheap to derive: each command derives it anew."""
        create(self.store(Retention(Mode.COMPLIANCE, days) if days else None), PASSWORD, HOLDER, NOW, CHEAP)

    def restic(self, *arguments: str) -> str:
        """As whoever has our key runs it; an old one knows no word for removing all, and needs none."""
        restic = demand_restic()
        words = [each for each in arguments if not (restic.old and each.startswith("--unsafe"))]
        command = [str(restic.program), "-r", self.url, "--no-cache", *words]
        at = {**os.environ, **self.keys, "RESTIC_PASSWORD": PASSWORD}
        done = subprocess.run(command, env=at, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, *arguments: object) -> Any:
        result = self.run(*arguments, "--json")
        assert (result.exit_code, result.exception) == (0, None), result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def desk(gateway: Access, tmp_path: Path) -> Desk:
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(noise(1, 300_000))
    return Desk(tmp_path, gateway, f"told-{next(NUMBERS)}")


def test_a_hostile_prune_by_restic_with_our_own_key_is_undone_and_everything_comes_back(desk: Desk) -> None:
    desk.make(days=3)
    first = desk.told("backup", desk.folder / "source")
    (desk.folder / "source" / "more").write_bytes(b"of the second day " * 9999)
    second = desk.told("backup", desk.folder / "source")
    assert (second["retained"], second["extended"]) == ({"mode": "compliance", "days": 3}, 0)
    assert desk.told("retention", "show")["unretained"] == []
    before = datetime.now(UTC).isoformat()
    words = (first["snapshot"], second["snapshot"], "--prune", "--max-unused", "0", "--unsafe-allow-remove-all")
    desk.restic("forget", *words)
    store = desk.store()
    for name in [each.name for each in store.names(Kind.KEYS)]:
        store.remove(Kind.KEYS, name)
    store.remove(Kind.CONFIG, "")
    assert isinstance(desk.run("snapshots").exception, NciaError)
    assert list(store.names(Kind.DATA)) == []

    undone = desk.told("undelete", "--since", before)
    assert undone["gone"] == []
    listed = [each["id"] for each in desk.told("snapshots")["snapshots"]]
    assert listed == [first["snapshot"], second["snapshot"]]
    assert desk.told("check", "--read-data")["holds"]
    desk.told("restore", "latest", "--target", desk.folder / "target")
    back = desk.folder / "target" / (desk.folder / "source").relative_to("/")
    assert differences(desk.folder / "source", back) == []


def test_whoever_forgets_the_setting_still_writes_what_the_buckets_rule_retains(desk: Desk) -> None:
    desk.store(Retention(Mode.COMPLIANCE, 5)).create()
    name, content = pack(1000)
    forgetful = desk.store()
    forgetful.save(Kind.DATA, name, content)
    until = forgetful.retained_until(Kind.DATA, name)
    assert until is not None
    assert timedelta(days=4, hours=23) < until - datetime.now(UTC) < timedelta(days=5, hours=1)
    assert forgetful.retention() == Retention(Mode.COMPLIANCE, 5)


def test_a_bucket_with_object_lock_and_no_rule_takes_nothing_until_its_owner_says_how_long(desk: Desk) -> None:
    client(desk.gateway.endpoint).create_bucket(Bucket=desk.bucket, ObjectLockEnabledForBucket=True)
    name, content = pack(1000)
    with pytest.raises(StoreFault, match="has Object Lock, and no rule that says how long") as found:
        desk.store().save(Kind.DATA, name, content)
    assert found.value.code == "repository.retention-unsaid"
    refused = desk.run("init")
    assert "no rule that says how long" in str(refused.exception)
    assert desk.told("retention", "set", "--days", 2)["retained"] == {"mode": "compliance", "days": 2}
    assert desk.told("init")["retained"] == {"mode": "compliance", "days": 2}
    assert list(desk.store().names(Kind.DATA)) == []


def test_a_bucket_without_object_lock_is_a_plain_place_and_told_as_such(desk: Desk) -> None:
    client(desk.gateway.endpoint).create_bucket(Bucket=desk.bucket)
    desk.make()
    assert desk.told("backup", desk.folder / "source")["retained"] is None
    shown = desk.run("retention", "show")
    assert shown.exit_code == 1
    assert "whoever has its key can remove everything" in shown.stdout
    refused = desk.run("retention", "prove")
    assert "the store" not in refused.stdout
    assert "does not retain files in" in str(refused.exception)


def test_the_attack_is_a_command_and_tells_each_way_that_was_tried(desk: Desk) -> None:
    made = desk.told("init", "--retain-days", 1)
    assert made["retained"] == {"mode": "compliance", "days": 1}
    proven = desk.told("retention", "prove")
    assert (proven["holds"], proven["broken"], len(proven["tried"])) == (True, [], 7)
    assert "it holds" in desk.run("retention", "prove").stdout


def test_what_newer_snapshots_reuse_is_extended_before_its_time_is_over_and_only_then(desk: Desk) -> None:
    desk.make(days=4)
    desk.told("backup", desk.folder / "source")
    store, now = desk.store(), datetime.now(UTC)
    packs = frozenset(bytes.fromhex(each.name) for each in store.names(Kind.DATA))
    orphan, content = pack(500)
    store.save(Kind.DATA, orphan, content)
    assert extend_due(store, packs, now + timedelta(days=1)) == Extended(0, 0)
    late = now + timedelta(days=3)
    told = survey(store, packs, late)
    assert told.unretained == ()
    assert told.soonest is not None
    done = extend_due(store, packs, late)
    assert done == Extended(told.old, told.old)
    assert done.extended == len(packs) + 4  # index, snapshot, key and configuration
    assert extend_due(store, packs, late) == Extended(told.old, 0)
    for each in packs:
        until = store.retained_until(Kind.DATA, each.hex())
        assert until is not None
        assert until >= late + timedelta(days=4)
    left = store.retained_until(Kind.DATA, orphan)
    assert left is not None
    assert left < late + timedelta(days=2)  # nobody needs it
    assert survey(store, packs, late + timedelta(days=9)).unretained != ()


@pytest.mark.parametrize("place", ["folder", "pretender"])
def test_a_place_that_cannot_retain_is_refused_where_retention_is_asked_for(place: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    words = ["repo", "init", "--retain-days", "3", "-p", str(tmp_path / "password"), "-r"]
    if place == "folder":
        refused = CliRunner().invoke(TREE, [*words, str(tmp_path / "repository")])
        assert "no folder or host can be asked" in str(refused.exception)
        assert not (tmp_path / "repository").exists()
        return
    with s3_stand(tmp_path / "objects") as access:
        keys = {"AWS_ACCESS_KEY_ID": access.key, "AWS_SECRET_ACCESS_KEY": access.secret}
        url = f"s3:http://{access.endpoint}/bucket/a"
        refused = CliRunner().invoke(TREE, [*words, url], env=keys)
        assert isinstance(refused.exception, StoreFault)
        assert refused.exception.code in ("repository.pretends", "repository.no-lock")
        plain = CliRunner().invoke(TREE, ["repo", "init", "-p", str(tmp_path / "password"), "-r", url], env=keys)
        assert (plain.exit_code, plain.exception) == (0, None)
        assert "retained" not in plain.stdout


def test_moments_are_told_by_the_clock_or_by_how_long_ago_they_were(desk: Desk) -> None:
    wrong = desk.run("undelete", "--since", "yesterday")
    assert "'yesterday' is none" in str(wrong.exception)


def test_an_account_that_may_not_remove_in_the_bucket_backs_up_and_leaves_its_locks_to_the_officer(desk: Desk) -> None:
    desk.make(days=1)
    where = [f"arn:aws:s3:::{desk.bucket}", f"arn:aws:s3:::{desk.bucket}/*"]
    told = [
        {
            "Effect": effect,
            "Principal": {"AWS": [f"arn:aws:iam:::user/{who}"]},
            "Action": [f"s3:{each}" for each in actions],
            "Resource": where,
        }
        for effect, who, actions in (
            ("Allow", BACKUP_USER, MAY),
            ("Deny", BACKUP_USER, ("DeleteObject", "DeleteObjectVersion", "BypassGovernanceRetention")),
            ("Allow", OWNER, ("*",)),  # what another account saved is not the bucket owner's to read unless it says so
        )
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": told})
    client(desk.gateway.endpoint).put_bucket_policy(Bucket=desk.bucket, Policy=policy)
    keys = {"AWS_ACCESS_KEY_ID": BACKUP.id, "AWS_SECRET_ACCESS_KEY": BACKUP.secret}
    for _ in range(2):
        words = ["repo", "backup", str(desk.folder / "source"), "--json"]
        saved = CliRunner().invoke(TREE, words, env=desk.at | keys)
        assert (saved.exit_code, saved.exception) == (0, None), saved.stderr
        assert json.loads(saved.stdout)["retained"] == {"mode": "compliance", "days": 1}
    assert len(list(desk.store().names(Kind.LOCKS))) == 2
    assert desk.told("unlock", "--remove-all")["removed"] == 2
    assert desk.told("check", "--read-data")["holds"]


def test_a_bucket_and_a_folder_are_twins_and_a_pack_that_was_overwritten_there_is_healed_from_here(desk: Desk) -> None:
    desk.make(days=4)
    twin = desk.folder / "twin"
    create(FolderStore(twin), PASSWORD, HOLDER, NOW, CHEAP, twin=open_repository(desk.store(), PASSWORD))
    saved = desk.told("backup", desk.folder / "source", "--also", twin)
    bucket, folder = saved["places"]
    assert (bucket["whole"], bucket["retained"]) == (True, {"mode": "compliance", "days": 4})
    assert (folder["whole"], folder["retained"]) == (True, None)
    packs = [each.name for each in FolderStore(twin).names(Kind.DATA)]
    for name in packs:
        client(desk.gateway.endpoint).put_object(
            Bucket=desk.bucket, Key=f"agency/data/{name[:2]}/{name}", Body=b"evil", ContentMD5=md5_of(b"evil")
        )
    assert desk.run("check").exit_code == 1
    mended = desk.told("repair", "--from", twin)["mended"]
    assert len(mended) == len(packs)
    assert all("brought whole from the other place" in sentence for sentence in mended)
    assert desk.run("check", "--read-data").exit_code == 0


def md5_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def test_a_prune_that_was_a_mistake_is_undone_while_the_bucket_still_retains_what_it_removed(desk: Desk) -> None:
    desk.make(days=2)
    first = desk.told("backup", desk.folder / "source")["snapshot"]
    (desk.folder / "source" / "file").write_bytes(noise(2, 300_000))
    second = desk.told("backup", desk.folder / "source")["snapshot"]
    before = datetime.now(UTC).isoformat()
    desk.told("forget", first)
    assert desk.told("prune", "--grace", "0h", "--max-unused", 0)["removed"] > 0
    assert [each["id"] for each in desk.told("snapshots")["snapshots"]] == [second]
    assert desk.told("check", "--read-data")["notes"] == []
    assert desk.told("undelete", "--since", before)["gone"] == []
    assert [each["id"] for each in desk.told("snapshots")["snapshots"]] == [first, second]
    assert desk.told("check", "--read-data")["faults"] == []
