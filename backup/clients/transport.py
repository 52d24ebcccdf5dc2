"""paramiko's transport whose sign-in misses no answer.

paramiko asks, and only then makes the event for which it waits: an answer that is quicker finds none, the sign-in
stands for its whole timeout, and a host with less patience ends the connection: "No existing session". So 5.1.0 does.
"""

from __future__ import annotations

import socket
import threading

from paramiko.auth_handler import AuthOnlyHandler
from paramiko.transport import ServiceRequestingTransport


class SignIn(AuthOnlyHandler):
    def wait_for_response(self, event: threading.Event) -> list[str]:
        """The answer to the last request. One that came before ``event`` was there has left its mark: who signed in is
        authenticated, and of whom was refused the name is struck out."""
        if self.authenticated or self.username is None:
            event.set()
        return super().wait_for_response(event)


class Transport(ServiceRequestingTransport):
    """Asks for the service of signing in once a connection; hosts take no second request. Of the ciphers that the
    library knows those come first that need no MAC beside them: a packet costs a fifth less."""

    def __init__(self, wire: socket.socket) -> None:
        super().__init__(wire)
        options = self.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda name: "-gcm@" not in name)

    def get_auth_handler(self) -> SignIn:
        return SignIn(self)
