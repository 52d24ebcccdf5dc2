"""Web access logs in nginx's ``combined`` form (Apache's too), with or without the virtual host in front. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from monitors.sources.event import MESSAGE, Event, Kind, Value
from monitors.sources.syslog import MONTHS

_LINE = re.compile(
    r"(?:(?P<vhost>[^\s\":]+)(?::\d+)? )?(?P<ip>[0-9a-fA-F.:]+) \S+ (?P<user>[^\[]*?) ?"
    r"\[(?P<time>[^\]]{20,32})\] "
    r"\"(?P<request>(?:[^\"\\]|\\.)*)\" (?P<status>\d{3}) (?P<bytes>\d+|-)"
    r"(?: \"(?P<referrer>(?:[^\"\\]|\\.)*)\" \"(?P<agent>(?:[^\"\\]|\\.)*)\")?.*"
)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")

FIELDS = frozenset(
    {
        "event.category",
        "source.ip",
        "user.name",
        "service.name",
        "url.domain",
        "url.original",
        "url.path",
        "url.query",
        "http.request.method",
        "http.version",
        "http.response.status_code",
        "http.response.body.bytes",
        "http.request.referrer",
        "user_agent.original",
        MESSAGE,
    }
)
SYNONYMS = {  # W3C names, as published rules for web servers use them
    "cs-method": "http.request.method",
    "c-ip": "source.ip",
    "cs-uri": "url.original",
    "c-uri": "url.original",
    "cs-uri-stem": "url.path",
    "cs-uri-query": "url.query",
    "cs-host": "url.domain",
    "cs-referer": "http.request.referrer",
    "cs-user-agent": "user_agent.original",
    "c-useragent": "user_agent.original",
    "cs-username": "user.name",
    "sc-status": "http.response.status_code",
    "sc-bytes": "http.response.body.bytes",
}


def parse(line: str, name: str, now: float) -> Event | None:
    """The event of one line; ``name``, the file's, is the service's (``hometax`` of ``hometax.log``)."""
    found = _LINE.fullmatch(line)
    at = None if found is None else moment(found["time"])
    if found is None or at is None:
        return None
    fields: dict[str, Value] = {
        "event.category": "web",
        "source.ip": found["ip"],
        "service.name": name,
        "http.response.status_code": int(found["status"]),
        MESSAGE: line,
    }
    if found["bytes"] != "-":
        fields["http.response.body.bytes"] = int(found["bytes"])
    told = (("user.name", "user"), ("url.domain", "vhost"), ("http.request.referrer", "referrer"))
    for field, group in (*told, ("user_agent.original", "agent")):
        value = found[group]
        if value and value != "-":
            fields[field] = value
    fields.update(requested(found["request"]))
    return Event(at, fields)


def requested(request: str) -> dict[str, Value]:
    """Method, address and version of a request line; the address alone where it is not of that form."""
    method, _, rest = request.partition(" ")
    url, _, version = rest.rpartition(" HTTP/")
    if not url:
        return {"url.original": request} if request else {}
    path, mark, query = url.partition("?")
    told: dict[str, Value] = {"http.request.method": method, "url.original": url, "url.path": path}
    told["http.version"] = version
    if mark:
        told["url.query"] = query
    return told


@lru_cache(maxsize=256)  # many lines fall into one second
def moment(text: str) -> float | None:
    """``04/Jan/2020:07:25:02 +0000`` as seconds since 1970."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    ahead = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    try:
        zone = timezone(-ahead if sign == "-" else ahead) if ahead else UTC
        return datetime(
            int(year), MONTHS[month], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=zone
        ).timestamp()
    except (ValueError, KeyError):
        return None


NGINX = Kind(
    "nginx",
    parse,
    FIELDS,
    (("nginx", "webserver", "nginx"), ("nginx", "webserver", "access")),
    SYNONYMS,
)
