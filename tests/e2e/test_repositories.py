"""An agency's documents in its own repository at both sites, restored from either, and a vanished snapshot told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backup.agencies.ports import Place
from backup.engines.own import OwnEngine
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from ncia.core.base.ids import SiteId
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, PROVEN_SECONDS_MAX, SOON, Scene, wait_until

AGENCY, DATASET = "public-administration", "egov/documents"
ROOT = f"snapshot:{AGENCY}@{GWANGJU}"


def test_documents_are_kept_at_both_sites_and_a_snapshot_that_vanishes_is_an_incident_until_it_is_back(
    scene: Scene, tmp_path: Path
) -> None:
    if not made(scene):
        assert done(scene)["verb"] == "make-repository"
    before = scene.mark()
    assert done(scene)["verb"] == "snapshot"
    kept = {entry["body"]["site"]: entry["body"] for entry in scene.entries(DAEJEON, before, "snapshot.kept")}
    assert {site: (body["losses"], body["reason"]) for site, body in kept.items()} == dict.fromkeys(
        CENTRES, (0, "kim asked for it")
    )
    for site in CENTRES:
        restored_is_what_lies_there(scene, site, kept[site], tmp_path)
    wait_until("the other site knows of it", lambda: scene.entries(GWANGJU, before, "snapshot.kept")[1:], SOON)
    file = folder(scene, GWANGJU) / "snapshots" / kept[GWANGJU]["snapshot"]
    aside = file.rename(file.with_name("aside"))
    try:
        (looked,) = scene.api(GWANGJU).post("/v1/backups/look", {"dataset": DATASET})["looked"]
        assert f"snapshot {file.name[:8]} of {DATASET}" in looked["missing"][0]
        for site in CENTRES:
            incident = scene.wait_for_incident(site, ROOT, "snapshot-gone")
            assert file.name[:8] in incident["sentence"]
            assert incident["run_next"].startswith("ncia backup mend egov/")
        done(scene, "mend", GWANGJU)
        assert file.read_bytes() == aside.read_bytes()
    finally:
        aside.replace(file)
    (looked,) = scene.api(GWANGJU).post("/v1/backups/look", {"dataset": DATASET})["looked"]
    assert (looked["missing"], looked["why"]) == ([], "")
    done(scene, "prove", GWANGJU)
    proven = scene.entries(GWANGJU, before, "snapshot.proven")[-1]["body"]
    assert (proven["site"], proven["snapshot"], proven["documents"] > 0) == (GWANGJU, kept[GWANGJU]["snapshot"], True)
    for site in CENTRES:
        scene.wait_until_over(site, ROOT)


def made(scene: Scene) -> bool:
    """At both sites, with its key in escrow."""
    places = [each for each in scene.api(DAEJEON).get("/v1/backups")["repositories"] if each["agency"] == AGENCY]
    return len(places) == len(CENTRES) and all(place["made"] and place["escrowed_for"] for place in places)


def done(scene: Scene, verb: str = "run", site: SiteId = DAEJEON) -> Mapping[str, Any]:
    """The job that somebody asked for, when it has ended well."""
    (job,) = scene.api(site).post(f"/v1/backups/{verb}", {"dataset": DATASET, "by": "kim"})["jobs"]
    ended = wait_until(f"{job['verb']} has ended", lambda: job_of(scene, site, job["job"]), PROVEN_SECONDS_MAX)
    assert ended["state"] == "succeeded", ended["sentence"]
    return ended


def job_of(scene: Scene, site: SiteId, name: str) -> Mapping[str, Any] | None:
    known = {job["job"]: job for job in scene.api(site).get("/v1/backups")["jobs"]}
    return known[name] if known[name]["state"] not in ("queued", "running") else None


def folder(scene: Scene, site: SiteId) -> Path:
    return scene.lab.layout.files(site) / "repositories" / AGENCY


def restored_is_what_lies_there(scene: Scene, site: SiteId, kept: Mapping[str, Any], target: Path) -> None:
    """By hand, as on a day without controllers: the repository's folder and its password are enough."""
    engine = OwnEngine(lambda url: FolderStore(Path(url)), SystemClock(), "a test")
    place = Place(str(folder(scene, site)), scene.lab.settings(site).secrets / "repositories" / AGENCY)
    assert engine.restore(place, kept["snapshot"], target / site).losses == ()
    (top,) = (target / site).rglob("egov~documents")
    documents = {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    source = scene.lab.layout.files(DAEJEON) / "egov" / "documents"
    assert len(documents) == kept["files"] > 0
    assert [name for name, content in documents.items() if (source / name).read_bytes() != content] == []
