"""The lab's people at the API: they sign in with the keys that the lab made for them, as anybody would."""

from __future__ import annotations

from ncia.cli.client import Api
from ncia.cli.session import Session
from ncia.cli.signing import own_key
from ncia.core.base.ids import SiteId
from ncia.core.requests.challenges import NAMESPACE, signed_bytes
from ncia.lab.lab import Lab


def signed_in(lab: Lab, site: SiteId, person: str, address: str = "") -> Api:
    """The API of ``site`` (at its unix socket unless told) as ``person``."""
    address = address or f"unix:{lab.settings(site).run / 'api.sock'}"
    nobody = Api(address)
    asked = nobody.post("/v1/sign-in/challenges")
    message = signed_bytes(site=asked["site"], challenge=asked["challenge"])
    signature = own_key(lab.person_key(person)).sign(message, NAMESPACE)
    told = nobody.post("/v1/sign-in/sessions", {"challenge": asked["challenge"], "signature": signature})
    return Api(address, session=Session(told["secret"], told["person"], told["expires_at"]))


def console_link(lab: Lab, site: SiteId, person: str) -> str:
    """An address that opens the console of ``site`` as ``person``, once."""
    api = signed_in(lab, site, person)
    return f"{api.console()}{api.post('/v1/sign-in/links')['path']}"
