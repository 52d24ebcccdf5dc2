"""Reading an estate: every sample of bad input tells exactly the faults that stand beside it."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest

from ncia.core.base.errors import Fault, InputFaults
from ncia.core.config import check_estate, load_estate
from ncia.core.estate.model import WithoutPartner

SAMPLES = Path(__file__).parent / "samples"
REFERENCE = Path(__file__).parents[3] / "configs"
CASES = sorted(path.name for path in (SAMPLES / "invalid").iterdir() if path.is_dir())
TODAY = date(2026, 6, 1)


def laid_out(case: str, folder: Path) -> Path:
    """The base estate with the case's files in place of its own."""
    estate = folder / "estate"
    shutil.copytree(SAMPLES / "base", estate)
    shutil.copytree(SAMPLES / "invalid" / case, estate, dirs_exist_ok=True)
    return estate


def spelled(faults: tuple[Fault, ...], folder: Path) -> str:
    """As `expected.txt` holds them: file relative to the estate, line, what, and what to try."""
    lines = []
    for fault in faults:
        file = str(Path(fault.file).relative_to(folder))
        lines.append(f"{file}:{fault.line}: {fault.what}\n    try: {fault.hint}\n")
    return "".join(lines)


@pytest.mark.parametrize("case", CASES)
def test_each_bad_sample_tells_exactly_its_faults(case: str, tmp_path: Path) -> None:
    folder = laid_out(case, tmp_path)
    expected = (SAMPLES / "invalid" / case / "expected.txt").read_text(encoding="utf-8")
    assert spelled(check_estate(folder, TODAY), folder) == expected


def test_ten_faults_in_one_file_are_ten_faults(tmp_path: Path) -> None:
    assert len(check_estate(laid_out("ten-faults", tmp_path), TODAY)) == 10


def test_the_base_of_the_samples_has_no_fault() -> None:
    assert check_estate(SAMPLES / "base", TODAY) == ()


def test_the_reference_estate_has_no_fault() -> None:
    assert check_estate(REFERENCE, TODAY) == ()


def test_a_folder_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    faults = check_estate(tmp_path / "nowhere", TODAY)
    assert [fault.what for fault in faults] == ["is no folder"]


def test_loading_a_faulty_estate_raises_with_every_fault(tmp_path: Path) -> None:
    folder = laid_out("ten-faults", tmp_path)
    with pytest.raises(InputFaults) as caught:
        load_estate(folder)
    assert caught.value.faults == check_estate(folder, TODAY)


def test_an_expired_exception_does_not_stop_a_controller_from_starting(tmp_path: Path) -> None:
    estate = load_estate(laid_out("exception-expired", tmp_path))
    exception = estate.datasets["tax/letters"].unprotected
    assert exception is not None
    assert exception.until == date(2025, 9, 26)


def test_breaking_home_closure_is_no_fault() -> None:
    estate = load_estate(SAMPLES / "base")
    assert {estate.systems["tax"].home, estate.systems["fines"].home} == {"north", "south"}


def test_the_hash_changes_with_any_file_and_not_with_comments_or_spelling(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "base", tmp_path / "a")
    first = load_estate(tmp_path / "a").hash
    people = tmp_path / "a" / "people.yaml"
    people.write_text("# a remark\n" + people.read_text().replace('public_key: ""', "public_key: ''"))
    assert load_estate(tmp_path / "a").hash == first
    people.write_text(people.read_text().replace("name: Bob", "name: Bobby"))
    assert load_estate(tmp_path / "a").hash != first


def test_the_facts_are_what_the_files_say() -> None:
    estate = load_estate(SAMPLES / "base")
    rows = estate.datasets["fines/rows"]
    assert estate.name == "sample"
    assert estate.centres == ("north", "south")
    assert estate.voters == ("north", "south", "third")
    assert (rows.promise.rpo_seconds, rows.promise.rto_seconds) == (60, 7200)
    assert str(rows.copies["south"].gate) == "10.2.2.2:5432"
    assert estate.settings.canary_interval_seconds == 2
    assert estate.settings.lease_ttl_seconds == 10


def test_a_dataset_may_promise_more_than_its_grade(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "base", tmp_path / "a")
    file = tmp_path / "a" / "systems.yaml"
    promise = "        database: fines\n        promise: {rpo_seconds: 5, rto_seconds: 60}\n"
    file.write_text(file.read_text().replace("        database: fines\n", promise))
    estate = load_estate(tmp_path / "a")
    assert estate.datasets["fines/rows"].promise.rpo_seconds == 5
    assert estate.systems["fines"].promise.rto_seconds == 60


def test_a_section_may_be_spread_over_files(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "base", tmp_path / "a")
    file = tmp_path / "a" / "systems.yaml"
    head, tail = file.read_text().split("  - id: fines\n")
    file.write_text(head)
    (tmp_path / "a" / "systems-fines.yaml").write_text("systems:\n  - id: fines\n" + tail)
    assert set(load_estate(tmp_path / "a").systems) == {"tax", "fines"}


def test_nesting_without_end_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "base", tmp_path / "a")
    (tmp_path / "a" / "deep.yaml").write_text("links: " + "[" * 5000 + "]" * 5000)
    assert any(Path(f.file).name == "deep.yaml" for f in check_estate(tmp_path / "a", TODAY))


def test_a_receiver_has_a_folder_beside_the_data_unless_told_and_a_system_blocks_without_partner(
    tmp_path: Path,
) -> None:
    estate = load_estate(SAMPLES / "base")
    assert estate.datasets["tax/rows"].copies["south"].receiver_directory == "receiver/tax"
    assert estate.systems["tax"].without_partner is WithoutPartner.BLOCK
    shutil.copytree(SAMPLES / "base", tmp_path / "a")
    file = next(f for f in (tmp_path / "a").glob("*.yaml") if "grades:" in f.read_text())
    file.write_text(re.sub(r"(number: 1,)", r"\1 without_partner: degrade,", file.read_text()))
    assert load_estate(tmp_path / "a").systems["tax"].without_partner is WithoutPartner.DEGRADE
