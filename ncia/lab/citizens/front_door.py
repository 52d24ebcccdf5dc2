"""The citizens' entry: one listener per system, each leading to the site where the system is active.

It never sends an act twice, and drops what a site answers under an epoch that is over. Turning a system cuts what is
still under way to the old site: whoever waits is told that the outcome is unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import signal
from collections import defaultdict
from contextlib import AsyncExitStack

import structlog
import uvloop

from ncia.app.logging import configure
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, System
from ncia.lab.apps.http import Answer, Handler, NoAnswer, NotSent, Reads, Request, listen, send
from ncia.lab.citizens.courier import Nowhere, Receipts, couriers
from ncia.lab.citizens.switch import Position, Switch
from ncia.lab.logs import AccessLog, LogFile, access_log

CONNECT_SECONDS_MAX = 1.0
ANSWER_SECONDS_MAX = 4.0
PASSED_ON = ("content-type", "x-ncia-epoch", "x-ncia-site", "x-ncia-standby", "x-ncia-failed-dependency")


class FrontDoor:
    """Proxies every system's entry and answers the switch."""

    def __init__(
        self, estate: Estate, site: SiteId, switch: Switch, token: str, receipts: Receipts | None = None
    ) -> None:
        if not token:
            raise NciaError("switch.no-token", "open the front door", "traffic_token is empty", "write it anew")
        self._estate = estate
        self._site = site
        self._switch = switch
        self._token = token
        self._receipts = receipts or Nowhere()
        self._reads = Reads()
        self._under_way: dict[SystemId, set[asyncio.Task[Answer]]] = defaultdict(set)

    # --- citizens ------------------------------------------------------------------------------------------------

    def entry(self, system: System) -> Handler:
        async def answer(request: Request) -> Answer:
            return await self._lead(system, request)

        return answer

    async def _lead(self, system: System, request: Request) -> Answer:
        position = self._switch.position(system.id)
        application = system.applications[position.site].address
        address = self._estate.seen(application, position.site, self._site)
        task = asyncio.create_task(self._forward(address, request))
        under_way = self._under_way[system.id]
        under_way.add(task)
        try:
            await asyncio.wait({task})
        finally:
            under_way.discard(task)
            task.cancel()
        where = f"{system.id} at {position.site}"
        if task.cancelled():
            return unknown(request, f"{where} was left while the request was under way")
        try:
            received = task.result()
        except NotSent as error:
            return Answer.of(503, {"error": f"{where} cannot be reached: {error.why}"})
        except NoAnswer as error:
            return unknown(request, f"{where} did not answer: {error.why}")
        dropped = self._dropped(system, position.site, received)
        if not dropped and is_acknowledgement(request, received):
            await self._receipts.keep(system, position.site, received)
            dropped = self._dropped(system, position.site, received)  # the switch may have turned meanwhile
        if dropped:
            return unknown(request, dropped, status=503)
        return Answer(
            received.status, {n: received.headers[n] for n in PASSED_ON if n in received.headers}, received.body
        )

    def _dropped(self, system: System, site: SiteId, received: Answer) -> str:
        """Why the answer may not be passed on; empty where it may."""
        told = received.headers.get("x-ncia-epoch", "")
        epoch = int(told) if told.isascii() and told.isdigit() else 0
        in_force = self._switch.position(system.id)
        if epoch >= in_force.epoch:
            return ""
        return f"an answer of {site} under epoch {epoch} was dropped: epoch {in_force.epoch} is in force"

    async def _forward(self, address: Address, request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name in ("content-type", "accept")}
        if request.peer:
            headers["x-forwarded-for"] = request.peer
        onward = Request(request.method, request.path, headers=headers, body=request.body, target=request.target)
        ask = self._reads.send if request.method == "GET" else send  # an act is never sent twice
        return await ask(address, onward, connect_seconds=CONNECT_SECONDS_MAX, seconds=ANSWER_SECONDS_MAX)

    # --- the switch ----------------------------------------------------------------------------------------------

    async def control(self, request: Request) -> Answer:
        """``GET /switch`` tells every position; ``PUT /switch/<system>`` turns one (bearer token, newer epoch)."""
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["switch"]:
                positions = {
                    str(name): {"site": p.site, "epoch": p.epoch} for name, p in self._switch.positions().items()
                }
                return Answer.of(200, positions)
            case "PUT", ["switch", name]:
                return self._put(name, request)
            case _:
                return Answer.of(404, {"error": f"there is no {request.method} {request.path}"})

    def _put(self, name: str, request: Request) -> Answer:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {self._token}".encode()):
            return Answer.of(401, {"error": "the switch's token is needed"})
        system = self._estate.systems.get(SystemId(name))
        if system is None:
            return Answer.of(404, {"error": f"there is no system {name}"})
        try:
            body = request.json()
            site, epoch = body["site"], body["epoch"]
        except (ValueError, KeyError):
            return Answer.of(422, {"error": 'the body is {"site": …, "epoch": …}'})
        if site not in system.applications or type(epoch) is not int:
            return Answer.of(422, {"error": f"site is one of {', '.join(system.applications)}, epoch a whole number"})
        wanted = Position(SiteId(site), epoch)
        try:
            moved = self._switch.put(system.id, wanted)
        except Refusal as refusal:
            return Answer.of(409, {"error": f"{refusal.what}: {refusal.why}"})
        if moved:
            self._leave(system.id)
        structlog.get_logger("switch").info("switched", system=name, to=site, epoch=epoch, moved=moved)
        return Answer.of(200, {"site": site, "epoch": epoch})

    def _leave(self, system: SystemId) -> None:
        """Close what is under way to the old site. All of it is: a new request finds the new position."""
        for task in tuple(self._under_way[system]):
            task.cancel()


def is_acknowledgement(request: Request, received: Answer) -> bool:
    """Whether the answer tells a citizen that an act is done."""
    return request.method == "POST" and request.path.strip("/") == "acts" and received.status == 201


def unknown(request: Request, why: str, status: int = 504) -> Answer:
    """A read may be repeated; of an act nobody knows whether it was done."""
    if request.method == "GET":
        return Answer.of(503, {"error": why})
    return Answer.of(status, {"outcome": "unknown", "error": why})


async def serve(estate: Estate, settings: SiteSettings) -> None:
    """Listen at every entry and at the switch until SIGTERM."""
    token = (settings.secrets / "traffic_token").read_text().strip()
    receipts_token = (settings.secrets / "receipts_token").read_text().strip()
    control = estate.sites[settings.site].services.traffic
    if control is None:
        raise NciaError("switch.no-address", "open the front door", f"{settings.site} has no services.traffic")
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncExitStack() as servers:
        # Entered first, so left last: receipts are handed in after the last answer.
        kept = couriers(estate, settings.site, settings.state / "receipts", receipts_token, SystemClock())
        receipts = await servers.enter_async_context(kept)
        door = FrontDoor(estate, settings.site, Switch(settings.run / "switch.json", estate), token, receipts)
        for system in estate.systems.values():
            access = AccessLog(LogFile(access_log(settings, system.id)))
            await servers.enter_async_context(await listen(door.entry(system), system.entry, access))
        await servers.enter_async_context(await listen(door.control, control))
        structlog.get_logger("front-door").info("open", entries=len(estate.systems), switch=str(control))
        await ended.wait()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.citizens.front_door", description=__doc__)
    parser.add_argument("--settings", required=True)
    settings = load_settings(parser.parse_args(arguments).settings)
    configure("front-door", settings.site, settings.log)
    uvloop.run(serve(load_estate(settings.estate), settings))


if __name__ == "__main__":
    main()
