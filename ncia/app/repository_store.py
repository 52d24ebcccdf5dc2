"""A repository's URL into the store behind it: hosts are entered as ``ssh`` would, buckets as the S3 tools would."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backup.repository.location import Account, InFolder, Location, OverS3, OverSftp, parse_location
from backup.repository.ports import Store
from backup.repository.retaining import Retention
from ncia.core.base.errors import NciaError

if TYPE_CHECKING:  # with these come SSH and S3, which a folder does not wait for
    from backup.clients.s3 import Key
    from backup.clients.sftp import Login


def user() -> str:
    """Who asks here; a number where this user has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Entering(Protocol):
    """How places are entered: as which account, and with which keys."""

    def login(self, place: OverSftp) -> Login: ...

    def key(self, place: OverS3) -> Key: ...

    def region(self) -> str: ...


@dataclass(frozen=True)
class AsUser:
    """As somebody on this machine enters them."""

    account: Account

    def login(self, place: OverSftp) -> Login:
        from backup.repository.stores.entering_ssh import login_of

        return login_of(place, self.account)

    def key(self, place: OverS3) -> Key:
        from backup.repository.stores.entering_s3 import key_of

        return key_of(self.account)

    def region(self) -> str:
        from backup.repository.stores.entering_s3 import region_of

        return region_of(self.account)


def store_of(url: str, by: Account | None = None, retention: Retention | None = None) -> Store:
    """The store that a URL names, as this machine's user enters it; nothing is dialled yet."""
    location = parse_location(url)
    if isinstance(location, InFolder):
        _demand_bucket(url, location, retention)
        from backup.repository.stores.folder import FolderStore

        return FolderStore(Path(location.path))

    return remote_store(url, location, AsUser(by or Account(user(), Path.home(), os.environ)), retention)


def remote_store(url: str, location: OverSftp | OverS3, by: Entering, retention: Retention | None = None) -> Store:
    """The one way in which stores over a network are made. What gives no answer is asked again for two minutes.
    ``retention``: what a bucket that is made has as its rule; of one that is there, it is read (decision 0020)."""
    _demand_bucket(url, location, retention)
    from backup.repository.stores.retry import RetryingHost, RetryingRetained

    if isinstance(location, OverSftp):
        from backup.clients.sftp import SftpHost
        from backup.repository.stores.sftp import LIMITS, SftpStore

        return RetryingHost(SftpStore(SftpHost(by.login(location), LIMITS), location.path))
    from backup.clients.s3 import s3_client
    from backup.repository.stores.ruled import RuledS3Store
    from backup.repository.stores.s3 import ANSWER_SECONDS, CONNECT_SECONDS

    client = s3_client(by.key(location), location.endpoint, CONNECT_SECONDS, ANSWER_SECONDS, by.region())
    return RetryingRetained(RuledS3Store(client, location.bucket, location.prefix, location.endpoint, retention))


def _demand_bucket(url: str, location: Location, retention: Retention | None) -> None:
    if retention is not None and not isinstance(location, OverS3):
        what = f"retain files at {url}"
        why = "no folder or host can be asked to keep files from our own account for a time"
        raise NciaError("repository.no-retention", what, why, "a bucket can; so can an account that may only add files")
