from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from monitors.metrics import metrics
from ncia.core.journal.entries import IncidentOpened
from ncia.core.views import Live
from tests.core.story import NORTH, SOUTH, Story, sample_estate

ESTATE = sample_estate()
SYSTEM = next(iter(ESTATE.systems))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def samples(story: Story, live: Live) -> dict[tuple[str, str], float]:
    text = metrics(ESTATE, story.state(), live).decode()
    return {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_verdicts_measures_heartbeats_and_incidents_are_told() -> None:
    opened = IncidentOpened(
        incident="i-1", root="site:north", cause="site-lost", severity="critical", sentence="X.", run_next="",
        members=(), systems=(),
    )  # fmt: skip
    story = Story().look(1, SOUTH, "down", "site:north", f"app:{SYSTEM}@north").say(2, SOUTH, opened)
    live = Live({SOUTH: NOW}, {(f"replica:{SYSTEM}@south", "canary_age_seconds"): (0.7, NOW)})
    found = samples(story, live)
    assert found[("ncia_verdict", ",site,north,south")] == 0
    assert found[("ncia_canary_age_seconds", f"south,replica,{SYSTEM}")] == 0.7
    assert found[("ncia_agent_heard_timestamp_seconds", "south")] == NOW.timestamp()
    assert found[("ncia_incidents_open", "critical")] == 1
    assert ("ncia_agent_heard_timestamp_seconds", str(NORTH)) not in found


def test_what_is_unknown_is_not_a_number() -> None:
    found = samples(Story().look(1, SOUTH, "unknown", "site:north"), Live())
    assert found[("ncia_verdict", ",site,north,south")] != found[("ncia_verdict", ",site,north,south")]


def test_whoever_reports_cannot_make_labels_that_the_estate_does_not_have() -> None:
    story = Story().look(1, SOUTH, "up", "app:invented@north", f"app:{SYSTEM}@invented")
    live = Live({}, {("replica:invented@south", "canary_age_seconds"): (1.0, NOW)})
    assert not any("invented" in labels for _, labels in samples(story, live))
