"""Ceph's S3 gateway over a cluster in memory, from Debian's packages: Object Lock as S3 means it. Nothing is a service.

One monitor, one OSD, one gateway, without keys among themselves, on ports and in a folder of their own; no manager, for
nothing here needs its statistics. Up in seconds; 125 MB of memory before anything is kept.
"""

from __future__ import annotations

import http.client
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from backup.clients.s3 import Key
from backup.replicate.stores.s3 import Access
from ncia.core.estate.model import Address
from tests.demand import demand
from tests.ports import free_ports

HOST = "127.0.0.1"
OWNER, BACKUP_USER = "officer", "backup"
BACKUP = Key("AKBACKUP", "another-secret-of-a-test")
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 5
CONFIGURATION = """[global]
fsid = {fsid}
mon_host = v2:{host}:{monitor}/0
public_addr = {host}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = {room}
mon_data_avail_crit = 1
mon_data_avail_warn = 1
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
run_dir = {folder}
admin_socket =
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
rgw_frontends = beast endpoint={host}:{gateway} tcp_nodelay=1
rgw_rados_pool_pg_num_min = 1
rgw_bucket_default_quota_max_objects = -1
rgw_override_bucket_index_max_shards = 1
"""
# the last needs no thought of shards: a bucket of a test is small


@contextmanager
def ceph_stand(folder: Path, room: int = 1 << 30) -> Iterator[Access]:
    """A gateway and the key of the account that makes buckets; :data:`BACKUP` is another's, which owns none. Skipped,
    or failed, where Ceph is not installed."""
    for program in ("monmaptool", "ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin"):
        demand(program, "real Object Lock: ceph-mon ceph-osd radosgw ceph-common")
    monitor, gateway = free_ports(2)
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    for each in ("mon", "osd", "rgw"):
        (folder / each).mkdir(parents=True)
    told = CONFIGURATION.format(fsid=fsid, host=HOST, monitor=monitor, gateway=gateway, folder=folder, room=room)
    (folder / "ceph.conf").write_text(told)
    access = Access(Address(HOST, gateway), "AKTEST", "a-secret-of-a-test")
    with ExitStack() as running:
        _run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "m", f"[v2:{HOST}:{monitor}/0]", "monmap")
        _run(folder, "ceph-mon", "-i", "m", "--mkfs", "--monmap", "monmap")
        running.enter_context(_serving(folder, "ceph-mon", "-i", "m", "-f"))
        _run(folder, "ceph", "osd", "new", osd)
        _run(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        running.enter_context(_serving(folder, "ceph-osd", "-i", "0", "-f"))
        for name, key in ((OWNER, Key(access.key, access.secret)), (BACKUP_USER, BACKUP)):
            words = (f"--uid={name}", f"--display-name={name}", "--access-key", key.id, "--secret", key.secret)
            _run(folder, "radosgw-admin", "user", "create", *words)
        server = running.enter_context(_serving(folder, "radosgw", "-n", "client.rgw.r", "-f"))
        _wait(access.endpoint, server, folder)
        yield access


def _run(folder: Path, program: str, *arguments: str) -> None:
    settings = () if program == "monmaptool" else ("-c", str(folder / "ceph.conf"))
    done = subprocess.run(
        [demand(program), *settings, *arguments], cwd=folder, capture_output=True, text=True, timeout=START_SECONDS_MAX
    )
    assert done.returncode == 0, f"{program}: {done.stderr[-2000:]}"


@contextmanager
def _serving(folder: Path, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{program}.out").open("wb") as out:
        command = [demand(program), "-c", str(folder / "ceph.conf"), *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()  # it holds nothing that outlives it
        process.wait(STOP_SECONDS_MAX)


def _wait(endpoint: Address, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=5)
        try:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            return
        except OSError:
            assert server.poll() is None, (folder / "radosgw.out").read_text()[-2000:]
            assert time.monotonic() < deadline, "the gateway did not answer in time"
            time.sleep(0.02)
        finally:
            connection.close()
