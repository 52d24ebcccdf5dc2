"""The list of documents that only a returned site holds: each decision on stores in memory, all of it on real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import load_estate
from ncia.core.estate.model import BucketCopy, Estate, TreeCopy
from ncia.core.work.documents import DOCUMENT_BYTES_MAX, MARK, Documents, Folder, Seen, time_folder
from recovery.actions import stranded_documents
from recovery.actions.stranded_documents import KEPT_BYTES_MAX, StoredDocuments
from recovery.stranded_documents import Span, StrandedDocuments
from tests.backup.replicate.stores.stands import bucket_of, s3_stand, sftp_stand
from tests.fakes.documents import FakeDocuments

ONNARA, HOMETAX = SystemId("onnara"), SystemId("hometax")
OLD, NEW, RUN, TAKEN = SiteId("daejeon"), SiteId("gwangju"), "run-9", "run-1"
LOST = datetime(2026, 9, 26, 20, 15, 30, tzinfo=UTC)
SPAN = Span(LOST, LOST + timedelta(minutes=1))
INSIDE, BEFORE, AFTER = (time_folder(LOST + timedelta(seconds=s)) for s in (20, -30, 300))


@dataclass(frozen=True)
class Two:
    """One system's document stores at both sites, each with its canary, and the lister of the returned one."""

    old: Documents
    new: Documents
    evidence: Path
    partition: str = "time"
    span: Span = SPAN

    def __post_init__(self) -> None:
        for store in (self.old, self.new):
            store.put(MARK, b"a mark")

    @property
    def lists(self) -> StoredDocuments:
        stores = {OLD: self.old, NEW: self.new}

        def store_of(copy: TreeCopy | BucketCopy) -> Documents:
            return stores[copy.site]

        def span_of(system: SystemId, taken_by: str) -> Span:
            assert taken_by == TAKEN
            return self.span

        return StoredDocuments(estate_with(self.partition), store_of, span_of, self.evidence)

    def find(self) -> StrandedDocuments:
        return self.lists.list_stranded(ONNARA, OLD, NEW, RUN, TAKEN)

    def told(self) -> list[dict[str, Any]]:
        found = self.find()
        content = (self.evidence.parent / found.evidence).read_bytes()
        assert found.sha256 == hashlib.sha256(content).hexdigest()
        told: list[dict[str, Any]] = json.loads(content)["documents"]
        assert (found.documents, found.size_bytes) == (len(told), sum(each["size_bytes"] for each in told))
        return told

    def verdicts(self) -> dict[str, str]:
        return {each["path"]: each["verdict"] for each in self.told()}


def estate_with(partition: str) -> Estate:
    estate = load_estate(Path(__file__).resolve().parents[3] / "configs")
    system = estate.systems[ONNARA]
    datasets = tuple(replace(d, partition=partition) if d.documents else d for d in system.datasets)
    return replace(estate, systems={**estate.systems, ONNARA: replace(system, datasets=datasets)})


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(FakeDocuments("old"), FakeDocuments("new"), tmp_path / "evidence")


def test_what_the_active_site_lacks_is_listed_with_path_size_and_hash(two: Two) -> None:
    two.old.put(f"{INSIDE}/a.txt", b"stranded")
    assert two.told() == [
        {
            "dataset": "onnara/documents",
            "path": f"{INSIDE}/a.txt",
            "verdict": "only here",
            "size_bytes": 8,
            "sha256": hashlib.sha256(b"stranded").hexdigest(),
            "lies": f"{INSIDE}/a.txt",
            "kept": "",
        }
    ]


def test_what_the_active_site_has_just_so_is_not_listed_whatever_its_time(two: Two) -> None:
    two.old.put(f"{INSIDE}/a.txt", b"the same", 5.0)
    two.new.put(f"{INSIDE}/a.txt", b"the same", 99.0)
    assert two.told() == []


def test_other_bytes_under_the_same_name_are_listed_and_kept_for_the_mirror_will_replace_them(two: Two) -> None:
    two.old.put(f"{INSIDE}/a.txt", b"of here", 5.0)
    two.new.put(f"{INSIDE}/a.txt", b"of them", 99.0)
    (listed,) = two.told()
    assert listed["verdict"] == "differs"
    assert (two.evidence / RUN / listed["kept"]).read_bytes() == b"of here"


def test_many_that_differ_with_the_same_bytes_are_kept_once(two: Two) -> None:
    for number in range(40):
        two.old.put(f"{INSIDE}/{number}", b"of here", 5.0)
        two.new.put(f"{INSIDE}/{number}", b"of them", 99.0)
    (kept,) = {listed["kept"] for listed in two.told()}
    assert [file.name for file in (two.evidence / RUN / kept).parent.iterdir()] == [
        hashlib.sha256(b"of here").hexdigest()
    ]


def test_what_the_mirror_set_aside_since_the_loss_is_listed_under_its_own_name(two: Two) -> None:
    two.old.put(f".ncia/aside/20260926T210000/{INSIDE}/a.txt", b"of here")
    two.old.put(f".ncia/aside/20260926T210000/{BEFORE}/b.txt", b"long ago")
    two.old.put(f".ncia/aside/20260901T000000/{INSIDE}/c.txt", b"of another time")
    (listed,) = two.told()
    assert (listed["path"], listed["verdict"]) == (f"{INSIDE}/a.txt", "set aside")
    assert listed["lies"] == f".ncia/aside/20260926T210000/{INSIDE}/a.txt"


def test_canaries_and_what_is_outside_the_time_are_not_listed(two: Two) -> None:
    for name in (f"{BEFORE}/a.txt", f"{AFTER}/b.txt", f"{INSIDE}/.half", ".ncia/else"):
        two.old.put(name, b"x")
    assert two.told() == []


def test_folders_of_another_time_are_not_even_looked_into(two: Two) -> None:
    two.old.put(f"{BEFORE}/a.txt", b"x")
    two.find()
    assert isinstance(two.old, FakeDocuments)
    assert ("look", BEFORE) not in two.old.calls


def test_without_folders_of_time_a_documents_own_time_decides(two: Two) -> None:
    plain = replace(two, partition="none")
    plain.old.put("letters/old.txt", b"x", (LOST - timedelta(days=1)).timestamp())
    plain.old.put("letters/new.txt", b"x", LOST.timestamp())
    assert plain.verdicts() == {"letters/new.txt": "only here"}


def test_where_nothing_is_known_of_the_time_everything_is_compared(two: Two) -> None:
    for name in (f"{BEFORE}/a.txt", f"{AFTER}/b.txt", "root.txt"):
        two.old.put(name, b"x")
    assert set(replace(two, span=Span()).verdicts()) == {f"{BEFORE}/a.txt", f"{AFTER}/b.txt", "root.txt"}


def test_a_name_that_nobody_may_copy_is_listed_unread(two: Two) -> None:
    assert isinstance(two.old, FakeDocuments)
    two.old.held[f"{INSIDE}/new\nline"] = (b"x", 0.0)
    assert two.verdicts() == {f"{INSIDE}/new\nline": "bad name"}


class Great(FakeDocuments):
    """Tells each document to be as great as ``size``."""

    size = DOCUMENT_BYTES_MAX + 1

    def look(self, folder: str) -> Folder:
        told = super().look(folder)
        return replace(told, documents=tuple(Seen(d.name, self.size, d.modified_at) for d in told.documents))


def test_a_document_too_great_to_be_read_is_listed_without_a_hash(tmp_path: Path) -> None:
    two = Two(Great("old"), FakeDocuments("new"), tmp_path / "evidence")
    two.old.put(f"{INSIDE}/a.txt", b"x")
    assert [(d["size_bytes"], d["sha256"]) for d in two.told()] == [(DOCUMENT_BYTES_MAX + 1, "")]


def test_more_that_differs_than_can_be_kept_is_refused_and_nothing_counts_as_listed(tmp_path: Path) -> None:
    two = Two(Great("old"), FakeDocuments("new"), tmp_path / "evidence")
    for number in range(KEPT_BYTES_MAX // Great.size + 1):
        for store in (two.old, two.new):
            store.put(f"{INSIDE}/{number}", b"x")
    with pytest.raises(Refusal) as refused:
        two.find()
    assert refused.value.code == "recovery.too-much-stranded"
    assert two.lists.stranded_listed(ONNARA, RUN) is None


@pytest.mark.parametrize("silent", ["old", "new"])
def test_a_store_that_does_not_answer_is_no_empty_list_and_may_be_asked_again(two: Two, silent: str) -> None:
    two.old.put(f"{INSIDE}/a.txt", b"x")
    store = getattr(two, silent)
    store.silent = True
    with pytest.raises(Unreachable):
        two.find()
    assert two.lists.stranded_listed(ONNARA, RUN) is None
    store.silent = False
    assert two.find().documents == 1


def test_a_store_without_its_canary_is_not_taken_for_an_empty_one(two: Two) -> None:
    assert isinstance(two.old, FakeDocuments)
    del two.old.held[MARK]
    with pytest.raises(NciaError, match="old holds no canary: it is empty, or not the store that it was"):
        two.find()


def test_what_was_listed_is_known_after_a_restart_and_listing_again_gives_the_same(two: Two) -> None:
    two.old.put(f"{INSIDE}/a.txt", b"x")
    found = two.find()
    assert two.lists.stranded_listed(ONNARA, RUN) == found
    assert two.find() == found
    assert found.span == SPAN


def test_a_system_without_documents_has_an_empty_list_too(two: Two) -> None:
    found = two.lists.list_stranded(HOMETAX, OLD, NEW, RUN, TAKEN)
    assert (found.documents, found.evidence) == (0, f"evidence/{RUN}/hometax.documents.json")


# --- on real stores --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sftp", "s3"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    if request.param == "sftp":
        with sftp_stand(tmp_path / "site") as host:
            trees = host.tree("old"), host.tree("new")
            yield Two(*trees, tmp_path / "evidence")
            for tree in trees:
                tree.close()
    else:
        with s3_stand(tmp_path / "a") as old, s3_stand(tmp_path / "b") as new:
            yield Two(bucket_of(old), bucket_of(new), tmp_path / "evidence")


def test_on_real_stores_all_of_it_is_found_and_kept(real: Two) -> None:
    both, differs, only = (f"{INSIDE}/{name}.txt" for name in ("both", "differs", "only"))
    for store in (real.old, real.new):
        store.put(both, b"the same", 1_790_000_000.0)
    real.old.put(differs, b"of here", 1_790_000_000.0)
    real.new.put(differs, b"of them", 1_790_000_009.0)
    real.old.put(only, b"stranded")
    real.old.put(f"{BEFORE}/old.txt", b"deleted since, at the active site")
    real.old.put(f".ncia/aside/20260926T210000/{INSIDE}/aside.txt", b"set aside")
    told = {each["path"]: each for each in real.told()}
    verdicts = {path: each["verdict"] for path, each in told.items()}
    assert verdicts == {differs: "differs", only: "only here", f"{INSIDE}/aside.txt": "set aside"}
    for path, content in ((differs, b"of here"), (only, b"stranded"), (f"{INSIDE}/aside.txt", b"set aside")):
        assert told[path]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (real.evidence / RUN / told[differs]["kept"]).read_bytes() == b"of here"


def test_the_folder_of_what_was_set_aside_is_the_mirrors() -> None:
    from backup.replicate.plan import aside

    assert aside("a/b", LOST) == f"{stranded_documents.ASIDE}/20260926T201530/a/b"
