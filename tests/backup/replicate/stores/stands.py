"""Real stores for tests: an SFTP host and an S3 server, on a disk of their own size where a test wants that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.clients.sftp import Login, SftpHost
from backup.replicate.stores.s3 import Access, S3Bucket, client_of
from backup.replicate.stores.sftp import LIMITS, SftpTree
from ncia.core.estate.model import Address
from ncia.lab import secrets
from ncia.lab.readiness import accepts
from ncia.lab.s3 import command, environment
from ncia.lab.secrets import Ed25519PrivateKey
from tests.backup.replicate.stores.host import FILES_USER
from tests.ports import free_port

ROOT = Path(__file__).parents[4]
START_SECONDS_MAX = 60
ON_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && cd "$3" && shift 3 && exec "$@"'


class SftpStand:
    """An SFTP host over ``site/files``; ``size`` gives that folder a disk of its own."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.address = Address("127.0.0.1", free_port())
        (site / "host").mkdir(parents=True)
        (site / "files").mkdir()
        client, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        secrets.write(site / "host" / "host_key", secrets.openssh_private(own))
        secrets.write(site / "host" / "authorized_keys", "")
        secrets.write(site / "host" / "authorized_files_keys", secrets.openssh_public(client) + " test\n")
        secrets.write(site / "files_key", secrets.openssh_private(client))
        self.known(own)

    def known(self, key: Ed25519PrivateKey) -> None:
        line = f"[{self.address.host}]:{self.address.port} {secrets.openssh_public(key)}\n"
        secrets.write(self.site / "known_hosts", line)

    def login(self) -> Login:
        keys, known = (self.site / "files_key",), (self.site / "known_hosts",)
        return Login("h1", self.address.host, self.address.port, FILES_USER, keys, known)

    def tree(self, root: str = "tree") -> SftpTree:
        return SftpTree(SftpHost(self.login(), LIMITS), root)

    def command(self) -> list[str]:
        module = "tests.backup.replicate.stores.host"
        return [sys.executable, "-m", module, str(self.site), str(self.address.port)]


@contextmanager
def sftp_stand(site: Path, size: str = "") -> Iterator[SftpStand]:
    stand = SftpStand(site)
    with serving(stand.command(), stand.address, ROOT, site / "files", size, dict(os.environ)):
        yield stand


@contextmanager
def s3_stand(folder: Path, bucket: str = "bucket", size: str = "") -> Iterator[Access]:
    """An S3 server over ``folder``; the bucket is there."""
    access = Access(Address("127.0.0.1", free_port()), "AKTEST", "a-secret-of-a-test")
    folder.mkdir(parents=True, exist_ok=True)
    starting = ["sh", "-c", f'mkdir -p {bucket} && exec "$@"', "sh", *command(access.endpoint)]
    with serving(starting, access.endpoint, folder, folder, size, environment(access.key, access.secret)):
        yield access


def bucket_of(access: Access, bucket: str = "bucket") -> S3Bucket:
    return S3Bucket(client_of(access), bucket, f"s3 {access.endpoint}")


@contextmanager
def serving(
    program: Sequence[str], address: Address, folder: Path, disk: Path, size: str, environ: dict[str, str]
) -> Iterator[None]:
    if size:
        mounting = ["sh", "-c", ON_SMALL_DISK, "sh", size, str(disk), str(folder), *program]
        program = ["unshare", "--user", "--map-root-user", "--mount", *mounting]
    log = disk.with_name(f"{disk.name}.log")
    with log.open("wb") as out:
        process = subprocess.Popen(program, cwd=folder, env=environ, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not accepts(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
