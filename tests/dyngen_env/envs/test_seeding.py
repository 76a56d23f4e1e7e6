"""Streams of chance."""

import numpy as np

from dyngen_env.envs.seeding import BLOCK, EpisodeSeeds, stream_generator, stream_uniform


def test_streams_differ_by_name_part_and_seed_and_repeat():
    draws = {
        (seed, name, part): stream_generator(seed, name, part).random()
        for seed in (0, 1, 2**62)
        for name in ("task", "user")
        for part in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert stream_generator(2**62, "user", 1).random() == draws[2**62, "user", 1]


def test_uniforms_are_uniform_and_streams_uncorrelated():
    seeds = np.arange(20_000, dtype=np.uint64)
    task, user = stream_uniform(seeds, "task"), stream_uniform(seeds, "user")
    for sample in (task, user):
        assert sample.min() >= 0 and sample.max() < 1
        counts = np.histogram(sample, bins=20, range=(0, 1))[0]
        chi2 = ((counts - 1000) ** 2 / 1000).sum()
        assert chi2 < 43.8  # 99.9% of chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(task, user)[0, 1]) < 0.03
    assert abs(np.corrcoef(task[1:], task[:-1])[0, 1]) < 0.03


def test_a_uniform_does_not_depend_on_the_others_in_its_batch():
    seeds = np.array([5, 2**63 - 1, 77], dtype=np.uint64)
    whole = stream_uniform(seeds, "task")
    assert [stream_uniform(seeds[i : i + 1], "task")[0] for i in range(3)] == whole.tolist()


class Stream:
    """Seeds as they are used: `next`, then `after`."""

    def __init__(self, seeds):
        self.seeds = seeds

    def next(self, rows):
        drawn = self.seeds.next(rows)
        self.seeds = self.seeds.after(rows)
        return drawn


def stream(*seeds):
    return Stream(EpisodeSeeds.of([np.random.default_rng(seed) for seed in seeds], seeds))


BOTH = np.array([0, 1])


def test_rows_draw_as_if_alone_whatever_is_drawn_beside_them():
    rows = stream(1, 2, 3)
    drawn = {row: [] for row in range(3)}
    rng = np.random.default_rng(0)
    for _ in range(3 * BLOCK):
        some = np.flatnonzero(rng.random(3) < 0.6)
        for row, seed in zip(some, rows.next(some), strict=True):
            drawn[row].append(seed)
    for row, seed in enumerate((1, 2, 3)):
        one_by_one = np.random.default_rng(seed).integers(2**63, size=len(drawn[row]), dtype=np.uint64)
        assert one_by_one.tolist() == drawn[row]
        assert len(set(drawn[row])) == len(drawn[row]) > BLOCK


def test_seeds_that_were_looked_at_and_not_used_come_again():
    left, right = stream(1, 2), stream(1, 2)
    for _ in range(2 * BLOCK):
        assert np.array_equal(left.seeds.next(BOTH), left.next(BOTH))
        right.next(BOTH)
    assert np.array_equal(left.next(BOTH), right.next(BOTH))


def test_reseeding_a_row_leaves_the_others():
    left, right = stream(1, 2), stream(1, 2)
    left.next(BOTH), right.next(BOTH)
    right.seeds = right.seeds.put([0], stream(9).seeds)
    a, b = left.next(BOTH), right.next(BOTH)
    assert a[1] == b[1] and a[0] != b[0]
    assert b[0] == stream(9).next(np.array([0]))[0]
    assert right.seeds.seeded_with == (9, 2)


def test_copies_draw_what_the_originals_will_draw_and_disturb_nothing():
    seeds, twin_of = stream(1, 2), stream(1, 2)
    seeds.next(BOTH), twin_of.next(BOTH)
    twin = Stream(seeds.seeds.take([1, 1, 0]))
    future = [twin.next(np.array([0, 1, 2])) for _ in range(BLOCK + 3)]
    original = [seeds.next(BOTH) for _ in range(BLOCK + 3)]
    untouched = [twin_of.next(BOTH) for _ in range(BLOCK + 3)]
    assert np.array_equal(original, untouched)
    assert np.array_equal(np.array(future), np.array(original)[:, [1, 1, 0]])
