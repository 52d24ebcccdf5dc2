"""How an SFTP host is entered: as ``ssh`` finds it on this machine, and as nothing else does.

With what ``~/.ssh/config`` says of it (HostName, Port, User, IdentityFile, IdentitiesOnly, UserKnownHostsFile), the SSH
agent and the usual keys. Nothing of this stands in a URL.
"""

from __future__ import annotations

from pathlib import Path

import paramiko

from backup.clients.sftp import Login
from backup.repository.location import SSH_PORT, Account, OverSftp
from ncia.core.base.errors import NciaError

USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
KNOWN_EVERYWHERE = Path("/etc/ssh/ssh_known_hosts")
NOT_OURS = ("proxycommand", "proxyjump")  # ways that are not gone here: a direct connection would be another one


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
