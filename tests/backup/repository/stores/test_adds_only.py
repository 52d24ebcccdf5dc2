"""An SFTP account that may add and nothing else, on OpenSSH's own server as docs/architecture.md sets it up."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import paramiko
import pytest
from typer.testing import CliRunner

from backup.clients.session import HARDLINK
from backup.clients.sftp import Login, SftpHost
from backup.repository.care.checking import Checking, Share
from backup.repository.format.keys import Holder
from backup.repository.locks import Lock, clear_locks, read_locks
from backup.repository.ports import Kind, StoreFault
from backup.repository.repository import create, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.retaining import Capabilities, capabilities_of
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.sftp import LIMITS, SftpStore
from ncia.cli import build
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.files import differences
from tests.backup.repository.sample import CHEAP
from tests.backup.repository.stores.places import Place, openssh, pack
from tests.demand import demand

MAP = Path(__file__).parents[4] / "docs" / "architecture.md"
PASSWORD = "a password of a test"
HOSTILE_SECONDS = 6.0  # it asks again and again for what it is refused


def lines_of_the_map() -> tuple[str, ...]:
    """What it tells hosts to set for the account; those of folders and keys are the stand's own."""
    told = MAP.read_text(encoding="utf-8").partition("Match User")[2].partition("```")[0].splitlines()[1:]
    own = ("ChrootDirectory", "AuthorizedKeysFile")
    return tuple(line.strip() for line in told if line.strip() and not line.strip().startswith(own))


@dataclass(frozen=True)
class Host:
    """Where an account may only add: as it enters, and its disk as the host itself sees it."""

    place: Place
    folder: Path

    def open(self, root: str) -> SftpStore:
        return SftpStore(SftpHost(self.login, LIMITS), f"{self.folder}/disk/{root}")

    @property
    def login(self) -> Login:
        assert self.place.login is not None
        return self.place.login

    def disk(self, root: str) -> Path:
        return self.folder / "disk" / root


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("adding")
    with openssh(folder, more=lines_of_the_map()) as found:
        yield Host(found, folder)


@pytest.fixture
def store(host: Host, request: pytest.FixtureRequest) -> Iterator[SftpStore]:
    found = host.open(request.node.name)
    found.create()
    found.save(Kind.CONFIG, "", b"a configuration")
    yield found
    found.close()


def test_the_map_says_which_requests_such_an_account_has() -> None:
    (forced,) = [line for line in lines_of_the_map() if line.startswith("ForceCommand")]
    allowed = re.fullmatch(r"ForceCommand internal-sftp -p (\S+)", forced)
    assert allowed is not None
    assert not {"remove", "rename", "posix-rename", "rmdir", "setstat", "fsetstat", "lsetstat", "symlink"} & {
        *allowed[1].split(",")
    }


def test_files_are_added_listed_and_read_and_are_durable(store: SftpStore, host: Host) -> None:
    packs = dict(pack(size) for size in (0, 1000, 300_000))
    for name, content in packs.items():
        store.save(Kind.DATA, name, content)
        store.save(Kind.DATA, name, content)  # a lost answer, asked again
    assert {each.name: each.size for each in store.names(Kind.DATA)} == {k: len(v) for k, v in packs.items()}
    assert {name: store.load(Kind.DATA, name) for name in packs} == packs
    assert store.durable


def test_removing_and_replacing_are_refused_in_one_sentence(store: SftpStore) -> None:
    name, content = pack(1000)
    store.save(Kind.DATA, name, content)
    with pytest.raises(StoreFault, match="may add files on openssh, and neither remove nor replace any") as found:
        store.remove(Kind.DATA, name)
    assert found.value.code == "repository.adds-only"
    with pytest.raises(StoreFault, match="other bytes have that name there"):
        store.save(Kind.DATA, name, content[::-1])
    assert store.load(Kind.DATA, name) == content


def test_the_account_is_proven_by_attack_and_told_honestly_before_and_after(store: SftpStore) -> None:
    assert capabilities_of(store) == Capabilities(adds_only=True, proven=False)
    for _ in range(2):
        verdict = store.prove()
        assert verdict.broken == ()
    assert verdict.tried == ("write", "empty", "change the mode", "rename", "replace", "move the folder", "remove")
    assert capabilities_of(store) == Capabilities(adds_only=True, proven=True)
    assert list(store.names(Kind.DATA)) == []


def test_an_account_that_may_do_all_is_found_out_way_by_way(tmp_path: Path) -> None:
    with openssh(tmp_path) as found:
        store = found.open("r")
        store.create()
        store.save(Kind.CONFIG, "", b"a configuration")
        verdict = store.prove()
        assert isinstance(store, SftpStore)
        assert capabilities_of(store) == Capabilities(adds_only=False, proven=False)
        store.close()
    assert verdict.broken == (
        "our own account can change the mode of a file, and then its content",
        "our own account can rename a file away",
        "our own account can put another file in the place of one",
        "our own account can move a folder away with all that is in it",
        "our own account can remove a file",
    )
    with pytest.raises(StoreFault, match="our own account can remove a file") as refusal:
        verdict.demand("let the account add only")
    assert refusal.value.code == "repository.pretends"


ATTACKS: dict[str, Callable[[paramiko.SFTPClient, str], object]] = {
    "remove": lambda client, path: client.remove(path),
    "rename": lambda client, path: client.rename(path, f"{path}-away"),
    "replace": lambda client, path: client.posix_rename(f"{os.path.dirname(path)}/other", path),
    "write": lambda client, path: client.open(path, "r+").close(),
    "empty": lambda client, path: client.open(path, "w").close(),
    "append": lambda client, path: client.open(path, "a").close(),
    "truncate": lambda client, path: client.truncate(path, 0),
    "mode": lambda client, path: client.chmod(path, 0o600),
    "folder": lambda client, path: client.rename(os.path.dirname(path), f"{os.path.dirname(path)}-away"),
    "rmdir": lambda client, path: client.rmdir(f"{os.path.dirname(path)}/empty"),
    "symlink": lambda client, path: client.symlink("/etc/passwd", f"{path}-link"),
}


@pytest.mark.parametrize("way", ATTACKS)
def test_a_holder_of_the_key_cannot(way: str, host: Host) -> None:
    root = host.disk(f"attacked-{way}")
    name, content = pack(1000)
    store = host.open(root.name)
    store.create()
    store.save(Kind.CONFIG, "", b"a configuration")
    store.save(Kind.DATA, name, content)
    shelf = root / "data" / name[:2]
    with SftpHost(host.login, LIMITS).session("attack") as session:
        session.keep_new(f"{shelf}/tmp", f"{shelf}/other", memoryview(b"other"), 0o400)
        session.mkdir(f"{shelf}/empty")
        assert HARDLINK in session.extensions
        before = sorted(each.name for each in shelf.iterdir())
        with pytest.raises(PermissionError):
            ATTACKS[way](session, f"{shelf}/{name}")
    assert sorted(each.name for each in shelf.iterdir()) == before
    assert (shelf / name).read_bytes() == content
    store.close()


def test_a_hostile_forget_and_prune_with_the_accounts_key_removes_nothing(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(500_000))
    login = host.login
    known = f"-o UserKnownHostsFile={host.folder}/known_hosts -o IdentitiesOnly=yes -i {host.folder}/key"
    command = f"{demand('ssh')} -p {login.port} {known} {login.user}@{login.host} -s sftp"
    there = f"sftp://{login.user}@{login.host}:{login.port}/{host.disk('hostile')}"

    def restic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        full = [demand("restic"), "-r", url, "--no-cache", "-o", f"sftp.command={command}", *arguments]
        environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
        seconds = HOSTILE_SECONDS if "forget" in arguments else None
        return subprocess.run(full, capture_output=True, text=True, env=environment, timeout=seconds)

    local = tmp_path / "local"
    assert restic(str(local), "init").returncode == 0
    assert restic(str(local), "backup", str(source)).returncode == 0
    ours, theirs = host.open("hostile"), FolderStore(local)
    ours.create()
    ours.save(Kind.CONFIG, "", theirs.load(Kind.CONFIG, ""))
    held = {(kind, each.name) for kind in Kind if kind is not Kind.CONFIG for each in theirs.names(kind)}
    for kind, name in held:
        ours.save(kind, name, theirs.load(kind, name))
    (snapshot,) = [each.name for each in ours.names(Kind.SNAPSHOTS)]
    with suppress(subprocess.TimeoutExpired):  # some versions try again for a quarter of an hour
        assert restic(there, "forget", snapshot, "--prune").returncode != 0
    assert held <= {(kind, each.name) for kind in Kind if kind is not Kind.CONFIG for each in ours.names(kind)}
    checked = restic(there, "check", "--read-data", "--no-lock")
    assert "no errors were found" in checked.stdout, checked.stderr
    ours.close()


def test_backups_listings_and_restores_work_where_the_account_may_only_add_and_its_locks_stay_until_cleared(
    host: Host, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(300_000))
    store, clock, mine = host.open("whole"), SystemClock(), Holder("somebody", os.uname().nodename)
    create(store, PASSWORD, mine, clock.now(), CHEAP)
    first = save(open_repository(store, PASSWORD), Request((str(source),), mine), clock)
    (source / "more").write_bytes(b"of the second day")
    second = save(open_repository(store, PASSWORD), Request((str(source),), mine), clock)
    assert (first.partial, second.partial, second.figures.unchanged) == (False, False, 1)
    repository = open_repository(store, PASSWORD)
    repository.load_index()
    assert [each.id for each in repository.snapshots()] == [first.snapshot.id, second.snapshot.id]
    with Lock(repository, mine, clock), Restoring(repository) as restoring:
        told = restoring.run(second.snapshot, tmp_path / "target", Way(whole=True))
    assert told.losses.named == []
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []
    assert len(list(read_locks(repository))) == 3
    store.close()

    officers = open_repository(FolderStore(host.disk("whole")), PASSWORD)  # who has another account on that host
    assert clear_locks(officers, mine, clock.now()).removed == 0  # this process is at work, for all they know
    assert clear_locks(officers, mine, clock.now() + timedelta(minutes=31)).removed == 3
    checked = Checking(officers, Share()).run()
    assert (checked.faults, checked.share_read, checked.snapshots) == ([], 1.0, 2)


def test_the_command_line_works_there_to_the_end_and_refuses_what_removes(host: Host, tmp_path: Path) -> None:
    login, source = host.login, tmp_path / "source"
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host adding\n  HostName {login.host}\n  Port {login.port}\n  User {login.user}\n"
        f"  IdentityFile {login.keys[0]}\n  UserKnownHostsFile {login.known_hosts[0]}\n"
    )
    source.mkdir()
    (source / "file").write_bytes(os.urandom(50_000))
    (tmp_path / "password").write_text(PASSWORD)
    at = {
        "HOME": str(tmp_path),
        "NCIA_REPOSITORY": f"sftp:adding:{host.disk('commanded')}",
        "NCIA_PASSWORD_FILE": str(tmp_path / "password"),
    }
    tree = build((("repo", "ncia.cli.repo"),))

    def told(*arguments: object) -> Any:
        result = CliRunner().invoke(tree, ["repo", *map(str, arguments), "--json"], env=at)
        assert (result.exit_code, result.exception) == (0, None), result.stderr
        return json.loads(result.stdout)

    create(host.open("commanded"), PASSWORD, Holder("somebody", "somewhere"), SystemClock().now(), CHEAP)
    assert told("retention", "prove")["holds"]
    made = [told("backup", source)["snapshot"] for _ in range(2)]
    assert [each["id"] for each in told("snapshots")["snapshots"]] == made
    told("restore", "latest", "--target", tmp_path / "target")
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []
    assert told("check", "--read-data")["holds"]
    for words in (["prune"], ["forget", "--keep-last", "1"]):
        refused = CliRunner().invoke(tree, ["repo", *words], env=at).exception
        assert isinstance(refused, Refusal)
        assert refused.code == "repository.adds-only"
    assert len(told("snapshots")["snapshots"]) == 2
