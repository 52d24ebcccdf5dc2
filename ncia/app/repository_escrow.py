"""``ncia repo key escrow | rotate | recover``: keys sealed for people, answered in plain values without any secret."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backup.repository.escrow import (
    Entrance,
    Escrow,
    Opened,
    Put,
    Recipient,
    escrow_of,
    open_escrow,
    opened_of,
    put,
    recipients_of,
    recover,
    rotate,
    stored,
)
from backup.repository.format.keys import add_key
from backup.repository.ports import Store
from ncia.app.repository import CLOCK, Access, holder
from ncia.app.repository_store import store_of
from ncia.core.base.errors import NciaError

Answer = dict[str, Any]
MODE = 0o600


def escrow(twins: Sequence[Access], recipients: Path, out: Sequence[Path]) -> Answer:
    """One escrow for all twins, also written to the files ``out``."""
    people = _recipients(recipients)
    with ExitStack() as held:
        opened = [held.enter_context(twin.opened()) for twin in twins]
        made = put(opened, people, holder(), CLOCK.now())
    return {**_put(made, out), "places": [twin.url for twin in twins]}


def rotation(twins: Sequence[Access], new_password_file: Path, recipients: Path, out: Sequence[Path]) -> Answer:
    """Another password for all twins, and a new escrow."""
    people = _recipients(recipients)
    password = _new_password(new_password_file)
    with ExitStack() as held:
        ways = []
        for twin in twins:
            ways.append(Entrance(store_of(twin.url), twin.password()))
            held.callback(ways[-1].store.close)
        done = rotate(ways, password, people, holder(), CLOCK.now())
    return {
        **_put(done.put, out),
        "places": [twin.url for twin in twins],
        "old_keys_removed": list(done.removed),
        "keys_left": list(done.left),
    }


def recovery(
    url: str, source: Path | None, identity: Path | None, plain: Path | None, new_password_file: Path
) -> Answer:
    """A new password, by what was sealed: it is proven to open the repository before anything is written there."""
    store = store_of(url)
    try:
        found = (
            opened_of(_text(plain).encode()) if plain else _opened(store, source, _text(identity) if identity else "")
        )
        repository = recover(store, found)
        count = len(repository.snapshots())
        name = add_key(store, repository.key, _new_password(new_password_file), holder(), CLOCK.now())
        return {
            "repository": repository.config.id,
            "snapshots": count,
            "damaged": repository.damaged,
            "name": name,
            "password_file": str(new_password_file),
            "escrowed": any(True for _ in stored(store)),
        }
    finally:
        store.close()


def _opened(store: Store, source: Path | None, identity: str) -> Opened:
    """By one person's key: the escrow of a file, or the first of the repository's own that this key opens."""
    escrows = [escrow_of(_text(source))] if source else [each for _, each in stored(store)]
    refused: NciaError | None = None
    for each in escrows:
        try:
            return open_escrow(each, identity)
        except NciaError as error:
            refused = error
    if refused is not None:
        raise refused
    why = "none of its keys carries one"
    raise NciaError(
        "repository.no-escrow", "find the repository's escrow", why, "--escrow FILE, if one was kept elsewhere"
    )


def _put(made: Put, out: Sequence[Path]) -> Answer:
    for path in out:
        write_whole(path, made.escrow.text)
    return {
        **_told(made.escrow),
        "name": made.name,
        "removed": list(made.removed),
        "files": [str(path) for path in out],
    }


def _told(each: Escrow) -> Answer:
    return {"repository": each.repository, "made": each.made, "recipients": [one.name for one in each.recipients]}


def _recipients(path: Path) -> tuple[Recipient, ...]:
    return recipients_of(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise NciaError("repository.no-file", f"read {path}", why) from error


def _new_password(path: Path) -> str:
    """What the file holds; a file that is not there is made, with a password that nobody has seen."""
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32) + "\n")
    return Access("", path).password()


def write_whole(path: Path, text: str) -> None:
    """A file of mode 0600 that is whole and durable, or as it was before."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise NciaError("repository.no-file", f"write {path}", error.strerror or str(error)) from error
