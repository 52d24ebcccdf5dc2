"""A site's secrets that are one line."""

from __future__ import annotations

from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings


def secret(settings: SiteSettings, name: str, *, needed: bool = True) -> str:
    """A one-line secret of the site (empty where it is not ``needed`` and not there); the error names the file and
    never its content."""
    path = settings.secrets / name
    if not needed and not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NciaError(
            "serve.no-secret", f"read {path}", error.strerror or "unreadable", "mode 0600, one line"
        ) from error
