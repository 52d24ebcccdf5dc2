"""Ctrl-C while a store is waited for."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from backup.repository.ports import Kind
from backup.repository.stores.retry import Retrying, Unanswered
from ncia.app.interrupts import hurried
from tests.fakes.repository import FakeStore


class Silent(FakeStore):
    """Nobody answers; somebody presses Ctrl-C at the first call."""

    asked = 0

    def size(self, kind: Kind, name: str) -> int:
        self.asked += 1
        if self.asked == 1:
            os.kill(os.getpid(), signal.SIGINT)
        raise Unanswered("repository.unreachable", "look", "nobody answers")


def test_ctrl_c_hurries_the_stores_that_wait_and_is_then_what_it_was_before() -> None:
    before, silent = signal.getsignal(signal.SIGINT), Silent()
    store = Retrying(silent, 3600.0)
    with pytest.raises(KeyboardInterrupt), hurried(FakeStore(), store):
        store.size(Kind.LOCKS, "ab" * 32)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(Unanswered):
        store.size(Kind.LOCKS, "ab" * 32)
    assert silent.asked == 2


def test_whoever_is_no_main_thread_leaves_ctrl_c_as_it_is() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with hurried(FakeStore()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
