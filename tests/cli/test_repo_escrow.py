"""`ncia repo key escrow | rotate | recover`: from a lost password to the files, with one person's key."""

from __future__ import annotations

import json
from pathlib import Path

import pyrage
import pytest
from typer.testing import CliRunner, Result

from backup.repository.repository import create, open_repository
from backup.repository.stores.folder import FolderStore
from ncia.cli import build
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import differences
from tests.backup.repository.sample import CHEAP, HOLDER, NOW

TREE = build((("repo", "ncia.cli.repo"),))


class Desk:
    """Twins at two sites, two people's keys, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sites = [folder / "daejeon", folder / "gwangju"]
        (folder / "password").write_text("open sesame\n")
        first = create(FolderStore(self.sites[0]), "open sesame", HOLDER, NOW, CHEAP)
        create(FolderStore(self.sites[1]), "open sesame", HOLDER, NOW, CHEAP, twin=first)
        identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
        (folder / "kim").write_text(f"{identities[0]}\n")
        publics = [f"{name} {each.to_public()}" for name, each in zip(("kim", "lee"), identities, strict=True)]
        (folder / "recipients").write_text("\n".join(publics))
        (folder / "source").mkdir()
        (folder / "source" / "return").write_text("a citizen's return")
        self.said = ""

    def run(self, site: int, *arguments: object, ok: bool = True) -> Result:
        at = {"NCIA_PASSWORD_FILE": str(self.folder / "password"), "NCIA_REPOSITORY": str(self.sites[site])}
        result = CliRunner().invoke(TREE, ["repo", *map(str, arguments)], env=at)
        self.said += result.output + repr(result.exception)
        assert (result.exit_code == 0) == ok, result.output
        return result

    def escrow(self, *more: object) -> dict[str, object]:
        twin = ("--twin", self.sites[1], "--recipients", self.folder / "recipients")
        return json.loads(self.run(0, "key", "escrow", *twin, *more, "--json").stdout)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_with_the_password_lost_one_escrowed_key_alone_brings_the_files_back(desk: Desk) -> None:
    """At the other site, where nothing but the repository is left; no secret was said on the way."""
    desk.run(1, "backup", desk.folder / "source")
    desk.escrow()
    (desk.folder / "password").unlink()
    desk.run(1, "key", "recover", "--identity", desk.folder / "kim", "--new-password-file", desk.folder / "fresh")
    target = desk.folder / "target"
    desk.run(1, "restore", "latest", "--target", target, "-p", desk.folder / "fresh")
    assert differences(desk.folder / "source", target / desk.folder.relative_to("/") / "source") == []
    assert (desk.folder / "fresh").stat().st_mode & 0o777 == 0o600
    secrets = ("open sesame", (desk.folder / "fresh").read_text().strip(), (desk.folder / "kim").read_text().strip())
    assert [secret in desk.said for secret in secrets] == [False] * 3


def test_an_escrow_kept_in_a_safe_opens_it_when_all_its_keys_were_removed(desk: Desk) -> None:
    """By what `age -d` prints of it, too: some keys only age itself can use."""
    safe, plain = desk.folder / "safe", desk.folder / "plain"
    told = desk.escrow("--out", safe)
    assert (told["recipients"], told["files"], safe.stat().st_mode & 0o777) == (["kim", "lee"], [str(safe)], 0o600)
    for key in (desk.sites[0] / "keys").iterdir():
        key.unlink()
    asked = ("key", "recover", "--new-password-file", desk.folder / "fresh")
    mine = ("--identity", desk.folder / "kim")
    assert "none of its keys carries one" in str(desk.run(0, *asked, *mine, ok=False).exception)
    assert desk.run(0, *asked, *mine, "--opened", plain, ok=False).exit_code == 2
    told = desk.run(0, *asked, *mine, "--escrow", safe)
    assert "is open, with 0 snapshots" in told.stdout
    assert "no escrow lies in the repository any more" in told.stderr
    sealed = safe.read_text()[safe.read_text().index("\n-----BEGIN") + 1 :]
    identity = pyrage.x25519.Identity.from_str((desk.folder / "kim").read_text().strip())
    plain.write_bytes(pyrage.decrypt(sealed.encode(), [identity]))
    assert "is open, with 0 snapshots" in desk.run(0, *asked, "--opened", plain).stdout


def test_a_rotation_shuts_the_old_password_out(desk: Desk) -> None:
    """Of one repository: each look at a key takes a quarter of a second, and twins are rotated in test_escrow.py."""
    asked = ("--recipients", desk.folder / "recipients", "--new-password-file", desk.folder / "fresh", "--json")
    told = json.loads(desk.run(0, "key", "rotate", *asked).stdout)
    assert (len(told["old_keys_removed"]), told["keys_left"], told["removed"]) == (1, [], [])
    new = (desk.folder / "fresh").read_text().strip()
    open_repository(FolderStore(desk.sites[0]), new)
    with pytest.raises(NciaError, match="opens none"):
        open_repository(FolderStore(desk.sites[0]), "open sesame")
    assert new not in desk.said


def test_a_file_that_cannot_be_read_or_written_is_told_in_one_sentence(desk: Desk) -> None:
    gone = desk.run(0, "key", "escrow", "--recipients", desk.folder / "nobody", ok=False)
    assert "No such file" in str(gone.exception)
    there = ("--recipients", desk.folder / "recipients", "--out", desk.folder / "no" / "safe")
    assert "No such file" in str(desk.run(0, "key", "escrow", *there, ok=False).exception)
