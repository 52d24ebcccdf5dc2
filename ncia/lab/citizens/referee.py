"""The referee: after a recovery, every acknowledged act is looked for in the surviving rows and documents, by content.

An act is lost where its rows give no content or its document is not there, and altered where either is another one than
was acknowledged, or than follows from what the citizen sent. The referee trusts neither the systems nor the platform:
it reads the ledger, the database, and the disk on which the documents lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.work.documents import demand_name
from ncia.lab.apps.definition import CONTENT, DOCUMENT, SCHEMA, Definition
from ncia.lab.apps.definitions import definition_of
from ncia.lab.apps.documents import content_of
from ncia.lab.citizens import ledger
from ncia.lab.citizens.ledger import Act
from ncia.lab.layout import Layout

CONNECT_SECONDS_MAX = 5
SURVIVORS = CONTENT + " where id = any(%(ids)s::uuid[])"


@dataclass(frozen=True)
class Survivor:
    """An act as the surviving rows give it."""

    content_sha256: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """What became of one system's acknowledged acts.

    ``lost_seconds``: the last acknowledged act before the loss minus the last of them that survived. ``rto_seconds``:
    from the last act acknowledged by the lost site to the first one at another; ``None`` where the system did not move
    or has not returned. ``unknown_found``: acts told as unknown that are in the rows all the same; ``unknown_lost``:
    those that are not. ``lost_documents``: those of ``lost_acked`` whose rows are there; ``documents``: how many were
    read and compared.
    """

    system: str
    acked: int
    lost_acked: tuple[str, ...]
    altered: tuple[str, ...]
    lost_seconds: float
    rto_seconds: float | None
    refused: int = 0
    failed: int = 0
    unknown: int = 0
    unknown_found: int = 0
    unknown_lost: tuple[str, ...] = ()
    refused_found: tuple[str, ...] = field(default=())
    lost_documents: tuple[str, ...] = field(default=())
    documents: int = 0


def referee(
    file: Path, databases: Mapping[str, str], lost: SiteId | None, documents: Mapping[str, Path]
) -> tuple[Judgement, ...]:
    """Judge every system of ``databases`` (system id to the DSN of its surviving database) by the ledger ``file``.
    ``documents``: the folder of the surviving documents of each system that has any."""
    acts = ledger.read(file)
    judgements = []
    for system, dsn in databases.items():
        own = tuple(act for act in acts if act.system == system)
        survivors = surviving(dsn, [act.id for act in own])
        held = held_documents(documents[system], survivors) if system in documents else None
        judgements.append(judge(system, own, survivors, lost, held))
    return tuple(judgements)


def documents_at(estate: Estate, sites: Mapping[str, SiteId], layout: Layout) -> dict[str, Path]:
    """Where the documents of each system that has any lie at the site where it now lives."""
    found = {}
    for name, site in sites.items():
        for dataset in estate.system(name).documents[:1]:
            found[name] = layout.documents(dataset.documents[site])
    return found


def held_documents(root: Path, survivors: Mapping[str, Survivor]) -> dict[str, str]:
    """The SHA-256 (hex) of each document of which a surviving row speaks; empty where it is not there."""
    found = {}
    for act, survivor in survivors.items():
        told = survivor.content.get(DOCUMENT)
        if told is None:
            continue
        try:
            found[act] = hashlib.sha256((root / demand_name(told["name"])).read_bytes()).hexdigest()
        except FileNotFoundError:
            found[act] = ""
    return found


def databases_at(estate: Estate, sites: Mapping[str, SiteId], passfiles: Mapping[SiteId, Path]) -> dict[str, str]:
    """The DSN of each system's database at the site where it now lives (``sites``), as role ``app``."""
    dsns = {}
    for name, site in sites.items():
        dataset = estate.system(name).postgres
        server = dataset.copies[site].server
        dsns[name] = psycopg.conninfo.make_conninfo(
            host=server.host, port=server.port, user="app", dbname=dataset.database, passfile=str(passfiles[site])
        )
    return dsns


def surviving(dsn: str, ids: Sequence[str]) -> dict[str, Survivor]:
    """What the database at ``dsn`` holds of these acts, hashed anew from the rows."""
    with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS_MAX, client_encoding="utf8") as connection:
        connection.execute(f"set search_path = {SCHEMA}".encode())
        rows = connection.execute(SURVIVORS, {"ids": list(ids)}).fetchall()
    return {act: Survivor(content_sha256, json.loads(content)) for act, content, content_sha256 in rows}


def judge(
    system: str,
    acts: Iterable[Act],
    survivors: Mapping[str, Survivor],
    lost: SiteId | None,
    held: Mapping[str, str] | None = None,
) -> Judgement:
    """Pure: the citizens' memory against the surviving rows and documents. ``lost`` is the site that burnt, if one did;
    ``held`` what :func:`held_documents` found, ``None`` for a system without documents."""
    definition = definition_of(system)
    known = tuple(acts)
    acked = sorted((act for act in known if act.outcome == "acked"), key=moment)
    before = [act for act in acked if act.site == lost] if lost else acked
    whole = {act for act in survivors if held is None or held.get(act) != ""}
    kept = [act for act in before if act.id in whole]
    found = {
        outcome: [a.id for a in known if a.outcome == outcome and a.id in survivors] for outcome in ledger.OUTCOMES
    }
    return Judgement(
        system=system,
        acked=len(acked),
        lost_acked=tuple(act.id for act in acked if act.id not in whole),
        altered=tuple(a.id for a in acked if a.id in whole and not is_same(definition, a, survivors[a.id], held)),
        lost_seconds=lost_seconds(before, kept),
        rto_seconds=rto_seconds(acked, lost),
        refused=sum(act.outcome == "refused" for act in known),
        failed=sum(act.outcome == "failed" for act in known),
        unknown=sum(act.outcome == "unknown" for act in known),
        unknown_found=len(found["unknown"]),
        unknown_lost=tuple(act.id for act in known if act.outcome == "unknown" and act.id not in survivors),
        refused_found=(*found["refused"], *found["failed"]),
        lost_documents=tuple(act.id for act in acked if act.id in survivors and act.id not in whole),
        documents=sum(1 for act in acked if held and held.get(act.id)),
    )


def is_same(definition: Definition, act: Act, survivor: Survivor, held: Mapping[str, str] | None) -> bool:
    """The content that was acknowledged, in it what the citizen sent, and the document that follows from that."""
    if survivor.content_sha256 != act.content_sha256:
        return False
    if held is not None:
        expected = hashlib.sha256(content_of(act.system, act.id, act.body)).hexdigest()
        told = survivor.content.get(DOCUMENT, {})
        if (told.get("sha256"), held.get(act.id)) != (expected, expected):
            return False
    kept = (each.name for each in definition.fields if each.kept)
    return all(survivor.content.get(name) == act.body[name] for name in kept)


def lost_seconds(before: Sequence[Act], kept: Sequence[Act]) -> float:
    """How far the survivors reach behind the last acknowledgement; all of the load's time where none survived."""
    if not before:
        return 0.0
    reach = moment(kept[-1]) if kept else before[0].sent_monotonic
    return round(moment(before[-1]) - reach, 3)


def rto_seconds(acked: Sequence[Act], lost: SiteId | None) -> float | None:
    old = [moment(act) for act in acked if act.site == lost]
    new = [moment(act) for act in acked if act.site != lost and old and moment(act) > old[-1]]
    return round(new[0] - old[-1], 3) if old and new else None


def moment(act: Act) -> float:
    """When the citizen knew."""
    return act.sent_monotonic if act.known_monotonic is None else act.known_monotonic
