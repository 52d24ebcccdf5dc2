"""What is known now: a pure fold of the journal, always disposable, always rebuilt from it."""

from ncia.core.state.accounts import Session, Token
from ncia.core.state.facts import Incident, Job, Missed, PointCopy, Proof, RecoveryPoint, Reread, Run, Step
from ncia.core.state.protecting import makes_good
from ncia.core.state.state import State, fold
from ncia.core.state.store import StateStore

__all__ = [
    "Incident",
    "Job",
    "Missed",
    "PointCopy",
    "Proof",
    "RecoveryPoint",
    "Reread",
    "Run",
    "Session",
    "State",
    "StateStore",
    "Step",
    "Token",
    "fold",
    "makes_good",
]
