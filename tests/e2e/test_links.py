"""Links cut: who may go on, who refuses, who fences itself; and after healing nothing acknowledged is lost."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import httpx

from ncia.core.alerts.graph import parts
from ncia.core.base.ids import SiteId
from tests.e2e.scene import (
    CENTRES,
    DAEJEON,
    FELT,
    GWANGJU,
    SOON,
    WITNESS,
    Act,
    Mark,
    Scene,
    acked,
    faults,
    refusal_of,
    wait_until,
)

LINK = "link:daejeon-gwangju"
REFUSED_SECONDS_MAX = 3.0
NANOSECONDS = 1_000_000_000


def test_a_cut_link_moves_nothing_stops_grade_1_writes_with_a_clear_word_and_loses_nothing(scene: Scene) -> None:
    scene.wait_until_proven()
    estate, before, standing = scene.lab.estate(), scene.mark(), scene.standing(DAEJEON)
    scene.lab.cut(DAEJEON, GWANGJU)
    cut = time.monotonic()
    grade_1, others = scene.systems(1), scene.systems(2, 3, 4)

    for site in CENTRES:
        incident = scene.wait_for_incident(site, LINK, "link-lost")
        assert "both sites live" in incident["sentence"]
        assert [each["root"] for each in faults(scene.incidents(site), FELT)] == [LINK]
    scene.wait_for_acts("grade-1 writes are refused", cut, grade_1, for_want_of_the_copy)
    settled = time.monotonic()
    scene.wait_for_acts("they still are", settled, grade_1, for_want_of_the_copy)
    late = [act for act in scene.acts(settled) if act.system in grade_1 and act.known_monotonic]
    assert {act.outcome for act in late} <= {"failed", "refused", "unknown"}  # what is unknown is judged at the end
    assert median(act.seconds for act in late) < REFUSED_SECONDS_MAX
    with httpx.Client(timeout=5) as client:
        for system in estate.systems.values():
            wait_until(f"{system.id} is read", partial(reads, client, f"http://{system.entry}/acts/latest"), SOON)
    scene.wait_for_acts("other grades keep writing", settled, others, acked)

    # A copy that fell behind its promise meanwhile is not promoted unless a person says so.
    refusal = wait_until("onnara's copy is behind its promise", lambda: behind(scene), SOON)
    assert "--accept-loss onnara=REASON" in refusal
    for site in CENTRES:
        assert scene.standing(site) == standing
        assert scene.opened(before, site, FELT) == [LINK]
    wait_until("the link explains the copies' lags", lambda: "replica" in explained(scene, GWANGJU, before), SOON)

    scene.lab.heal()
    scene.wait_until_whole()
    healed = time.monotonic()
    scene.wait_for_acts("every system writes again", healed, standing, acked)
    assert scene.standing(DAEJEON) == scene.standing(GWANGJU) == standing
    assert scene.entries(DAEJEON, before, "plan.made", "run.started") == []
    scene.assert_nothing_acknowledged_is_lost()


def test_a_site_cut_off_from_both_others_fences_itself_and_serves_again_when_it_returns(scene: Scene) -> None:
    standing, ttl_seconds = scene.standing(GWANGJU), scene.lab.estate().settings.lease_ttl_seconds
    own = [system for system, (at, _) in standing.items() if at == GWANGJU]
    scene.lab.cut(DAEJEON, GWANGJU)
    scene.lab.cut(GWANGJU, WITNESS)
    cut = time.monotonic()

    fenced = wait_until("the gate is shut", lambda: shut(scene), SOON)
    deadline = scene.lease(GWANGJU)["deadline_boottime_ns"]
    assert deadline / NANOSECONDS - boottime_offset() < cut + ttl_seconds
    assert fenced >= deadline
    scene.wait_for_acts("its writes are refused", time.monotonic(), own, lambda act: act.outcome == "failed")
    late = deadline / NANOSECONDS - boottime_offset() + 0.5  # an answer given in time may be under way
    assert [act.id for act in scene.acts(cut) if act.site == GWANGJU and acked(act) and (known(act)) > late] == []
    incident = scene.wait_for_incident(GWANGJU, "site:gwangju", "isolated")
    assert incident["sentence"].startswith("Gwangju is cut off")
    assert "Gwangju is cut off" in console(scene)
    assert "Gwangju is lost" in scene.wait_for_incident(DAEJEON, "site:gwangju", "site-lost")["sentence"]

    scene.lab.heal()
    scene.wait_until_whole()
    healed = time.monotonic()
    scene.wait_for_acts("it serves again", healed, own, lambda act: acked(act) and act.site == GWANGJU)
    assert scene.standing(DAEJEON) == scene.standing(GWANGJU) == standing
    scene.assert_nothing_acknowledged_is_lost()


def reads(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def explained(scene: Scene, site: SiteId, since: Mark) -> set[str]:
    """The kinds of what the cut link stands behind, as ``site`` tells it."""
    told = scene.entries(site, since, "incident.opened", "incident.changed")
    return {parts(each)[0] for entry in told if entry["body"]["root"] == LINK for each in entry["body"]["members"]}


def for_want_of_the_copy(act: Act) -> bool:
    return act.outcome == "failed" and "synchronous copy at gwangju is not answering" in act.why


def behind(scene: Scene) -> str:
    """What Daejeon says to a plan for Gwangju once the copies here are behind what their grade promises."""
    ask = {"runbook": "site_failover", "site": GWANGJU, "by": "kim"}
    told = str(refusal_of(lambda: scene.api(DAEJEON).post("/v1/recovery/plans", ask)))
    return told if "promise" in told else ""


def shut(scene: Scene) -> int | None:
    gate = scene.gate(GWANGJU)
    return None if gate["open"] else gate["fenced_at_boottime_ns"]


def console(scene: Scene) -> str:
    """Gwangju's own page, as somebody who is there sees it."""
    socket = scene.lab.settings(GWANGJU).run / "api.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=30) as client:
        return client.get("http://ncia/").text


def known(act: Act) -> float:
    return act.known_monotonic or act.sent_monotonic


def boottime_offset() -> float:
    """What CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: the time that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
