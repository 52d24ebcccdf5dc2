"""Composition of agencies' repositories: where each lies, which program keeps it, and with which keys of this site."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from backup.agencies.clearing import PRUNE
from backup.agencies.plan import KEEP, MAKE, MEND
from backup.agencies.ports import Engine, Place
from backup.agencies.reading import CHECK
from backup.repository.location import SSH_PORT, InFolder, OverS3, OverSftp, parse_location
from ncia.app.documents import DocumentStores
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, Agency, TreeCopy
from ncia.core.estate.repository import AgencyRepository, EngineName

if TYPE_CHECKING:
    from backup.agencies.perform import AgencyWork
    from backup.agencies.task import AgencyTask
    from backup.ports import Ledger
    from backup.repository.ports import Store
    from ncia.app.ground import Ground
    from ncia.app.jobs import Queue
    from ncia.core.journal.durable import TwoOfThree
    from ncia.core.work.jobs import Job, Steps, Work

PASSWORDS = "repositories"  # in the site's secrets: a file an agency
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
        url = str(OverS3(f"http://{seen}", place.bucket))
        return Place(url, secret, environment=self._keys(seen))

    def store(self, url: str) -> Store:
        """The store behind a place's URL, with the site's own keys."""
        location = parse_location(url)
        if isinstance(location, InFolder):
            raise NciaError("agency.no-place", f"open {url}", "an agency's repository lies at a host or in a bucket")
        from backup.repository.stores.retry import Retrying

        if isinstance(location, OverSftp):
            from backup.clients.sftp import Login, SftpHost
            from backup.repository.stores.sftp import LIMITS, SftpStore

            keys, known = (self._settings.secrets / "files_key",), (self._settings.secrets / "known_hosts",)
            login = Login(location.host, location.host, location.port or SSH_PORT, location.user, keys, known)
            return Retrying(SftpStore(SftpHost(login, LIMITS), location.path))
        from backup.clients.s3 import Key, s3_client
        from backup.repository.stores.s3 import ANSWER_SECONDS, CONNECT_SECONDS, S3Store

        host, _, port = location.endpoint.removeprefix("http://").partition(":")
        key = Key(*self._documents.key(Address(host, int(port))))
        client = s3_client(key, location.endpoint, CONNECT_SECONDS, ANSWER_SECONDS)
        return Retrying(S3Store(client, location.bucket, location.prefix, location.endpoint))

    def _keys(self, endpoint: Address) -> Mapping[str, str]:
        key, secret = self._documents.key(endpoint)
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def _ssh(self, user: str, at: Address) -> str:
        """How restic enters the host: with the site's key, and to no host that is not known."""
        key, known = self._settings.secrets / "files_key", self._settings.secrets / "known_hosts"
        options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "IdentitiesOnly=yes")
        words = ["ssh", "-i", str(key), *(word for option in options for word in ("-o", option))]
        return shlex.join([*words, "-p", str(at.port), f"{user}@{at.host}", "-s", "sftp"])


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

        return OwnEngine(self._places.store, self._clock, version("ncia"))


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

    return {verb: carrying(verb) for verb in (MAKE, KEEP, MEND, CHECK, PRUNE)}


def _agency_work(settings: SiteSettings, estate: Estate, ledger: Ledger, clock: Clock) -> AgencyWork:
    from backup.agencies.perform import AgencyWork, Tools
    from backup.engines.own import password_in

    places = Places(estate, settings)
    tools = Tools(
        ledger=ledger,
        engine_of=Engines(settings, places, clock).of,
        place_of=places.of,
        password_of=password_in,
        store_of=places.store,
        documents_of=DocumentStores(estate, settings.site, settings.secrets).of,
        staging=settings.state / STAGING,
        clock=clock,
    )
    return AgencyWork(estate, settings.site, tools)
