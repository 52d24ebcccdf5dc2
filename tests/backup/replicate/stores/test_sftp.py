"""What is particular to a file tree: host keys, a full disk, links, a host that goes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from backup.clients.session import Session
from backup.clients.sftp import SftpHost
from backup.replicate.stores.sftp import LIMITS, SftpTree
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.work.documents import StoreFull
from ncia.lab.secrets import Ed25519PrivateKey
from tests.backup.replicate.stores.stands import SftpStand, sftp_stand
from tests.demand import demand
from tests.ports import free_port


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpStand]:
    with sftp_stand(tmp_path_factory.mktemp("sftp") / "site") as stand:
        yield stand


def test_a_changed_host_key_is_refused_in_one_clear_sentence(host: SftpStand) -> None:
    tree = host.tree()
    tree.put("a/before", b"x")
    kept = (host.site / "known_hosts").read_text()
    try:
        host.known(Ed25519PrivateKey.generate())
        with pytest.raises(NciaError) as refused:
            host.tree().put("a/after", b"x")
    finally:
        (host.site / "known_hosts").write_text(kept)
    assert (refused.value.code, refused.value.why) == (
        "documents.other-host",
        "h1 shows another key than known_hosts has",
    )
    assert not (host.site / "files/tree/a/after").exists()


def test_a_host_that_is_not_known_is_refused(host: SftpStand, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    tree = SftpTree(SftpHost(replace(host.login(), known_hosts=(tmp_path / "empty",)), LIMITS), "tree")
    with pytest.raises(NciaError, match="is not in known_hosts"):
        tree.get("a")


def test_a_key_that_the_host_does_not_know_is_refused(host: SftpStand, tmp_path: Path) -> None:
    from ncia.lab import secrets

    secrets.write(tmp_path / "key", secrets.openssh_private(Ed25519PrivateKey.generate()))
    tree = SftpTree(SftpHost(replace(host.login(), keys=(tmp_path / "key",)), LIMITS), "tree")
    with pytest.raises(NciaError, match="refuses our key"):
        tree.get("a")


def test_who_enters_for_files_can_run_nothing(host: SftpStand) -> None:
    client = paramiko.SSHClient()
    client.load_host_keys(str(host.site / "known_hosts"))
    key = paramiko.Ed25519Key.from_private_key_file(str(host.site / "files_key"))
    address = host.address
    with client:
        client.connect(
            address.host, address.port, "files", pkey=key, look_for_keys=False, allow_agent=False, timeout=20
        )
        channel = client.get_transport().open_session(timeout=20)
        channel.exec_command("id")
        assert (channel.recv_exit_status(), channel.recv(100)) == (127, b"")


def test_a_link_out_of_the_file_root_leads_nowhere(host: SftpStand) -> None:
    outside = host.site / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not for you")
    tree = host.tree("linked")
    tree.put("a", b"x")
    os.symlink(outside, host.site / "files/linked/door")
    os.symlink(outside / "secret", host.site / "files/linked/file")
    for name in ("door/secret", "file"):
        with pytest.raises(NciaError) as denied:
            tree.get(name)
        assert denied.value.code == "documents.denied"
    with pytest.raises(NciaError):
        tree.put("door/planted", b"x")
    assert not (outside / "planted").exists()
    assert tree.look("").refused == ("door", "file")


def test_a_full_disk_is_a_clear_refusal_and_leaves_nothing_half(tmp_path: Path) -> None:
    demand("unshare", "a disk of its own size")
    with sftp_stand(tmp_path / "site", size="256k") as small:
        tree = small.tree()
        tree.put("acts/fits", b"x" * 50_000)
        with pytest.raises(StoreFull) as full:
            tree.put("acts/too-much", b"x" * 400_000)
        assert full.value.why == "the disk there is full"
        assert tree.get("acts/too-much") is None
        assert [each.name for each in tree.look("acts").documents] == ["acts/fits"]
        tree.put("acts/also-fits", b"y" * 50_000)  # what was left of the attempt is gone
        assert tree.get("acts/fits") == b"x" * 50_000


def test_a_host_that_is_away_is_unreachable_and_is_found_again_when_it_is_back(tmp_path: Path) -> None:
    with sftp_stand(tmp_path / "site") as first:
        tree = first.tree()
        tree.put("a/b", b"x")
    with pytest.raises(Unreachable):
        tree.get("a/b")
    (tmp_path / "site").rename(tmp_path / "gone")
    with sftp_stand(tmp_path / "site") as second:
        other = SftpTree(SftpHost(second.login(), LIMITS), "tree")
        assert other.get("a/b") is None


def test_nobody_listening_is_unreachable(host: SftpStand, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "known").write_text((host.site / "known_hosts").read_text().replace(str(host.address.port), str(port)))
    away = replace(host.login(), port=port, known_hosts=(tmp_path / "known",))
    with pytest.raises(Unreachable, match="does not answer"):
        SftpTree(SftpHost(away, LIMITS), "tree").get("a")


class Counting(Session):
    """Counts how often something was sent and then waited for."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.trips, self._waiting = 0, False
        super().__init__(channel)

    def _send_packet(self, kind: int, packet: object) -> None:
        self._waiting = False
        super()._send_packet(kind, packet)

    def _read_packet(self) -> object:
        self.trips, self._waiting = self.trips + (not self._waiting), True
        return super()._read_packet()


def test_a_small_document_is_written_in_three_round_trips_and_read_in_two(host: SftpStand) -> None:
    connection = SftpHost(host.login(), LIMITS)
    SftpTree(connection, "trips").put("a", b"x")
    with connection.session("count") as session:
        channel = session.get_channel().get_transport().open_session()
        channel.invoke_subsystem("sftp")
        counting = Counting(channel)
        counting.trips = 0
        counting.keep("/trips/.b.new", "/trips/b", b"x" * 9000, 1_700_000_000.0)
        assert counting.trips == 3  # open; write, times, fsync; close, rename
        assert counting.content("/trips/b", 10_000) == b"x" * 9000
        assert counting.trips == 5  # open; read, size; nobody waits for the close
    connection.close()


def test_the_moment_of_change_is_kept(host: SftpStand) -> None:
    tree = host.tree()
    tree.put("when/a", b"x", 1_700_000_000.0)
    assert tree.look("when").documents[0].modified_at == 1_700_000_000.0
