"""Who may begin: on facts alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ncia.core.work.jobs import Job, Limits, admissible
from tests.fakes.jobs import order

KNOWN = st.lists(
    st.builds(
        lambda number, state, grade, link, hosts: (number, state, grade, link, tuple(hosts)),
        st.integers(0, 9),
        st.sampled_from(["queued", "running"]),
        st.integers(1, 4),
        st.sampled_from(["", "a-b", "a-c"]),
        st.sets(st.sampled_from(["x", "y", "z"])),
    ),
    max_size=14,
)
LIMITS = st.builds(Limits, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def jobs_of(rows: list[tuple[int, str, int, str, tuple[str, ...]]]) -> list[Job]:
    return [
        Job(order(f"backup-{place}", f"{number}/rows", priority=grade, link=link, hosts=hosts), state)  # type: ignore[arg-type]
        for place, (number, state, grade, link, hosts) in enumerate(rows)
    ]


@given(KNOWN, LIMITS, st.integers(0, 5))
def test_what_may_begin_breaks_no_limit_that_was_kept_before(
    rows: list[tuple[int, str, int, str, tuple[str, ...]]], limits: Limits, slots: int
) -> None:
    known = jobs_of(rows)
    chosen = admissible(known, limits, slots)
    running = [job for job in known if job.state == "running"]
    assert len(chosen) <= slots
    assert {job.id for job in chosen} <= {job.id for job in known if job.state == "queued"}
    before, after = Counter[str](), Counter[str]()
    for count, jobs in ((before, running), (after, [*running, *chosen])):
        for job in jobs:
            count.update([f"link {job.order.link}"] if job.order.link else [])
            count.update(f"host {host}" for host in job.order.hosts)
            count.update([f"dataset {job.order.dataset}"])
    allowed = {"link": limits.per_link, "host": limits.per_host, "dataset": 1}
    assert all(after[name] <= max(before[name], allowed[name.split()[0]]) for name in after)


@given(KNOWN, LIMITS)
def test_nobody_waits_for_nothing(rows: list[tuple[int, str, int, str, tuple[str, ...]]], limits: Limits) -> None:
    """What is not chosen would break a limit beside what runs and what was chosen."""
    known = jobs_of(rows)
    chosen = {job.id for job in admissible(known, limits, len(known))}
    beside = [Job(job.order, "running") if job.id in chosen else job for job in known]
    assert admissible(beside, limits, len(known)) == ()


@given(KNOWN, LIMITS, st.integers(1, 5))
def test_no_lower_grade_begins_where_a_higher_one_could(
    rows: list[tuple[int, str, int, str, tuple[str, ...]]], limits: Limits, slots: int
) -> None:
    known = jobs_of(rows)
    chosen = admissible(known, limits, slots)
    assert [job.order.priority for job in chosen] == sorted(job.order.priority for job in chosen)
    if chosen:
        first = min((job for job in known if job in admissible([*_running(known), job], limits, 1)), key=_grade)
        assert chosen[0].order.priority == first.order.priority


def _running(known: list[Job]) -> list[Job]:
    return [job for job in known if job.state == "running"]


def _grade(job: Job) -> int:
    return job.order.priority
