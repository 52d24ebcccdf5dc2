"""Real places for a repository: a folder, a host of the lab's, OpenSSH's own server, an S3 server."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets as entropy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup.clients.s3 import Key, s3_client
from backup.clients.sftp import Login, SftpHost
from backup.repository.ports import Store
from backup.repository.retaining import Mode, Retention
from backup.repository.stores.both import Both, Side
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.retained import RetainedS3Store
from backup.repository.stores.retry import Retrying, RetryingRetained
from backup.repository.stores.s3 import S3Store
from backup.repository.stores.sftp import LIMITS, SftpStore
from ncia.core.estate.model import Address
from ncia.lab import secrets
from ncia.lab.secrets import Ed25519PrivateKey
from tests.backup.replicate.stores.stands import s3_stand, serving, sftp_stand
from tests.backup.repository.faults import FaultyStore
from tests.backup.repository.stores.ceph import ceph_stand
from tests.demand import demand, lack
from tests.fakes.repository import FakeStore
from tests.ports import free_port

AT_ONCE_MAX = 128  # the most names that a place here tells in one answer: OpenSSH's server 100, the lab's 128


@dataclass(frozen=True)
class Place:
    """Somewhere repositories can be. ``open`` gives a new store over a root there; ``disk`` is where they lie as files,
    None for what keeps nothing on a disk."""

    open: Callable[[str], Store]
    disk: Path | None
    login: Login | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_root(self) -> str:
        return f"repository-{next(self._numbers)}"


def in_memory() -> Place:
    stores: dict[str, FakeStore] = {}
    return Place(lambda root: stores.setdefault(root, FakeStore()), None)


def without_fault() -> Place:
    """A store that could fail and does not is as good as any."""
    below = in_memory()
    return Place(lambda root: FaultyStore(below.open(root)), None)


def two_at_once(folder: Path) -> Place:
    """A folder, and a store in memory that holds the same."""
    below = in_memory()
    return Place(lambda root: Both((Side(FolderStore(folder / root), "here"), Side(below.open(root), "there"))), folder)


def over_sftp(login: Login, disk: Path, above: str) -> Place:
    """``above``: where the host shows ``disk``."""
    return Place(lambda root: SftpStore(SftpHost(login, LIMITS), above + root), disk, login)


def in_bucket(endpoint: Address, disk: Path | None) -> Place:
    """Asked again where it says 500, as it does of a save that meets the removal of its folder's last file."""
    shared = client_of_small_pages(endpoint)  # to make one takes longer than most tests
    return Place(lambda root: Retrying(S3Store(shared, "bucket", root, f"s3 {endpoint}")), disk)


def in_locked_bucket(endpoint: Address) -> Place:
    shared = client_of_small_pages(endpoint)
    retention = Retention(Mode.COMPLIANCE, 1)
    return Place(
        lambda root: RetryingRetained(RetainedS3Store(shared, "locked", root, f"s3 {endpoint}", retention)), None
    )


def client(endpoint: Address) -> Any:
    return s3_client(Key("AKTEST", "a-secret-of-a-test"), f"http://{endpoint}", 10.0, 60.0)


def client_of_small_pages(endpoint: Address) -> Any:
    """Servers tell a thousand files at once and then where to go on: here after fewer, for to make so many is slow."""
    found = client(endpoint)
    for listing in ("ListObjectsV2", "ListObjectVersions"):
        found.meta.events.register(f"provide-client-params.s3.{listing}", _small_page)
    return found


def _small_page(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return {"MaxKeys": AT_ONCE_MAX, **params}


class OpenSsh:
    """OpenSSH's own server, unprivileged: it lets one user in, and gives files to them and nothing else. ``more`` are
    lines of its configuration."""

    def __init__(self, folder: Path, more: tuple[str, ...] = ()) -> None:
        self.program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        demand("unshare", "a user of its own for sshd")
        if self.program is None:
            lack("sshd is not installed (OpenSSH's own SFTP)")
        self.address = Address("127.0.0.1", free_port())
        self.folder = folder
        client, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        secrets.write(folder / "host_key", secrets.openssh_private(own))
        secrets.write(folder / "authorized", secrets.openssh_public(client) + "\n")
        secrets.write(folder / "key", secrets.openssh_private(client))
        host, port = self.address.host, self.address.port
        secrets.write(folder / "known_hosts", f"[{host}]:{port} {secrets.openssh_public(own)}\n")
        (folder / "disk").mkdir()
        lines = (
            f"ListenAddress {host}:{port}",
            f"HostKey {folder}/host_key",
            f"AuthorizedKeysFile {folder}/authorized",
            "Subsystem sftp internal-sftp",
            "StrictModes no",  # folders of tests may lie below one that everybody may write
            "UsePAM no",
            "PidFile none",
            "MaxSessions 100",
            "MaxStartups 100:30:400",
            *more,
        )
        (folder / "sshd_config").write_text("".join(f"{line}\n" for line in lines))

    def login(self) -> Login:
        keys, known = (self.folder / "key",), (self.folder / "known_hosts",)
        return Login("openssh", self.address.host, self.address.port, "nobody", keys, known)

    def command(self) -> list[str]:
        """It lets in only whom it runs as where it is not root, and that one needs a name: this is everybody's."""
        serving = [str(self.program), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        return ["unshare", "--user", "--map-user=65534", "--map-group=65534", *serving]


@contextmanager
def openssh(folder: Path, size: str = "", more: tuple[str, ...] = ()) -> Iterator[Place]:
    server = OpenSsh(folder, more)
    with serving(server.command(), server.address, folder, folder / "disk", size, dict(os.environ)):
        yield over_sftp(server.login(), folder / "disk", f"{folder}/disk/")


@contextmanager
def place(name: str, folder: Path) -> Iterator[Place]:
    if name == "fake":
        yield in_memory()
    elif name == "faulty":
        yield without_fault()
    elif name == "both":
        yield two_at_once(folder)
    elif name == "folder":
        yield Place(lambda root: FolderStore(folder / root), folder)
    elif name == "sftp":
        with sftp_stand(folder / "site") as host:
            yield over_sftp(host.login(), folder / "site" / "files", "/")
    elif name == "openssh":
        with openssh(folder) as found:
            yield found
    elif name == "s3":
        with s3_stand(folder / "objects") as access:
            yield in_bucket(access.endpoint, folder / "objects" / "bucket")
    elif name == "retained":
        with ceph_stand(folder / "ceph") as access:
            yield in_locked_bucket(access.endpoint)
    else:
        raise ValueError(name)


PLACES = ("fake", "faulty", "both", "folder", "sftp", "openssh", "s3", "retained")


def id_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pack(size: int) -> tuple[str, bytes]:
    """Random bytes and the name that they have; below 16 of them, others may be the same."""
    content = entropy.token_bytes(size)
    return id_of(content), content
