"""How a bucket is entered: with the variables that restic and AWS's tools take, or their file of credentials.

Nothing of this stands in a URL.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

from backup.clients.s3 import REGION, Key
from backup.repository.location import Account
from ncia.core.base.errors import NciaError


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


def _profile(file: Path, profile: str) -> Mapping[str, str]:
    """The library's own words are dropped: they show the line, and a secret may be in it."""
    reader = configparser.RawConfigParser()
    try:
        reader.read(file, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        why = f"{file} cannot be read as a file of credentials"
        raise NciaError("repository.no-key", "sign requests to an S3 server", why, "is it INI, and UTF-8?") from None
    return dict(reader[profile]) if reader.has_section(profile) else {}
