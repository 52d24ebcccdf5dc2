"""How much of the past the state keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def without_oldest(known: Mapping[K, V], done: Callable[[V], bool], kept_max: int) -> Mapping[K, V]:
    """Without the oldest of those that are done, down to ``kept_max`` of them; the open ones all stay."""
    if len(known) <= kept_max:
        return known
    ended = [key for key, value in known.items() if done(value)]
    dropped = set(ended[: max(0, len(ended) - kept_max)])
    return {key: value for key, value in known.items() if key not in dropped}
