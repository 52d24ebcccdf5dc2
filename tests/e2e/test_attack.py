"""Passwords are tried on a real host over the network: one incident per attack, and silence for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ncia.core.base.ids import SiteId
from ncia.lab.attack import WEAK_USER, Attack
from tests.e2e.scene import CENTRES, DAEJEON, GWANGJU, SOON, Scene, wait_until


@pytest.mark.parametrize("site", CENTRES)
def test_guessed_passwords_and_a_login_are_one_incident_at_both_sites_until_somebody_takes_it(
    scene: Scene, site: SiteId
) -> None:
    scene.wait_until_proven()
    before = scene.mark()
    attack = Attack.on(scene.lab, site, None)
    refused = attack.run()
    root = f"intrusion:{attack.host.id}"
    told = {at: scene.wait_for_incident(at, root, "intrusion") for at in CENTRES}
    sentence = f"{attack.source} guessed passwords on {attack.host.id} {refused} times in "
    for incident in told.values():
        assert (incident["severity"], incident["run_next"]) == ("critical", f"ncia findings {attack.host.id}")
        assert incident["sentence"].startswith(sentence)
        assert incident["sentence"].endswith(f" s, then got in as '{WEAK_USER}'.")
    examples = next(f for f in scene.api(site).get("/v1/findings")["findings"] if f["entered"])["examples"]
    assert examples[-1].startswith(f"Accepted password for {WEAK_USER} from {attack.source} port ")
    scene.api(site).post(f"/v1/incidents/{told[site]['id']}/ack", {"by": "kim", "comment": "it was us", "minutes": 60})
    for at in CENTRES:
        scene.wait_until_over(at, root)
    assert scene.opened(before, of=["intrusion"]) == [root]


def test_a_few_mistyped_passwords_and_then_the_right_one_open_nothing(scene: Scene) -> None:
    before, matches = scene.mark(), counts(scene)["matches"]
    refused = replace(Attack.on(scene.lab, DAEJEON, "dj-db1", guesses=5), number=2).run()
    wait_until("the agent has read all of it", lambda: counts(scene)["matches"] >= matches + refused + 1, SOON)
    opened, found = scene.opened(before, of=["intrusion"]), scene.entries(DAEJEON, before, "finding.opened")
    assert (refused, opened, found) == (5, [], [])


def test_the_platforms_own_logins_were_read_and_never_fired(scene: Scene) -> None:
    for site, host in ((DAEJEON, "dj-store1"), (GWANGJU, "gj-store1")):
        log = (scene.lab.settings(site).log / "hosts" / host / "auth.log").read_text()
        assert "Accepted publickey for ncia from 127.0.0.1 port " in log
        told = scene.api(site).get("/v1/findings")
        mine = [f for f in told["findings"] if f["site"] == site]
        assert [f for f in mine if f["group"]["source.ip"] == "127.0.0.1"] == []
        assert (told["counts"]["unparsed"], told["counts"]["dropped"]) == (0, 0)
        assert [rule["inactive"] for rule in told["rules"]] == [""] * len(told["rules"])


def counts(scene: Scene) -> Mapping[str, Any]:
    told = wait_until(
        "the agent has spoken of its logs", lambda: scene.api(DAEJEON).get("/v1/findings")["counts"] or None, SOON
    )
    found: Mapping[str, Any] = told
    return found
