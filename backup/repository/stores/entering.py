"""How a repository's place is entered: as ssh and the S3 tools find it on this machine, and as nothing else does.

An SFTP host is entered with what ``~/.ssh/config`` says of it (HostName, Port, User, IdentityFile, IdentitiesOnly,
UserKnownHostsFile), the SSH agent and the usual keys; a bucket with the variables that restic and AWS's tools take, or
their file of credentials. Nothing of this stands in a URL.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from backup.clients.s3 import REGION, Key
from backup.clients.sftp import Login
from backup.repository.location import SSH_PORT, OverSftp
from ncia.core.base.errors import NciaError

USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
KNOWN_EVERYWHERE = Path("/etc/ssh/ssh_known_hosts")
NOT_OURS = ("proxycommand", "proxyjump")  # ways that are not gone here: a direct connection would be another one


@dataclass(frozen=True)
class Account:
    """Who asks, on this machine. ``ssh_config``: another file than theirs."""

    user: str
    home: Path
    environ: Mapping[str, str]
    ssh_config: Path | None = None


def login_of(place: OverSftp, account: Account) -> Login:
    """The host of ``place``, as ``ssh`` would enter it; raises ``repository.ssh-config`` where we cannot."""
    told = _told(place, account)
    what = f"enter {place.host} over SSH"
    for each in NOT_OURS:
        if told.get(each, "none") != "none":
            why = f"the SSH configuration asks for {each}, which is not supported"
            raise NciaError("repository.ssh-config", what, why, "forward a port to it, and name that host and port")
    port = str(place.port or told.get("port", SSH_PORT))
    if not port.isdecimal():
        raise NciaError("repository.ssh-config", what, f"its Port {port!r} is no number", "~/.ssh/config")
    ssh = account.home / ".ssh"
    keys = [Path(each).expanduser() for each in told.get("identityfile", ())] or [ssh / each for each in USUAL_KEYS]
    known = [Path(each).expanduser() for each in str(told.get("userknownhostsfile", "")).split()]
    files = (*(known or (ssh / "known_hosts",)), KNOWN_EVERYWHERE)
    return Login(
        name=place.host,
        host=str(told.get("hostname", place.host)),
        port=int(port),
        user=place.user or str(told.get("user", account.user)),
        keys=tuple(each for each in keys if each.is_file()),
        known_hosts=tuple(each for each in files if each.is_file()) or files[:1],
        agent=told.get("identitiesonly") != "yes" and bool(account.environ.get("SSH_AUTH_SOCK")),
    )


def key_of(account: Account) -> Key:
    """The key to S3 servers; raises ``repository.no-key``."""
    environ = account.environ
    if "AWS_ACCESS_KEY_ID" in environ or "AWS_SECRET_ACCESS_KEY" in environ:
        found: Mapping[str, str] = {name.lower(): value for name, value in environ.items() if name.startswith("AWS_")}
        where = "the environment"
    else:
        file = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or account.home / ".aws" / "credentials")
        profile = environ.get("AWS_PROFILE") or "default"
        found, where = _profile(file, profile), f"the profile {profile} of {file}"
    id, secret = found.get("aws_access_key_id", ""), found.get("aws_secret_access_key", "")
    if not id or not secret:
        why = f"{where} has no {'aws_secret_access_key' if id else 'aws_access_key_id'}"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise NciaError("repository.no-key", "sign requests to an S3 server", why, hint)
    return Key(id, secret, found.get("aws_session_token", ""))


def region_of(account: Account) -> str:
    return account.environ.get("AWS_DEFAULT_REGION") or account.environ.get("AWS_REGION") or REGION


def _told(place: OverSftp, account: Account) -> paramiko.SSHConfigDict:
    file = account.ssh_config or account.home / ".ssh" / "config"
    if not account.ssh_config and not file.is_file():
        return paramiko.SSHConfigDict()
    try:
        return paramiko.SSHConfig.from_path(str(file)).lookup(place.host)
    except (OSError, ValueError, ImportError, paramiko.SSHException) as error:
        why = f"{file} cannot be used: {str(error) or type(error).__name__}"
        raise NciaError(
            "repository.ssh-config", f"enter {place.host} over SSH", why, "does ssh itself take it?"
        ) from error


def _profile(file: Path, profile: str) -> Mapping[str, str]:
    """The library's own words are dropped: they show the line, and a secret may be in it."""
    reader = configparser.RawConfigParser()
    try:
        reader.read(file, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        why = f"{file} cannot be read as a file of credentials"
        raise NciaError("repository.no-key", "sign requests to an S3 server", why, "is it INI, and UTF-8?") from None
    return dict(reader[profile]) if reader.has_section(profile) else {}
