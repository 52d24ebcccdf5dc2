"""A site whose journal is set back to an old copy takes its tail back; a lone survivor does not wait for its peer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ncia.cli.journal import chosen_keys
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.copies import read_copies
from ncia.core.journal.verify import Verdict, verify
from ncia.lab.exercise import wait_until
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, SOON, WITNESS, Scene


def test_a_journal_restored_from_an_old_copy_takes_its_tail_back_and_never_forks(scene: Scene, tmp_path: Path) -> None:
    state = scene.lab.settings(DAEJEON).state
    scene.lab.stop(DAEJEON, "serve")
    copied = copy_journal(state, tmp_path)
    scene.lab.start(DAEJEON, "serve")
    old = wait_until_serving(scene, DAEJEON)
    newest = wait_until("the tail is vouched for", lambda: vouched_beyond(scene, old), SOON)
    scene.lab.stop(DAEJEON, "serve")
    written = scene.api(GWANGJU).get(f"/v1/journal/{DAEJEON}/held")["held"]["entries"]
    assert written >= newest > len(entries(copied))
    for file in state.glob("journal.db*"):
        file.unlink()
    copy_journal(tmp_path, state)
    scene.lab.start(DAEJEON, "serve")
    wait_until("it writes on", lambda: wait_until_serving(scene, DAEJEON) > written, SOON)
    wait_until("and is vouched for again", lambda: vouched_beyond(scene, written), SOON)
    verdict = verified(scene)
    assert verdict.findings == ()
    assert {v.by for each in verdict.checked for v in each.vouched if each.site == DAEJEON} == {GWANGJU, WITNESS}


def test_a_controller_that_starts_while_its_peer_is_silent_asks_the_witness_and_goes_on(scene: Scene) -> None:
    scene.lab.stop(DAEJEON, "serve")
    scene.lab.cut(*CENTRES)
    try:
        scene.lab.start(DAEJEON, "serve")
        wait_until_serving(scene, DAEJEON)  # the link stays cut until then: who waits for its peer comes too late
    finally:
        scene.lab.heal()


def test_a_controller_that_can_ask_nobody_reads_and_does_not_write_until_it_can(scene: Scene) -> None:
    scene.lab.stop(DAEJEON, "serve")
    scene.lab.cut(*CENTRES)
    scene.lab.cut(DAEJEON, WITNESS)
    try:
        scene.lab.start(DAEJEON, "serve")
        told = wait_until("it is read only", lambda: read_only(scene), SOON)
        assert "neither the peer nor the witness" in told["read_only"]
        with pytest.raises(NciaError, match="read only"):
            scene.api(DAEJEON).get("/v1/status")
        assert scene.api(DAEJEON).get("/v1/journal/checkpoint")["size"] == told["journal_size"]
        scene.lab.heal()
        assert wait_until_serving(scene, DAEJEON) >= told["journal_size"]
    finally:
        scene.lab.heal()


def copy_journal(source: Path, target: Path) -> Path:
    for file in source.glob("journal.db*"):
        if file.suffix != ".writer":
            shutil.copy(file, target / file.name)
    return target / "journal.db"


def entries(database: Path) -> list[Any]:
    return next(copy.rows for copy in read_copies(str(database)) if copy.own)


def wait_until_serving(scene: Scene, site: SiteId) -> int:
    """How long the journal is once the whole controller answers."""

    def look() -> int:
        scene.status(site)
        return int(scene.api(site).get("/v1/health")["journal_size"])

    return wait_until(f"{site} serves", look, SOON)


def vouched_beyond(scene: Scene, size: int) -> int | None:
    """The least that both vouch for of Daejeon's log, once that is more than ``size``."""
    told = scene.api(DAEJEON).get("/v1/journal/checkpoint")["vouched"]
    least = min((each["size"] for each in told), default=0) if len(told) == 2 else 0
    return least if least > size else None


def read_only(scene: Scene) -> Mapping[str, Any] | None:
    told: Mapping[str, Any] = scene.api(DAEJEON).get("/v1/health")
    return told if told.get("read_only") else None


def verified(scene: Scene) -> Verdict:
    """Both sites' journals and the witness' notes, held against each other."""
    files = [str(scene.lab.settings(site).state / "journal.db") for site in CENTRES]
    files += [str(note) for note in (scene.lab.settings(WITNESS).state / "witness").glob("*.note")]
    return verify([copy for file in files for copy in read_copies(file)], chosen_keys(None, files))
