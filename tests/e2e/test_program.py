"""What a system is: compared between the sites, copied to the other one, and a reason not to move when it differs."""

from __future__ import annotations

import hashlib

import pytest

from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, SOON, Scene, refusal_of, wait_until

DATASET = "hometax/program"
ROOT = f"program:{DATASET}"


@pytest.mark.lab(first=True)
def test_a_changed_file_is_an_incident_that_names_it_and_no_plan_moves_its_system_until_it_is_put_back(
    scene: Scene,
) -> None:
    wait_until("the program was compared", lambda: newest(scene, "program.compared"), SOON)
    assert newest(scene, "program.compared")["differences"] == []
    file = scene.lab.layout.site(GWANGJU) / "programs" / "hometax" / "etc" / "app.yaml"
    before, ask = file.read_text(), {"runbook": "site_failover", "site": DAEJEON, "by": "kim"}
    try:
        file.write_text(before + "debug: true\n")
        for site in CENTRES:
            incident = scene.wait_for_incident(site, ROOT, "program-drift")
            assert "etc/app.yaml is not the same at daejeon and gwangju, from line 7" in incident["sentence"]
        refusal = refusal_of(lambda: scene.api(GWANGJU).post("/v1/recovery/plans", ask))
        assert refusal.code == "recovery.plan-refused"
        assert "hometax: its program at gwangju is not the one at daejeon: etc/app.yaml" in refusal.why
        assert "--accept-drift hometax=REASON" in refusal.hint
        accepted = {**ask, "accept_drift": {"hometax": "the line does nothing"}}
        plan = scene.api(GWANGJU).post("/v1/recovery/plans", accepted)["plan"]
        assert plan["notes"][-1].startswith("hometax moves all the same (the line does nothing)")
    finally:
        file.write_text(before)
    for site in CENTRES:
        scene.wait_until_over(site, ROOT)


@pytest.mark.lab(first=True)
def test_the_active_sites_program_lies_in_the_other_sites_store_as_the_journal_says(scene: Scene) -> None:
    captured = wait_until("the program was copied", lambda: newest(scene, "program.captured"), SOON)
    archive = (scene.lab.settings(GWANGJU).store / captured["path"]).read_bytes()
    held = {file["path"]: file["sha256"] for file in captured["files"]}
    folder = scene.lab.layout.site(DAEJEON) / "programs" / "hometax"
    there = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert (captured["source_site"], captured["store_site"]) == (DAEJEON, GWANGJU)
    assert (hashlib.sha256(archive).hexdigest(), held) == (captured["sha256"], there)


def newest(scene: Scene, kind: str) -> dict:
    """The newest entry's body of that kind about the dataset; empty where there is none."""
    bodies = [entry["body"] for entry in scene.entries(GWANGJU, None, kind)]
    return next((body for body in reversed(bodies) if body["dataset"] == DATASET), {})
