"""PostgreSQL's positions in its log: ``16/B374D848`` is a number of bytes."""

from __future__ import annotations

from ncia.core.base.errors import NciaError


def lsn_number(text: str) -> int:
    """``0/3000060`` as a number of bytes; raises :class:`NciaError` where it is no position."""
    high, _, low = text.partition("/")
    try:
        return (int(high, 16) << 32) + int(low, 16)
    except ValueError:
        raise NciaError("wal.bad-position", f"read WAL position {text!r}", "not of the form 0/3000060") from None


def lsn_text(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
