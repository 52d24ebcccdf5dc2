"""A store that has lost a point and a program: both come back out of their agency's repository, over real SSH."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.ids import SiteId
from tests.e2e import test_repositories as repositories
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, PROVEN_SECONDS_MAX, SOON, Scene, wait_until

ROWS, PROGRAM = "egov/rows", "egov/program"


@pytest.mark.long  # tests/backup/agencies/test_points_postgresql.py tells the same of one cluster in seconds
def test_a_point_and_a_program_that_a_store_has_lost_come_back_out_of_the_repository(
    scene: Scene, tmp_path: Path
) -> None:
    if not repositories.made(scene):
        assert repositories.done(scene)["verb"] == "make-repository"
    wait_until("it is known at both", lambda: repositories_known(scene, GWANGJU), SOON)
    wait_until("a point of its rows is proven", lambda: proven(scene) is not None, PROVEN_SECONDS_MAX)
    store = scene.lab.layout.site(GWANGJU) / "store"
    for dataset, verb in ((ROWS, "point"), (PROGRAM, "program")):
        kept = done(scene, "keep", {"dataset": dataset})
        assert kept["verb"] == f"keep-{verb}"
        snapshots = [each for each in listed(scene)["snapshots"] if each["dataset"] == dataset]
        assert {each["site"] for each in snapshots} == set(CENTRES)
        (holds,) = {each["holds"] for each in snapshots}
        place = store / (f"{ROWS}/{holds}" if dataset == ROWS else holds)
        before = content(place)
        shutil.move(place, tmp_path / verb)
        done(scene, "bring", {"dataset": dataset})
        assert content(place) == before == content(tmp_path / verb)
    point = next(each for each in listed(scene)["points"] if each["snapshots"])
    assert [each["site"] for each in point["snapshots"]] == [DAEJEON, GWANGJU]
    told = scene.api(GWANGJU).get("/v1/reports/backup")["datasets"]
    (told_point,) = (p for each in told for p in each["points"] if p["point"] == point["point"])
    assert (told_point["kept_at"], told_point["brought_from"]) == ([DAEJEON, GWANGJU], GWANGJU)


def listed(scene: Scene) -> Mapping[str, Any]:
    return scene.api(GWANGJU).get("/v1/backups")


def repositories_known(scene: Scene, site: SiteId) -> bool:
    places = scene.api(site).get("/v1/backups")["repositories"]
    return all(place["made"] for place in places if place["agency"] == repositories.AGENCY)


def proven(scene: Scene) -> str | None:
    points = [each for each in listed(scene)["points"] if each["dataset"] == ROWS and each["proof"] == "matched"]
    return points[0]["point"] if points else None


def content(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def done(scene: Scene, verb: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
    (job,) = scene.api(GWANGJU).post(f"/v1/backups/{verb}", {**asked, "by": "kim"})["jobs"]
    ended = wait_until(f"{verb} has ended", lambda: repositories.job_of(scene, GWANGJU, job["job"]), PROVEN_SECONDS_MAX)
    assert ended["state"] == "succeeded", ended["sentence"]
    return ended
