"""Five minutes without any controller: citizens are served by gates, applications and wardens alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ncia.lab.exercise import linger
from ncia.lab.lab import Lab
from tests.benchmarks.result import Bar, Result
from tests.e2e.scene import CENTRES, CITIZENS, DAEJEON, Scene, acked

SUMMARY = "five minutes without a controller: no citizen sees an error"
SOAK = True
AWAY_SECONDS = 300.0


def measure() -> Result:
    with tempfile.TemporaryDirectory(prefix="ncia-soak-") as home:
        scene = Scene(Lab(Path(home) / "lab"))
        try:
            return away(scene)
        finally:
            scene.lab.down()


def away(scene: Scene) -> Result:
    scene.lab.up()
    scene.wait_until_whole()
    scene.lab.start(CITIZENS, "load")
    systems = set(scene.standing(DAEJEON))
    scene.wait_for_acts("citizens act", time.monotonic(), systems, acked)
    for site in CENTRES:
        scene.lab.stop(site, "serve")
    began = time.monotonic()
    linger(began + AWAY_SECONDS)
    sent = [act for act in scene.acts(began) if act.sent_monotonic < began + AWAY_SECONDS]
    fenced = [site for site in CENTRES if scene.gate(site)["fenced_at_boottime_ns"] is not None]
    errors = [act for act in sent if act.outcome not in ("acked", "refused") and act.known_monotonic is not None]
    figures = {
        "acts_sent": len(sent),
        "acts_acked": len([act for act in sent if acked(act)]),
        "errors": sorted({act.why for act in errors}),
        "fenced": fenced,
    }
    bars = (
        Bar("citizens-errors", "<= 0", len(errors)),
        Bar("sites-fenced", "<= 0", len(fenced)),
        Bar("systems-served", f">= {len(systems)}", len({act.system for act in sent if acked(act)})),
    )
    return Result("unattended", figures, bars)
