"""What Prometheus is told at GET /metrics: verdicts, canaries, heartbeats, incidents. Labels come from the estate only.

Moments are exported, not ages: the one who asks knows what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitors.targets import vantages
from ncia.core.alerts.graph import parts
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Estate
from ncia.core.journal.entries import Verdict
from ncia.core.state.state import State
from ncia.core.views import Live

WORTH: dict[Verdict, float] = {"up": 1.0, "degraded": 0.5, "down": 0.0, "unknown": math.nan}
MEASURES = {
    "canary_age_seconds": "Age of the newest canary row when it was last read back at the replica.",
    "predicted_loss_seconds": "What a loss of the active site would have cost when the replica was last looked at.",
    "behind_bytes": "How much of the primary's WAL the other site's receiver had not written yet.",
    "silent_seconds": "How long ago the other site's receiver had last spoken to the primary.",
    "latency_seconds": "How long the characteristic read took when it was last measured.",
    "active_epoch": "The epoch under which a site said that the system is active at the named site.",
}


def metrics(estate: Estate, state: State, live: Live) -> bytes:
    """The text exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Watching(estate, state, live))
    return generate_latest(registry)


class _Watching(Collector):
    def __init__(self, estate: Estate, state: State, live: Live) -> None:
        self._estate = estate
        self._state = state
        self._live = live

    def collect(self) -> Iterator[Metric]:
        yield self._verdicts()
        yield from self._measures()
        yield self._heartbeats()
        yield self._incidents()
        yield GaugeMetricFamily("ncia_missed_runs", "Scheduled runs that did not happen.", len(self._state.missed))

    def _verdicts(self) -> Metric:
        family = GaugeMetricFamily(
            "ncia_verdict",
            "1 up, 0.5 degraded, 0 down, NaN unknown, as one agent sees one subject.",
            labels=("vantage", "kind", "name", "at"),
        )
        for vantage in vantages(self._estate):
            for subject, change in sorted(self._state.verdicts.get(vantage, {}).items()):
                if self._known(subject):
                    family.add_metric((vantage, *parts(subject)), WORTH[change.verdict])
        return family

    def _measures(self) -> Iterator[Metric]:
        for measure, told in MEASURES.items():
            family = GaugeMetricFamily(f"ncia_{measure}", told, labels=("kind", "name", "at"))
            for (subject, name), (value, _) in sorted(self._live.measures.items()):
                if name == measure and self._known(subject):
                    family.add_metric(parts(subject), value)
            yield family

    def _heartbeats(self) -> Metric:
        told = "When an agent was last heard by this controller, Unix time; absent where it never was."
        family = GaugeMetricFamily("ncia_agent_heard_timestamp_seconds", told, labels=("vantage",))
        for vantage in vantages(self._estate):
            heard = self._live.vantages.get(vantage)
            if heard is not None:
                family.add_metric((vantage,), heard.timestamp())
        return family

    def _incidents(self) -> Metric:
        family = GaugeMetricFamily("ncia_incidents_open", "Open incidents.", labels=("severity",))
        for severity in ("critical", "major", "minor"):
            count = sum(1 for each in self._state.open_incidents() if each.now.severity == severity)
            family.add_metric((severity,), count)
        return family

    def _known(self, subject: str) -> bool:
        """Only names of the estate become labels: whoever reports cannot make the label set grow."""
        _, name, site = parts(subject)
        is_known = SystemId(name) in self._estate.systems or SiteId(name) in self._estate.sites
        return is_known and (not site or SiteId(site) in self._estate.sites)
