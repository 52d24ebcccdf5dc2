"""Composition of agencies' repositories: where each lies, which program keeps it, and with which keys of this site."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from backup.agencies.clearing import PRUNE
from backup.agencies.plan import KEEP, MAKE, MEND
from backup.agencies.ports import Engine, Place
from backup.agencies.proving import PROVE
from backup.agencies.reading import CHECK
from backup.repository.location import SSH_PORT, InFolder, OverS3, OverSftp, parse_location
from backup.repository.retaining import Mode, Retention
from ncia.app.documents import DocumentStores
from ncia.app.repository_store import remote_store
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, Agency, BucketCopy, TreeCopy
from ncia.core.estate.repository import AgencyRepository, EngineName

if TYPE_CHECKING:
    from backup.agencies.perform import AgencyWork, Tools
    from backup.agencies.task import AgencyTask
    from backup.clients.s3 import Key
    from backup.clients.sftp import Login
    from backup.ports import Ledger
    from backup.repository.ports import Store
    from ncia.app.ground import Ground
    from ncia.app.jobs import Queue
    from ncia.core.journal.durable import TwoOfThree
    from ncia.core.work.jobs import Job, Steps, Work

PASSWORDS = "repositories"  # in the site's secrets: a file an agency
LOCK_SECONDS = 30.0  # a lock is waited for; a job that waits longer comes again, and lets others work
STAGING = "documents"  # in the site's state


class Places:
    """Agencies' repositories as a process of one site reaches them."""

    def __init__(self, estate: Estate, settings: SiteSettings) -> None:
        self._estate = estate
        self._settings = settings
        self._documents = DocumentStores(estate, settings.site, settings.secrets)

    def of(self, agency: Agency, site: SiteId) -> Place:
        """At ``site``, as this one dials it."""
        place = agency.repository.places.get(site) if agency.repository else None
        if place is None:
            what = f"find the repository of {agency.id} at {site}"
            raise NciaError("agency.no-place", what, "the estate names none there", "ncia estate check")
        secret = self._settings.secrets / PASSWORDS / agency.id
        if isinstance(place, TreeCopy):
            host = self._estate.hosts[place.host]
            seen = self._estate.seen(host.ssh, host.site, self._settings.site)
            url = str(OverSftp(seen.host, f"/{place.path}", host.sftp_user, seen.port))
            return Place(url, secret, self._ssh(host.sftp_user, seen))
        seen = self._estate.seen(place.endpoint, place.site, self._settings.site)
        return Place(self._url(place), secret, environment=self._keys(seen))

    def store(self, url: str) -> Store:
        """The store behind a place's URL, with the site's own keys. A bucket is used as its own rule says, and one that
        is made for an agency gets what the estate asks for."""
        location = parse_location(url)
        if isinstance(location, InFolder):
            raise NciaError("agency.no-place", f"open {url}", "an agency's repository lies at a host or in a bucket")
        return remote_store(url, location, SiteKeys(self._settings, self._documents), self._retention(url))

    def _retention(self, url: str) -> Retention | None:
        for agency in self._estate.agencies.values():
            days = agency.repository.retain_days if agency.repository else 0
            for place in agency.repository.places.values() if agency.repository and days else ():
                if isinstance(place, BucketCopy) and self._url(place) == url:
                    return Retention(Mode.COMPLIANCE, days)
        return None

    def _url(self, place: BucketCopy) -> str:
        seen = self._estate.seen(place.endpoint, place.site, self._settings.site)
        return str(OverS3(f"http://{seen}", place.bucket))

    def _keys(self, endpoint: Address) -> Mapping[str, str]:
        key, secret = self._documents.key(endpoint)
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def _ssh(self, user: str, at: Address) -> str:
        """How restic enters the host: with the site's key, and to no host that is not known."""
        key, known = self._settings.secrets / "files_key", self._settings.secrets / "known_hosts"
        options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "IdentitiesOnly=yes")
        words = ["ssh", "-i", str(key), *(word for option in options for word in ("-o", option))]
        return shlex.join([*words, "-p", str(at.port), f"{user}@{at.host}", "-s", "sftp"])


@dataclass(frozen=True)
class SiteKeys:
    """A site's own keys; no setting of this machine's user has a word in it."""

    settings: SiteSettings
    documents: DocumentStores

    def login(self, place: OverSftp) -> Login:
        from backup.clients.sftp import Login

        keys, known = (self.settings.secrets / "files_key",), (self.settings.secrets / "known_hosts",)
        return Login(place.host, place.host, place.port or SSH_PORT, place.user, keys, known)

    def key(self, place: OverS3) -> Key:
        from backup.clients.s3 import Key

        host, _, port = place.endpoint.removeprefix("http://").partition(":")
        return Key(*self.documents.key(Address(host, int(port))))

    def region(self) -> str:
        from backup.clients.s3 import REGION

        return REGION


class Engines:
    """The program that keeps an agency's files, made when it is needed."""

    def __init__(self, settings: SiteSettings, places: Places, clock: Clock) -> None:
        self._settings = settings
        self._places = places
        self._clock = clock

    def of(self, repository: AgencyRepository) -> Engine:
        if repository.engine is EngineName.RESTIC:
            from backup.engines.restic import ResticEngine

            return ResticEngine(EngineName.RESTIC, os.environ, self._settings.state / "restic")
        from backup.engines.own import OwnEngine
        from backup.repository.locks import Patience

        return OwnEngine(self._places.store, self._clock, version("ncia"), patience=Patience(LOCK_SECONDS))


def agency_task(ground: Ground, queue: Queue, durable: TwoOfThree) -> AgencyTask:
    from backup.agencies.task import AgencyTask, Parts

    places = Places(ground.estate, ground.settings)
    return AgencyTask(
        Parts(
            estate=ground.estate,
            site=ground.settings.site,
            journal=ground.journal,
            states=ground.state,
            jobs=queue.jobs,
            clock=ground.clock,
            engine_of=Engines(ground.settings, places, ground.clock).of,
            place_of=places.of,
            active=ground.active_at,
            permit=lambda entries: durable.demand(entries, "forget snapshots", "") if entries else None,
        )
    )


def agency_works(settings: SiteSettings, estate: Estate, ledger: Ledger, clock: Clock) -> Mapping[str, Work]:
    """What carries the jobs out. What a repository needs is loaded with the first of them: a controller that has just
    started has no use for it."""
    made: list[AgencyWork] = []

    def works() -> Mapping[str, Work]:
        if not made:
            made.append(_agency_work(settings, estate, ledger, clock))
        return made[0].works()

    def carrying(verb: str) -> Work:
        def work(job: Job, steps: Steps) -> str:
            return works()[verb](job, steps)

        return work

    return {verb: carrying(verb) for verb in (MAKE, KEEP, MEND, CHECK, PRUNE, PROVE)}


def _agency_work(settings: SiteSettings, estate: Estate, ledger: Ledger, clock: Clock) -> AgencyWork:
    from backup.agencies.perform import AgencyWork

    return AgencyWork(estate, settings.site, agency_tools(settings, estate, ledger, clock))


def agency_tools(settings: SiteSettings, estate: Estate, ledger: Ledger, clock: Clock) -> Tools:
    from backup.agencies.perform import Tools
    from backup.engines.own import password_in

    places = Places(estate, settings)
    return Tools(
        ledger=ledger,
        engine_of=Engines(settings, places, clock).of,
        place_of=places.of,
        password_of=password_in,
        store_of=places.store,
        documents_of=DocumentStores(estate, settings.site, settings.secrets).of,
        staging=settings.state / STAGING,
        clock=clock,
    )
