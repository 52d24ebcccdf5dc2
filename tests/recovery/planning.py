"""What the tests of plans begin with: the reference estate after the loss of a site, and a plan of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate import Estate
from recovery.fencing.keys import Epoch
from recovery.loss_figure import Facts
from recovery.plan import Asked, PlanRefused, plan_site_failover
from recovery.planned import Plan
from recovery.ports import Outage, Replica
from recovery.runbook import load_runbook
from tests.recovery.scene import LOST, RUNBOOKS, SURVIVOR, estate

NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)


DOWN = Outage(NOW - timedelta(seconds=6), "timed out")


RUNBOOK = load_runbook(RUNBOOKS, "site_failover")


MOVING = {"share", "egov", "hometax", "g2b", "customs", "patent", "g4b", "gangnam-civil", "gangnam-tax"}


def replica(behind_seconds: float, **changed: Any) -> Replica:
    told = Replica(True, NOW - timedelta(seconds=6 + behind_seconds), "0/3000000", "")
    return replace(told, **changed)


def epochs(**at: str) -> dict[SystemId, Epoch]:
    return {
        s.id: Epoch(s.id, 4, SiteId(at.get(s.id, s.home)), "", 40 + n) for n, s in enumerate(estate().systems.values())
    }


def planned(
    facts: Mapping[str, Facts] | None = None,
    accept: Mapping[str, str] | None = None,
    *,
    drift: Mapping[str, str] | None = None,
    of: Estate | None = None,
    at: dict[SystemId, Epoch] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Plan:
    of = of or estate()
    known = {s: Facts(replica(0.4), DOWN) for s in of.systems} | {SystemId(s): f for s, f in (facts or {}).items()}
    asked = Asked(RunId("run-1"), LOST, SURVIVOR, accept or {}, drift or {})
    return plan_site_failover(of, asked, RUNBOOK, at or epochs(), known, durations or {}, NOW)


def refused(facts: Mapping[str, Facts], accept: Mapping[str, str] | None = None, **how: Any) -> PlanRefused:
    with pytest.raises(PlanRefused) as caught:
        planned(facts, accept, **how)
    return caught.value
