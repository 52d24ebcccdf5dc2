"""What opens a repository, mended: its configuration and its key files.

Both are sealed or protected by passwords, so little can be made of a damaged one. The twin knows the configuration and
the master key; a key file under this password is made from it. Other holders need a new one from whoever can open it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from itertools import islice

from backup.repository.faults import Damaged
from backup.repository.format.bounds import KEY_BYTES_MAX
from backup.repository.format.keys import Holder, Scrypt, add_key, find_key, open_key
from backup.repository.format.seal import Key, Sealer
from backup.repository.format.settings import config_of
from backup.repository.ports import Kind, Missing, Store
from backup.repository.repository import Repository, open_repository
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SHORT

LOOKED_AT_MAX = 20  # files of a kind that are tried, to see whose repository it is
WHAT = "read the repository's config"


class Opening:
    """A repository opened to be mended; ``mended`` and ``lost`` tell of its configuration and keys."""

    def __init__(self, store: Store, password: str, twin: Repository | None) -> None:
        self.mended: list[str] = []
        self.lost: list[str] = []
        self._store = store
        self._password = password
        self._twin = twin

    def run(self, holder: Holder, now: datetime, cost: Scrypt | None = None) -> Repository:
        if self._twin is not None:
            self._config(self._twin)
            self._key(self._twin.key, holder, now, cost)
        self._damaged_keys()
        return open_repository(self._store, self._password)

    def _config(self, twin: Repository) -> None:
        try:
            config = config_of(Sealer(twin.key).open(self._store.load(Kind.CONFIG, "", 0, KEY_BYTES_MAX), WHAT))
        except (Missing, Damaged) as error:
            self._demand_kin(twin)
            content = twin.store.load(Kind.CONFIG, "", 0, KEY_BYTES_MAX)
            config_of(Sealer(twin.key).open(content, WHAT))
            self._store.remove(Kind.CONFIG, "")
            self._store.save(Kind.CONFIG, "", content)
            self.mended.append(f"config: brought from the other place, for here {error.why}")
        else:
            if config.id != twin.config.id:
                raise _no_twin("its id is another one")

    def _demand_kin(self, twin: Repository) -> None:
        """Is it surely the twin's repository? The configuration of any other one would be lost by this."""
        kinds = (Kind.SNAPSHOTS, Kind.INDEX, Kind.LOCKS)
        if any(
            _opens(twin, kind, each.name) for kind in kinds for each in islice(self._store.names(kind), LOOKED_AT_MAX)
        ):
            return
        try:
            _, key = find_key(self._store, self._password)
        except NciaError as error:
            raise _no_twin("nothing in it can be opened with the other one's key") from error
        if key.encrypt != twin.key.encrypt:
            raise _no_twin("its key is another one")

    def _key(self, master: Key, holder: Holder, now: datetime, cost: Scrypt | None) -> None:
        """A way in with this password, where the one that there was is damaged or gone."""
        try:
            find_key(self._store, self._password)
        except NciaError:
            whole = [name for name, text in self._keys() if hashlib.sha256(text).hexdigest() == name]
            if whole and len(whole) == len(self._keys()):
                raise
            name = add_key(self._store, master, self._password, holder, now, cost)
            self.mended.append(
                f"key {name[:SHORT]}: made anew for this password, with the master key of the other place"
            )

    def _keys(self) -> list[tuple[str, bytes]]:
        found = []
        for stored in list(self._store.names(Kind.KEYS)):
            try:
                found.append((stored.name, self._store.load(Kind.KEYS, stored.name, 0, KEY_BYTES_MAX)))
            except Missing:
                continue
        return found

    def _damaged_keys(self) -> None:
        """A key file whose bytes have another hash stops restic. What can still be one is kept under its true name."""
        find_key(self._store, self._password)  # nothing is removed unless we come in
        for name, text in self._keys():
            true = hashlib.sha256(text).hexdigest()
            again = self._store.load(Kind.KEYS, name, 0, KEY_BYTES_MAX)
            if true == name or again != text:  # what is read otherwise now was misread
                continue
            told = f"key {name[:SHORT]}: its bytes do not have the hash that is its name"
            try:
                ours = open_key(text, self._password) is not None
            except Damaged as error:
                self.lost.append(f"{told}, and nobody can read it ({error.why}): its holder needs a new one")
            else:
                self._store.save(Kind.KEYS, true, text)
                self.mended.append(f"{told}; they are kept as {true[:SHORT]}")
                if not ours:
                    self.lost.append(
                        f"key {true[:SHORT]}: its holder must try whether it still opens, or needs a new one"
                    )
            self._store.remove(Kind.KEYS, name)


def _opens(reader: Repository, kind: Kind, name: str) -> bool:
    try:
        reader.load_file(kind, name)
    except (Damaged, Missing):
        return False
    return True


def _no_twin(why: str) -> Refusal:
    hint = "is it the right place? ncia repo init --twin makes a new one"
    return Refusal("repository.no-twin", "mend a repository from the other place", why, hint)
