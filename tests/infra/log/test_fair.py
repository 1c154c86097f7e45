"""The fair queue: every job once, each source in its order, nobody behind another's flood."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gridspine.infra.log.fair import QUANTUM, FairQueue

MOST = 200_000


@dataclass(frozen=True)
class Job:
    source: str
    number: int
    weight: int = 1


def filled(*jobs, fair=True):
    queue = FairQueue(fair=fair)
    for job in jobs:
        queue.extend([job])
    return queue


def test_a_source_that_is_alone_gets_whole_groups():
    queue = filled(*(Job("a", n, 10_000) for n in range(50)))
    assert [len(queue.take(MOST)) for _ in range(3)] == [20, 20, 10]
    assert not queue


def test_a_flood_gets_a_quantum_and_the_others_all_they_have():
    queue = filled(*(Job("flood", n, 10_000) for n in range(50)), *(Job(f"s{n % 4}", n, 100) for n in range(40)))
    group = queue.take(MOST)
    assert sum(job.weight for job in group if job.source == "flood") == QUANTUM
    assert sum(job.source != "flood" for job in group) == 40


def test_the_others_are_remembered_while_they_wait_for_their_answers():
    queue = filled(*(Job("flood", n, 10_000) for n in range(50)), Job("s", 0, 100))
    queue.take(MOST)
    assert sum(job.weight for job in queue.take(MOST)) == QUANTUM


def test_one_line_keeps_the_order_of_all():
    jobs = [Job(f"s{n % 3}", n) for n in range(30)]
    assert filled(*jobs, fair=False).take(MOST) == jobs


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, MOST + 5)), max_size=60))
def test_every_job_comes_once_in_its_source_s_order_and_groups_are_bounded(drawn):
    jobs = [Job(source, n, weight) for n, (source, weight) in enumerate(drawn)]
    queue, seen = filled(*jobs), []
    waits: dict[str, int] = {}
    while queue:
        heads = {name: line[0] for name, line in queue._lines.items()}
        group = queue.take(MOST)
        assert group
        assert len(group) == 1 or sum(job.weight for job in group) <= MOST
        seen += group
        served = {job.source for job in group}
        for name in heads:
            waits[name] = 0 if name in served else waits.get(name, 0) + 1
            assert waits[name] <= 8  # as many groups as there are sources, at most
    assert sorted(seen, key=lambda job: job.number) == jobs
    for source in "abcdefgh":
        assert [job for job in seen if job.source == source] == [job for job in jobs if job.source == source]
