"""What no honest repository exceeds. Whoever can write to one can claim any length: nobody allocates what was claimed.

Bounds are several times what restic, rustic and we write, and small enough for a process of a few gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from backup.repository.faults import Damaged

MIB = 1 << 20
FILE_BYTES_MAX = 64 * MIB  # an index, snapshot or lock, sealed or plain; an index of ours has 8 MiB, restic's too
KEY_BYTES_MAX = MIB  # a key or the configuration; an escrow is in a key
BLOB_BYTES_MAX = 1024 * MIB  # a blob, sealed or plain: the tree of a folder of two million files
PACK_BYTES_MAX = BLOB_BYTES_MAX + 128 * MIB  # restic makes packs of up to 128 MiB, and one blob more
TEXT_BYTES_SURE = MIB  # a shorter text is parsed as it is: what comes of it is bounded by its length
BYTES_A_BRACKET = 16  # of a longer one; an entry of a tree has two brackets and 250 bytes
BYTES_A_QUOTE = 4


def bounded(content: bytes, most: int, what: str) -> bytes:
    """What was loaded with ``most + 1`` as its length; raises :class:`Damaged` where there is more."""
    if len(content) > most:
        raise Damaged(what, f"it has more than {most // MIB} MiB, as none has")
    return content


def demand_bytes(length: int, most: int, what: str) -> None:
    if length > most:
        raise Damaged(what, f"it has {length} bytes, and none has more than {most // MIB} MiB")


def parsed(
    text: bytes | bytearray,
    what: str,
    form: Callable[[Any], Any],
    shape: str,
    read: Callable[[bytes | bytearray], Any] = json.loads,
) -> Any:
    """What ``form`` makes of what ``read`` finds in a JSON text; raises :class:`Damaged` where it is not of the
    ``shape``. A text that is all brackets would take two hundred times its length in memory."""
    if len(text) > TEXT_BYTES_SURE:
        brackets, quotes = text.count(b"[") + text.count(b"{"), text.count(b'"')
        if brackets > len(text) // BYTES_A_BRACKET or quotes > len(text) // BYTES_A_QUOTE:
            raise Damaged(what, f"it is not of the form {shape} (it is brackets and quotes alone)")
    try:
        return form(read(text))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Damaged(what, f"it is not of the form {shape} ({why})") from error
