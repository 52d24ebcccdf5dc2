"""One frozen view per question, the same for all three surfaces.

``facts`` is what is shown · ``status`` puts all together.
"""

from ncia.core.reports.looks import Live
from ncia.core.reports.protection import Active
from ncia.core.views.facts import (
    IncidentView,
    MissedView,
    ProofView,
    RunView,
    SiteView,
    StatusView,
    StepView,
    SystemView,
    UnprotectedView,
)
from ncia.core.views.status import status_view

__all__ = [
    "Active",
    "IncidentView",
    "Live",
    "MissedView",
    "ProofView",
    "RunView",
    "SiteView",
    "StatusView",
    "StepView",
    "SystemView",
    "UnprotectedView",
    "status_view",
]
