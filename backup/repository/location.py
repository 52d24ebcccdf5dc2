"""Repository URLs as restic writes them, parsed: where a repository lies, and nothing of how it is entered.

===================================  ==============================================================
``/srv/repo``, ``local:repo``        a folder
``sftp://user@host:2222//srv/repo``  SFTP; after the host's slash, ``/srv/repo`` is absolute, ``repo`` from the home
``sftp:user@host:/srv/repo``         the same without a port
``s3:https://host:9000/bucket/repo`` S3; ``http`` is clear text; ``s3:host/bucket`` and ``s3://host/bucket`` are https
===================================  ==============================================================

Source: restic's documentation, "Preparing a new repository". Secrets have no place in a URL and are refused there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ncia.core.base.errors import NciaError

SSH_PORT = 22
PORT_MAX = 65535
SECURE_PORT, CLEAR_PORT = 443, 80
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
HOST = re.compile(r"[A-Za-z0-9._:%-]+")
USER = re.compile(r"[^\s/:]+")
WORDS = re.compile(r"(?:(?P<user>[^:/]*)@)?(?:\[(?P<six>[^\]/]*)\]|(?P<host>[^:/@\[\]]*)):(?P<path>.*)")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ELSEWHERE = ("azure", "b2", "gs", "rclone", "rest", "swift")  # restic's, and not ours
FORMS = "a folder, sftp://user@host:port//folder, sftp:user@host:folder or s3:https://host:port/bucket/prefix"


@dataclass(frozen=True)
class Account:
    """Who asks, on this machine. ``ssh_config``: another file than theirs."""

    user: str
    home: Path
    environ: Mapping[str, str]
    ssh_config: Path | None = None


@dataclass(frozen=True)
class InFolder:
    """A folder of this machine; ``path`` is as it was written."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class OverSftp:
    """``path`` is absolute, or relative to the user's home there. ``user`` is empty, ``port`` None where not told:
    the SSH configuration says."""

    host: str
    path: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"sftp://{user}{host}{f':{self.port}' if self.port else ''}/{self.path}"


@dataclass(frozen=True)
class OverS3:
    """``prefix`` has no slash at its ends, and may be empty; ``endpoint`` is a URL without a path."""

    endpoint: str
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3:{self.endpoint}/{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


Location = InFolder | OverSftp | OverS3


def password_in(file: Path) -> str:
    """The password that a file holds, without the end of its line. Raises ``repository.no-password``."""
    what = f"read the password in {file}"
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise NciaError("repository.no-password", what, why) from error
    if not text:
        raise NciaError("repository.no-password", what, "it is empty")
    return text


def parse_location(text: str) -> Location:
    """The place that a repository's URL names; raises ``repository.bad-url``, and never shows a password."""
    if CONTROL.search(text):
        raise _bad(text, "it holds a character that cannot be shown")
    if not text.strip():
        raise _bad(text, "it is empty")
    scheme, colon, rest = text.partition(":")
    if not colon or text.startswith(("/", "./", "../")):
        return InFolder(text)
    if scheme == "local":
        if not rest:
            raise _bad(text, "it names no folder")
        return InFolder(rest)
    if scheme == "sftp":
        return _sftp_url(text) if rest.startswith("//") else _sftp_words(text, rest)
    if scheme == "s3":
        return _s3(text, rest)
    if scheme in ELSEWHERE:
        raise _bad(text, f"{scheme} is one of restic's stores and none of ours")
    raise _bad(text, f"{_shown(scheme)!r} is no kind of store (a folder with a colon is written local:FOLDER)")


def _sftp_url(text: str) -> OverSftp:
    found, port = _split(text, text)
    if found.password is not None:
        raise _bad(text, "it holds a password", "use a key, and write no password into a URL")
    if not found.path[1:]:
        raise _bad(text, "it names no folder on that host")
    if found.query or found.fragment:
        raise _bad(text, "it goes on after the folder", "write ? as %3F and # as %23")
    return OverSftp(_host(text, found.hostname), _sftp_path(text, unquote(found.path[1:])), _user(text, found), port)


def _sftp_words(text: str, rest: str) -> OverSftp:
    """``user@host:folder``; the user may hold an @, an IPv6 address stands in brackets."""
    found = WORDS.fullmatch(rest)
    if found is None or not found["path"]:
        raise _bad(text, "it is not user@host:folder")
    first = found["path"].partition("/")[0]
    if "@" in first and ":" in first:
        raise _bad(text, "it holds a password", "use a key, and write no password into a URL")
    if first.isdecimal():
        raise _bad(
            text, f"{first} stands where the folder begins", "sftp://user@host:port//folder, or ./2026 for a folder"
        )
    user = found["user"] or ""
    if user and USER.fullmatch(user) is None:
        raise _bad(text, f"{user!r} is no user")
    return OverSftp(_host(text, found["six"] or found["host"]), _sftp_path(text, found["path"]), user)


def _sftp_path(text: str, path: str) -> str:
    if path.startswith("~"):
        raise _bad(text, "no SFTP server knows ~", "a folder without a slash before it is one below the home")
    if CONTROL.search(path):
        raise _bad(text, "its folder holds a character that cannot be shown")
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/") if clean.startswith("/") else clean


def _s3(text: str, rest: str) -> OverS3:
    scheme = "http" if rest.startswith("http://") else "https"
    place = rest.removeprefix(f"{scheme}://").removeprefix("//")
    found, port = _split(text, f"{scheme}://{place}")
    if found.username is not None or found.password is not None:
        raise _bad(text, "it holds a key", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are for that")
    if found.query or found.fragment:
        raise _bad(text, "it goes on after the prefix", "a prefix holds neither ? nor #")
    host = _host(text, found.hostname)
    bucket, _, prefix = unquote(found.path).lstrip("/").partition("/")
    if BUCKET.fullmatch(bucket) is None:
        raise _bad(text, f"{bucket!r} is no bucket's name" if bucket else "it names no bucket")
    prefix = posixpath.normpath(prefix.strip("/")) if prefix.strip("/") else ""
    if CONTROL.search(prefix) or ".." in prefix.split("/"):
        raise _bad(text, f"{prefix!r} is no prefix")
    usual = CLEAR_PORT if scheme == "http" else SECURE_PORT
    shown = f"[{host}]" if ":" in host else host
    endpoint = f"{scheme}://{shown}" + (f":{port}" if port not in (None, usual) else "")
    return OverS3(endpoint, bucket, "" if prefix == "." else prefix)


def _split(text: str, url: str) -> tuple[SplitResult, int | None]:
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        raise _bad(text, "its host or port is none") from error
    if port == 0:
        raise _bad(text, f"its port is not one of 1 to {PORT_MAX}")
    return found, port


def _host(text: str, host: str | None) -> str:
    if not host:
        raise _bad(text, "it names no host")
    if HOST.fullmatch(host) is None or host.startswith("-"):
        raise _bad(text, f"{host!r} is no host")
    return host


def _user(text: str, found: SplitResult) -> str:
    user = unquote(found.username or "")
    if user and USER.fullmatch(user) is None:
        raise _bad(text, f"{user!r} is no user")
    return user


def _shown(text: str) -> str:
    """Without what stands between a user's colon and the last ``@``: it may be a password or a key."""
    return re.sub(r"((?:^sftp:|//)[^/@:]*):.*@", r"\1:…@", text)


def _bad(text: str, why: str, hint: str = FORMS) -> NciaError:
    return NciaError("repository.bad-url", f"read the repository's URL {_shown(text)[:200]!r}", why, hint)
