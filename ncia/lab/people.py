"""The lab's people at the API: they sign in with the keys that the lab made for them, as anybody would."""

from __future__ import annotations

import time
from typing import Any

from ncia.cli.client import Api
from ncia.cli.session import Session
from ncia.cli.signing import own_key
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.requests.challenges import NAMESPACE, signed_bytes
from ncia.lab.lab import Lab
from ncia.lab.processes import POLL_SECONDS

STARTING_SECONDS_MAX = 30.0


def signed_in(lab: Lab, site: SiteId, person: str, address: str = "") -> Api:
    """The API of ``site`` (at its unix socket unless told) as ``person``."""
    address = address or f"unix:{lab.settings(site).run / 'api.sock'}"
    nobody = Api(address)
    asked = _challenge(nobody)
    message = signed_bytes(site=asked["site"], challenge=asked["challenge"])
    signature = own_key(lab.person_key(person)).sign(message, NAMESPACE)
    told = nobody.post("/v1/sign-in/sessions", {"challenge": asked["challenge"], "signature": signature})
    return Api(address, session=Session(told["secret"], told["person"], told["expires_at"]))


def _challenge(nobody: Api) -> dict[str, Any]:
    """A controller that was just started is given time: it composes itself, and hears first what its peer holds."""
    deadline = time.monotonic() + STARTING_SECONDS_MAX
    while True:
        try:
            found: dict[str, Any] = nobody.post("/v1/sign-in/challenges")
            return found
        except NciaError as error:
            if error.code not in ("serve.starting", "serve.read-only") or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def console_link(lab: Lab, site: SiteId, person: str) -> str:
    """An address that opens the console of ``site`` as ``person``, once."""
    api = signed_in(lab, site, person)
    return f"{api.console()}{api.post('/v1/sign-in/links')['path']}"
