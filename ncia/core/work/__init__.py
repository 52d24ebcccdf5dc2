"""Work in time: the calendar that ticks, and the ledger of runs that did not happen.

Due times are computed from estate and journal at each tick and kept nowhere else, so that nothing can disagree.
"""

from ncia.core.work.calendar import Calendar
from ncia.core.work.ledger import Expected, overdue

__all__ = ["Calendar", "Expected", "overdue"]
