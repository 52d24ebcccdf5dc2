"""What SFTP shows of a lab host: its file root and nothing else, each rename durable in its folder too."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncssh

SLASH = ord("/")


class FileRoot(asyncssh.SFTPServer):
    """The folder ``root`` as ``/``. Links are not made, and not followed out of it."""

    def __init__(self, channel: Any, root: Path) -> None:
        self._real_root = os.path.realpath(root).encode()
        super().__init__(channel, chroot=os.fsencode(root))

    def map_path(self, path: bytes) -> bytes:
        mapped = super().map_path(path)
        if self._is_plain(mapped):
            return mapped
        # Of the last part only its folder counts: a rename or a removal is of the link itself.
        real = os.path.realpath(os.path.dirname(mapped) if os.path.islink(mapped) else mapped)
        if real != self._real_root and not real.startswith(self._real_root + b"/"):
            if mapped.rstrip(b"/") == os.fsencode(self._real_root).rstrip(b"/"):
                return mapped
            raise asyncssh.SFTPPermissionDenied("that leads out of the file root")
        return mapped

    def _is_plain(self, mapped: bytes) -> bool:
        """Whether it lies below the root through folders alone: what nearly every path does costs a look at each."""
        begin = self._real_root + b"/"
        if not mapped.startswith(begin):
            return False
        ends = [at for at in range(len(begin), len(mapped)) if mapped[at] == SLASH]
        return not any(os.path.islink(mapped[:end]) for end in ends)

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if os.path.islink(self.map_path(path)):
            raise asyncssh.SFTPPermissionDenied("links are not followed here")
        return super().open(path, pflags, attrs)

    def format_longname(self, name: asyncssh.SFTPName) -> None:
        """No line as of ``ls -l``, which nobody reads and which was most of a listing's time."""
        name.longname = b""

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("no links here")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("no links here")

    async def fsync(self, file_obj: Any) -> None:
        """In a thread: others must not wait for the disk."""
        await asyncio.to_thread(os.fsync, file_obj.fileno())

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        source, target = self.map_path(oldpath), self.map_path(newpath)
        await asyncio.to_thread(_replace, source, target)


def _replace(source: bytes, target: bytes) -> None:
    os.replace(source, target)
    folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
