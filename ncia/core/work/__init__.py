"""Work in time: the calendar that ticks, the jobs that end, and the ledger of runs that did not happen.

Due times are computed from estate and journal at each tick and kept nowhere else, so that nothing can disagree.
``jobs`` is the port (what is ordered, in which steps it is done); ``rows`` keeps the queue, ``executor`` carries out,
``durable`` records steps with DBOS, ``heartbeat`` tells who is dead. Importing them is left to those who need them.
"""

from ncia.core.work.calendar import Calendar
from ncia.core.work.ledger import Expected, overdue, overdue_at_peer

__all__ = ["Calendar", "Expected", "overdue", "overdue_at_peer"]
