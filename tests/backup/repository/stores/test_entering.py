"""Hosts and buckets are entered as ssh and the S3 tools would, and what we cannot do is refused, not left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.clients.s3 import Key
from backup.repository.location import Account, OverSftp
from backup.repository.ports import Kind, StoreFault
from backup.repository.stores.entering_s3 import key_of, region_of
from backup.repository.stores.entering_ssh import KNOWN_EVERYWHERE, login_of
from backup.repository.stores.sftp import LIMITS, SftpHost, SftpStore
from ncia.core.base.errors import NciaError
from ncia.lab import secrets
from ncia.lab.secrets import Ed25519PrivateKey
from tests.backup.replicate.stores.stands import sftp_stand
from tests.ports import free_port

STORE = OverSftp("store", "/srv/repo")


def account(home: Path, **environ: str) -> Account:
    return Account("operator", home, environ)


def ssh(home: Path, **files: str) -> Path:
    (home / ".ssh").mkdir()
    for name, content in files.items():
        (home / ".ssh" / name).write_text(content)
    return home / ".ssh"


def test_without_a_configuration_it_is_the_usual_port_user_and_keys(tmp_path: Path) -> None:
    folder = ssh(tmp_path, id_rsa="a key", id_ed25519="a key", id_other="a key", known_hosts="")
    login = login_of(STORE, account(tmp_path))
    assert (login.name, login.host, login.port, login.user) == ("store", "store", 22, "operator")
    assert login.keys == (folder / "id_ed25519", folder / "id_rsa")
    assert [each for each in login.known_hosts if each != KNOWN_EVERYWHERE] == [folder / "known_hosts"]
    assert not login.agent


def test_what_the_configuration_says_of_a_host_counts_and_what_the_url_says_comes_first(tmp_path: Path) -> None:
    folder = ssh(tmp_path, special="a key", its_hosts="")
    config = f"Host store\n HostName 10.0.0.7\n Port 2222\n User backup\n IdentityFile {folder}/special\n"
    (folder / "config").write_text(f"{config} UserKnownHostsFile {folder}/its_hosts\n IdentitiesOnly yes\n")
    login = login_of(STORE, account(tmp_path, SSH_AUTH_SOCK="/run/agent"))
    assert (login.name, login.host, login.port, login.user) == ("store", "10.0.0.7", 2222, "backup")
    assert (login.keys, login.known_hosts[0], login.agent) == ((folder / "special",), folder / "its_hosts", False)
    told = login_of(OverSftp("store", "r", "root", 22), account(tmp_path))
    assert (told.port, told.user) == (22, "root")
    assert login_of(OverSftp("other", "r"), account(tmp_path, SSH_AUTH_SOCK="/run/agent")).agent


def test_another_file_counts_instead_and_must_be_there(tmp_path: Path) -> None:
    ssh(tmp_path, config="Host store\n Port 1\n")
    (tmp_path / "mine").write_text("Host store\n Port 2222\n")
    assert login_of(STORE, Account("operator", tmp_path, {}, tmp_path / "mine")).port == 2222
    with pytest.raises(NciaError, match=r"mine-not.* cannot be used"):
        login_of(STORE, Account("operator", tmp_path, {}, tmp_path / "mine-not"))


def test_where_no_host_is_known_the_refusal_names_the_file_for_its_key(tmp_path: Path) -> None:
    (ssh(tmp_path) / "id_ed25519").write_text(secrets.openssh_private(Ed25519PrivateKey.generate()))
    login = login_of(OverSftp("127.0.0.1", "r", "", free_port()), account(tmp_path))
    with pytest.raises(StoreFault) as refused:
        SftpStore(SftpHost(login, LIMITS), "r").create()
    assert refused.value.code == "repository.unknown-host"
    assert str(login.known_hosts[0]) in refused.value.hint


@pytest.mark.parametrize("line", ["ProxyJump gate", "ProxyCommand nc %h %p", "Port many"])
def test_a_way_that_we_cannot_go_is_refused_and_no_other_one_taken(tmp_path: Path, line: str) -> None:
    ssh(tmp_path, config=f"Host store\n {line}\n")
    with pytest.raises(NciaError) as refused:
        login_of(STORE, account(tmp_path))
    assert refused.value.code == "repository.ssh-config"
    assert login_of(OverSftp("other", "r"), account(tmp_path)).host == "other"


@pytest.mark.parametrize("content", [b"Host store\n =", b"\xff\xfe\x00", b"Match exec 'x\n"])
def test_a_configuration_that_cannot_be_read_is_one_refusal(tmp_path: Path, content: bytes) -> None:
    (ssh(tmp_path) / "config").write_bytes(content)
    with pytest.raises(NciaError) as refused:
        login_of(STORE, account(tmp_path))
    assert refused.value.code == "repository.ssh-config"


def test_a_real_host_is_entered_by_what_was_found(tmp_path: Path) -> None:
    folder = ssh(tmp_path)
    with sftp_stand(tmp_path / "site") as host:
        told = host.login()
        (folder / "config").write_text(f"Host store\n HostName 127.0.0.1\n Port {told.port}\n User {told.user}\n")
        (folder / "id_ed25519").write_bytes(told.keys[0].read_bytes())
        (folder / "known_hosts").write_bytes(told.known_hosts[0].read_bytes())
        store = SftpStore(SftpHost(login_of(STORE, account(tmp_path)), LIMITS), "repository")
        store.create()
        store.save(Kind.CONFIG, "", b"a configuration")
        store.close()
        assert (host.site / "files" / "repository" / "config").read_bytes() == b"a configuration"


def test_the_key_is_that_of_the_environment_with_what_lends_it(tmp_path: Path) -> None:
    told = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert key_of(account(tmp_path, **told)) == Key("AK", "s", "t")


def test_else_it_is_that_of_the_profile_in_the_file_of_credentials(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    file = tmp_path / ".aws" / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = AK\naws_secret_access_key = a%b\n"
        "[other]\naws_access_key_id=OTHER\naws_secret_access_key=o\n"
    )
    assert key_of(account(tmp_path)) == Key("AK", "a%b")
    assert key_of(account(tmp_path, AWS_PROFILE="other")) == Key("OTHER", "o")
    elsewhere = account(tmp_path / "away", AWS_SHARED_CREDENTIALS_FILE=str(file))
    assert key_of(elsewhere) == Key("AK", "a%b")


def test_no_key_is_one_refusal_that_shows_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("aws_secret_access_key = hunter2\n")
    for environ in (
        {},
        {"AWS_PROFILE": "none"},
        {"AWS_ACCESS_KEY_ID": "AK"},
        {"AWS_SECRET_ACCESS_KEY": "hunter2"},
        {"AWS_SHARED_CREDENTIALS_FILE": str(file)},
    ):
        with pytest.raises(NciaError) as refused:
            key_of(account(tmp_path, **environ))
        assert refused.value.code == "repository.no-key"
        assert "hunter2" not in str(refused.value)


def test_the_region_is_the_environments(tmp_path: Path) -> None:
    assert region_of(account(tmp_path)) == "us-east-1"
    assert region_of(account(tmp_path, AWS_REGION="ap-northeast-2")) == "ap-northeast-2"
    assert region_of(account(tmp_path, AWS_REGION="a", AWS_DEFAULT_REGION="b")) == "b"
