"""A host that the platform commands over SSH: strict keys, commands and SFTP, as the site's database user.

Who may come in is ``ncia.lab.door``'s; whoever is none of the platform's own users may do nothing inside.

``python -m ncia.lab.ssh --settings SITE/site.yaml --host ID``, working in the host's own folder (host key and
authorized keys lie there). Commands work in the site's folder; SFTP sees the site's file root as ``/``, and who enters
as the host's SFTP user runs no command.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh

from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Host
from ncia.lab.door import Door
from ncia.lab.file_root import FileRoot
from ncia.lab.layout import FILES
from ncia.lab.logs import LogFile, SshLog, auth_log

CHUNK_BYTES = 64 * 1024
LOGIN_SECONDS_MAX = 10
COMMAND_NOT_STARTED = 127


async def open_host(host: Host, settings: SiteSettings, folder: Path) -> asyncssh.SSHAcceptor:
    """Listen as ``host``; ``folder`` holds its keys."""
    site = settings.file.parent
    environment = {
        "PATH": f"{settings.postgresql_tools}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(site),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "USER": host.user,
    }

    running: set[asyncio.Task[None]] = set()
    log = SshLog(LogFile(auth_log(settings, host.id)), host.id)
    root = site / FILES
    root.mkdir(mode=0o700, exist_ok=True)
    users = {host.user: folder / "authorized_keys"}
    if host.sftp_user:
        users[host.sftp_user] = folder / "authorized_files_keys"

    def files(channel: Any) -> asyncssh.SFTPServer:
        confine(channel.get_extra_info("username"), users)
        return FileRoot(channel, root)

    async def command(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.get_extra_info("username") != host.user:
            process.stderr.write(b"this account may run nothing\n")
            process.exit(COMMAND_NOT_STARTED)
            return
        # A task of its own: the connection's tasks end with the connection, and a command must not.
        task = asyncio.create_task(run_command(process, site, environment))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.shield(task)

    return await asyncssh.listen(
        host.ssh.host,
        host.ssh.port,
        server_factory=lambda: Door(users, folder, log),
        server_host_keys=[str(folder / "host_key")],
        process_factory=command,
        sftp_factory=files,
        allow_scp=False,
        encoding=None,
        login_timeout=LOGIN_SECONDS_MAX,
        # Nothing but commands and files: no agent, no forwarding, no terminal.
        agent_forwarding=False,
        x11_forwarding=False,
        allow_pty=False,
    )


def confine(user: str, allowed: Collection[str]) -> None:
    """Files are for the platform's own users; an account that got in with a weak password is none of them."""
    if user not in allowed:
        raise asyncssh.SFTPPermissionDenied("this account may do nothing")


async def run_command(process: asyncssh.SSHServerProcess[bytes], folder: Path, environment: dict[str, str]) -> None:
    """One command. It goes on when its caller goes away; a signal from the caller reaches its whole group."""
    if not process.command:
        process.stderr.write(b"this host runs commands; it has no shell to offer\n")
        process.exit(COMMAND_NOT_STARTED)
        return
    child = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        process.command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    # Not process.redirect(): large outputs through asyncio's own pipes kill the connection.
    feeding = asyncio.create_task(feed(process, child))
    await asyncio.gather(drain(child.stdout, process.stdout), drain(child.stderr, process.stderr))
    code = await child.wait()
    feeding.cancel()
    with suppress(OSError, asyncssh.Error):
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


async def feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    """The caller's input and signals to the child."""
    if child.stdin is None:
        return
    try:
        while True:
            try:
                data = await process.stdin.read(CHUNK_BYTES)
            except asyncssh.SignalReceived as told:
                with suppress(ProcessLookupError, AttributeError):
                    os.killpg(child.pid, getattr(signal, f"SIG{told.signal}"))
                continue
            if not data:
                return
            child.stdin.write(data)
            await child.stdin.drain()
    except (OSError, asyncssh.Error):
        return  # the caller or the child went away
    finally:
        child.stdin.close()


async def drain(source: asyncio.StreamReader | None, sink: Any) -> None:
    """The child's output to the caller; once the caller is gone it is read on, so that the child is not held up."""
    caller_there = True
    while source is not None and (data := await source.read(CHUNK_BYTES)):
        if not caller_there:
            continue
        try:
            sink.write(data)
            await sink.drain()
        except (OSError, asyncssh.Error):
            caller_there = False


async def serve(settings: SiteSettings, host: Host, ready: Callable[[], None] = lambda: None) -> None:
    acceptor = await open_host(host, settings, Path.cwd())
    ready()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    acceptor.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.ssh", description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--host", required=True)
    told = parser.parse_args()
    settings = load_settings(told.settings)
    hosts = {str(host.id): host for host in load_estate(settings.estate).hosts.values()}
    asyncio.run(serve(settings, hosts[told.host]))


if __name__ == "__main__":
    main()
