"""The audit of reward designs on recorded episodes: rank statistics by hand, designs whose faults are known."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.data.episodes import Episode, read_episodes
from dyngen_agents.reward_bench import RewardBench, bench_rewards
from dyngen_agents.reward_bench.audit import audit, audit_design
from dyngen_agents.reward_bench.designs import Design
from dyngen_agents.reward_bench.scores import held_out
from dyngen_agents.reward_bench.statistics import difference, rank_correlation, ranks
from dyngen_env import Example


def test_ranks_share_their_mean_where_values_are_equal():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("a", "b", "rho"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 1000], 1.0),
        ([1, 2, 3, 4], [9, 7, 5, 3], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 1 - 6 * 4 / (5 * 24)),  # 1 - 6 Σd²/(n(n² - 1)), without ties
        ([1, 1, 2, 2], [1, 2, 3, 4], 4 / math.sqrt(4 * 5)),  # ranks 1.5 1.5 3.5 3.5 and 1 2 3 4
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_rank_correlation(a, b, rho):
    assert rank_correlation(np.array(a, float), np.array(b, float)) == pytest.approx(rho)


def test_the_difference_of_two_means():
    """Means 2 and 5, variances 1 of 3 and 2 of 2 values: 1.96 √(1/3 + 2/2)."""
    found = difference(np.array([1.0, 2.0, 3.0]), np.array([4.0, 6.0]))
    assert found == (-3.0, pytest.approx(1.96 * math.sqrt(4 / 3)))


N = 200
OWN = np.arange(N, dtype=float)
NOISE = np.random.default_rng(0).normal(size=N)


def test_what_falls_among_the_best_is_found_though_it_rises_elsewhere():
    bent = np.where(OWN < 0.9 * N, OWN, -OWN)  # rises with the design, but for its best tenth
    found = audit_design(OWN, {"same": OWN**3, "turned": -OWN}, {"vader": bent, "fluency": OWN + NOISE, "kin": NOISE})
    assert found.lowered == ("vader",) and found.raised == ("fluency",)
    assert found.agreement == {"same": pytest.approx(1), "turned": pytest.approx(-1)}
    assert (
        found.correlation["vader"] > 0.2 and found.correlation["fluency"] > 0.9 and abs(found.correlation["kin"]) < 0.2
    )


def test_the_difference_is_in_deviations():
    """The best 20 of 200 have 1, the others 0: deviation √(0.1·0.9) = 0.3."""
    measure = (OWN >= 180).astype(float)
    assert audit_design(OWN, {}, {"vader": measure}).best["vader"].mean == pytest.approx(1 / 0.3)


@pytest.mark.parametrize("own", [np.zeros(N), np.where(OWN < 2, 0.0, 1.0)], ids=["constant", "nearly"])
def test_a_design_that_hardly_tells_episodes_apart_says_nothing(own):
    assert audit_design(own, {}, {"vader": OWN}).best == {}


def test_a_measure_without_spread_is_neither_raised_nor_lowered():
    found = audit_design(OWN, {}, {"vader": np.ones(N)})
    assert found.best == {"vader": (0.0, 0.0)} and not found.raised and not found.lowered


def episodes_of(texts):
    return [Episode(Example("The film"), (text,), finish_reason="stop", policy="untrained") for text in texts]


WORDS = ("good", "great", "lovely", "bad", "awful", "sad", "film", "story")


def mixed(count=120):
    """Random words; the longer a text, the more of them are bad ones."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        size = int(rng.integers(1, 12))
        bad = rng.random(size) < size / 12
        yield " ".join(WORDS[rng.integers(3, 6)] if b else WORDS[rng.integers(0, 3)] for b in bad)


def test_a_design_that_leads_to_bad_texts_is_warned_of():
    designs = [Design("long", "length(12)"), Design("glad", "sentiment"), Design("either", "matches('zz') + 1")]
    found = audit(designs, episodes_of(mixed()), None)
    long, glad, _ = found.designs.values()
    assert {"vader", "human_rating"} <= set(long.lowered) and "fluency" not in long.best  # no model, no fluency
    assert glad.raised == ("human_rating",) and "vader" not in glad.best
    assert long.agreement["glad"] == glad.agreement["long"] < -0.5 and long.agreement["either"] == 0
    first, second = (w for w in found.warnings() if not w.startswith("glad"))
    assert first.startswith("long: the episodes that it pays best are lower in human rating and VADER")
    assert second == "either: it pays nearly all episodes the same"
    kept = json.loads(json.dumps(found.as_json()))
    assert kept["episodes"] == 120 and kept["warnings"] == found.warnings()


def test_too_few_episodes_for_an_audit():
    with pytest.raises(ValueError, match="49 episodes are too few for an audit: expected at least 50"):
        audit([Design("a", "length")], episodes_of(["x"] * 49), None)


def test_what_is_inside_a_wrapper_is_not_held_out():
    for expression in (
        "clip(sentiment)",
        "shaped(length, sentiment)",
        "normalised(length*sentiment)",
        "delayed(sentiment)",
    ):
        assert "vader" not in {measure.key for measure in held_out(Design("x", expression))}


def test_a_bench_audits_before_it_trains(tiny_model, prompts_file, tmp_path, caplog):
    (tmp_path / "d.json").write_text('{"short": "length(1)", "vowels": "matches(\'a\')"}')
    settings = dict(
        designs=str(tmp_path / "d.json"), seeds=1, updates=1, workers=1, out=str(tmp_path / "out"), eval_episodes=50,
        episodes=64, max_new_tokens=6, model=str(tiny_model), prompts=str(prompts_file),
        algorithm=PPOConfig(minibatch_size=64),
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        out = bench_rewards(RewardBench(**settings))
    found = json.loads((out / "results.json").read_text())["audit"]
    assert found["episodes"] == 50 and list(found["designs"]) == ["short", "vowels"]
    assert "fluency" in found["designs"]["short"]["best"]
    warned = [
        r.getMessage().removeprefix("may be hacked: ") for r in caplog.records if "may be hacked" in r.getMessage()
    ]
    assert warned == found["warnings"]
    messages = [r.getMessage() for r in caplog.records]
    if warned:
        assert messages.index(f"may be hacked: {warned[0]}") < min(
            i for i, m in enumerate(messages) if "its reward" in m
        )
    report = (out / "report.md").read_text()
    assert "## What the audit said before" in report and "50 episodes of the untrained model" in report
    assert all(warning in report for warning in warned)
    episodes = read_episodes(out / "untrained.jsonl")
    again = audit([Design("short", "length(1)"), Design("vowels", "matches('a')")], episodes, str(tiny_model))
    assert json.loads(json.dumps(again.as_json())) == found
