"""What is particular to a host: its keys, what it can do, a full disk, a connection that is cut at any byte."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from backup.clients.sftp import SftpHost
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.stores.retry import Retrying, Unanswered
from backup.repository.stores.sftp import LIMITS, SftpStore
from ncia.core.base.errors import NciaError
from ncia.core.estate.model import Address
from ncia.lab import secrets
from ncia.lab.secrets import Ed25519PrivateKey
from tests.backup.replicate.stores.stands import SftpStand, sftp_stand
from tests.backup.repository.stores.places import openssh, over_sftp, pack, place
from tests.backup.repository.stores.relay import Relay, relayed
from tests.demand import demand
from tests.ports import free_port


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpStand]:
    with sftp_stand(tmp_path_factory.mktemp("sftp") / "site") as stand:
        yield stand


StoreT = TypeVar("StoreT", SftpStore, Retrying)


def made(store: StoreT) -> StoreT:
    store.create()
    store.save(Kind.CONFIG, "", b"a configuration")
    return store


def refused(login: object) -> NciaError:
    store = SftpStore(SftpHost(login, LIMITS), "/never")
    with pytest.raises(StoreFault) as found:
        store.create()
    return found.value


def test_whoever_cannot_be_trusted_or_does_not_trust_us_is_refused_with_the_reason(
    host: SftpStand, tmp_path: Path
) -> None:
    login = host.login()
    (tmp_path / "empty").write_text("")
    other = Ed25519PrivateKey.generate()
    secrets.write(tmp_path / "key", secrets.openssh_private(other))
    secrets.write(tmp_path / "known", f"[127.0.0.1]:{login.port} {secrets.openssh_public(other)}\n")
    (tmp_path / "none").write_text("no key")
    cases = {
        "repository.unknown-host": replace(login, known_hosts=(tmp_path / "empty",)),
        "repository.other-host": replace(login, known_hosts=(tmp_path / "known",)),
        "repository.refused": replace(login, keys=(tmp_path / "key",)),
        "repository.no-key": replace(login, keys=(tmp_path / "none", tmp_path / "absent")),
    }
    assert [refused(each).code for each in cases.values()] == list(cases)
    assert all(refused(each).hint for each in cases.values())
    assert not (host.site / "files" / "never").exists()


def test_of_several_keys_the_one_that_the_host_knows_is_found(host: SftpStand, tmp_path: Path) -> None:
    secrets.write(tmp_path / "key", secrets.openssh_private(Ed25519PrivateKey.generate()))
    login = host.login()
    keys = (tmp_path / "absent", tmp_path / "key", *login.keys)
    store = made(SftpStore(SftpHost(replace(login, keys=keys), LIMITS), "/several"))
    assert store.load(Kind.CONFIG, "") == b"a configuration"
    store.close()


def test_nobody_listening_is_unanswered_and_may_be_asked_again(host: SftpStand, tmp_path: Path) -> None:
    port = free_port()
    secrets.write(
        tmp_path / "known", host.login().known_hosts[0].read_text().replace(str(host.address.port), str(port))
    )
    login = replace(host.login(), port=port, known_hosts=(tmp_path / "known",))
    with pytest.raises(Unanswered, match=f"does not answer.*is 127.0.0.1:{port} up"):
        SftpStore(SftpHost(login, LIMITS), "/r").size(Kind.CONFIG, "")


def test_a_folder_without_a_repository_is_not_written_into_and_is_no_empty_one(host: SftpStand) -> None:
    name, content = pack(100)
    (host.site / "files" / "empty").mkdir()
    for root in ("/empty", "/nowhere"):
        store = SftpStore(SftpHost(host.login(), LIMITS), root)
        with pytest.raises(StoreFault, match="no repository is in h1:"):
            store.save(Kind.DATA, name, content)
        with pytest.raises(StoreFault, match=r"is its disk mounted there\?"):
            list(store.names(Kind.SNAPSHOTS))
        with pytest.raises(Missing):
            store.load(Kind.CONFIG, "")
        store.close()
    assert list((host.site / "files" / "empty").iterdir()) == []


def test_a_folder_that_was_lost_in_a_copy_of_the_repository_is_made_again(host: SftpStand) -> None:
    store = made(SftpStore(SftpHost(host.login(), LIMITS), "/copied"))
    name, content = pack(100)
    root = host.site / "files" / "copied"
    for shelf in (root / "data").iterdir():
        shelf.rmdir()
    (root / "data").rmdir()
    assert list(store.names(Kind.DATA)) == []
    store.save(Kind.DATA, name, content)
    assert (root / "data" / name[:2] / name).read_bytes() == content
    store.close()


def test_files_are_read_only_and_folders_private(tmp_path: Path) -> None:
    name, content = pack(100)
    with openssh(tmp_path) as found:
        store = found.open("deep/below/repository")
        made(store)
        store.save(Kind.DATA, name, content)
        store.close()
    root = tmp_path / "disk" / "deep" / "below" / "repository"
    shown = [root / "data" / name[:2] / name, root / "data" / name[:2], root / "data", root, root.parent]
    assert [stat.S_IMODE(each.stat().st_mode) for each in shown] == [0o400, 0o700, 0o700, 0o700, 0o700]


def test_openssh_makes_files_and_their_names_durable(tmp_path: Path) -> None:
    with openssh(tmp_path) as found:
        store = made(found.open("r"))
        assert store.durable
        with SftpHost(found.login, LIMITS).session("look") as session:
            for each in ("config", "data", "data/ab"):
                assert session.sync(f"{tmp_path}/disk/r/{each}")
            assert not session.sync(f"{tmp_path}/disk/r/nowhere")
        store.close()


@pytest.mark.parametrize("where", ["sftp", "openssh"])
def test_a_full_disk_is_a_clear_refusal_and_leaves_nothing_half(where: str, tmp_path: Path) -> None:
    demand("unshare", "a disk of its own size")
    (one, first), (two, second), (three, third) = pack(50_000), pack(900_000), pack(50_000)
    small = openssh(tmp_path, "600k") if where == "openssh" else sftp_stand(tmp_path / "site", "600k")
    with small as found:
        reached = found if where == "openssh" else over_sftp(found.login(), tmp_path, "/")
        store = made(reached.open("r"))
        store.save(Kind.DATA, one, first)
        with pytest.raises(StoreFault) as full:
            store.save(Kind.DATA, two, second)
        assert (full.value.code, full.value.why) == ("repository.full", "the disk there is full")
        assert [each.name for each in store.names(Kind.DATA)] == [one]
        store.save(Kind.DATA, three, third)  # what was left of the attempt is gone
        assert store.load(Kind.DATA, one) == first
        store.close()


@dataclass(frozen=True)
class Cut:
    """A store that reaches its host through a connection that can be cut, and where its files lie."""

    store: SftpStore
    relay: Relay
    root: Path


@pytest.fixture(scope="module", params=["sftp", "openssh"])
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    folder = tmp_path_factory.mktemp("cut")
    with place(request.param, folder) as found:
        login = found.login
        with relayed(Address(login.host, login.port)) as relay:
            known = login.known_hosts[0].read_text().replace(str(login.port), str(relay.address.port))
            secrets.write(folder / "known_through", known)
            through = replace(login, port=relay.address.port, known_hosts=(folder / "known_through",))
            root = "/cut" if request.param == "sftp" else f"{found.disk}/cut"
            store = made(SftpStore(SftpHost(through, LIMITS), root))
            yield Cut(store, relay, found.disk / "cut")
            store.close()


@pytest.mark.parametrize("deaf", [False, True], ids=["what is sent is cut", "what is answered is lost"])
@pytest.mark.parametrize("tenths", [0, 1, 4, 8, 9, 10, 11])
def test_a_save_whose_connection_is_cut_at_any_byte_leaves_a_whole_file_or_none_and_is_done_when_asked_again(
    cut: Cut, tenths: int, deaf: bool
) -> None:
    store, relay = cut.store, cut.relay
    name, content = pack(400_000)
    shelf = cut.root / "data" / name[:2]
    faults: list[StoreFault] = []
    at = 500 + tenths * 40_000
    (relay.deafen_after if deaf else relay.cut_after)(at)
    before = relay.cuts

    def hear(fault: StoreFault, pause: float) -> None:
        faults.append(fault)
        assert [each.read_bytes() for each in shelf.iterdir() if each.name == name] in ([], [content])

    Retrying(store, hear=hear, pause=lambda _: None).save(Kind.DATA, name, content)
    relay.spare()
    assert store.load(Kind.DATA, name) == content
    assert [each.name for each in shelf.iterdir() if each.name.startswith(name)] == [name]  # what was begun is gone
    assert len(faults) == relay.cuts - before
    assert all(fault.code == "repository.unreachable" for fault in faults)
    if tenths < 9:
        assert len(faults) == 1


def test_a_read_and_a_listing_that_are_cut_are_asked_again(cut: Cut) -> None:
    store, relay = cut.store, cut.relay
    name, content = pack(400_000)
    store.save(Kind.DATA, name, content)
    asking = Retrying(store, pause=lambda _: None)
    before = relay.cuts
    for sent in (100, 700):
        relay.deafen_after(sent)
        assert asking.load(Kind.DATA, name) == content
        relay.deafen_after(sent)
        assert name in [each.name for each in asking.names(Kind.DATA)]
    relay.spare()
    assert relay.cuts == before + 4
