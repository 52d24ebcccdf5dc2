"""A hostile holder of our SSH key, played on one small file: an account that may only add is tried, not believed.

Two files below ``probe/`` in the repository's folder, where no reader looks, always the same: they cannot be removed
where all is well.
"""

from __future__ import annotations

import posixpath
import secrets as entropy
from collections.abc import Callable

from backup.clients.session import Session, is_silence

CONTENT = b"whether this account can remove or replace what it saved is tried on this file\n"
FILE_MODE, FOLDER_MODE = 0o400, 0o700


class SftpAttack:
    """Once each. ``tried`` says in which ways, in their order."""

    def __init__(self, client: Session, root: str) -> None:
        self._client = client
        self._folder = posixpath.join(root, "probe")
        self._file = posixpath.join(self._folder, "kept")
        self._other = posixpath.join(self._folder, "other")
        self.tried: tuple[str, ...] = ()
        self._moved: tuple[str, str] | None = None

    def carried_out(self) -> tuple[str, ...]:
        """The ways in which it succeeded, a sentence each. Each begins from a whole file, so all are tried."""
        broken: list[str] = []
        for way, attack, meaning in (
            ("write", self._write, "our own account can write into a file that it saved"),
            ("empty", self._empty, "our own account can empty a file that it saved"),
            ("change the mode", self._open_up, "our own account can change the mode of a file, and then its content"),
            ("rename", self._rename, "our own account can rename a file away"),
            ("replace", self._replace, "our own account can put another file in the place of one"),
            ("move the folder", self._move, "our own account can move a folder away with all that is in it"),
            ("remove", self._remove, "our own account can remove a file"),
        ):
            self._prepare()
            if not self._is_whole():
                break  # what is broken cannot be mended, nor broken once more
            self.tried += (way,)
            self._refusable(attack)
            if not self._is_whole():
                broken.append(meaning)
                self._move_back()
        return tuple(broken)

    def _prepare(self) -> None:
        """A whole file, whatever an earlier attack made of it."""
        self._client.make_folders([self._folder], FOLDER_MODE)
        if not self._is_whole():
            self._refusable(lambda: self._client.remove(self._file))
        for place, content in ((self._file, CONTENT), (self._other, b"other")):
            if not self._is_there(place):
                self._client.keep_new(f"{place}-tmp-{entropy.token_hex(6)}", place, memoryview(content), FILE_MODE)

    def _write(self) -> None:
        with self._client.open(self._file, "r+") as file:
            file.write(b"another")

    def _empty(self) -> None:
        self._client.open(self._file, "w").close()

    def _open_up(self) -> None:
        def by_name() -> None:
            self._client.chmod(self._file, 0o600)

        def by_handle() -> None:
            with self._client.open(self._file, "r") as file:
                file.chmod(0o600)

        self._refusable(by_name)
        self._refusable(by_handle)
        self._refusable(lambda: self._client.truncate(self._file, 0))
        self._write()

    def _rename(self) -> None:
        self._move_away(self._file)

    def _replace(self) -> None:
        self._client.posix_rename(self._other, self._file)

    def _move(self) -> None:
        self._move_away(self._folder)

    def _move_away(self, place: str) -> None:
        away = f"{place}-{entropy.token_hex(6)}"
        self._client.rename(place, away)
        self._moved = (away, place)

    def _move_back(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            away, place = moved
            self._refusable(lambda: self._client.rename(away, place))

    def _remove(self) -> None:
        self._client.remove(self._file)

    def _is_there(self, place: str) -> bool:
        try:
            self._client.lstat(place)
        except FileNotFoundError:
            return False
        return True

    def _is_whole(self) -> bool:
        try:
            return self._client.content(self._file, len(CONTENT) + 1) == CONTENT
        except FileNotFoundError:
            return False

    @staticmethod
    def _refusable(attack: Callable[[], object]) -> None:
        """The host may refuse in its own words; silence is no answer."""
        try:
            attack()
        except OSError as error:
            if is_silence(error):
                raise
