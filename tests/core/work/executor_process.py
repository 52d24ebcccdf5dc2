"""An executor in a process of its own, to be killed and frozen: ``python -m … URL NAME BEAT DEAD``.

Its work has three steps, and each says on standard output that it acts. The second one waits for a line on standard
input under the first fence; under later ones it goes on.
"""

from __future__ import annotations

import signal
import sys
import threading

from ncia.core.work.durable import DurableEngine
from ncia.core.work.executor import Executor, JobQueue
from ncia.core.work.jobs import Job, Limits, Steps
from ncia.core.work.rows import JobRows


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def work(job: Job, steps: Steps) -> str:
    fence = steps.job.fence

    def second() -> str:
        say("act", "second", fence)
        if fence == 1:
            sys.stdin.readline()
        return f"second by {fence}"

    first = steps.do("first", lambda: say("act", "first", fence) or f"first by {fence}")
    middle = steps.do("second", second)
    third = steps.do("third", lambda: say("act", "third", fence) or f"third by {fence}")
    return f"{first}, {middle}, {third}"


def main(url: str, name: str, beat: str, dead: str) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    rows = JobRows(url)
    pace = (float(beat), float(dead))
    executor = Executor(name, rows, JobQueue(rows), DurableEngine(rows, name), {"protect": work}, Limits(), pace)
    executor.start()
    say("started")
    over.wait()
    say("stopped", executor.stop(10))


if __name__ == "__main__":
    main(*sys.argv[1:])
