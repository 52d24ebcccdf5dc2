"""A system is as well protected as its worst dataset: rows and documents together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ncia.core.base.ids import DatasetId, HostId, SystemId
from ncia.core.estate.model import Dataset, Estate, Promise, Replication, TreeCopy
from ncia.core.reports.continuity import continuity
from ncia.core.reports.looks import Live, Looks
from ncia.core.reports.protection import Protection, keeps_rpo, protection_of
from tests.core.story import NORTH, SOUTH, Story, at, sample_estate

FINES, TAX = SystemId("fines"), SystemId("tax")


def with_documents(system: SystemId, rpo_seconds: float) -> Estate:
    """The sample estate, where ``system`` has a file tree at both centres too."""
    estate = sample_estate()
    known = estate.systems[system]
    copies = {site: TreeCopy(site, HostId("h"), "papers") for site in (NORTH, SOUTH)}
    promise = Promise(rpo_seconds, 3600)
    papers = Dataset(
        DatasetId(f"{system}/papers"), system, "files", promise, Replication.ASYNCHRONOUS, {}, documents=copies
    )
    return replace(estate, systems={**estate.systems, system: replace(known, datasets=(*known.datasets, papers))})


def protection(estate: Estate, system: SystemId, live: dict[str, tuple[float, float]], story: Story) -> Protection:
    """``live``: by subject its canary's age and predicted loss, as seen a second ago."""
    measures = {}
    for subject, (age, loss) in live.items():
        measures[(subject, "canary_age_seconds")] = (age, at(9))
        measures[(subject, "predicted_loss_seconds")] = (loss, at(9))
    state = story.state()
    looks = Looks(state.verdicts, Live(dict.fromkeys((NORTH, SOUTH), at(9)), measures), at(10))
    return protection_of(estate.systems[system], estate, state, looks, {})


def both_up(system: str, peer: str) -> Story:
    return Story().look(1, NORTH, "up", f"replica:{system}@{peer}", f"mirror:{system}/papers@{peer}")


@pytest.mark.parametrize(
    ("rows", "papers", "lag", "loss"),
    [((0.5, 1.5), (2.0, 4.0), 2.0, 5.0), ((9.0, 10.0), (2.0, 4.0), 9.0, 11.0)],
)
def test_the_worse_of_rows_and_documents_is_what_would_be_lost(
    rows: tuple[float, float], papers: tuple[float, float], lag: float, loss: float
) -> None:
    live = {"replica:fines@north": rows, "mirror:fines/papers@north": papers}
    found = protection(with_documents(FINES, 60), FINES, live, both_up("fines", "north"))
    assert (found.lag_seconds, found.predicted_loss_seconds, found.replica_verdict) == (lag, loss, "up")


def test_documents_of_which_nothing_was_measured_make_the_loss_unknown() -> None:
    live = {"replica:fines@north": (0.5, 1.5)}
    found = protection(with_documents(FINES, 60), FINES, live, both_up("fines", "north"))
    assert (found.lag_seconds, found.predicted_loss_seconds) == (None, None)


def test_a_mirror_that_is_down_is_a_copy_that_is_down() -> None:
    story = Story().look(1, NORTH, "up", "replica:fines@north").look(2, NORTH, "down", "mirror:fines/papers@north")
    live = {"replica:fines@north": (0.5, 1.5), "mirror:fines/papers@north": (30.0, 31.0)}
    found = protection(with_documents(FINES, 60), FINES, live, story)
    assert (found.replica_verdict, found.predicted_loss_seconds) == ("down", 32.0)


def test_the_strictest_promise_of_its_datasets_is_the_systems() -> None:
    estate = with_documents(FINES, 3)
    live = {"replica:fines@north": (0.5, 1.5), "mirror:fines/papers@north": (2.0, 4.0)}
    found = protection(estate, FINES, live, both_up("fines", "north"))
    assert keeps_rpo(estate.systems[FINES], found) is False


@pytest.mark.parametrize(("age", "loss"), [(2.0, 0.0), (20.0, None)])
def test_where_acts_wait_for_both_sites_nothing_is_lost_while_the_way_there_is_known_to_work(
    age: float, loss: float | None
) -> None:
    live = {"replica:tax@south": (0.5, 1.5), "mirror:tax/papers@south": (age, age + 1)}
    found = protection(with_documents(TAX, 0), TAX, live, both_up("tax", "south"))
    assert (found.commits_wait, found.predicted_loss_seconds) == (True, loss)


def test_documents_that_are_only_mirrored_are_listed_as_not_proven_in_time() -> None:
    told = continuity(SOUTH, with_documents(FINES, 60), Story().state(), Live(), {}, at(10))
    assert [gap.what for gap in told.not_proven if gap.subject == "fines/papers"] == [
        "its history: it is mirrored, not backed up"
    ]


def test_what_would_be_lost_grows_from_the_look_on_while_the_copy_stands_still() -> None:
    """Until the next look nobody knows that anything new arrived: the figure is never lower than the loss."""
    estate, story = sample_estate(), both_up("fines", "north")
    measures = {("replica:fines@north", "predicted_loss_seconds"): (1.5, at(9))}
    for seconds in (0, 1, 4):
        state = story.state()
        looks = Looks(state.verdicts, Live({NORTH: at(9 + seconds)}, measures), at(9 + seconds))
        found = protection_of(estate.systems[FINES], estate, state, looks, {})
        assert found.predicted_loss_seconds == 1.5 + seconds
