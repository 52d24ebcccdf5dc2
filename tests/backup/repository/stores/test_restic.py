"""restic itself reads, checks, restores and goes on in what our stores hold, and our stores list what it wrote."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup.clients.sftp import SftpHost
from backup.repository.location import parse_location
from backup.repository.ports import Kind, Store
from backup.repository.stores.folder import FolderStore
from backup.repository.stores.s3 import S3Store
from backup.repository.stores.sftp import LIMITS, SftpStore
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.stores.places import client, id_of, openssh
from tests.demand import demand

PASSWORD = "a password of a test"


@dataclass(frozen=True)
class There:
    """Where restic can reach a place that our stores reach too."""

    url: Callable[[str], str]
    options: tuple[str, ...]
    variables: dict[str, str]
    open: Callable[[Any], Store]  # what a parsed URL names

    def store(self, root: str) -> Store:
        return self.open(parse_location(self.url(root)))

    def restic(self, root: str, *arguments: str) -> str:
        command = [demand("restic"), "-r", self.url(root), "--no-cache", *self.options, *arguments]
        environment = {**os.environ, **self.variables, "RESTIC_PASSWORD": PASSWORD}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(scope="module", params=["folder", "openssh", "s3"])
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    demand("restic")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "folder":
        yield There(lambda root: f"{folder}/{root}", (), {}, lambda found: FolderStore(Path(found.path)))
    elif request.param == "openssh":
        with openssh(folder) as place:
            login = place.login
            known = f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes -i {folder}/key"
            command = f"{demand('ssh')} -p {login.port} {known} {login.user}@{login.host} -s sftp"
            url = f"sftp://{login.user}@{login.host}:{login.port}/{folder}/disk"
            options = ("-o", f"sftp.command={command}")
            host = SftpHost(login, LIMITS)
            yield There(lambda root: f"{url}/{root}", options, {}, lambda found: SftpStore(host, found.path))
            host.close()
    else:
        with s3_stand(folder / "objects") as access:
            keys = {"AWS_ACCESS_KEY_ID": access.key, "AWS_SECRET_ACCESS_KEY": access.secret}
            shared = client(access.endpoint)
            url = f"s3:http://{access.endpoint}/bucket"
            yield There(
                lambda root: f"{url}/{root}", (), keys, lambda found: S3Store(shared, found.bucket, found.prefix, "s3")
            )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is backed up: two megabytes, some of it twice."""
    folder = tmp_path_factory.mktemp("source") / "tree"
    for number in range(20):
        (folder / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 3}" / f"{number}").write_bytes(os.urandom(100_000) * (1 + number % 2))
    return folder


def held(store: Store) -> dict[tuple[Kind, str], int]:
    return {(kind, each.name): each.size for kind in Kind for each in store.names(kind)}


def test_what_restic_wrote_is_listed_and_read_and_ours_of_it_is_as_good_as_its_own(
    there: There, source: Path, tmp_path: Path
) -> None:
    there.restic("theirs", "init")
    there.restic("theirs", "backup", str(source))
    theirs, ours = there.store("theirs"), there.store("ours")
    found = held(theirs)
    assert {kind for kind, _ in found} == set(Kind) - {Kind.LOCKS}
    for kind in (Kind.DATA, Kind.SNAPSHOTS, Kind.INDEX, Kind.KEYS):
        listed = there.restic("theirs", "list", "packs" if kind is Kind.DATA else str(kind), "--no-lock").split()
        assert sorted(name for each, name in found if each is kind) == sorted(listed)

    ours.create()
    for kind, name in found:
        content = theirs.load(kind, name)
        assert len(content) == found[kind, name]
        assert kind is Kind.CONFIG or id_of(content) == name
        ours.save(kind, name, content)
    assert held(ours) == found

    assert "no errors were found" in there.restic("ours", "check", "--read-data")
    (source / "new").write_bytes(b"added later")
    there.restic("ours", "backup", str(source))
    there.restic("ours", "restore", "latest", "--target", str(tmp_path))
    (source / "new").unlink()
    restored = tmp_path / source.relative_to("/")
    wanted = {each.relative_to(source): each.read_bytes() for each in source.rglob("*") if each.is_file()}
    wanted[Path("new")] = b"added later"
    assert {each.relative_to(restored): each.read_bytes() for each in restored.rglob("*") if each.is_file()} == wanted
    there.restic("ours", "forget", "latest", "--prune")
    assert "no errors were found" in there.restic("ours", "check", "--read-data")
    assert held(ours).keys() - found.keys() != set()


def test_a_folder_of_ours_has_the_layout_that_restic_makes(tmp_path: Path) -> None:
    folder = There(lambda root: f"{tmp_path}/{root}", (), {}, lambda found: FolderStore(Path(found.path)))
    folder.restic("theirs", "init")
    folder.store("ours").create()
    ours, theirs = (
        {each.relative_to(tmp_path / root) for each in (tmp_path / root).rglob("*") if each.is_dir()}
        for root in ("ours", "theirs")
    )
    assert ours == theirs
