"""Whether the controllers see the whole lab well, and what they do not see so yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ncia.cli.client import Api
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings

SECONDS_MAX = 60.0
POLL_SECONDS = 0.25
TELL_SECONDS = 5.0
TOLD_MAX = 3
ANSWER_SECONDS_MAX = 10.0

Ask = Callable[[], Mapping[str, Any]]


def not_green(status: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not well in a controller's status, each in a sentence: systems that are not up, or whose replica is
    not; open incidents. Empty where all is well."""
    wrong = tuple(
        f"{system['id']} is {system['verdict']}, its replica {system['replica_verdict']}"
        for system in status["systems"]
        if (system["verdict"], system["replica_verdict"]) != ("up", "up")
    )
    return wrong + tuple(str(incident["sentence"]) for incident in status["incidents"])


def asking(settings: SiteSettings) -> Ask:
    """How the controller of a site is asked for its status."""
    api = Api(f"unix:{settings.run / 'api.sock'}", timeout_seconds=ANSWER_SECONDS_MAX)
    return lambda: dict(api.get("/v1/status"))


def missing(controllers: Mapping[SiteId, Ask]) -> tuple[str, ...]:
    """What keeps each controller from seeing all well; one that tells nothing is in it with why."""
    found: list[str] = []
    for site, ask in controllers.items():
        try:
            found += [f"{site} sees: {sentence}" for sentence in not_green(ask())]
        except NciaError as error:
            found.append(f"the controller of {site} tells nothing: {error.why}")
    return tuple(found)


def wait(
    controllers: Mapping[SiteId, Ask],
    tell: Callable[[str], None],
    seconds_max: float = SECONDS_MAX,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Until every controller sees all well. Every few seconds, what is missing still is told; answers what was
    missing when the time was over, and nothing where nothing is."""
    began = monotonic()
    tell_at = began + TELL_SECONDS
    while True:
        lacking = missing(controllers)
        now = monotonic()
        if not lacking or now - began >= seconds_max:
            return brief(lacking)
        if now >= tell_at:
            tell(f"not well yet: {brief(lacking)}")
            tell_at = now + TELL_SECONDS
        pause(POLL_SECONDS)


def brief(sentences: tuple[str, ...]) -> str:
    more = len(sentences) - TOLD_MAX
    return "; ".join(sentences[:TOLD_MAX]) + (f"; and {more} more" if more > 0 else "")
