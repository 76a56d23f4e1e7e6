"""Workers of the bench in processes of their own: what they are given, what comes back, and what is told meanwhile."""

from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.reward_bench.workers import Workers
from tests.support.jobs import doubled


def test_a_spawned_worker_does_jobs_and_tells_of_them():
    ticks = []
    with Workers(2, StopRequest(), ticks.append) as workers:  # one job at a time: a second process imports as long
        assert [list(workers.run(doubled, [job])) for job in (21, 22)] == [[(21, 42)], [(22, 44)]]
    assert ticks[-1] == 2
