"""One contract for every engine of repositories, and what is restic's own: versions, exit codes, words."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backup.agencies.ports import SENTENCES, Asked, Engine, EngineFault, Place, Share
from backup.engines.own import OwnEngine
from backup.engines.restic import ResticEngine
from backup.repository.repository import create, open_repository
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.files import differences
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.restic import demand_restic

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "RESTIC_PASSWORD": "not this one"}
PASSWORD = "open sesame"


def own(_: Path) -> Engine:
    return OwnEngine(lambda url: FolderStore(Path(url)), SystemClock(), "0.1.0", cost=CHEAP)


def restic(_: Path) -> Engine:
    return ResticEngine(str(demand_restic().program), ENVIRONMENT)


ENGINES: dict[str, Callable[[Path], Engine]] = {"ncia": own, "restic": restic}


class Desk:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        (folder / "password").write_text(f"{PASSWORD}\n")
        self.place = Place(str(folder / "repository"), folder / "password")
        self.source = folder / "source"
        (self.source / "below").mkdir(parents=True)
        (self.source / "return").write_text("a citizen's return")
        (self.source / "below" / "petition").write_text("a petition")
        os.utime(self.source / "return", ns=(1, 1_577_934_245_123_456_789))
        os.link(self.source / "return", self.source / "below" / "again")

    def make(self) -> None:
        """A repository whose key costs nothing to open: restic's own takes half a second each time."""
        create(FolderStore(Path(self.place.url)), PASSWORD, HOLDER, NOW, CHEAP)

    def asked(self, *more: str) -> Asked:
        return Asked((str(self.source), *more), "hometax", ("documents",))

    def pack(self) -> Path:
        """The one that holds the files' content, as the bigger half of a small repository's two."""
        return max((self.folder / "repository" / "data").glob("*/*"), key=lambda path: path.stat().st_size)


@pytest.fixture(params=ENGINES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    return Desk(tmp_path, ENGINES[request.param](tmp_path))


def test_a_repository_is_made_of_the_version_that_ours_reads(desk: Desk) -> None:
    id_ = desk.engine.init(desk.place)
    assert open_repository(FolderStore(Path(desk.place.url)), PASSWORD).config.id == id_


def test_a_backup_is_listed_checked_and_comes_back_whole(desk: Desk) -> None:
    desk.make()
    kept = desk.engine.backup(desk.place, desk.asked())
    assert (kept.files >= 2, kept.partial) == (True, False)
    (held,) = desk.engine.snapshots(desk.place).snapshots
    assert (held.snapshot, held.tree, held.host, held.tags) == (kept.snapshot, kept.tree, "hometax", ("documents",))
    assert held.paths == (str(desk.source),)
    assert abs(held.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert desk.engine.check(desk.place).read is False
    found = desk.engine.check(desk.place, Share())
    assert (found.faults, found.read) == ((), True)
    size = sum(path.stat().st_size for path in (desk.folder / "repository" / "data").glob("*/*"))
    assert (found.bytes_read, found.bytes_all) in ((size, size), (None, None))  # restic does not tell
    assert desk.engine.restore(desk.place, kept.snapshot, desk.folder / "target").losses == ()
    assert differences(desk.source, desk.folder / "target" / desk.source.relative_to("/")) == []


def test_what_did_not_change_has_the_same_tree(desk: Desk) -> None:
    """Its tree holds the folders above it too, and restic and other tests write into those of temporary files."""
    desk.make()
    with TemporaryDirectory(prefix=".ncia-test-", dir=Path.home()) as quiet:
        (Path(quiet) / "return").write_text("a citizen's return")
        first, second = (desk.engine.backup(desk.place, Asked((quiet,), "hometax")) for _ in range(2))
    assert (first.tree == second.tree, first.snapshot == second.snapshot) == (True, False)
    assert [each.snapshot for each in desk.engine.snapshots(desk.place).snapshots] == [first.snapshot, second.snapshot]


def test_a_backup_that_misses_something_is_partial_and_names_it(desk: Desk) -> None:
    desk.make()
    gone = desk.engine.backup(desk.place, desk.asked(str(desk.folder / "nowhere")))
    assert (gone.partial, "nowhere" in gone.losses[0]) == (True, True)
    unreadable = desk.engine.backup(desk.place, desk.asked("/proc/self/mem"))  # no one may read it, not even root
    assert (unreadable.partial, "/proc/self/mem" in unreadable.losses[0]) == (True, True)
    with pytest.raises(NciaError, match="there is nothing at"):
        desk.engine.backup(desk.place, Asked((str(desk.folder / "nowhere"),), "hometax"))


def test_a_flipped_byte_is_found_by_a_check_that_reads_and_named_by_a_restore(desk: Desk) -> None:
    desk.make()
    (desk.source / "big").write_bytes(os.urandom(100_000))
    kept = desk.engine.backup(desk.place, desk.asked())
    pack = desk.pack()
    content = bytearray(pack.read_bytes())
    content[5000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    found = desk.engine.check(desk.place, Share())
    assert (found.holds, pack.name[:8] in " ".join(found.faults)) == (False, True)
    restored = desk.engine.restore(desk.place, kept.snapshot, desk.folder / "target")
    assert (restored.partial, "big" in " ".join(restored.losses)) == (True, True)


def test_a_restore_of_some_paths_brings_these_alone_and_nothing_of_what_is_not_there(desk: Desk) -> None:
    """Names that would be patterns are names."""
    desk.make()
    (desk.source / "a[b]*").write_text("odd")
    (desk.source / "ab").write_text("another")
    kept = desk.engine.backup(desk.place, desk.asked())
    wanted = [str(desk.source / name) for name in ("a[b]*", "below/petition", "nowhere")]
    assert desk.engine.restore(desk.place, kept.snapshot, desk.folder / "target", wanted).losses == ()
    below = desk.folder / "target" / desk.source.relative_to("/")
    files = sorted(str(path.relative_to(below)) for path in below.rglob("*") if path.is_file())
    assert files == ["a[b]*", "below/petition"]


def test_a_restore_into_what_is_there_already_is_refused(desk: Desk) -> None:
    desk.make()
    kept = desk.engine.backup(desk.place, desk.asked())
    with pytest.raises(Refusal):
        desk.engine.restore(desk.place, kept.snapshot, desk.source)
    assert sorted(os.listdir(desk.source)) == ["below", "return"]


def test_no_repository_a_wrong_password_and_none_are_told_apart(desk: Desk) -> None:
    with pytest.raises(NciaError) as none:
        desk.engine.snapshots(desk.place)
    desk.make()
    with pytest.raises(NciaError) as twice:
        desk.engine.init(desk.place)
    (desk.folder / "password").write_text("guess\n")
    with pytest.raises(NciaError) as wrong:
        desk.engine.snapshots(desk.place)
    with pytest.raises(NciaError) as url:
        desk.engine.snapshots(Place("sftp://somebody:secret@host//folder", desk.folder / "password"))
    (desk.folder / "password").unlink()
    with pytest.raises(NciaError) as lost:
        desk.engine.snapshots(desk.place)
    assert (none.value.code, wrong.value.code) == ("repository.none", "repository.wrong-password")
    words = [str(each.value) for each in (none, twice, wrong, url, lost)]
    assert [("guess" in word or "secret" in word or "\n" in word) for word in words] == [False] * 5


def test_what_an_engine_cannot_do_is_refused_in_one_sentence(desk: Desk) -> None:
    can = desk.engine.capabilities()
    desk.make()
    kept = desk.engine.backup(desk.place, desk.asked())
    second = Place(str(desk.folder / "second"), desk.folder / "password")
    for field, act in (
        ("makes_twins", lambda: desk.engine.init(second, desk.place)),
        ("writes_both", lambda: desk.engine.backup_both(desk.place, second, desk.asked())),
        ("heals", lambda: desk.engine.heal(second, desk.place)),
    ):
        if getattr(can, field):
            act()
            continue
        with pytest.raises(Refusal, match=SENTENCES[field]) as told:
            act()
        assert told.value.code == "engine.cannot"
    assert len(desk.engine.snapshots(desk.place).snapshots) == 1 + can.writes_both
    assert kept.snapshot in [each.snapshot for each in desk.engine.snapshots(desk.place).snapshots]
    assert (desk.folder / "second" / "config").exists() == can.makes_twins


def test_what_is_forgotten_is_gone_and_nothing_else(desk: Desk) -> None:
    desk.make()
    first, second = (desk.engine.backup(desk.place, desk.asked()) for _ in range(2))
    desk.engine.forget(desk.place, [first.snapshot])
    assert [each.snapshot for each in desk.engine.snapshots(desk.place).snapshots] == [second.snapshot]
    assert desk.engine.check(desk.place, Share()).holds
    desk.engine.forget(desk.place, [])


def test_what_no_snapshot_needs_is_pruned_and_what_one_needs_is_not(desk: Desk) -> None:
    """Ours marks it first, and a prune after its grace removes it; restic removes it at once."""
    desk.make()
    (desk.source / "big").write_bytes(os.urandom(100_000))
    first = desk.engine.backup(desk.place, desk.asked())
    (desk.source / "big").write_bytes(os.urandom(100_000))
    second = desk.engine.backup(desk.place, desk.asked())
    desk.engine.forget(desk.place, [first.snapshot])
    cleared = desk.engine.prune(desk.place)
    assert ((cleared.marked or 0) + (cleared.removed or 0) > 0, (cleared.marked_bytes or 0) > 100_000) == (
        True,
        desk.engine.capabilities().engine == "ncia",
    )
    assert desk.engine.check(desk.place, Share()).holds
    assert desk.engine.restore(desk.place, second.snapshot, desk.folder / "target").losses == ()


class Twins(Desk):
    """Ours, at two places."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, own(folder))
        self.other = Place(str(folder / "other"), folder / "password")
        self.make()
        self.engine.init(self.other, self.place)

    def held(self, place: Place) -> list[str]:
        return [each.snapshot for each in self.engine.snapshots(place).snapshots]


def test_one_backup_at_two_places_is_one_snapshot(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    twice = desk.engine.backup_both(desk.place, desk.other, desk.asked())
    assert (twice.missing, desk.held(desk.place), desk.held(desk.other)) == (
        {},
        [twice.kept.snapshot],
        [twice.kept.snapshot],
    )
    for place in (desk.place, desk.other):
        assert desk.engine.check(place, Share()).holds


def test_a_place_that_fails_meanwhile_is_told_and_healed_from_the_other_one(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    desk.engine.backup_both(desk.place, desk.other, desk.asked())
    snapshots = tmp_path / "other" / "snapshots"
    snapshots.rename(tmp_path / "aside")
    snapshots.write_text("not a folder any more")
    twice = desk.engine.backup_both(desk.place, desk.other, desk.asked())
    assert list(twice.missing) == [desk.other.url]
    snapshots.unlink()
    snapshots.mkdir()
    healed = desk.engine.heal(desk.other, desk.place)
    assert (desk.held(desk.other), healed.lost) == (desk.held(desk.place), ())
    assert desk.engine.check(desk.other, Share()).holds


def test_a_first_place_that_is_down_is_told_and_the_backup_is_whole_at_the_second(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    config = Path(desk.place.url) / "config"
    config.rename(tmp_path / "aside")
    config.mkdir()  # as a disk that fails: it is there and cannot be read
    twice = desk.engine.backup_both(desk.place, desk.other, desk.asked())
    assert list(twice.missing) == [desk.place.url]
    assert desk.held(desk.other) == [twice.kept.snapshot]
    assert desk.engine.check(desk.other, Share()).holds


def test_a_pack_and_a_configuration_that_are_gone_come_back_from_the_twin(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    desk.engine.backup_both(desk.place, desk.other, desk.asked())
    pack = desk.pack()
    pack.unlink()
    (tmp_path / "repository" / "config").unlink()
    healed = desk.engine.heal(desk.place, desk.other)
    assert (len(healed.mended) >= 2, healed.lost, pack.exists()) == (True, (), True)
    assert desk.engine.check(desk.place, Share()).holds


def test_a_flipped_bit_comes_back_from_the_twin_where_the_part_it_lies_in_is_read(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    (desk.source / "big").write_bytes(os.urandom(100_000))
    desk.engine.backup_both(desk.place, desk.other, desk.asked())
    pack = desk.pack()
    content = bytearray(pack.read_bytes())
    content[5000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    number = int(pack.name[:8], 16) % 2 + 1
    for share in (None, Share(3 - number, 2)):
        assert desk.engine.heal(desk.place, desk.other, share).mended == ()
        assert desk.engine.check(desk.place, Share(3 - number, 2)).holds
    assert len(desk.engine.heal(desk.place, desk.other, Share(number, 2)).mended) == 1
    assert desk.engine.check(desk.place, Share()).holds


def test_places_that_are_no_twins_are_neither_written_at_once_nor_healed(tmp_path: Path) -> None:
    desk = Twins(tmp_path)
    stranger = Place(str(tmp_path / "stranger"), tmp_path / "password")
    create(FolderStore(tmp_path / "stranger"), PASSWORD, HOLDER, NOW, CHEAP)
    with pytest.raises(NciaError) as both:
        desk.engine.backup_both(desk.place, stranger, desk.asked())
    with pytest.raises(NciaError) as heal:
        desk.engine.heal(stranger, desk.place)
    assert (both.value.code, heal.value.code) == ("repository.no-twin", "repository.no-twin")


def test_each_capability_has_its_sentence(desk: Desk) -> None:
    can = desk.engine.capabilities()
    fields = [each.name for each in dataclasses.fields(can) if each.type == "bool"]
    assert fields == list(SENTENCES)
    told = can.sentences()
    assert [words.startswith("not: ") for words in told[:-1]] == [not getattr(can, field) for field in fields]


def test_what_one_engine_kept_the_other_reads(tmp_path: Path) -> None:
    for number, (one, other) in enumerate(((own, restic), (restic, own))):
        (tmp_path / str(number)).mkdir()
        desk = Desk(tmp_path / str(number), one(tmp_path))
        desk.make()
        kept = desk.engine.backup(desk.place, desk.asked())
        reader = other(tmp_path)
        (held,) = reader.snapshots(desk.place).snapshots
        assert (held.snapshot, held.tree) == (kept.snapshot, kept.tree)
        assert reader.check(desk.place, Share()).faults == ()
        assert reader.restore(desk.place, kept.snapshot, desk.folder / "target").losses == ()
        assert differences(desk.source, desk.folder / "target" / desk.source.relative_to("/")) == []


def acting(folder: Path, *lines: str) -> ResticEngine:
    """A program that says it is restic, and does what these lines of shell say."""
    program = folder / "restic"
    head = '#!/bin/sh\nif [ "$1" = version ]; then echo "restic ${VERSION:-0.19.1} compiled"; exit 0; fi\n'
    head += 'case " $* " in *" cat config "*) echo "{\\"id\\": \\"ab\\"}"; exit 0;; esac\n'
    program.write_text(head + "\n".join(lines) + "\n")
    program.chmod(0o700)
    return ResticEngine(str(program), ENVIRONMENT, seconds_max=5)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return Place(str(tmp_path / "repository"), tmp_path / "password")


def test_a_restic_that_does_not_know_the_format_is_refused(tmp_path: Path, place: Place) -> None:
    program = acting(tmp_path)
    text = (tmp_path / "restic").read_text().replace("${VERSION:-0.19.1}", "0.13.1")
    (tmp_path / "restic").write_text(text)
    with pytest.raises(EngineFault, match=r"0\.13\.1, which does not know version 2"):
        program.snapshots(place)
    (tmp_path / "restic").write_text("#!/bin/sh\necho busybox\n")
    with pytest.raises(EngineFault, match="this is no restic"):
        ResticEngine(str(tmp_path / "restic"), ENVIRONMENT).capabilities()
    with pytest.raises(EngineFault, match="No such file"):
        ResticEngine(str(tmp_path / "nowhere"), ENVIRONMENT).capabilities()


@pytest.mark.parametrize(
    ("code", "words", "want", "kind"),
    [
        (
            1,
            "Fatal: unable to open repository: unable to open config file: no such file",
            "repository.none",
            EngineFault,
        ),
        (1, "Fatal: wrong password or no key found", "repository.wrong-password", EngineFault),
        (11, "", "repository.locked", Refusal),
        (1, "unable to create lock in backend: repository is already locked by PID 7", "repository.locked", Refusal),
        (2, "panic: runtime error", "engine.failed", EngineFault),
        (0, "[{}]", "engine.odd-answer", EngineFault),
    ],
)
def test_an_exit_code_is_told_as_what_it_means(
    tmp_path: Path, place: Place, code: int, words: str, want: str, kind: type[NciaError]
) -> None:
    with pytest.raises(kind) as told:
        acting(tmp_path, f"echo '{words}'", f"exit {code}").snapshots(place)
    assert told.value.code == want


def test_a_partial_backup_is_never_whole_also_where_nothing_is_named(tmp_path: Path, place: Place) -> None:
    summary = '{"message_type":"summary","snapshot_id":"abcd","total_files_processed":1,"total_bytes_processed":2}'
    listed = '[{"id":"abcd01","tree":"ef","time":"2026-11-26T00:00:00Z"}]'
    asked = Asked((str(tmp_path),), "hometax")
    lines = (f"case $4 in backup) echo '{summary}'; exit 3;; *) echo '{listed}';; esac",)
    kept = acting(tmp_path, *lines).backup(place, asked)
    assert (kept.partial, kept.snapshot, kept.files) == (True, "abcd01", 1)
    with pytest.raises(EngineFault, match="ended with 0"):
        acting(tmp_path, "exit 0").backup(place, asked)  # it says that all is well, and of no snapshot
    with pytest.raises(EngineFault, match="0 are there"):
        acting(tmp_path, f"case $4 in backup) echo '{summary}';; *) echo '[]';; esac").backup(place, asked)


def test_no_secret_is_in_its_command_line_or_its_environment(tmp_path: Path, place: Place) -> None:
    acting(tmp_path, f'(echo "$@"; env) > {tmp_path}/seen', "echo '[]'").snapshots(place)
    seen = (tmp_path / "seen").read_text()
    assert (PASSWORD in seen, "RESTIC_PASSWORD" in seen, "--password-file=" in seen) == (False, False, True)


def test_one_that_does_not_end_is_ended(tmp_path: Path, place: Place) -> None:
    engine = acting(tmp_path, "exec sleep 600")
    engine = ResticEngine(str(tmp_path / "restic"), ENVIRONMENT, seconds_max=0.3)
    with pytest.raises(EngineFault, match="did not end within"):
        engine.snapshots(place)
