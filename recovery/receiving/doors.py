"""What the receivers' unix socket answers: how each stands, and the orders of a recovery run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SystemId
from recovery.fencing.doors import Answer
from recovery.receiving.receiver import Receiver


def routes(receivers: Mapping[SystemId, Receiver]) -> dict[tuple[str, str], Answer]:
    def named(body: Mapping[str, Any]) -> Receiver:
        system = SystemId(str(body.get("system", "")))
        found = receivers.get(system)
        if found is None:
            known = ", ".join(sorted(receivers)) or "none"
            raise NciaError("receiver.no-such-system", f"find the receiver of {system!r}", "there is none here", known)
        return found

    def hand_over(body: Mapping[str, Any]) -> Mapping[str, Any]:
        held = named(body).hand_over()
        return {"held": held.to_json() if held else None}

    def follow_again(body: Mapping[str, Any]) -> Mapping[str, Any]:
        receiver = named(body)
        receiver.follow_again()
        return receiver.status()

    return {
        ("GET", "/status"): lambda body: {system: receiver.status() for system, receiver in receivers.items()},
        ("POST", "/hand-over"): hand_over,
        ("POST", "/follow-again"): follow_again,
    }
