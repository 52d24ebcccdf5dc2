"""An agency's bucket with Object Lock: a site's own key writes what its rule retains, and cannot take it back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.agencies.perform import AgencyWork
from backup.agencies.plan import MAKE_AFTER_SECONDS
from backup.agencies.ports import Place
from backup.agencies.retaining import demand_holds, extended
from backup.engines.own import OwnEngine, password_in
from backup.replicate.stores.s3 import Access
from backup.repository.ports import Kind, Store, StoreFault
from backup.repository.repository import create
from backup.repository.retaining import Mode, Retaining, Retention
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.retry import RetryingRetained
from backup.repository.stores.ruled import RuledS3Store
from ncia.app.agencies import Places
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.estate.model import Agency, BucketCopy
from ncia.core.estate.repository import Rotation
from ncia.core.journal.entries_repositories import SnapshotKept
from ncia.core.work.jobs import Limits
from tests.app.test_agencies import settings_in, with_place
from tests.backup.agencies.world import EAST, SELDOM, TAX, TREASURY, World, estate_of
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.backup.repository.stores.ceph import ceph_stand
from tests.backup.repository.stores.places import client
from tests.backup.repository.stores.test_retained import Echo

NUMBERS = itertools.count()
DAYS = Retention(Mode.COMPLIANCE, 4)
LATER = timedelta(days=3)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with ceph_stand(tmp_path_factory.mktemp("ceph")) as access:
        yield access


@dataclass
class Bucket:
    """An agency's place in the east is a bucket of the test's own; ``days`` is what the estate asks for."""

    folder: Path
    access: Access
    days: int = 0
    name: str = field(default_factory=lambda: f"agency-{next(NUMBERS)}")

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.settings: SiteSettings = settings_in(self.folder)
        line = f"{self.access.endpoint} {self.access.key} {self.access.secret}\n"
        (self.settings.secrets / "s3_keys").write_text(line)
        estate, agency = with_place(BucketCopy(EAST, self.access.endpoint, self.name), self.access.endpoint)
        self.agency = replace(agency, repository=replace(agency.repository, retain_days=self.days))
        self.estate: Estate = replace(estate, agencies={self.agency.id: self.agency})
        self.places = Places(self.estate, self.settings)
        self.place: Place = self.places.of(self.agency, EAST)

    def store(self) -> Store:
        """As every job opens it."""
        return self.places.store(self.place.url)

    def with_rule(self) -> RuledS3Store:
        """What the bucket's owner does once."""
        found = RuledS3Store(client(self.access.endpoint), self.name, "", "the store", DAYS)
        found.create()
        return found


@pytest.fixture
def bucket(gateway: Access, tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "site", gateway)


@dataclass
class Locked(World):
    """The east's place is a real bucket that its owner gave a rule, the west's a folder; jobs open both as they do in
    a controller."""

    bucket: Bucket | None = None
    open: Callable[[str], Store] = lambda url: FolderStore(Path(url))

    def __post_init__(self) -> None:
        assert self.bucket is not None
        place = BucketCopy(EAST, self.bucket.access.endpoint, self.bucket.name)
        base = estate_of()
        repository = base.agencies[TREASURY].repository
        assert repository is not None
        days = self.bucket.days
        changed = {"check": Rotation(SELDOM, 2), "prune_interval_seconds": SELDOM, "retain_days": days}
        places = {**repository.places, EAST: place}
        agency = replace(
            base.agencies[TREASURY],
            repository=replace(repository, places=places, **changed),
        )
        self.estate = replace(base, agencies={TREASURY: agency})
        super().__post_init__()
        self.engine = OwnEngine(self.opened_at, self.clock, "0.1.0", cost=CHEAP)
        tools = replace(self.tools, store_of=self.opened_at)
        self.works = AgencyWork(self.estate, self.site, tools).works()
        self.jobs.close()
        self.jobs.start(self.works, Limits())

    def place(self, agency: Agency, site: SiteId) -> Place:
        assert self.bucket is not None
        return self.bucket.place if site == EAST else Place(str(self.folder / site), self.folder / "password")

    def opened_at(self, url: str) -> Store:
        assert self.bucket is not None
        return self.bucket.store() if url == self.bucket.place.url else self.open(url)


@pytest.fixture
def world(bucket: Bucket, tmp_path: Path) -> Iterator[Locked]:
    bucket.with_rule()
    found = Locked(tmp_path, bucket=bucket)
    (bucket.settings.secrets / "repositories" / TREASURY).write_text(PASSWORD)
    found.clock.moment = datetime.now(UTC)
    found.made()
    yield found
    found.close()


def ends(store: Store) -> list[datetime]:
    assert isinstance(store, Retaining)
    found = [
        store.retained_until(kind, each.name) for kind in Kind if kind is not Kind.LOCKS for each in store.names(kind)
    ]
    assert None not in found
    return sorted(until for until in found if until is not None)


def test_one_factory_opens_an_agencys_bucket_as_ncia_repo_does(bucket: Bucket) -> None:
    bucket.with_rule()
    store = bucket.store()
    assert isinstance(store, RetryingRetained)
    assert (type(store.below), store.retention()) == (RuledS3Store, DAYS)


def test_a_job_keeps_what_the_buckets_rule_retains_and_the_sites_own_key_cannot_take_it_back(world: Locked) -> None:
    world.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
    (job,) = world.tick(600)
    assert job.state == "succeeded", job.sentence
    assert world.bucket is not None
    store = world.bucket.store()
    assert ends(store)[0] - datetime.now(UTC) > timedelta(days=3, hours=23)
    kept = world.fact(EAST).expected[-1].kept
    assert (kept.losses, world.engine.capabilities().retains) == (0, True)
    store.remove(Kind.SNAPSHOTS, kept.snapshot)
    assert isinstance(store, Retaining)
    assert [name for _, name in store.undelete(datetime.now(UTC) - timedelta(minutes=1)).back] == [kept.snapshot]


def test_what_a_later_backup_reuses_is_extended_by_the_job_that_made_it(world: Locked) -> None:
    world.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
    world.tick(600)
    assert world.bucket is not None
    before = ends(world.bucket.store())[0]
    world.clock.moment += LATER  # of the four days one is left
    (job,) = world.tick()
    assert job.state == "succeeded", job.sentence
    store = world.bucket.store()
    assert isinstance(store, Retaining)
    kept = [body for body in world.told() if isinstance(body, SnapshotKept) and body.site == EAST]
    assert (len(kept), kept[-1].losses) == (2, 0)
    packs = [store.retained_until(Kind.DATA, each.name) for each in store.names(Kind.DATA)]
    assert all(until is not None and until > before + LATER - timedelta(minutes=1) for until in packs)


def test_only_what_has_less_than_half_of_its_time_left_is_extended(bucket: Bucket) -> None:
    """By the format alone: which engine wrote it makes no difference."""
    bucket.with_rule()
    store = bucket.store()
    create(store, PASSWORD, HOLDER, NOW, CHEAP)
    (bucket.settings.secrets / "repositories" / TREASURY).write_text(PASSWORD)
    now = datetime.now(UTC)
    assert extended(bucket.store(), password_in(bucket.place), now) == 0
    assert extended(bucket.store(), password_in(bucket.place), now + LATER) == 2  # a key and the configuration
    assert ends(bucket.store())[0] - now > DAYS.until(now) - now + LATER - timedelta(minutes=1)


def test_a_bucket_that_is_made_for_an_agency_gets_the_rule_that_the_estate_asks_for(
    gateway: Access, tmp_path: Path
) -> None:
    asked = Bucket(tmp_path / "site", gateway, days=2)
    create(asked.store(), PASSWORD, HOLDER, NOW, CHEAP)
    found = RuledS3Store(client(gateway.endpoint), asked.name, "", "the store").rule()
    assert (found.locks, found.retention) == (True, Retention(Mode.COMPLIANCE, 2))


def test_a_bucket_with_object_lock_and_no_rule_is_no_agencys_place(bucket: Bucket) -> None:
    client(bucket.access.endpoint).create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=True)
    with pytest.raises(StoreFault) as refused:
        create(bucket.store(), PASSWORD, HOLDER, NOW, CHEAP)
    assert refused.value.code == "repository.retention-unsaid"


def test_a_store_that_only_pretends_is_found_out_and_no_agencys_repository_is_made_there(tmp_path: Path) -> None:
    with s3_stand(tmp_path / "objects", bucket="agency") as access:
        pretender = Bucket(tmp_path / "site", access, days=3, name="agency")
        with pytest.raises(StoreFault) as found:
            create(pretender.store(), PASSWORD, HOLDER, NOW, CHEAP)
        assert found.value.code in ("repository.pretends", "repository.no-lock")
        assert list(pretender.store().names(Kind.KEYS)) == []
        plain = Bucket(tmp_path / "other", access, name="agency")
        create(plain.store(), PASSWORD, HOLDER, NOW, CHEAP)  # nothing is promised of it
        assert extended(plain.store(), PASSWORD, datetime.now(UTC) + LATER) is None


class Turned(Echo):
    """A store that tells of a rule, and keeps nothing from anybody any more."""

    def get_object_lock_configuration(self, **_: Any) -> Any:
        told = {"DefaultRetention": {"Mode": str(DAYS.mode), "Days": DAYS.days}}
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": told}}


def test_a_proof_attacks_the_bucket_too_and_one_that_has_begun_to_pretend_is_found_out(world: Locked) -> None:
    world.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
    world.tick(600)
    assert world.jobs.wait(world.task.prove(TAX, "kim").id, 60).state == "succeeded"
    assert world.bucket is not None
    raw, real = client(world.bucket.access.endpoint), world.bucket
    raw.create_bucket(Bucket=f"{real.name}-turned")
    raw.put_bucket_versioning(Bucket=f"{real.name}-turned", VersioningConfiguration={"Status": "Enabled"})
    turned = RuledS3Store(Turned(raw, days=0), f"{real.name}-turned", "", "the store")
    world.tools = replace(world.tools, store_of=lambda url: turned)
    world.jobs.close()
    world.works = AgencyWork(world.estate, world.site, world.tools).works()
    world.jobs.start(world.works, Limits())
    job = world.jobs.wait(world.task.prove(TAX, "kim").id, 60)
    assert (job.state, "does not keep it from our own key" in job.sentence) == ("failed", True)
    assert world.fact(EAST).proven_of(TAX, 7) == ()


def test_a_bucket_that_restic_is_to_keep_is_made_with_the_rule_too(gateway: Access, tmp_path: Path) -> None:
    """restic asks for no retention: the bucket's own rule retains what it writes."""
    asked = Bucket(tmp_path / "site", gateway, days=2)
    demand_holds(asked.store(), create=True)
    raw = client(gateway.endpoint)
    raw.put_object(Bucket=asked.name, Key="config", Body=b"as restic writes it")
    until = raw.get_object_retention(Bucket=asked.name, Key="config")["Retention"]["RetainUntilDate"]
    assert until - datetime.now(UTC) > timedelta(days=1, hours=23)


def test_a_repository_that_is_there_in_a_bucket_that_retains_nothing_is_not_taken_where_retention_is_asked(
    bucket: Bucket, tmp_path: Path
) -> None:
    client(bucket.access.endpoint).create_bucket(Bucket=bucket.name)
    create(bucket.store(), "open sesame", HOLDER, NOW, CHEAP)
    world = Locked(tmp_path, bucket=replace(bucket, folder=tmp_path / "again", days=3))
    (job,) = world.tick(MAKE_AFTER_SECONDS)
    assert (job.state, "does not retain files" in job.sentence) == ("failed", True)
    assert world.states.snapshot().repositories == {}
    world.close()
