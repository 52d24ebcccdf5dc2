"""SFTP against a host that gives less than it is asked for, as the protocol allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from backup.clients.session import PIECE_BYTES, TOGETHER_MAX
from backup.clients.sftp import Limits, Login, SftpHost
from ncia.lab import secrets
from ncia.lab.secrets import Ed25519PrivateKey
from tests.ports import free_port

LIMITS = Limits(connect_seconds=30.0, silence_seconds=30.0, area="test")
SIZE = 3 * TOGETHER_MAX * PIECE_BYTES + 4321


class Sparing(asyncssh.SFTPServer):
    """Gives a part of what is asked for, and of what nobody asked for nothing."""

    def __init__(self, channel: asyncssh.SSHServerChannel, root: Path) -> None:
        super().__init__(channel, chroot=str(root).encode())

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        given = super().read(file_obj, offset, size)
        return given[: max(1, size // 3)] if offset // PIECE_BYTES % 5 == 2 else given


@dataclass
class Stand:
    host: SftpHost
    root: Path


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("sparing")
    (folder / "root").mkdir()
    client, own, port = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), free_port()
    secrets.write(folder / "key", secrets.openssh_private(client))
    secrets.write(folder / "host_key", secrets.openssh_private(own))
    secrets.write(folder / "known", f"[127.0.0.1]:{port} {secrets.openssh_public(own)}\n")
    allowed = asyncssh.import_authorized_keys(secrets.openssh_public(client))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def opened() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            port,
            server_host_keys=[str(folder / "host_key")],
            authorized_client_keys=allowed,
            sftp_factory=lambda channel: Sparing(channel, folder / "root"),
        )

    acceptor = asyncio.run_coroutine_threadsafe(opened(), loop).result(30)
    host = SftpHost(Login("sparing", "127.0.0.1", port, "u", (folder / "key",), (folder / "known",)), LIMITS)
    yield Stand(host, folder / "root")
    host.close()

    async def closed() -> None:
        acceptor.close()
        await acceptor.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=30)

    asyncio.run_coroutine_threadsafe(closed(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


@pytest.mark.parametrize(
    ("offset", "bytes_max"),
    [(0, None), (1, None), (0, SIZE), (5000, 2 * PIECE_BYTES), (SIZE - 10, None), (SIZE, 5), (SIZE + 5, None), (7, 0)],
)
def test_what_comes_in_small_parts_is_whole(stand: Stand, offset: int, bytes_max: int | None) -> None:
    content = bytes(number * 31 % 251 for number in range(SIZE))
    (stand.root / "file").write_bytes(content)
    with stand.host.session("read") as session:
        got = session.part("/file", offset, bytes_max)
    assert got == content[offset : None if bytes_max is None else offset + bytes_max]


def test_folders_are_listed_together_and_one_that_is_not_there_holds_nothing(stand: Stand) -> None:
    for number in range(300):
        (stand.root / "many").mkdir(exist_ok=True)
        (stand.root / "many" / f"{number}").write_bytes(b"x" * number)
    (stand.root / "none").mkdir()
    with stand.host.session("list") as session:
        many, none, absent = session.listings(["/many", "/none", "/absent"])
    assert {each.filename: each.st_size for each in many} == {f"{number}": number for number in range(300)}
    assert (none, absent) == ([], [])


def test_a_session_goes_on_after_a_refusal(stand: Stand) -> None:
    (stand.root / "plain").write_bytes(b"whole")
    with stand.host.session("go on") as session:
        with pytest.raises(FileNotFoundError):
            session.content("/absent", 10)
        with pytest.raises(OSError, match=r"exist|Failure"):
            session.keep_new("/plain", "/other", memoryview(b"x"), 0o400)
        assert session.content("/plain", 10) == b"whole"
