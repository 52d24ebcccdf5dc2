"""Agencies' repositories and the newest snapshots in them: as plain values for the API. Pure."""

from __future__ import annotations

from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.estate.model import Estate
from ncia.core.state import State
from ncia.core.state.repositories import ExpectedSnapshot, RepositoryFact


def repositories(estate: Estate, state: State) -> dict[str, Any]:
    """``repositories``: each place of each agency; ``snapshots``: of each dataset and place the newest."""
    places = [
        _place(agency.id, site, state.repositories.get((agency.id, site)))
        for agency in estate.agencies.values()
        for site in (agency.repository.places if agency.repository else ())
    ]
    snapshots = [_snapshot(newest) for fact in state.repositories.values() for newest in _newest(fact)]
    return {"repositories": places, "snapshots": snapshots}


def _place(agency: str, site: str, fact: RepositoryFact | None) -> dict[str, Any]:
    looked = fact.looked if fact else None
    return {
        "agency": agency,
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
    }


def _newest(fact: RepositoryFact) -> list[ExpectedSnapshot]:
    return list({each.kept.dataset: each for each in fact.expected}.values())


def _snapshot(each: ExpectedSnapshot) -> dict[str, Any]:
    kept = each.kept
    return {
        "dataset": kept.dataset,
        "agency": kept.agency,
        "site": kept.site,
        "snapshot": kept.snapshot,
        "tree": kept.tree,
        "at": to_text(each.at),
        "files": kept.files,
        "size_bytes": kept.size_bytes,
        "losses": kept.losses,
        "lost": list(kept.lost),
        "reason": kept.reason,
    }
