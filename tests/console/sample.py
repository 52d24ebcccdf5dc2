"""Status views as a two-site estate would give them: calm, burning, recovering, recovered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.views import (
    IncidentView,
    MissedView,
    RunView,
    SiteView,
    StatusView,
    StepView,
    SystemView,
    UnprotectedView,
)

NOW = datetime(2026, 6, 1, 3, 20, 0, tzinfo=UTC)
SYSTEMS = (
    (
        "share",
        "Shared Use of Administrative Information",
        "행정정보 공동이용",
        "Ministry of Public Administration",
        1,
        "daejeon",
        "",
    ),
    ("egov", "Internet Civil Service", "민원24", "Ministry of Public Administration", 1, "daejeon", "documents"),
    ("hometax", "Comprehensive Tax Service", "홈택스", "National Tax Service", 1, "daejeon", "certificates"),
    ("g2b", "Electronic Procurement Service", "나라장터", "Public Procurement Service", 1, "daejeon", "bids"),
    ("customs", "Electronic Customs Clearance", "전자통관", "Korea Customs Service", 1, "daejeon", "declarations"),
    (
        "onnara",
        "On-Nara Business Process System",
        "온나라",
        "Ministry of Public Administration",
        2,
        "gwangju",
        "documents",
    ),
    (
        "epeople",
        "e-People petitions and discussion",
        "국민신문고",
        "Anti-Corruption and Civil Rights Commission",
        2,
        "gwangju",
        "attachments",
    ),
    ("patent", "Patent Service", "특허로", "Korean Intellectual Property Office", 3, "daejeon", "drawings"),
    (
        "g4b",
        "Single Window for Business Support",
        "기업지원플러스",
        "Ministry of Public Administration",
        3,
        "daejeon",
        "",
    ),
    (
        "gangnam-civil",
        "Gangnam Internet civil applications",
        "강남구 인터넷 민원",
        "Gangnam District Office",
        3,
        "daejeon",
        "documents",
    ),
    ("gangnam-tax", "Gangnam Internet tax payment", "강남구 지방세", "Gangnam District Office", 4, "daejeon", ""),
)
RPO = {1: 0.0, 2: 5.0, 3: 3600.0, 4: 86400.0}
RTO = {1: 3600.0, 2: 10800.0, 3: 86400.0, 4: 259200.0}
STEPS = ("preconditions", "claim", "promote", "application", "switch", "verify_outside")
PEER = {"daejeon": "gwangju", "gwangju": "daejeon"}


def at(seconds: float) -> str:
    return to_text(NOW + timedelta(seconds=seconds))


def calm() -> StatusView:
    systems = tuple(system(*facts) for facts in SYSTEMS)
    return StatusView(
        site="gwangju",
        timezone="Asia/Seoul",
        estate="reference",
        estate_hash="0" * 64,
        as_of=at(0),
        verdict="up",
        sites=(
            SiteView(
                "daejeon",
                "Daejeon",
                "centre",
                "up",
                "",
                {"gwangju": "up", "witness": "up"},
                "up",
                "up",
                at(-1),
                False,
                9,
            ),
            SiteView(
                "gwangju",
                "Gwangju",
                "centre",
                "up",
                "",
                {"daejeon": "up", "witness": "up"},
                "up",
                "up",
                at(-1),
                False,
                2,
            ),
            SiteView(
                "witness",
                "Witness",
                "witness",
                "up",
                "",
                {"daejeon": "up", "gwangju": "up"},
                "",
                "up",
                at(-2),
                False,
                0,
            ),
        ),
        systems=systems,
        incidents=(),
        runs=(),
        missed=(),
        unprotected=tuple(
            UnprotectedView(
                f"{s.id}/{name}", s.id, "files", "2027-06-30", "kim", "files are not mirrored by this release", False
            )
            for s in systems
            for name in s.unprotected
        ),
        proofs=(),
    )


def system(id: str, name: str, name_ko: str, agency: str, grade: int, home: str, exposed: str) -> SystemView:
    return SystemView(
        id=id,
        name=name,
        name_ko=name_ko,
        agency=agency,
        grade=grade,
        home=home,
        active_site=home,
        epoch=1,
        verdict="up",
        evidence="",
        since=at(-3600),
        latency_seconds=0.012,
        replica_site=PEER[home],
        replica_verdict="up",
        lag_seconds=0.4,
        predicted_loss_seconds=0.0 if grade == 1 else 1.4,
        commits_wait=grade == 1,
        stale=False,
        promise_rpo_seconds=RPO[grade],
        promise_rto_seconds=RTO[grade],
        breaks_promise=False,
        depends_on=(),
        unprotected=(exposed,) if exposed else (),
        proven_at=at(-1500) if id != "gangnam-tax" else None,
        without_partner_since=None,
    )


def burning() -> StatusView:
    """Nine seconds after one site stopped answering anybody."""
    status = calm()
    sites = (
        replace(
            status.sites[0],
            verdict="down",
            evidence="no answer from api, warden and etcd: connect timed out",
            seen_by={"gwangju": "down", "witness": "down"},
            lease="down",
            etcd="down",
            last_heard_at=at(-9),
            silent=True,
        ),
        replace(status.sites[1], seen_by={"witness": "up"}),
        replace(status.sites[2], seen_by={"gwangju": "up"}),
    )
    systems = tuple(
        replace(s, verdict="down", evidence="entry: timed out after 1.5 s", stale=True) if s.home == "daejeon" else s
        for s in status.systems
    )
    lost = tuple(s.id for s in systems if s.home == "daejeon")
    incident = IncidentView(
        "incident-1",
        "site:daejeon",
        "site-lost",
        "critical",
        "Site Daejeon is lost: gwangju and witness both cannot reach it, its lease has expired; 9 systems are down.",
        "ncia recover plan daejeon",
        lost,
        31,
        at(-4),
        "",
        "",
        "",
    )
    missed = (MissedView("backup-g2b", "g2b/rows", at(-2), "source site down"),)
    return replace(
        status, as_of=at(1), verdict="down", sites=sites, systems=systems, incidents=(incident,), missed=missed
    )


def planned() -> StatusView:
    status = burning()
    incident = replace(status.incidents[0], acked_by="park", ack_comment="fire brigade confirms", acked_until=at(3600))
    return replace(status, as_of=at(2), incidents=(incident,), runs=(run("planned", 0),))


def recovering(done: int = 23) -> StatusView:
    return replace(planned(), as_of=at(3), runs=(run("running", done),))


def recovered() -> StatusView:
    status = recovering(54)
    systems = tuple(
        replace(
            s,
            active_site="gwangju",
            epoch=2 if s.home == "daejeon" else 1,
            verdict="up",
            evidence="",
            replica_site="daejeon",
            replica_verdict="down",
            lag_seconds=None,
            predicted_loss_seconds=None,
            commits_wait=False,
            breaks_promise=None,
            without_partner_since=at(1) if s.home == "daejeon" else None,
            stale=False,
        )
        for s in status.systems
    )
    ended = replace(run("succeeded", 54), sentence="9 systems moved to gwangju; no acknowledged act of grade 1 lost")
    sites = tuple(replace(s, active_systems={"gwangju": 11}.get(s.id, 0)) for s in status.sites)
    return replace(status, as_of=at(4), verdict="degraded", sites=sites, systems=systems, runs=(ended,))


def run(state: str, done: int) -> RunView:
    lost = [facts for facts in SYSTEMS if facts[5] == "daejeon"]
    steps = []
    for index, (facts, name) in enumerate((f, n) for f in lost for n in STEPS):
        reached = "done" if index < done else "running" if state == "running" and index < done + 3 else "pending"
        steps.append(StepView(f"{facts[0]}/{name}", reached, 1, "", at(0), at(0) if reached == "done" else None))  # type: ignore[arg-type]
    return RunView(
        id="run-20260601T032000-a1b2c3",
        runbook="site_failover",
        site="daejeon",
        executing_site="gwangju",
        state=state,  # type: ignore[arg-type]
        plan_hash="f" * 64,
        approvals=() if state == "planned" else ("kim", "lee"),
        approvals_needed=2,
        steps=tuple(steps),
        steps_done=done,
        steps_total=len(steps),
        planned_at=at(-1),
        started_at=None if state == "planned" else at(0),
        ended_at=at(4) if state == "succeeded" else None,
        seconds=4.2 if state == "succeeded" else None,
        sentence="",
    )
