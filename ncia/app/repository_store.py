"""A repository's URL into the store behind it: with the user's own SSH configuration, or keys from the environment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from backup.repository.location import SSH_PORT, InFolder, OverS3, OverSftp, parse_location
from backup.repository.ports import Store
from ncia.core.base.errors import NciaError

SSH_FOLDER = Path("~/.ssh")
SSH_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
KEY_ID, KEY_SECRET, KEY_TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def store_of(url: str, environment: Mapping[str, str] = os.environ, ssh_config: Path | None = None) -> Store:
    """The store that a URL names; nothing is dialled yet. What does not answer is asked again for two minutes."""
    location = parse_location(url)
    if isinstance(location, InFolder):
        from backup.repository.stores.folder import FolderStore

        return FolderStore(Path(location.path).expanduser())
    from backup.repository.stores.retry import Retrying

    if isinstance(location, OverSftp):
        return Retrying(_over_sftp(location, ssh_config))
    return Retrying(_over_s3(location, environment))


def _over_sftp(location: OverSftp, config: Path | None) -> Store:
    """Who the host is and how it is entered is said where OpenSSH reads it."""
    import paramiko

    from backup.clients.sftp import Login, SftpHost
    from backup.repository.stores.sftp import LIMITS, SftpStore

    home = SSH_FOLDER.expanduser()
    file = config or home / "config"
    try:
        said = paramiko.SSHConfig.from_path(str(file)).lookup(location.host) if file.exists() else {}
        port = location.port or int(said.get("port", SSH_PORT))
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise NciaError("repository.ssh-config", f"read {file}", str(error)) from error
    keys = [Path(name).expanduser() for name in said.get("identityfile", ())]
    known = [Path(name).expanduser() for name in str(said.get("userknownhostsfile", "")).split()]
    login = Login(
        location.host,
        str(said.get("hostname", location.host)),
        port,
        location.user or str(said.get("user", pwd.getpwuid(os.getuid()).pw_name)),
        tuple(keys or [home / name for name in SSH_KEYS if (home / name).exists()]),
        tuple(known or [home / "known_hosts"]),
        agent=not keys,
    )
    return SftpStore(SftpHost(login, LIMITS), location.path)


def _over_s3(location: OverS3, environment: Mapping[str, str]) -> Store:
    from backup.clients.s3 import REGION, Key, s3_client
    from backup.repository.stores.s3 import ANSWER_SECONDS, CONNECT_SECONDS, S3Store

    missing = [name for name in (KEY_ID, KEY_SECRET) if not environment.get(name)]
    if missing:
        what, hint = f"enter {location}", "export both, as for restic; a URL never holds them"
        raise NciaError("repository.no-key", what, f"{' and '.join(missing)} not set", hint)
    key = Key(environment[KEY_ID], environment[KEY_SECRET], environment.get(KEY_TOKEN, ""))
    region = next((environment[name] for name in REGIONS if environment.get(name)), REGION)
    client = s3_client(key, location.endpoint, CONNECT_SECONDS, ANSWER_SECONDS, region)
    return S3Store(client, location.bucket, location.prefix, location.endpoint)
