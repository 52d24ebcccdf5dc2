"""Documents in the real lab: at both sites before a grade-1 act is acknowledged, refused whole without a store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from ncia.core.base.ids import SiteId
from ncia.lab.apps.documents import content_of
from ncia.lab.citizens.ledger import Act
from ncia.lab.sockets import violations
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, SOON, Scene, acked, wait_until

LAG_SECONDS = 60.0  # an upper bound for a busy machine; the benchmark measures


def roots(scene: Scene, system: str) -> dict[SiteId, Path]:
    dataset = scene.lab.estate().system(system).documents[0]
    return {site: scene.lab.layout.documents(dataset.documents[site]) for site in CENTRES}


def held(root: Path, act: Act) -> str:
    """The hash of the act's document below ``root``; empty where it is not there."""
    found = list(root.glob(f"*/*/*/*/*/{act.id}.txt"))
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else ""


def expected(act: Act) -> str:
    return hashlib.sha256(content_of(act.system, act.id, act.body)).hexdigest()


def last_acked(scene: Scene, since: float, systems: Iterable[str]) -> list[Act]:
    scene.wait_for_acts("acts are acknowledged", since, systems, acked)
    return [act for act in scene.acts(since) if act.outcome == "acked" and act.system in systems]


@pytest.mark.lab(first=True)
def test_a_grade_1_act_has_its_document_at_both_sites_when_it_is_acknowledged(scene: Scene) -> None:
    systems = [s.id for s in scene.lab.estate().systems.values() if s.grade == 1 and s.documents]
    acts = last_acked(scene, time.monotonic(), systems)
    for act in acts:
        places = {site: held(root, act) for site, root in roots(scene, act.system).items()}
        assert (act.system, places) == (act.system, dict.fromkeys(CENTRES, expected(act)))


@pytest.mark.lab(first=True)
def test_every_other_document_follows_and_its_lag_is_measured(scene: Scene) -> None:
    systems = [s.id for s in scene.lab.estate().systems.values() if s.grade > 1 and s.documents]
    acts = last_acked(scene, time.monotonic(), systems)
    for act in acts:
        root = roots(scene, act.system)[scene.lab.estate().peer_of(SiteId(act.site))]
        wait_until(f"the document of {act.id} is there", lambda root=root, act=act: held(root, act), SOON)
        assert held(root, act) == expected(act)
    told = {s["id"]: s for s in scene.status(GWANGJU)["systems"]}
    assert all(0 < told[system]["predicted_loss_seconds"] < LAG_SECONDS for system in systems)


@pytest.mark.lab(first=True)
def test_a_citizen_gets_the_document_that_was_acknowledged(scene: Scene) -> None:
    (act, *_) = last_acked(scene, time.monotonic(), ["epeople"])
    address = scene.lab.estate().system("epeople").applications[SiteId(act.site)].address
    told = httpx.get(f"http://{address}/acts/{act.id}", timeout=10).json()
    document = httpx.get(f"http://{address}/acts/{act.id}/document", timeout=10)
    assert (told["document_state"], hashlib.sha256(document.content).hexdigest()) == ("verified", expected(act))


def test_with_the_other_sites_object_store_away_a_grade_1_act_is_refused_whole_and_one_incident_names_it(
    scene: Scene,
) -> None:
    before = scene.mark()
    endpoint = scene.lab.estate().system("g2b").documents[0].documents[GWANGJU].endpoint
    scene.lab.kill(GWANGJU, "s3")
    root = f"store:s3-{endpoint.host}-{endpoint.port}@gwangju"
    incident = scene.wait_for_incident(DAEJEON, root, "store-down")
    assert incident["sentence"].startswith(f"The store s3-{endpoint.host}-{endpoint.port} at Gwangju does not accept")
    told = [act.why for act in scene.acts(before, "g2b") if act.outcome == "failed"]
    assert any("its document could not be kept at gwangju" in why for why in told), told
    since = time.monotonic()
    scene.lab.start(GWANGJU, "s3")
    scene.wait_until_over(DAEJEON, root)
    scene.wait_for_acts("bids are taken again", since, ["g2b"], acked)
    scene.wait_until_whole()
    assert scene.opened(before) == [root]
    scene.assert_nothing_acknowledged_is_lost()
    assert violations(scene.lab.home, scene.lab.estate(), {os.getpid()}) == ()
