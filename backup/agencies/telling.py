"""Agencies' repositories and the newest snapshots in them: as plain values for the API. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backup.agencies.clearing import next_at
from backup.agencies.clearing import unwell as not_pruned
from backup.agencies.locking import met, told
from backup.agencies.points_plan import late
from backup.agencies.proving import unwell as not_proven
from backup.agencies.reading import CHECK, unwell
from ncia.core.base.clock import to_text
from ncia.core.base.ids import AgencyId
from ncia.core.estate.model import Agency, Estate
from ncia.core.estate.repository import Rotation
from ncia.core.state import State
from ncia.core.state.repositories import ExpectedSnapshot, RepositoryFact


def repositories(estate: Estate, state: State, now: datetime) -> dict[str, Any]:
    """``repositories``: each place of each agency; ``snapshots``: of each dataset and place the newest; ``late``:
    points and programs that should be in them."""
    places = [
        {
            **_place(agency, site, fact := state.repositories.get((agency.id, site)), now),
            "prune": _prune(fact, agency, not_pruned(estate, state, agency, site, now)),
            "locked": _locked(state, agency, site, fact, now),
        }
        for agency in estate.agencies.values()
        for site in (agency.repository.places if agency.repository else ())
    ]
    snapshots = [
        {**_snapshot(newest, fact), **_proof(estate, fact, newest, now)}
        for fact in state.repositories.values()
        for newest in _newest(fact)
    ]
    unkept = [{"dataset": dataset, "why": why} for dataset, why in late(estate, state, now)]
    return {"repositories": places, "snapshots": snapshots, "late": unkept}


def _place(agency: Agency, site: str, fact: RepositoryFact | None, now: datetime) -> dict[str, Any]:
    looked = fact.looked if fact else None
    return {
        "agency": agency.id,
        "site": site,
        "made": fact is not None,
        "repository": fact.made.repository if fact else None,
        "engine": fact.made.engine if fact else None,
        "place": fact.made.place if fact else None,
        "escrowed_for": list(fact.made.escrowed_for) if fact else [],
        "expected": len(fact.expected) if fact else 0,
        "looked": looked is not None,
        "missing": list(looked.missing) if looked else [],
        "strangers": looked.strangers if looked else 0,
        "why": looked.why if looked else "",
        "held": _held(fact),
        "read": _read(fact, agency.repository.check, now) if fact and agency.repository else None,
    }


def _locked(state: State, agency: Agency, site: str, fact: RepositoryFact | None, now: datetime) -> str:
    """That readings of the place meet a lock for longer than one outlives its holder."""
    newest = max((each.at for each in fact.read.values()), default=fact.made_at) if fact else now
    lock = met(state, CHECK, agency.id, site, newest)
    return told(lock, "reading") if lock is not None else ""


def _held(fact: RepositoryFact | None) -> dict[str, Any] | None:
    """A forgetting that waits for a person."""
    if fact is None or fact.held is None:
        return None
    found = fact.held.found
    told = {"would_go": found.would_go, "of": found.of, "named": list(found.named), "why": found.why}
    return {**told, "since": to_text(fact.held.since)}


def _prune(fact: RepositoryFact | None, agency: Agency, why: str) -> dict[str, Any] | None:
    """When what no snapshot needs goes next, why it waits, and the figures of the last time."""
    if fact is None or agency.repository is None:
        return None
    begun = fact.pruning
    told = None
    if begun is not None:
        told = {"at": to_text(begun.at), "by": begun.by, "reason": begun.begun.reason, "error": begun.error}
    last = fact.pruned.model_dump(mode="json", exclude={"agency", "site", "repository"}) if fact.pruned else None
    at = to_text(fact.pruned_at) if fact.pruned_at else None
    return {"next_at": to_text(next_at(fact, agency.repository)), "unwell": why, "at": at, "last": last, "begun": told}


def _read(fact: RepositoryFact, rotation: Rotation, now: datetime) -> dict[str, Any]:
    """What share was read since when. Bytes are -1 where the engine does not tell them."""
    known, since = fact.parts_read(rotation.parts), fact.read_whole_since(rotation.parts)
    return {
        "unwell": unwell(fact, rotation, now),
        "parts": rotation.parts,
        "parts_read": len(known),
        "interval_seconds": rotation.interval_seconds,
        "whole_since": to_text(since) if since else None,
        "since": to_text(known[0].at) if known else None,
        "faults": sum(each.found.faults for each in fact.damaged),
        "readings": [
            {**each.found.model_dump(mode="json", exclude={"agency", "site", "repository"}), "at": to_text(each.at)}
            for each in sorted(fact.read.values(), key=lambda each: (each.found.of, each.found.part))
        ],
    }


def _newest(fact: RepositoryFact) -> list[ExpectedSnapshot]:
    return list({each.kept.dataset: each for each in fact.expected}.values())


def _proof(estate: Estate, fact: RepositoryFact, newest: ExpectedSnapshot, now: datetime) -> dict[str, Any]:
    """Which snapshot of the dataset is the last proven one there, and what is not well with its proofs."""
    kept, agency = newest.kept, estate.agencies.get(AgencyId(newest.kept.agency))
    if agency is None or agency.repository is None:
        return {"proven": None, "unproven": ""}
    found = fact.proven_of(kept.dataset, agency.repository.check.parts)
    last = {"snapshot": found[-1].kept.snapshot, "at": to_text(found[-1].at)} if found else None
    elsewhere = kept.snapshot in fact.holds  # a point is proven in its store, before it is kept and when it comes back
    why = "" if elsewhere else not_proven(fact, agency.repository, kept.dataset, now)
    return {"proven": last, "unproven": why}


def _snapshot(each: ExpectedSnapshot, fact: RepositoryFact) -> dict[str, Any]:
    kept, holds = each.kept, fact.holds.get(each.kept.snapshot)
    return {
        "dataset": kept.dataset,
        "agency": kept.agency,
        "site": kept.site,
        "holds": holds.subject if holds else "",  # a point or archive; empty: documents
        "snapshot": kept.snapshot,
        "tree": kept.tree,
        "at": to_text(each.at),
        "files": kept.files,
        "size_bytes": kept.size_bytes,
        "losses": kept.losses,
        "lost": list(kept.lost),
        "reason": kept.reason,
    }
