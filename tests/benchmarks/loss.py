"""What named loss costs: the list of a hundred thousand receipts, and what a citizen waits for a receipt."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Address
from ncia.core.journal.entry import make_entry
from ncia.core.reports.loss import Receipt, Stream
from ncia.core.state import State
from ncia.lab.citizens.courier import Courier, HttpWire
from ncia.lab.citizens.spool import Spool
from recovery.loss.contents import PostgresContents
from recovery.loss.desk import LossDesk, Parts
from recovery.loss.store import ReceiptStore
from tests.benchmarks.gate import cpu_seconds
from tests.benchmarks.result import Bar, Result
from tests.lab_apps.postgres import Cluster, start_cluster
from tests.lab_apps.world import eventually
from tests.ports import free_port
from tests.recovery.loss.test_contents import Tree, estate_at, ready

SUMMARY = "the list of 100,000 receipts; what an act of grade 1 waits for its receipt"
SOAK = False
RECEIPTS = 100_000
LOST_EVERY = 1000
RATE, SECONDS = 12.5, 10.0  # the lab's grade-1 acts a second
DAEJEON, GWANGJU, CITIZENS, TAX = SiteId("daejeon"), SiteId("gwangju"), SiteId("citizens"), SystemId("onnara")
TOKEN = "bench"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

MORE_ACTS = """
insert into acts (id) select gen_random_uuid() from generate_series(1, %(count)s);
insert into documents (act, drafter, unit, title, body)
select a.id, 1, 1, 'title', 'body' from acts a left join documents d on d.act = a.id where d.act is null;
insert into approvals
select d.act, step, step from documents d, generate_series(1, 2) step
where not exists (select from approvals a where a.act = d.act);
insert into decisions (act, decision, decided_by)
select d.act, 'approved', 2 from documents d left join decisions c on c.act = d.act where c.act is null
"""


def measure() -> Result:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ncia-loss-") as folder:
        figures |= waits(Path(folder))
        cluster = start_cluster()
        try:
            ready(cluster)
            figures |= listing(cluster, Path(folder))
        finally:
            cluster.stop()
    bars = (
        Bar("list of 100,000 receipts, s", "<= 20", figures["list of 100,000 receipts, s"]),
        Bar("intake, ms of processor a receipt", "<= 5", figures["intake, ms of processor a receipt"]),
    )
    return Result("loss", figures, bars)


def listing(cluster: Cluster, folder: Path) -> dict[str, float]:
    """The whole report: receipts read, looked for in a real database by content, and the list made."""
    with cluster.connect("onnara") as connection:
        connection.execute("set search_path = app")
        for statement in MORE_ACTS.split(";"):
            connection.execute(statement, {"count": RECEIPTS} if "%(" in statement else None)
        connection.execute("analyze")
        there = connection.execute(
            "select id::text, encode(sha256(convert_to(content::text, 'UTF8')), 'hex') from app.act_contents limit %s",
            (RECEIPTS,),
        ).fetchall()
    store = ReceiptStore(folder / "receipts.db")
    stream = Stream("s", CITIZENS, DAEJEON, BEGAN, BEGAN + timedelta(days=1))
    estate = estate_at(cluster.port)
    agency = estate.systems[TAX].agency
    began = time.monotonic()
    for start in range(0, len(there), 500):
        held = [
            Receipt(str(uuid.uuid4()) if n % LOST_EVERY == 0 else act, sha, TAX, agency, DAEJEON, 1, BEGAN)
            for n, (act, sha) in enumerate(there[start : start + 500], start)
        ]
        store.keep(stream, held)
    kept = time.monotonic() - began
    journal = SimpleNamespace(append=lambda body, by: make_entry(GWANGJU, 0, BEGAN, by, 0, body))
    clock = SimpleNamespace(now=lambda: BEGAN + timedelta(hours=2))
    contents = PostgresContents(estate, GWANGJU, cluster.passfile, Tree)
    parts = Parts(GWANGJU, estate, store, contents, journal, State, lambda: {TAX: GWANGJU}, clock)  # type: ignore[arg-type]
    began = time.monotonic()
    told = LossDesk(parts).report(run="", site=DAEJEON, since="", agency="", by="bench")
    seconds = time.monotonic() - began
    store.close()
    assert (told["receipts"], told["lost"]) == (RECEIPTS, RECEIPTS // LOST_EVERY), (told["receipts"], told["lost"])
    return {
        "list of 100,000 receipts, s": round(seconds, 2),
        "receipts kept a second, in batches of 500": round(RECEIPTS / kept),
        "receipts on disk, bytes each": round((folder / "receipts.db").stat().st_size / RECEIPTS),
    }


def waits(folder: Path) -> dict[str, float]:
    """A courier here, the intake in a process of its own: as a front door and a centre, without the WAN."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(folder / "intake"), str(port)]
    intake = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        waited, spent = asyncio.run(_acts(folder, Address("127.0.0.1", port), intake.pid))
    finally:
        intake.terminate()
        intake.wait(30)
    return {
        "wait for a receipt, p50, ms": round(waited[len(waited) // 2], 2),
        "wait for a receipt, p95, ms": round(waited[int(len(waited) * 0.95)], 2),
        "intake, ms of processor a receipt": round(spent / len(waited) * 1000, 2),
    }


async def _acts(folder: Path, address: Address, intake: int) -> tuple[list[float], float]:
    """Every wait in milliseconds, sorted, and the processor's seconds that the intake spent meanwhile."""
    clock = SystemClock()
    wire = HttpWire(address, CITIZENS, DAEJEON, TOKEN)
    courier = Courier(Spool(folder / "spool", clock.now()), wire, clock)
    carrying = asyncio.create_task(courier.carry())
    waited: list[float] = []

    async def act() -> None:
        began = time.perf_counter()
        await courier.keep((str(uuid.uuid4()), "ab" * 32, "share", 1, to_text(clock.now())), urgent=True)
        waited.append((time.perf_counter() - began) * 1000)

    await asyncio.to_thread(eventually, lambda: _listens(address), 30)
    for _ in range(20):  # the first ones find connections closed and modules cold
        await act()
        await asyncio.sleep(0.1)
    waited.clear()
    before = cpu_seconds(intake)
    acts = []
    for _ in range(int(RATE * SECONDS)):
        acts.append(asyncio.create_task(act()))
        await asyncio.sleep(1 / RATE)
    await asyncio.gather(*acts)
    spent = cpu_seconds(intake) - before
    carrying.cancel()
    await asyncio.gather(carrying, return_exceptions=True)
    await courier.close()
    return sorted(waited), spent


SERVE = f"""
import sys, uvloop
from pathlib import Path
from types import SimpleNamespace
from ncia.api.doors import RECEIPTS, Door
from ncia.api.routes import build_receipts
from ncia.app import web
from ncia.core.estate import Address
from recovery.loss.desk import LossDesk, Parts
from recovery.loss.store import ReceiptStore
from tests.lab_apps.world import own_estate
parts = Parts("gwangju", own_estate(), ReceiptStore(Path(sys.argv[1]) / "receipts.db"), *[None] * 5)
platform = SimpleNamespace(receipts_token={TOKEN!r}, accounts=None, made=None, loss=LossDesk(parts), release="bench")
listener = web.tcp_socket(Address("127.0.0.1", int(sys.argv[2])))
uvloop.run(web._server(Door(build_receipts(platform), RECEIPTS), None).serve(sockets=[listener]))
"""


def _listens(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address.host, address.port)) == 0
