"""A look over bare TCP: does anybody accept?"""

from __future__ import annotations

import asyncio

from monitors.ports import Findings, Look, Outcome
from ncia.core.base.clock import Clock
from ncia.core.base.ids import Subject
from ncia.core.estate.model import Address


class TcpProbe:
    phase_seconds: float | None = None
    turns_at_once = 3

    def __init__(
        self, subject: Subject, address: Address, interval_seconds: float, timeout_seconds: float, clock: Clock
    ) -> None:
        self.name: str = subject
        self.interval_seconds = interval_seconds
        self._subject = subject
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def turn(self) -> Findings:
        at = self._clock.now()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                transport, _ = await loop.create_connection(asyncio.Protocol, self._address.host, self._address.port)
        except TimeoutError:
            why = f"{self._address} did not accept in {self._timeout_seconds:g} s"
            return Findings((Look(self._subject, Outcome.BAD, "timeout", why, at),))
        except OSError as error:
            why = f"{self._address} refused: {error.strerror or error}"
            return Findings((Look(self._subject, Outcome.BAD, "refused", why, at),))
        transport.close()
        return Findings((Look(self._subject, Outcome.GOOD, "ok", f"{self._address} accepts", at),))

    async def close(self) -> None:
        """Nothing is kept between turns."""
