"""A repository in a folder over SFTP: strict host keys, whole files that are on the host's disk, or none.

A file is written beside its place, made durable (``fsync@openssh.com``), and given its name by the protocol's own
rename, which refuses a name that is taken: ``posix-rename`` would replace it. OpenSSH opens folders too, so that the
name itself is made durable in the same way. What a host does not offer is left to it: :attr:`SftpStore.durable`.
An account that may add and nothing else (decision 0019) has its files named by hard links; the temporary names stay.
"""

from __future__ import annotations

import errno
import posixpath
import secrets as entropy
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import paramiko
from paramiko.sftp import SFTPError

from backup.clients.session import FSYNC, HARDLINK, POSIX_RENAME, TOGETHER_MAX, Session, is_silence
from backup.clients.sftp import Limits, SftpHost, free_bytes
from backup.repository.format.layout import demand_range, folders, name_of, path_of, told
from backup.repository.ports import Kind, Missing, Stored, StoreFault
from backup.repository.retaining import Capabilities, Verdict
from backup.repository.stores.attack_sftp import SftpAttack
from backup.repository.stores.folder import FILE_MODE, FOLDER_MODE, REMOVED_FOR_GOOD
from backup.repository.stores.retry import Unanswered
from ncia.core.base.errors import NciaError, Unreachable

LIMITS = Limits(connect_seconds=10.0, silence_seconds=60.0, area="repository")  # a disk may take long to keep a pack
LEFT_MAX = 64

T = TypeVar("T")


class SftpStore:
    """The folder ``root`` of a host as :class:`~backup.repository.ports.Store`; a relative one begins at the home."""

    def __init__(self, host: SftpHost, root: str) -> None:
        self._host = host
        self._root = root
        self._where = f"{host.login.name}:{root}"
        self._left: set[str] = set()  # begun on connections that were lost: to be removed on the next one
        self._folders_open = True  # until the host has refused to open one
        self._proven = False

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        what = f"save {told(kind, name)} in {self._where}"
        path = self._path(path_of(kind, name))
        content = memoryview(data).cast("B")
        with self._session(what) as client:
            self._clear(client)
            if self._settled(client, what, path, content):
                return
            temporary = f"{path}-tmp-{entropy.token_hex(6)}"
            try:
                self._keep(client, what, temporary, path, content)
            except (EOFError, paramiko.SSHException, SFTPError):
                self._leave(temporary)
                raise
            except OSError as error:
                if is_silence(error):
                    self._leave(temporary)
                    raise
                failure = self._refusal(client, what, error)
                _discard(client, temporary)
                if not self._settled(client, what, path, content):  # else another writer was quicker
                    raise failure from error

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        what = f"load {told(kind, name)} from {self._where}"
        demand_range(what, offset, length)
        path = self._path(path_of(kind, name))
        if length == 0:
            self.size(kind, name)
            return b""
        return self._asked(what, lambda client: client.part(path, offset, length))

    def size(self, kind: Kind, name: str) -> int:
        path = self._path(path_of(kind, name))
        return self._asked(
            f"look at {told(kind, name)} in {self._where}", lambda client: client.lstat(path).st_size or 0
        )

    def names(self, kind: Kind) -> Iterator[Stored]:
        what = f"list {kind} of {self._where}"
        if kind is Kind.CONFIG:
            with suppress(Missing):
                yield Stored("", self.size(kind, ""))
            return
        top = self._listed(what, [str(kind)])[0]
        if not top:
            self._demand_repository(what)
        parts = [(str(kind), top)]
        if kind is Kind.DATA:
            shelves = sorted(f"{kind}/{each.filename}" for each in top if stat.S_ISDIR(each.st_mode or 0))
            parts = []
            for begin in range(0, len(shelves), TOGETHER_MAX):
                together = shelves[begin : begin + TOGETHER_MAX]
                parts += zip(together, self._listed(what, together), strict=True)
        for folder, found in parts:
            for each in found:
                name = name_of(kind, f"{folder}/{each.filename}")
                if name is not None and stat.S_ISREG(each.st_mode or 0):
                    yield Stored(name, each.st_size or 0)

    def remove(self, kind: Kind, name: str) -> None:
        path = self._path(path_of(kind, name))

        def removed(client: Session) -> None:
            with suppress(FileNotFoundError):
                client.remove(path)
                if kind in REMOVED_FOR_GOOD:
                    self._sync_folder(client, posixpath.dirname(path))

        self._asked(f"remove {told(kind, name)} from {self._where}", removed)

    def create(self) -> None:
        what = f"make a repository in {self._where}"

        def made(client: Session) -> None:
            if _is_there(client, self._path(str(Kind.CONFIG))):
                raise StoreFault("repository.exists", what, "there is one already", "choose another folder")
            self._make_root(client)
            client.make_folders([self._path(folder) for folder in folders()], FOLDER_MODE)
            for folder in (str(Kind.DATA), ""):
                self._sync_folder(client, self._path(folder))
            there = {f"{Kind.DATA}/{each}" for each in client.listdir(self._path(str(Kind.DATA)))}
            there |= set(client.listdir(self._root))
            lacking = [folder for folder in folders() if folder not in there]
            if lacking:
                why = f"the host made no folder {lacking[0]}, and says not why"
                raise StoreFault("repository.failed", what, why, "look at that host's disk")

        self._asked(what, made)

    def close(self) -> None:
        self._host.close()

    @property
    def durable(self) -> bool:
        """Whether the host makes files durable when it is asked to, and tells so."""
        return self._asked(f"ask {self._where} what it can do", lambda client: FSYNC in client.extensions)

    def capabilities(self) -> Capabilities:
        adds_only = self._asked(f"ask {self._where} what it can do", _adds_only)
        return Capabilities(adds_only=adds_only, proven=self._proven)

    def prove(self) -> Verdict:
        """Whether our account can neither remove nor replace what it saved: attacks a file of its own in the
        repository's folder, which must be there. Raises StoreFault."""

        def attacked(client: Session) -> Verdict:
            attack = SftpAttack(client, self._root)
            broken = attack.carried_out()
            return Verdict(self._where, attack.tried, broken)

        self._proven = False
        verdict = self._asked(f"prove that nothing can be removed from {self._where}", attacked)
        self._proven = verdict.holds
        return verdict

    def _keep(self, client: Session, what: str, temporary: str, path: str, content: memoryview) -> None:
        try:
            client.keep_new(temporary, path, content, FILE_MODE)
        except FileNotFoundError:
            self._make_folders(client, what, posixpath.dirname(path))
            client.keep_new(temporary, path, content, FILE_MODE)
        self._sync_folder(client, posixpath.dirname(path))

    def _settled(self, client: Session, what: str, path: str, content: memoryview) -> bool:
        """Whether the same bytes are there, durable; a fault where others are."""
        try:
            found = client.lstat(path)
        except FileNotFoundError:
            return False
        same = stat.S_ISREG(found.st_mode or 0) and found.st_size == len(content)
        if not same or client.part(path, 0, None) != content:
            hint = "if that file is damaged, remove it and save again"
            raise StoreFault("repository.other-content", what, "other bytes have that name there", hint)
        client.sync(path)  # whoever gave it the name may have gone away before it was durable
        self._sync_folder(client, posixpath.dirname(path))
        return True

    def _sync_folder(self, client: Session, folder: str) -> None:
        if self._folders_open:
            self._folders_open = client.sync(folder)

    def _make_folders(self, client: Session, what: str, folder: str) -> None:
        if not _is_there(client, self._path(str(Kind.CONFIG))):
            raise self._none(what)
        above = posixpath.dirname(folder)
        client.make_folders([folder] if above == self._root else [above, folder], FOLDER_MODE)
        self._sync_folder(client, above)

    def _make_root(self, client: Session) -> None:
        missing = []
        folder = self._root
        while folder not in ("", "/") and not _is_there(client, folder):
            missing.append(folder)
            folder = posixpath.dirname(folder)
        for each in reversed(missing):
            try:
                client.mkdir(each, FOLDER_MODE)
            except OSError:
                if not _is_there(client, each):  # else another one made it meanwhile
                    raise
            self._sync_folder(client, posixpath.dirname(each) or ".")

    def _listed(self, what: str, places: list[str]) -> list[list[paramiko.SFTPAttributes]]:
        return self._asked(what, lambda client: client.listings([self._path(place) for place in places]))

    def _demand_repository(self, what: str) -> None:
        """An empty folder, or none, is believed where a repository is, or is being made."""

        def there(client: Session) -> bool:
            return any(_is_there(client, self._path(str(kind))) for kind in (Kind.CONFIG, Kind.DATA))

        if not self._asked(what, there):
            raise self._none(what)

    def _leave(self, temporary: str) -> None:
        if len(self._left) < LEFT_MAX:
            self._left.add(temporary)

    def _clear(self, client: Session) -> None:
        for each in tuple(self._left):
            _discard(client, each)
            self._left.discard(each)

    def _path(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _none(self, what: str) -> StoreFault:
        hint = "is its disk mounted there? a new one is made by init"
        return StoreFault("repository.none", what, f"no repository is in {self._where}", hint)

    def _asked(self, what: str, ask: Callable[[Session], T]) -> T:
        with self._session(what) as client:
            try:
                return ask(client)
            except FileNotFoundError as error:
                root = _is_there(client, self._root)
                why = "there is no such file" if root else f"there is no folder {self._root} on {self._host.login.name}"
                raise Missing("repository.missing", what, why, "is it the right repository, and mounted?") from error
            except OSError as error:
                if is_silence(error):
                    raise
                raise self._refusal(client, what, error) from error

    @contextmanager
    def _session(self, what: str) -> Iterator[Session]:
        try:
            with self._host.session(what) as client:
                yield client
        except (Missing, StoreFault):
            raise
        except Unreachable as error:
            raise Unanswered(error.code, error.what, error.why, error.hint) from error
        except NciaError as error:
            raise StoreFault(error.code, error.what, error.why, error.hint) from error

    def _refusal(self, client: Session, what: str, error: OSError) -> StoreFault:
        """The host's refusal in our words. Many say "Failure" of a full disk, so its free space is asked for."""
        text = str(error) or type(error).__name__
        if error.errno == errno.EACCES and _adds_only(client):
            why = f"this account may add files on {self._host.login.name}, and neither remove nor replace any"
            hint = "whoever may remove has an account of their own there"
            return StoreFault("repository.adds-only", what, why, hint)
        if error.errno == errno.EACCES:
            return StoreFault(
                "repository.denied", what, f"the host does not allow it: {text}", "whose folder is it there?"
            )
        if "space" in text.lower() or "quota" in text.lower() or free_bytes(client, self._root) == 0:
            return StoreFault("repository.full", what, "the disk there is full", "make room on that host, then again")
        return StoreFault("repository.failed", what, f"the host says: {text}", "look at that host's disk and log")


def _is_there(client: Session, path: str) -> bool:
    try:
        client.stat(path)
    except FileNotFoundError:
        return False
    return True


def _adds_only(client: Session) -> bool:
    """Whether the host says so: it offers links to new names, and not the renaming that replaces."""
    return HARDLINK in client.extensions and POSIX_RENAME not in client.extensions


def _discard(client: Session, temporary: str) -> None:
    """Where our account may not remove, what it began stays."""
    try:
        client.remove(temporary)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
