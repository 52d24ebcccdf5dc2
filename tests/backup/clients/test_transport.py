"""Signing in where the host's answer is there before paramiko begins to wait for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import paramiko
import pytest
from paramiko.message import Message

from backup.clients.transport import SignIn, Transport

PATIENCE_SECONDS = 20.0


class Told(Protocol):
    """What paramiko calls when the host has answered; its published types leave it out."""

    def _parse_userauth_success(self, m: Message) -> None: ...

    def _parse_userauth_failure(self, m: Message) -> None: ...


class Quick(Transport):
    """Answers each request while it is being sent."""

    accepts: bool

    def is_active(self) -> bool:
        return True

    def _send_message(self, data: Message) -> None:
        handler = self.auth_handler
        assert isinstance(handler, SignIn)
        told = cast(Told, handler)
        if self.accepts:
            told._parse_userauth_success(Message())
        else:
            told._parse_userauth_failure(refusal())


def refusal() -> Message:
    told = Message()
    told.add_list(["password", "publickey"])
    told.add_boolean(False)
    told.rewind()
    return told


@contextmanager
def quick(accepts: bool) -> Iterator[tuple[Quick, SignIn]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Quick(ours)
        transport.accepts = accepts
        transport.auth_timeout = PATIENCE_SECONDS
        transport.auth_handler = handler = transport.get_auth_handler()
        yield transport, handler


def test_an_acceptance_that_is_there_at_once_is_not_missed() -> None:
    with quick(accepts=True) as (_, handler):
        begun = time.monotonic()
        handler.auth_password("somebody", "a word")
        assert handler.is_authenticated()
        assert time.monotonic() - begun < PATIENCE_SECONDS / 2


def test_a_refusal_that_is_there_at_once_is_not_missed() -> None:
    with quick(accepts=False) as (_, handler):
        begun = time.monotonic()
        with pytest.raises(paramiko.AuthenticationException, match=r"Authentication failed\."):
            handler.auth_password("somebody", "a word")
        assert time.monotonic() - begun < PATIENCE_SECONDS / 2
