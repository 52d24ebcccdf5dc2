"""What lies in an archive of a program: told without unpacking, or unpacked into a folder that is ours alone."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MODE_KEPT = 0o777


def member_hashes(archive: bytes) -> Mapping[str, str]:
    """The SHA-256 of each file in an archive; raises ``ValueError`` with a clause where it is none."""
    with _opened(archive) as opened:
        return {
            member.name.removeprefix("./"): hashlib.sha256(file.read()).hexdigest()
            for member in opened
            if member.isfile() and (file := opened.extractfile(member)) is not None
        }


def unpack(archive: bytes, folder: Path) -> None:
    """Files, folders and links, with their modes, into an empty folder; the links last, so that nothing is written
    through one. Raises ``ValueError`` with a clause that says what may not be, before anything is written."""
    with _opened(archive) as opened:
        members = [member for member in opened if member.name.strip("./")]
        for member in members:
            if why := _fault(member):
                raise ValueError(f"{member.name!r} {why}")
        for member in sorted(members, key=lambda each: (each.issym(), each.name)):
            _place(opened, member, folder / member.name)


@contextmanager
def _opened(archive: bytes) -> Iterator[tarfile.TarFile]:
    """As our hosts pack it, uncompressed: a small one cannot claim, nor be unpacked to, more bytes than it has."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
            left = len(archive)
            for member in opened:
                left -= member.size if member.isreg() else 0
                if left < 0 or member.size < 0:
                    raise ValueError(f"{member.name!r} claims more bytes than the archive has")
            yield opened
    except tarfile.TarError as error:
        raise ValueError(f"it is no archive: {error}") from error


def _fault(member: tarfile.TarInfo) -> str:
    parts = member.name.removeprefix("./").split("/")
    if member.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder"
    if member.issparse() or not (member.isreg() or member.isdir() or member.issym()):
        return "is neither a file nor a folder nor a link"
    return ""


def _place(opened: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.isdir():
        path.mkdir(mode=0o700, exist_ok=True)
    elif (file := opened.extractfile(member)) is not None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as made:
            made.write(file.read())
            os.fchmod(descriptor, member.mode & MODE_KEPT)
