"""A repository's URL into the store behind it: hosts are entered as ``ssh`` would, buckets as the S3 tools would."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from backup.repository.location import InFolder, OverS3, OverSftp, parse_location
from backup.repository.ports import Store
from backup.repository.retaining import Retention
from ncia.core.base.errors import NciaError

if TYPE_CHECKING:  # with it come SSH and S3, which a folder does not wait for
    from backup.repository.stores.entering import Account


def user() -> str:
    """Who asks here; a number where this user has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def store_of(url: str, by: Account | None = None, retention: Retention | None = None) -> Store:
    """The store that a URL names; nothing is dialled yet. What gives no answer is asked again for two minutes.
    ``retention``: what a bucket that is made has as its rule; of one that is there, it is read (decision 0020)."""
    location = parse_location(url)
    if retention is not None and not isinstance(location, OverS3):
        what, why = (
            f"retain files at {url}",
            "no folder or host can be asked to keep files from our own account for a time",
        )
        raise NciaError("repository.no-retention", what, why, "a bucket can; so can an account that may only add files")
    if isinstance(location, InFolder):
        from backup.repository.stores.folder import FolderStore

        return FolderStore(Path(location.path))
    from backup.repository.stores.entering import Account
    from backup.repository.stores.retry import RetryingHost, RetryingRetained

    by = by or Account(user(), Path.home(), os.environ)
    if isinstance(location, OverSftp):
        from backup.clients.sftp import SftpHost
        from backup.repository.stores.entering import login_of
        from backup.repository.stores.sftp import LIMITS, SftpStore

        return RetryingHost(SftpStore(SftpHost(login_of(location, by), LIMITS), location.path))
    from backup.clients.s3 import s3_client
    from backup.repository.stores.entering import key_of, region_of
    from backup.repository.stores.ruled import RuledS3Store
    from backup.repository.stores.s3 import ANSWER_SECONDS, CONNECT_SECONDS

    client = s3_client(key_of(by), location.endpoint, CONNECT_SECONDS, ANSWER_SECONDS, region_of(by))
    store = RuledS3Store(client, location.bucket, location.prefix, location.endpoint, retention)
    return RetryingRetained(store)
