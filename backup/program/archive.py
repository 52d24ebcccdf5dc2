"""What lies in an archive of a program. Pure: nothing is unpacked."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping


def member_hashes(archive: bytes) -> Mapping[str, str]:
    """The SHA-256 of each file in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name.removeprefix("./"): hashlib.sha256(file.read()).hexdigest()
            for member in opened
            if member.isfile() and (file := opened.extractfile(member)) is not None
        }
