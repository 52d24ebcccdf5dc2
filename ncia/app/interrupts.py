"""Ctrl-C while a store is waited for: it is waited for no more."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from backup.repository.ports import Store
from backup.repository.stores.retry import Retrying


@contextmanager
def hurried(*stores: Store) -> Iterator[None]:
    """Meanwhile Ctrl-C makes these stores wait for no answer any more; then it is what it was before. A lock is still
    given back, if one call is enough for it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        for store in stores:
            if isinstance(store, Retrying):
                store.hurry()
        before(number, frame)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
