"""One file that is new and comes in one part: made, filled, and given its metadata."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from backup.repository.format.trees import Node
from backup.repository.restore.placing import Place, Placing


def write_new(
    placing: Placing, place: Place, node: Node, plains: Iterable[tuple[int, bytes | memoryview | None]], lacking: bool
) -> int:
    """How many bytes were written. ``plains``: what comes where; None where it is lost. ``lacking``: some of it is."""
    try:
        descriptor = placing.make_as(place, node)
    except OSError as error:
        placing.note("file", place.within(node.name), error)
        return 0
    written = 0
    try:
        try:
            for at, plain in plains:
                if plain is None:
                    lacking = True
                    continue
                write_all(descriptor, plain, at)
                written += len(plain)
            if written != node.size:
                os.ftruncate(descriptor, node.size if node.content else 0)
        except (OSError, OverflowError) as error:
            lacking = True
            placing.note("content", place.within(node.name), error)
        placing.finish(descriptor, place.within(node.name), untimed(node) if lacking else node)
    finally:
        close(placing, place, node, descriptor)
    return written


def close(placing: Placing, place: Place, node: Node, descriptor: int) -> None:
    """Some file systems tell only now that there was no room."""
    try:
        os.close(descriptor)
    except OSError as error:
        placing.note("content", place.within(node.name), error)
        with suppress(OSError):
            os.utime(node.name, ns=(0, 0), dir_fd=place.descriptor, follow_symlinks=False)


def untimed(node: Node) -> Node:
    """With its own times, what lacks some of its content would be taken for whole by whoever restores again."""
    return node._replace(mtime_ns=0, atime_ns=0)


def write_all(descriptor: int, content: bytes | memoryview, at: int) -> None:
    done = os.pwrite(descriptor, content, at)
    while done < len(content):
        done += os.pwrite(descriptor, memoryview(content)[done:], at + done)
