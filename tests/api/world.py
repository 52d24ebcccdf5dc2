"""The API over real accounts and a real journal, and fakes for everything else it offers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from anyio.from_thread import BlockingPortal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.testclient import TestClient

from ncia.api.doors import CERTIFICATE, RECEIPTS, TCP, UNIX, WIRE, Door
from ncia.api.ports import Json, Platform
from ncia.api.routes import build
from ncia.console import STATIC, sign_in_page
from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import AgencyId, PersonId, SiteId
from ncia.core.config import load_estate
from ncia.core.estate import Estate
from ncia.core.estate.model import Role
from ncia.core.journal import Entry, Journal, open_journal
from ncia.core.requests import sshsig
from ncia.core.requests.accounts import Accounts, Opened
from ncia.core.requests.caller import AGENT, ANONYMOUS, FRONT_DOOR, LOCAL, PEER, WORKER
from ncia.core.requests.challenges import NAMESPACE, signed_bytes
from ncia.core.state import StateStore
from tests.core.journal.sites import SetClock, signer, sqlite_url

DAEJEON, GWANGJU = SiteId("daejeon"), SiteId("gwangju")
PEER_OF = {DAEJEON: GWANGJU, GWANGJU: DAEJEON}
KEYS = {site: signer(site).public_key for site in PEER_OF}
CONFIGS = Path(__file__).parents[2] / "configs"
AGENCY = AgencyId("national-tax-service")
PERSON_OF = {  # one for each role, and one of an agency
    Role.OPERATOR.value: "park",
    Role.ON_CALL.value: "kim",
    Role.AUDITOR.value: "choi",
    Role.RETENTION_OFFICER.value: "han",
    Role.ADMIN.value: "jung",
}
OF_AGENCY = "oh"
MACHINES = {PEER: "serve.gwangju.ncia", AGENT: "agent.witness.ncia", WORKER: "worker.daejeon.ncia"}  # at Daejeon
RECEIPTS_TOKEN = "receipts-secret"


@cache
def keys() -> dict[str, Ed25519PrivateKey]:
    return {person: Ed25519PrivateKey.generate() for person in [*load_estate(CONFIGS).people, "stranger"]}


def line_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@cache
def estate() -> Estate:
    found = load_estate(CONFIGS)
    people = {p: replace(who, public_key=line_of(keys()[p])) for p, who in found.people.items()}
    return replace(found, people=people)


class Desk:
    """Backups, recovery and journal in one fake; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def list(self) -> Json:
        datasets = [{"dataset": "hometax/rows"}, {"dataset": "g2b/rows"}]
        return {"site": "east", "datasets": datasets, "points": [], "missed": [], "jobs": []}

    def run(self, dataset: str | None, by: str = "", emptied: bool = False) -> Json:
        """A run of backups where ``by`` is told, else one of recovery."""
        self.asked.append(("run", dataset, by))
        return {"run": dataset, "jobs": []}

    def prove(self, dataset: str | None, by: str) -> Json:
        self.asked.append(("prove", dataset, by))
        return {"jobs": []}

    def keep(self, dataset: str | None, by: str) -> Json:
        return {"jobs": []}

    def bring(self, dataset: str | None, subject: str, by: str, burnt: bool = False) -> Json:
        return {"jobs": []}

    def mend(self, dataset: str | None, by: str) -> Json:
        return {"jobs": []}

    def forget(self, agency: str, remove_max: int | None, reason: str, by: str) -> Json:
        self.asked.append(("forget", agency, remove_max, reason, by))
        return {"would_go": 3}

    def write_off(self, agency: str, reason: str, by: str) -> Json:
        return {"would_go": 0}

    def look(self, dataset: str | None, by: str) -> Json:
        return {"looked": []}

    def copy(self, dataset: str | None, by: str) -> Json:
        self.asked.append(("copy", dataset, by))
        return {"jobs": []}

    def plan(
        self, runbook: str, site: str, by: str, accept_loss: Mapping[str, str], accept_drift: Mapping[str, str]
    ) -> Json:
        self.asked.append(("plan", runbook, site, by, dict(accept_loss), dict(accept_drift)))
        return {"run": "run-1"}

    def approve(self, run: str, person: str, plan_hash: str, expires_at: str, signature: str) -> Json:
        if signature == "forged":
            raise Refusal("approval.forged", f"approve {run}", "the signature is not that person's", "sign again")
        self.asked.append(("approve", run, person))
        return {"approvals": 1}

    def start(self, run: str, by: str) -> Json:
        raise NoQuorum("etcd.no-quorum", f"start {run}", "etcd cannot commit", "wait for two of three members")

    def stop(self, run: str, by: str, reason: str) -> Json:
        self.asked.append(("stop", run, by, reason))
        return {}

    resume = start

    def runs(self) -> Sequence[Json]:
        return [{"run": f"run-{n}"} for n in range(3)]

    def rehash(self, dataset: str | None, by: str) -> Json:
        self.asked.append(("rehash", dataset, by))
        return {"read": [dataset]}

    def continuity_page(self) -> str:
        return "<!doctype html><title>continuity</title>"

    def backup(self, day: str, agency: str) -> Json:
        return {"day": day, "agency": agency}

    def backup_page(self, day: str, agency: str) -> str:
        return f"<!doctype html><title>backups {agency}</title>"

    def report(self, *, run: str, site: str, since: str, agency: str, by: str) -> Json:
        self.asked.append(("loss", run, site, since, agency, by))
        return {"lost": 0}

    def take(self, told: Json) -> Json:
        self.asked.append(("take", told["door"]))
        return {"taken": 0}

    def cancel(self, job: str, by: str) -> Json:
        self.asked.append(("cancel", job, by))
        return {"job": job}

    def append(self, job: str, fence: int, by: str, kind: str, version: int, body: Json) -> None:
        self.asked.append(("append", job, fence, by))

    def retired(self, dataset: str, store_site: str) -> Json:
        return {"points": []}

    def entries(self, site: SiteId, start: int, limit: int) -> Sequence[Json]:
        return [{"site": site, "number": start}]

    def swear(self, run: str, by: str, reason: str) -> Json:
        self.asked.append(("swear", run, by, reason))
        return {"run": run}

    def held(self, site: SiteId) -> Json:
        return {"held": {"site": site, "entries": 0, "note": ""}}

    def checkpoint(self) -> Json:
        return {"size": 1}

    def consistency(self, first: int, second: int) -> Json:
        return {"proof": []}

    def size(self) -> int:
        return 1


class Findings:
    """What detection rules saw, in a fake."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def take(self, vantage: str, told: Json) -> None:
        self._desk.asked.append(("findings", vantage, told))

    def to_json(self) -> Json:
        return {"findings": []}


STATUS = {
    "site": "east",
    "estate": "reference",
    "verdict": "up",
    "systems": [{"id": "hometax"}, {"id": "g2b"}],
    "incidents": [
        {"id": "i-1", "systems": ["hometax", "g2b"]},
        {"id": "i-2", "systems": ["g2b"]},
    ],
    "runs": [{"id": "run-1", "steps": [{"id": "fence"}, {"id": "hometax/promote"}, {"id": "g2b/promote"}]}],
    "missed": [],
    "unprotected": [],
    "proofs": [{"system": "g2b", "dataset": "g2b/rows"}],
    "secret_of_tomorrow": ["g2b"],
}
CONTINUITY = {"site": "east", "systems": [{"id": "g2b"}, {"id": "hometax"}], "unprotected": [], "not_proven": []}


@dataclass
class Certified:
    """What a connection at the wire tells the application (`ncia.app.web`)."""

    application: Any
    name: str
    serial: str

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        names = (("DNS", self.name),)
        certificate = {"subjectAltName": names, "serialNumber": self.serial} if self.name else None
        scope["state"] = {CERTIFICATE: certificate}
        await self.application(scope, receive, send)


_asked: ContextVar[World] = ContextVar("the world whose application is asked")


class OfWhomIsAsked:
    """The platform of whichever world is asked. Building the application takes longer than most tests of it: it is
    built once, upon this, and serves every world. What it takes hold of while it is built is looked up at its use."""

    release, static = "0", STATIC

    def __getattr__(self, name: str) -> Any:
        world = _asked.get(None)
        return Later(name) if world is None else getattr(world.given, name)


@dataclass(frozen=True)
class Later:
    """A desk of the platform, of whichever world is asked."""

    desk: str

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_asked.get().given, self.desk), name)


@cache
def application_of_all() -> Any:
    return build(cast(Platform, OfWhomIsAsked()))


@dataclass
class Application:
    """The one application, asked about this world."""

    world: World

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        application = application_of_all()  # built while no world is asked
        before = _asked.set(self.world)
        try:
            await application(scope, receive, send)
        finally:
            _asked.reset(before)


@dataclass
class World:
    folder: Path
    site: SiteId = DAEJEON
    clock: SetClock = field(default_factory=SetClock)
    desk: Desk = field(default_factory=Desk)
    between_frames: Callable[[], object] = lambda: None
    view: Mapping[str, Any] = field(default_factory=lambda: STATUS)
    page: Callable[[Mapping[str, Any]], str] = lambda status: f"<!doctype html><title>ncia</title>{json.dumps(status)}"
    portal: BlockingPortal | None = None  # the event loop in which requests are answered; else one for each request

    def __post_init__(self) -> None:
        self.journal: Journal = open_journal(
            sqlite_url(self.folder, self.site),
            peer=PEER_OF[self.site],
            signer=signer(self.site),
            keys=KEYS,
            clock=self.clock,
        )
        self.states = StateStore(self.journal)
        self.accounts = Accounts(self.site, estate(), self.journal, self.states.snapshot, self.clock)
        self.given = self.platform()
        self.application: Any = Application(self)

    def platform(self) -> Platform:
        async def events() -> AsyncIterator[str]:
            yield json.dumps(self.view)
            self.between_frames()
            yield json.dumps(self.view)

        return Platform(
            site=self.site,
            release="0",
            console="http://127.0.0.1:1",
            receipts_token=RECEIPTS_TOKEN,
            journal=self.desk,
            backups=self.desk,
            recovery=self.desk,
            jobs=self.desk,
            loss=self.desk,
            findings=Findings(self.desk),
            reports=self.desk,
            rehash=self.desk.rehash,
            report=lambda vantage, report: self.desk.asked.append(("report", vantage, report)),
            status=lambda: self.view,
            incidents=lambda: STATUS["incidents"],
            acknowledge=lambda incident, by, comment, minutes: {"incident": incident, "by": by},
            continuity=lambda: CONTINUITY,
            metrics=lambda: b"up 1\n",
            page=self.page,
            sign_in_page=lambda: sign_in_page(self.site),
            events=events,
            static=STATIC,
            accounts=self.accounts,
            systems_of=estate().systems_of,
            made=lambda made: self.journal.append(made, by=made.by),
        )

    # --- who asks ----------------------------------------------------------------------------------------------------

    def client(self, standing: str = ANONYMOUS) -> TestClient:
        """A client at the door where that standing speaks, showing what it has to show."""
        if standing in MACHINES:
            return self.at_the_wire(MACHINES[standing])
        if standing == FRONT_DOOR:
            return self.at_the_street(RECEIPTS_TOKEN)
        client = self.at(Door(self.application, UNIX if standing == LOCAL else TCP), base_url="http://console")
        if standing in PERSON_OF:
            client.headers["authorization"] = f"Bearer {self.sign_in(PERSON_OF[standing]).secret}"
        return client

    def at_the_wire(self, name: str, serial: str = "1F00") -> TestClient:
        """A client whose connection was made with a certificate of that name."""
        return self.at(Certified(Door(self.application, WIRE), name, serial))

    def at_the_street(self, token: str, application: Any = None) -> TestClient:
        """A client at the door for receipts."""
        client = self.at(Door(application or self.application, RECEIPTS))
        client.headers["authorization"] = f"Bearer {token}"
        return client

    def at(self, door: Any, base_url: str = "http://testserver") -> TestClient:
        client = TestClient(door, base_url=base_url, follow_redirects=False)
        client.portal = self.portal
        return client

    def as_person(self, person: str) -> TestClient:
        client = self.client()
        client.headers["authorization"] = f"Bearer {self.sign_in(person).secret}"
        return client

    def sign_in(self, person: str, source: str = "10.0.0.1") -> Opened:
        asked = self.accounts.challenge()
        return self.accounts.sign_in(asked["challenge"], self.signature(person, asked["challenge"]), source)

    def signature(self, person: str, challenge: str) -> str:
        return sshsig.sign(keys()[person], signed_bytes(site=self.site, challenge=challenge), NAMESPACE)

    def written(self, kind: str) -> list[Entry]:
        return [entry for entry in self.journal.entries(self.site) if entry.kind == kind]

    def role_of(self, person: str) -> Role:
        return estate().people[PersonId(person)].role
