"""The whole lab on real parts. Harmless to its data centres, so that others may use the same one afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import paramiko
import psycopg
import pytest

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import SiteId
from ncia.lab import etcd
from ncia.lab.layout import relay_address
from ncia.lab.sockets import violations

pytestmark = pytest.mark.lab
first = pytest.mark.lab(first=True)
WITNESS = SiteId("witness")
SILENCE_SECONDS = 1.5
CATCH_UP_SECONDS_MAX = 30


def connect(lab, viewer, copy, role: str, database: str) -> psycopg.Connection:
    """As a process of ``viewer`` dials it."""
    seen = lab.estate().seen(copy.server, copy.site, viewer)
    passfile = str(lab.settings(viewer).secrets / "pgpass")
    return psycopg.connect(
        host=seen.host,
        port=seen.port,
        user=role,
        dbname=database,
        passfile=passfile,
        connect_timeout=10,
        autocommit=True,
    )


def becomes(condition, seconds_max: float = CATCH_UP_SECONDS_MAX) -> bool:
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def dial(address, seconds: float = SILENCE_SECONDS) -> str:
    with socket.socket() as own:
        own.settimeout(seconds)
        try:
            own.connect((address.host, address.port))
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"  # a relay end gave the address up in that very moment
        return "accepted"


@first
def test_everything_that_was_started_runs(lab):
    assert [(p.site, p.name) for p in lab.processes() if not p.alive] == []


@first
def test_a_second_up_says_that_it_is_up(lab):
    said: list[str] = []
    type(lab)(lab.home, said.append).up()
    assert ["is up already" in sentence for sentence in said] == [True]


@first
def test_every_socket_belongs_to_one_site_and_none_joins_two(lab):
    assert violations(lab.home, lab.estate(), {os.getpid()}) == ()


@first
def test_a_planted_connection_from_one_site_into_the_other_is_caught(lab):
    estate = lab.estate()
    one, other = estate.centres
    target = estate.sites[one].services.etcd.client
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], sys.argv[2])); print(1, flush=True); input()"
    )
    planted = subprocess.Popen(
        [sys.executable, "-c", program, target.host, str(target.port)],
        cwd=lab.layout.site(other),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        planted.stdout.readline()
        told = violations(lab.home, estate, {os.getpid()})
    finally:
        planted.communicate(b"\n")
    assert len(told) == 1
    assert f"({planted.pid}) of {other}" in told[0]
    assert f"of {one}" in told[0]


@first
def test_the_epoch_of_every_system_is_known_to_the_third_vote(lab):
    estate = lab.estate()
    for system in estate.systems.values():
        key = etcd.encode(f"/ncia/epochs/{system.id}")
        told = etcd.ask(estate, estate.voters[0], "POST", "/v3/kv/range", {"key": key})
        assert len(told["kvs"]) == 1


@first
def test_each_standby_streams_through_the_wan_and_grade_1_waits_for_it(lab):
    estate = lab.estate()
    for system in estate.systems.values():
        home = system.postgres.copies[system.home]
        with connect(lab, system.home, home, "ncia_watch", system.postgres.database) as connection:
            told = connection.execute(
                "select application_name, state, sync_state, host(client_addr) from pg_stat_replication"
                " where application_name = %s",
                (estate.peer_of(system.home),),
            ).fetchall()
        state = "quorum" if system.grade == 1 else "async"
        relay = relay_address(estate.sites[system.home]).host
        assert told == [(estate.peer_of(system.home), "streaming", state, relay)], system.id


@first
def test_a_row_written_at_home_is_read_at_the_other_site(lab):
    estate = lab.estate()
    system = next(s for s in estate.systems.values() if s.grade == 4)
    home, away = (system.postgres.copies[s] for s in (system.home, estate.peer_of(system.home)))
    database = system.postgres.database
    with (
        connect(lab, home.site, home, "ncia_watch", database) as writing,
        connect(lab, away.site, away, "ncia_watch", database) as reading,
    ):
        writing.execute("create table if not exists ncia.trial (n int)")
        writing.execute("insert into ncia.trial values (1)")
        look = "select to_regclass('ncia.trial') is not null"
        assert becomes(lambda: reading.execute(look).fetchone() == (True,))
        writing.execute("drop table ncia.trial")


@first
def test_the_platforms_own_roles_may_do_their_part_and_no_more(lab):
    estate = lab.estate()
    system = next(s for s in estate.systems.values() if s.grade == 1)
    home, database = system.postgres.copies[system.home], system.postgres.database
    with connect(lab, home.site, home, "app", database) as app:
        state, age = app.execute("select * from ncia.sync_partner()").fetchone()
        assert state == "streaming"
        assert age < 10
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("update ncia.canary set epoch = 99")
    with connect(lab, home.site, home, "ncia_recover", database) as recover:
        recover.execute("select pg_reload_conf()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            recover.execute("alter system set fsync = off")
    with connect(lab, home.site, home, "ncia_backup", database) as backup:
        with backup.transaction():
            backup.execute("lock table app.acts in share mode")
            assert backup.execute("select exists (select from app.acts)").fetchone() == (True,)


@first
def test_a_wrong_password_is_refused(lab):
    copy = next(iter(lab.estate().systems.values())).postgres.copies["daejeon"]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=copy.server.host, port=copy.server.port, user="app", password="wrong", dbname="postgres")


@first
def test_a_host_of_the_other_site_obeys_over_ssh_as_no_root(lab):
    estate = lab.estate()
    one, other = estate.centres
    host = estate.host_of(other, "database")
    seen = estate.seen(host.ssh, other, one)
    secrets = lab.settings(one).secrets
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(secrets / "known_hosts"))
        key = paramiko.Ed25519Key.from_private_key_file(str(secrets / "ssh_key"))
        client.connect(seen.host, seen.port, host.user, pkey=key, allow_agent=False, look_for_keys=False, timeout=20)
        _, stdout, _ = client.exec_command("id -u; pwd; pg_controldata --version")
        uid, place, version = stdout.read().decode().splitlines()
    assert uid != "0"
    assert place == str(lab.layout.site(other))
    assert version.startswith("pg_controldata (PostgreSQL) 18")


def test_a_cut_link_neither_accepts_nor_refuses_and_after_heal_all_streams_again(lab):
    estate = lab.estate()
    system = next(s for s in estate.systems.values() if s.grade == 4)
    home, away = system.postgres.copies[system.home], system.postgres.copies[estate.peer_of(system.home)]
    seen = estate.seen(away.server, away.site, home.site)
    assert dial(seen) == "accepted"
    lab.cut()
    try:
        assert dial(seen) == "silence"
    finally:
        lab.heal()
    assert becomes(lambda: dial(seen) == "accepted")
    with connect(lab, home.site, home, "ncia_watch", system.postgres.database) as connection:
        query = "select 1 from pg_stat_replication where state = 'streaming'"
        assert becomes(lambda: connection.execute(query).fetchone() is not None)


def test_the_witness_goes_dark_swallowed_and_comes_back(lab):
    estate = lab.estate()
    member = estate.sites[WITNESS].services.etcd.client
    seen = estate.seen(member, WITNESS, estate.centres[0])
    lab.blackout(WITNESS)
    assert [p for p in lab.processes() if p.site == WITNESS] == []
    assert dial(seen) == "silence"
    with pytest.raises(Refusal):
        lab.blackout(WITNESS)
    lab.start(WITNESS)
    assert becomes(lambda: dial(seen) == "accepted")
    etcd.wait_for_quorum(estate, WITNESS, CATCH_UP_SECONDS_MAX)
    assert lab.lost == {}


def test_one_process_is_stopped_killed_and_started(lab):
    agent = (WITNESS, "agent")
    lab.kill(*agent, signal.SIGKILL)
    assert becomes(lambda: not state_of(lab, *agent).alive)
    lab.start(*agent)
    assert state_of(lab, *agent).alive
    with pytest.raises(Refusal):
        lab.start(*agent)


def state_of(lab, site, name):
    return next(p for p in lab.processes() if (p.site, p.name) == (site, name))
