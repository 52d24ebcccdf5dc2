"""Programs on the estate's hosts, over SSH: listed by hash, read, packed, and held in a store; never unpacked here."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath

from backup.program.inventory import File
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import HostId
from ncia.core.estate.model import Estate, Host
from ncia.core.work.remote import STDIN_BYTES_MAX, Outcome, Remote

LIST_SECONDS = 20.0
TEXT_BYTES_MAX = 256 * 1024  # a longer file is compared by its hash alone

# find goes on where a folder is not there: what is missing is then missing in the list.
LIST = r"""
find "$@" -type f -printf '%m %s %p\0' 2>/dev/null
printf '\0'
find "$@" -type f -exec sha256sum -z {} + 2>/dev/null
exit 0
"""
PACK = ("tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf", "-")
# Whole or not at all, and durable before it counts; the answer is the hash of what lies there.
KEEP = r"""
set -e; umask 077
mkdir -p "$1"; cd "$1"
cat > ".$2.new"; sync ".$2.new"; mv ".$2.new" "$2"; sync .
sha256sum "$2"
"""
# As the store's own ASIDE of points: what is damaged is kept as evidence, under no archive's name.
ASIDE = r"""
if [ -e "$1/$2" ]; then
    mv -fT "$1/$2" "$1/.damaged-$2"; sync "$1"
    echo aside
fi
"""
HOLDS_ANY = r"""
for each in "$1"/*/*/point-* "$1"/*/*/*.tar; do
    if [ -e "$each" ]; then echo yes; exit 0; fi
done
"""


class SshPrograms:
    """The programs of an estate; one per controller."""

    def __init__(self, estate: Estate, remote: Remote) -> None:
        self._estate = estate
        self._remote = remote

    def listed(self, host: HostId, folders: Iterable[str]) -> dict[str, dict[str, File]]:
        """By folder, the files below it. Raises :class:`NciaError` where the host does not answer."""
        wanted = tuple(folders)
        what = f"list the programs on {host}"
        told = self._run(host, ("sh", "-c", LIST, "sh", *wanted)).demand("program.not-listed", what).stdout
        described, _, hashed = told.partition(b"\0\0")
        hashes = {path: sha for record in hashed.split(b"\0") if (sha := record[:64]) and (path := record[66:])}
        found: dict[str, dict[str, File]] = {folder: {} for folder in wanted}
        for record in described.split(b"\0"):
            mode, _, rest = record.partition(b" ")
            size, _, path = rest.partition(b" ")
            sha256 = hashes.get(path)
            for folder in wanted:
                name = path.decode("utf-8", "backslashreplace")
                if sha256 is not None and name.startswith(f"{folder}/"):
                    inner = name.removeprefix(f"{folder}/")
                    found[folder][inner] = File(inner, mode.decode(), int(size), sha256.decode("ascii"))
        return found

    def read(self, host: HostId, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of files; those that are gone by now or too long are left out."""
        wanted = tuple(paths)
        if not wanted:
            return {}
        packed = self._run(host, (*PACK, "--ignore-failed-read", "--", *wanted)).stdout
        found = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() and member.size <= TEXT_BYTES_MAX else None
                    if file is not None:
                        found[member.name] = file.read()
        except tarfile.TarError as error:
            raise NciaError("program.not-read", f"read programs on {host}", str(error)) from error
        return found

    def packed(self, host: HostId, folder: str) -> bytes:
        """All of a program as one archive: the same bytes for the same program."""
        what = f"pack {folder} on {host}"
        found = self._run(host, (*PACK, "-C", folder, ".")).demand("program.not-packed", what).stdout
        if len(found) > STDIN_BYTES_MAX:
            why = f"it is {len(found)} bytes, more than the {STDIN_BYTES_MAX} that a program may have here"
            raise NciaError("program.too-large", what, why, "keep data in a dataset of kind files")
        return found

    def keep(self, host: Host, folder: PurePosixPath, name: str, archive: bytes) -> str:
        """Hold an archive in a store; answers the SHA-256 of what lies there then."""
        what = f"keep {name} in {folder} on {host.id}"
        command = ("sh", "-c", KEEP, "sh", str(folder), name)
        told = self._remote.run(host, command, timeout_seconds=LIST_SECONDS, stdin=archive)
        sha256 = told.demand("program.not-kept", what).text.split(" ", 1)[0]
        if sha256 != hashlib.sha256(archive).hexdigest():
            raise NciaError("program.not-kept", what, "what lies there is not what was sent", "check the store's disk")
        return sha256

    def held(self, host: Host, path: PurePosixPath) -> bytes:
        """An archive, out of a store."""
        what = f"read {path} on {host.id}"
        told = self._remote.run(host, ("cat", "--", str(path)), timeout_seconds=LIST_SECONDS)
        return told.demand("program.not-read", what).stdout

    def set_aside(self, host: Host, path: PurePosixPath) -> bool:
        what = f"keep {path} on {host.id} aside"
        command = ("sh", "-euc", ASIDE, "sh", str(path.parent), path.name)
        told = self._remote.run(host, command, timeout_seconds=LIST_SECONDS)
        return bool(told.demand("program.not-kept", what).text)

    def holds_any(self, host: Host, root: PurePosixPath) -> bool:
        what = f"look whether anything is in the store on {host.id}"
        told = self._remote.run(host, ("sh", "-euc", HOLDS_ANY, "sh", str(root)), timeout_seconds=LIST_SECONDS)
        return bool(told.demand("program.not-read", what).text)

    def _run(self, host: HostId, command: tuple[str, ...]) -> Outcome:
        return self._remote.run(self._estate.hosts[host], command, timeout_seconds=LIST_SECONDS)
