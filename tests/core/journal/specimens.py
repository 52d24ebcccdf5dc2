"""One entry of each kind. ``python -m tests.core.journal.specimens`` adds new kinds to the golden file, whose lines
are never changed once they were released.
"""

from __future__ import annotations

import json
from pathlib import Path

from ncia.core.journal import entry_to_wire
from ncia.core.journal.entries import (
    AlertAcked,
    BackupFailed,
    BackupFinished,
    BackupStarted,
    Body,
    ControllerStarted,
    EstateLoaded,
    FindingChanged,
    FindingClosed,
    FindingOpened,
    ForswornHead,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    JournalSworn,
    MirrorChanged,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProgramCaptured,
    ProgramCompared,
    ProgramFile,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    RunMissed,
    TableSum,
    VerdictChange,
    VerdictsChanged,
)
from ncia.core.journal.entries_care import (
    ForgetAllowed,
    ForgetHeld,
    PruneFailed,
    PruneStarted,
    SnapshotMended,
    SnapshotProofFailed,
    SnapshotProven,
)
from ncia.core.journal.entries_people import (
    AccountRestored,
    AccountSuspended,
    CertificateRevoked,
    RequestMade,
    SessionClosed,
    SessionOpened,
    SignInRefused,
    TokenIssued,
    TokenRevoked,
)
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    DivergenceListed,
    DocumentsStranded,
    LossListed,
    PlanMade,
    RunEnded,
    RunResumed,
    RunStarted,
    RunStopped,
    RunSworn,
    StepEnded,
    StepIntended,
    StepUndone,
    StrandedTable,
    SyncDegraded,
    SyncRestored,
)
from ncia.core.journal.entries_repositories import (
    RepositoryChecked,
    RepositoryLooked,
    RepositoryMade,
    RepositoryPruned,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotKept,
)
from ncia.core.journal.entry import make_entry
from tests.core.journal.sites import EAST, EPOCH

AT = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-02T00:00:00.000000Z"
SUM = TableSum(table="returns", rows=5000, sum128="0123456789abcdef0123456789abcdef")
INCIDENT = {
    "incident": "incident-1",
    "root": "site:west",
    "cause": "site-lost",
    "severity": "critical",
    "sentence": "West answers nobody.",
    "run_next": "ncia recover plan west",
    "members": ("app:tax@west", "db:tax@west"),
    "systems": ("tax",),
}
FINDING = {
    "finding": "finding-1",
    "rule": "0d6f6b3e-6d0c-4c7e-9b1c-0f6f0a7c1e03",
    "title": "Passwords guessed on an SSH host",
    "level": "high",
    "host": "west-store1",
    "entered": False,
    "group": {"source.ip": "203.0.113.7", "host.name": "west-store1"},
    "sentence": "203.0.113.7 guessed passwords on west-store1 40 times in 60 s",
    "first_at": AT,
    "last_at": AT,
    "count": 40,
    "examples": ("Failed password for root from 203.0.113.7 port 4022 ssh2",),
    "quiet_seconds": 900.0,
}

SPECIMENS: tuple[Body, ...] = (
    ControllerStarted(release="0.1.0", estate_hash="abc"),
    EstateLoaded(estate_hash="abc", systems=11, datasets=14),
    JournalSworn(
        by="kim",
        reason="the other site burnt",
        size=7,
        lost_to=9,
        forsworn=(ForswornHead(by="third", size=9, root="00ff"),),
        unheard=("west",),
    ),
    VerdictsChanged(
        vantage="east",
        changes=(VerdictChange(subject="site:west", verdict="down", previous="up", since=AT, evidence="no answer"),),
    ),
    IncidentOpened(**INCIDENT),
    IncidentChanged(**INCIDENT),
    IncidentClosed(incident="incident-1", reason="all members are up"),
    AlertAcked(incident="incident-1", by="kim", comment="on it", until=AT),
    FindingOpened(**FINDING),
    FindingChanged(**FINDING),
    FindingClosed(finding="finding-1", reason="nothing came for 900 s"),
    BackupStarted(job="backup-1", dataset="tax/rows", source_site="west", store_site="east", due_at=AT),
    BackupFinished(
        job="backup-1",
        point="point-1",
        dataset="tax/rows",
        store_site="east",
        path="tax/rows/point-1",
        size_bytes=30_000_000,
        files=900,
        start_lsn="0/2000028",
        stop_lsn="0/2000120",
        manifest_sha256="00ff",
        seconds=1.25,
        compare_lsn="0/2000200",
        source=(SUM,),
    ),
    BackupFailed(job="backup-1", dataset="tax/rows", error="the store is full"),
    ProofStarted(job="proof-1", point="point-1", dataset="tax/rows"),
    ProofFinished(
        job="proof-1",
        point="point-1",
        dataset="tax/rows",
        matched=True,
        compare_lsn="0/2000200",
        source=(SUM,),
        copy_=(SUM,),
        differences=(),
        restore_seconds=0.75,
        seconds=1.5,
    ),
    ProofFailed(job="proof-1", point="point-1", dataset="tax/rows", error="scratch is full"),
    PointDeleted(point="point-1", dataset="tax/rows", store_site="east", path="tax/rows/point-1", reason="superseded"),
    ProgramCaptured(
        dataset="tax/program",
        source_site="west",
        store_site="east",
        path="tax/program/0123456789abcdef.tar",
        size_bytes=20480,
        sha256="00ff",
        files=(ProgramFile(path="etc/app.yaml", mode="600", size_bytes=120, sha256="00aa"),),
    ),
    ProgramCompared(
        dataset="tax/program",
        sites=("west", "east"),
        differences=("etc/app.yaml is not the same at west and east, from line 3",),
        files=6,
    ),
    RunMissed(job="backup-2", dataset="tax/rows", due_at=AT, reason="the controller was away"),
    MirrorChanged(
        dataset="tax/letters",
        source_site="west",
        target_site="east",
        state="failing",
        sentence="mirror a to east: the store said that it has it, and holds other bytes",
    ),
    PlanMade(run="run-1", runbook="site_failover", plan_hash="cafe", plan={"steps": [{"id": "tax/promote"}]}, by="kim"),
    ApprovalGiven(
        run="run-1", plan_hash="cafe", person="kim", expires_at=AT, key_fingerprint="SHA256:x", signature="AAAA"
    ),
    ApprovalRefused(run="run-1", plan_hash="beef", person="lee", reason="another plan's hash"),
    RunSworn(run="run-1", by="kim", reason="nobody else is left", unheard=("west", "third")),
    RunStarted(run="run-1", plan_hash="cafe", site="east"),
    StepIntended(run="run-1", step="tax/promote", attempt=1),
    StepEnded(
        run="run-1", step="tax/promote", attempt=1, outcome="done", evidence="it writes", measured={"seconds": 0.01}
    ),
    StepUndone(run="run-1", step="tax/promote", evidence="it follows again"),
    RunStopped(run="run-1", by="lee", reason="look first"),
    RunResumed(run="run-1", site="east", by="kim"),
    RunEnded(run="run-1", outcome="succeeded", sentence="All is served from east.", seconds=21.5),
    PointRehashed(
        job="rehash-1",
        point="point-1",
        dataset="tax/rows",
        store_site="east",
        matched=False,
        manifest_sha256="00ff",
        size_bytes=30_000_000,
        files=900,
        seconds=0.5,
        why='checksum mismatch for file "base/5/1259"',
    ),
    LossListed(
        run="run-1",
        lost_site="west",
        agency="",
        since=AT,
        until=AT,
        receipts=1200,
        lost=2,
        altered=0,
        lost_by_system={"tax": 2},
        uncompared=(),
        unnamed=(f"{AT}/{AT}",),
        list_sha256="00ff",
    ),
    SyncDegraded(system="tax", site="east", since=AT, lsn="0/3000060", reason="nobody at west keeps its commits"),
    SyncRestored(system="tax", site="east", since=AT, lsn="0/5000060", unprotected_seconds=42.5),
    RequestMade(
        request="POST /v1/backups/prove", by="park", role="operator", door="tcp", credential="session-1", why=""
    ),
    SessionOpened(
        session="session-1", person="park", sha256="00ff", expires_at=LATER, key_fingerprint="SHA256:x", how="key"
    ),
    SessionClosed(session="session-1", by="park", reason="signed out"),
    SignInRefused(source="10.1.2.3", reason="its key is not known"),
    TokenIssued(
        token="token-1", name="graphs", role="auditor", agencies=(), sha256="ff00", expires_at=LATER, by="jung"
    ),
    TokenRevoked(token="token-1", by="jung", reason="the graphs are gone"),
    AccountSuspended(person="park", by="jung", reason="on leave"),
    AccountRestored(person="park", by="jung", reason="back"),
    CertificateRevoked(serial="1f00", by="jung", reason="the host was lost"),
    DivergenceListed(
        run="run-2",
        system="tax",
        site="east",
        new_site="west",
        timeline=1,
        fork_lsn="0/3000060",
        transactions=2,
        rows=3,
        tables=(StrandedTable(table="app.acts", only_here=2, differs=1),),
        evidence="evidence/run-2/tax.json",
        sha256="00ff",
    ),
    DocumentsStranded(
        run="run-2",
        system="tax",
        site="east",
        new_site="west",
        since="2026-01-01T00:00:00.000000Z",
        until=LATER,
        documents=2,
        size_bytes=4096,
        evidence="evidence/run-2/tax.documents.json",
        sha256="00ff",
    ),
    PointCopied(
        job="copy-1",
        point="point-1",
        dataset="tax/rows",
        from_site="east",
        store_site="west",
        path="tax/rows/point-1",
        size_bytes=30_000_000,
        files=900,
        manifest_sha256="00ff",
        seconds=1.5,
    ),
    RepositoryMade(
        job="repository:treasury:1",
        agency="treasury",
        site="west",
        repository="61b2" * 16,
        engine="ncia",
        place="sftp://files@10.0.0.1:22/repositories/treasury",
        escrowed_for=("kim", "lee"),
    ),
    SnapshotKept(
        job="snapshot:tax/letters:1",
        agency="treasury",
        dataset="tax/letters",
        site="west",
        repository="61b2" * 16,
        snapshot="8e68" * 16,
        tree="ce4e" * 16,
        files=12,
        size_bytes=4096,
        losses=1,
        lost=("a: it was not read",),
        reason=f"due at {AT}",
        seconds=1.5,
    ),
    SnapshotFailed(
        job="snapshot:tax/letters:2", agency="treasury", dataset="tax/letters", site="west", error="it does not answer"
    ),
    SnapshotForgotten(
        agency="treasury", dataset="tax/letters", site="west", snapshot="8e68" * 16, reason="newer ones are kept"
    ),
    RepositoryLooked(
        agency="treasury", site="west", expected=2, missing=("snapshot 8e68 is not there",), strangers=1, why=""
    ),
    RepositoryChecked(
        job="check:treasury@west:2/7",
        agency="treasury",
        site="west",
        repository="61b2" * 16,
        part=2,
        of=7,
        bytes_read=600,
        bytes_all=4200,
        faults=1,
        named=("pack 8e68c22b: its content is not what it was",),
        started_at=AT,
        ended_at=AT,
    ),
    RepositoryPruned(
        job="prune:treasury@west:1",
        agency="treasury",
        site="west",
        repository="61b2" * 16,
        reason=f"due at {AT}",
        marked=2,
        marked_bytes=600,
        removed=1,
        removed_bytes=300,
        started_at=AT,
        ended_at=AT,
    ),
    ForgetHeld(
        agency="treasury",
        site="west",
        would_go=31,
        of=40,
        named=("8e68c22b of tax/letters, kept 2026-01-02T03:04Z: newer ones take its places: last 2",),
        why="31 of 40 of treasury (tax/letters) would go at once",
    ),
    ForgetAllowed(
        agency="treasury", site="west", remove_max=31, going=31, reason="the rule was shortened on purpose, ticket 17"
    ),
    SnapshotMended(
        job="mend:1",
        agency="treasury",
        dataset="tax/letters",
        site="west",
        source_site="east",
        kept_at=AT,
        repository="61b2" * 16,
        snapshot="9f79" * 16,
        tree="df5f" * 16,
        files=12,
        size_bytes=4_200_000,
        losses=0,
        lost=(),
        reason=f"mended from east, where it was kept: due at {AT}",
    ),
    PruneStarted(
        job="prune:treasury@west:1",
        agency="treasury",
        site="west",
        repository="61b2" * 16,
        reason=f"due at {AT}: what no snapshot needs",
    ),
    PruneFailed(job="prune:treasury@west:1", agency="treasury", site="west", error="the host does not answer"),
    SnapshotProven(
        job="prove:tax/letters@west:1",
        agency="treasury",
        dataset="tax/letters",
        site="west",
        repository="61b2" * 16,
        snapshot="8e68" * 16,
        tree="ce4e" * 16,
        documents=11,
        size_bytes=4_100_000,
        passed_over=1,
        started_at=AT,
        ended_at=AT,
    ),
    SnapshotProofFailed(
        job="prove:tax/letters@west:2",
        agency="treasury",
        dataset="tax/letters",
        site="west",
        snapshot="8e68" * 16,
        error="2026/a came back with other content than the document of the same time",
    ),
)


def write_golden() -> None:
    golden = Path(__file__).parents[2] / "golden" / "journal" / "entries.jsonl"
    lines = golden.read_text(encoding="utf-8").splitlines() if golden.exists() else []
    known = {(wire["kind"], wire["version"]) for wire in map(json.loads, lines)}
    for body in SPECIMENS:
        if (body.KIND, body.VERSION) not in known:
            wire = entry_to_wire(make_entry(EAST, len(lines), EPOCH, "tester", 0, body))
            lines.append(json.dumps(wire, ensure_ascii=False, sort_keys=True))
    golden.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_golden()
