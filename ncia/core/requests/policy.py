"""Who may ask for what."""

from __future__ import annotations

from ncia.core.estate.model import Role

MAY_APPROVE = (Role.ON_CALL, Role.ADMIN)
"""Roles whose signature permits a recovery. An operator watches, an auditor judges, a retention officer deletes:
none of them may also carry a system to another site."""

APPROVALS_MIN = 2
"""Different people, neither alone. A runbook may ask for more, never for fewer."""
