"""The last of a planned move's documents: each decision on stores in memory, all of it on real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.replicate.drain import MARGIN, DocumentDrain
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import load_estate
from ncia.core.estate.model import BucketCopy, Estate, TreeCopy
from ncia.core.work.documents import MARK, Documents, Mark, NotKept, time_folder
from tests.backup.replicate.stores.stands import bucket_of, s3_stand, sftp_stand
from tests.fakes.documents import FakeDocuments

ONNARA, SHARE = SystemId("onnara"), SystemId("share")
GIVING, TAKING = SiteId("gwangju"), SiteId("daejeon")
HELD = datetime(2026, 9, 26, 20, 15, 30, tzinfo=UTC)
MARKED = HELD - timedelta(seconds=2)
FOLDER = time_folder(HELD)
LATE = time_folder(MARKED - MARGIN + timedelta(seconds=10))
OLD = time_folder(MARKED - MARGIN - timedelta(seconds=10))


@dataclass(frozen=True)
class Two:
    """One system's stores at both sites, held; ours has the mark of two seconds before."""

    there: Documents
    here: Documents
    partition: str = "time"

    def __post_init__(self) -> None:
        self.there.put(MARK, Mark(HELD, 3).to_bytes())
        self.here.put(MARK, Mark(MARKED, 3).to_bytes())

    @property
    def drain(self) -> DocumentDrain:
        stores = {GIVING: self.there, TAKING: self.here}

        def store_of(copy: TreeCopy | BucketCopy) -> Documents:
            return stores[copy.site]

        return DocumentDrain(estate_with(self.partition), TAKING, store_of)

    def lacking(self) -> set[str]:
        return {told.removeprefix("onnara/documents: ") for told in self.drain.compare(ONNARA).lacking}

    def bring(self) -> int:
        return self.drain.bring(ONNARA, HELD)


def estate_with(partition: str) -> Estate:
    estate = load_estate(Path(__file__).resolve().parents[3] / "configs")
    system = estate.systems[ONNARA]
    datasets = tuple(replace(d, partition=partition) if d.documents else d for d in system.datasets)
    return replace(estate, systems={**estate.systems, ONNARA: replace(system, datasets=datasets)})


@pytest.fixture(params=[False, True], ids=["tree", "bucket"])
def two(request: pytest.FixtureRequest) -> Two:
    return Two(*(FakeDocuments(at, tells_tags=request.param) for at in ("there", "here")))


def test_what_only_the_giving_side_has_is_found_brought_and_then_nothing_is_lacking(two: Two) -> None:
    for name in (f"{FOLDER}/a.txt", f"{LATE}/b.txt"):
        two.there.put(name, b"taken in the last moment", 5.0)
    assert two.lacking() == {f"{FOLDER}/a.txt", f"{LATE}/b.txt"}
    assert (two.bring(), two.lacking(), two.bring()) == (2, set(), 0)
    assert two.here.get(f"{FOLDER}/a.txt") == b"taken in the last moment"


def test_what_lies_there_and_here_is_counted_and_not_brought(two: Two) -> None:
    for store in (two.there, two.here):
        store.put(f"{FOLDER}/a.txt", b"the same", 5.0)
    compared = two.drain.compare(ONNARA)
    assert (compared.looked_at, compared.lacking) == (1, ())


@pytest.mark.parametrize("younger", ["there", "here"])
def test_other_bytes_under_the_same_name_are_replaced_and_ours_if_younger_set_aside(two: Two, younger: str) -> None:
    for side in ("there", "here"):
        getattr(two, side).put(f"{FOLDER}/a.txt", side.encode().ljust(5), 9.0 if side == younger else 5.0)
    assert two.lacking() == {f"{FOLDER}/a.txt"}
    two.bring()
    assert (two.lacking(), two.here.get(f"{FOLDER}/a.txt")) == (set(), b"there")
    kept = two.here.get(f".ncia/aside/20260926T201530/{FOLDER}/a.txt")
    assert kept == (b"here " if younger == "here" else None)


def test_what_is_older_than_the_mark_by_more_than_the_margin_is_not_even_looked_at(two: Two) -> None:
    assert isinstance(two.there, FakeDocuments)
    two.there.put(f"{OLD}/a.txt", b"at both sites, or the mark would not be here")
    assert two.lacking() == set()
    assert ("look", OLD) not in two.there.calls


def test_a_document_of_a_clock_that_is_ahead_is_found(two: Two) -> None:
    two.there.put(f"{time_folder(HELD + timedelta(hours=1))}/a.txt", b"x")
    assert len(two.lacking()) == 1


def test_without_folders_of_time_everything_is_compared() -> None:
    two = Two(FakeDocuments("there"), FakeDocuments("here"), partition="none")
    two.there.put("letters/a.txt", b"x")
    assert two.lacking() == {"letters/a.txt"}


def test_a_name_that_nobody_may_copy_is_told_and_holds_up_nobody(two: Two) -> None:
    assert isinstance(two.there, FakeDocuments)
    two.there.held[f"{FOLDER}/new\nline"] = (b"x", 0.0)
    compared = two.drain.compare(ONNARA)
    assert (compared.lacking, compared.refused) == ((), (f"{FOLDER}/new\nline",))


def test_a_system_without_documents_is_the_same_at_once(two: Two) -> None:
    compared = two.drain.compare(SHARE)
    assert (compared.lacking, two.drain.bring(SHARE, HELD), two.drain.behind(SHARE)) == ((), 0, {})


@pytest.mark.parametrize("silent", ["there", "here"])
def test_a_store_that_does_not_answer_is_never_told_as_the_same(two: Two, silent: str) -> None:
    getattr(two, silent).silent = True
    for ask in (two.lacking, two.bring):
        with pytest.raises(Unreachable, match=f"{silent} does not answer"):
            ask()


@pytest.mark.parametrize("empty", ["there", "here"])
def test_a_store_without_its_canary_is_not_taken_for_an_empty_one(two: Two, empty: str) -> None:
    store = getattr(two, empty)
    del store.held[MARK]
    with pytest.raises(NciaError, match=f"{empty} holds no canary"):
        two.lacking()
    assert two.drain.behind(ONNARA) == {"onnara/documents": None}


def test_a_store_that_says_yes_and_keeps_nothing_is_found_out(two: Two) -> None:
    assert isinstance(two.here, FakeDocuments)
    two.there.put(f"{FOLDER}/a.txt", b"x")
    two.here.keeps = lambda content: None
    with pytest.raises(NotKept, match="holds nothing of it"):
        two.bring()
    assert two.lacking() == {f"{FOLDER}/a.txt"}


def test_how_far_a_mirror_is_behind_is_told_by_the_two_canaries(two: Two) -> None:
    assert two.drain.behind(ONNARA) == {"onnara/documents": 2.0}


# --- on real stores --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sftp", "s3"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    if request.param == "sftp":
        with sftp_stand(tmp_path / "there") as there, sftp_stand(tmp_path / "here") as here:
            trees = there.tree(), here.tree()
            yield Two(*trees)
            for tree in trees:
                tree.close()
    else:
        with s3_stand(tmp_path / "there") as there, s3_stand(tmp_path / "here") as here:
            yield Two(bucket_of(there), bucket_of(here))


def test_on_real_stores_a_document_of_the_last_moment_is_here_after_the_drain(real: Two) -> None:
    both, differs, only = (f"{FOLDER}/{name}.txt" for name in ("both", "differs", "only"))
    for store in (real.there, real.here):
        store.put(both, b"the same", 1_790_000_000.0)
    real.here.put(differs, b"before", 1_790_000_000.0)
    real.there.put(differs, b"after!", 1_790_000_009.0)
    real.there.put(only, b"the last act before the hold")
    real.there.put(f"{OLD}/old.txt", b"of another time")
    assert real.lacking() == {differs, only}
    assert (real.bring(), real.lacking()) == (2, set())
    assert (real.here.get(only), real.here.get(differs)) == (b"the last act before the hold", b"after!")
    assert real.here.get(f"{OLD}/old.txt") is None
