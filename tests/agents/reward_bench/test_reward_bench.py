"""The bench of reward designs: statistics and rule by hand, scores by what envs pay, whole benches by resuming."""

import json
import math
import multiprocessing
import random
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.cli.main import main
from dyngen_agents.data.rollout import collect
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.reward_bench import RewardBench, bench_rewards
from dyngen_agents.reward_bench.designs import Design, parts, read_designs
from dyngen_agents.reward_bench.hacking import Verdict
from dyngen_agents.reward_bench.matrix import build_matrix, constant_design
from dyngen_agents.reward_bench.scores import MEASURES, Score, Scores, held_out, score
from dyngen_agents.reward_bench.statistics import jackknife_error, over_episodes, over_seeds, t_quantile
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from dyngen_env.lm.loading.models import load_model
from dyngen_env.rewards import Fluency, Keywords, Sentiment, make_reward
from tests.support.forked import needs_fork

TWO = {"vowels": "matches('[aeiou]')", "even": "0.5*sentiment*length(3) - keywords('film') + 0.1*fluency"}


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    "degrees, quantile",  # Fisher and Yates, Statistical Tables, table III
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (120, 1.980)],
)
def test_students_quantiles(degrees, quantile):
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5.1e-4)


def test_an_interval_over_seeds():
    """x̄ = 2, s = 1: half = 4.3027/√3."""
    estimate = over_seeds([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_the_jackknife_of_a_mean_is_the_usual_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    without = np.array([np.delete(values, i).mean() for i in range(4)])
    assert jackknife_error(without) == pytest.approx(values.std(ddof=1) / 2)
    assert over_episodes(4.0, without) == (4.0, pytest.approx(1.96 * values.std(ddof=1) / 2))


# ---------------------------------------------------------------- designs


def test_the_default_designs():
    five = read_designs("defaults")
    assert len(five) == 5
    assert [design.name for design in five if not held_out(design)] == []


def test_designs_from_files(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(TWO))
    (tmp_path / "d.toml").write_text("".join(f'{name} = "{expression}"\n' for name, expression in TWO.items()))
    assert read_designs(str(tmp_path / "d.json")) == read_designs(str(tmp_path / "d.toml"))
    assert read_designs(str(tmp_path / "d.toml"))[1] == Design("even", TWO["even"])


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("d.toml", "kind = sentiment", "d.toml is no valid toml file"),
        ("d.json", '{"a": "length", "a": "sentiment"}', "'a' is there twice"),
        ("d.json", "[]", "holds no designs: expected a table"),
        ("d.toml", "", "holds no designs"),
        ("d.toml", "kind = 3", "design 'kind' is 3: expected a reward in a string"),
        ("d.toml", 'kind = "sentimnt"', "design 'kind' = 'sentimnt': unknown reward 'sentimnt'"),
        ("d.toml", 'kind = "length(target=)"', "design 'kind' .* is not an expression"),
        ("d.toml", '"../kind" = "length"', "'../kind' cannot name a design: expected letters"),
        ("d.toml", 'untrained = "length"', "'untrained' cannot name a design"),
        ("d.toml", 'Kind = "length"\nkind = "length"', "differ in capitals only"),
        ("d.txt", "", "read from a .toml or .json file or are 'defaults'"),
        ("d.toml", None, "no designs file .*d.toml"),
    ],
)
def test_bad_designs_files(tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_designs(str(tmp_path / file))


def test_what_is_held_out():
    assert parts(make_reward(TWO["even"])) >= {Sentiment, Keywords, Fluency}
    quality = {"human_rating", "vader", "fluency", "distinct_2", "diversity"}
    for expression, own in [
        ("sentiment", {"vader"}),
        ("-(2*sentiment + length)*fluency", {"vader", "fluency"}),
        ("human_rating", {"human_rating"}),
        ("keywords('film')", set()),
        ("clip(sentiment, 0, 1)", {"vader"}),
        ("normalised(sentiment, 0, 1)", {"vader"}),
        ("delayed(sentiment, 'token')", {"vader"}),
        ("delayed(clip(2*sentiment*human_rating) - length)", {"vader", "human_rating"}),
        ("shaped(length, fluency)", {"fluency"}),
        ("sentiment - repetition", {"vader", "distinct_2", "diversity"}),
    ]:
        assert {measure.key for measure in held_out(Design("x", expression))} == quality - own


OWN = """
from dyngen_env.rewards import Fluency, Reward, Sentiment

class Best(Reward):
    name = "best"

    def __init__(self, *others):
        self.others = {"all": [(1.0, other) for other in others]}

    def __call__(self, transition):
        return max(reward(transition) for _, reward in self.others["all"])

best = 2 * Best(Sentiment(), Fluency())
"""


def test_what_is_inside_a_reward_of_ones_own_is_not_held_out(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    held = {measure.key for measure in held_out(Design("x", f"{tmp_path / 'mine.py'}:best"))}
    assert held == {"human_rating", "distinct_2", "diversity"}


# ---------------------------------------------------------------- scores and matrix


def test_scores_are_what_an_env_pays_and_what_evaluate_finds(tiny_config):
    """Each design alone in an env of its own, and the figures of `dyngen eval`, over the same episodes."""
    config = tiny_config(num_envs=16, episodes=16, updates=2, reward="fluency", seed=3)
    run = train(config, PPOConfig(learning_rate=1e-2, minibatch_size=8))
    pair = [Design(name, expression) for name, expression in TWO.items()]
    found = score(replace(config, reward="sentiment"), pair, 12, "vowels", str(run))
    assert (found.design, found.seed) == ("vowels", 3)
    for design in pair:
        env = make_env(replace(config, reward=design.expression), 12, "eval")
        policy = CausalLMPolicy(load_model(str(run)), env.token_distribution())
        batch = collect(env, Actor(policy, 3), 12, examples=draw_examples(env, 12, 3), seed=3)
        paid = batch.episode_returns.double().numpy()
        assert found.rewards[design.name].value == pytest.approx(paid.mean(), abs=1e-5)
        assert found.rewards[design.name].without == pytest.approx(
            np.array([np.delete(paid, i).mean() for i in range(12)]), abs=1e-5
        )
    figures = evaluate(run, episodes=12, seed=3)["trained"]
    measures = {key: measure.value for key, measure in found.measures.items()}
    assert list(measures) == [measure.key for measure in MEASURES]
    assert measures["kl"] == pytest.approx(figures["kl_per_token"], abs=1e-6)
    assert measures["kl"] > 1e-4  # something was learned
    assert measures["distinct_2"] == figures["distinct_2"]
    assert measures["length"] == figures["length_mean"]
    assert measures["kl_episode"] == pytest.approx(measures["kl"] * measures["length"])
    bigrams = [tuple(pair) for text in batch.texts for pair in pairwise(text.lower().split())]
    draws = [len(set(random.Random(i).sample(bigrams, min(24, len(bigrams))))) for i in range(2000)]
    assert measures["diversity"] == pytest.approx(np.mean(draws) / min(24, len(bigrams)), abs=0.01)
    assert measures["vader"] == pytest.approx(figures["vader"], abs=1e-6)
    assert measures["fluency"] == pytest.approx(figures["reward_mean"], abs=1e-5)
    assert found.samples == tuple(zip(batch.prompts[:3], batch.texts[:3], strict=True))
    lengths = batch.completion_lengths.double().numpy()
    assert found.measures["length"].without == pytest.approx([np.delete(lengths, i).mean() for i in range(12)])


def scores(design: str | None, seed: int, own: list[float], other: list[float]) -> Scores:
    """Of a policy whose episodes pay `own`, and `other` by every measure."""

    def mean(values: list[float]) -> Score:
        return Score(float(np.mean(values)), np.array([np.delete(values, i).mean() for i in range(len(values))]))

    return Scores(design, seed, {"x": mean(own)}, {m.key: mean(other) for m in MEASURES}, ())


def test_a_matrix_over_seeds_compares_each_seed_with_itself():
    """Own changes 1, 2, 3 from seeds that begin at 0, 10, 20; the others all -1, with deviation 1 among episodes."""
    untrained = [scores(None, s, [10 * s - 1, 10 * s, 10 * s + 1], [4, 5, 6]) for s in range(3)]
    trained = [scores("x", s, [11 * s + 1] * 3, [4, 4, 4]) for s in range(3)]
    matrix = build_matrix([Design("x", "human_rating")], {None: untrained, "x": trained})
    cell = matrix.rows["x"].rewards["x"]
    assert cell.level.mean == 12
    assert cell.change == (2, pytest.approx(4.3027 / math.sqrt(3), abs=1e-4))
    assert cell.effect == pytest.approx(2)  # three episodes -1, 0, 1 have deviation 1
    assert matrix.rows["x"].measures["vader"].change == (-1, 0)
    assert matrix.rows["x"].measures["kl"].effect is None  # the untrained KL has no spread
    assert not cell.change.above_zero
    assert [(c.measure, c.found) for c in matrix.comparisons] == [("vader", -1), ("fluency", -1)]
    # Neither length, KL nor diversity say anything about quality.
    assert matrix.verdicts == {"x": Verdict(("vader", "fluency"))} and matrix.verdicts["x"].flag == "hacked"


def test_a_matrix_of_one_seed_pairs_the_episodes():
    """Differences 2, 2, 5: mean 3, s = √3, so half = 1.96 √3/√3; the episodes themselves vary more."""
    untrained, trained = scores(None, 0, [0, 10, 20], [0, 1, 2]), scores("x", 0, [2, 12, 25], [0, 1, 2])
    matrix = build_matrix([Design("x", "length")], {None: [untrained], "x": [trained]})
    cell = matrix.rows["x"].rewards["x"]
    assert cell.change == (pytest.approx(3), pytest.approx(1.96))
    assert cell.level == (13, pytest.approx(1.96 * np.std([2, 12, 25], ddof=1) / math.sqrt(3)))
    assert cell.effect == pytest.approx(0.3)  # of deviation 10


def test_a_design_that_pays_all_alike_is_found():
    design = Design("x", "matches('.')")
    assert constant_design([design], scores(None, 0, [1, 1, 1], [0, 1, 2])) == design
    assert constant_design([design], scores(None, 0, [1, 1, 2], [0, 1, 2])) is None


# ---------------------------------------------------------------- whole benches


DESIGNS = {"words": "length(2)", "glad": "sentiment - length(9)"}


@pytest.fixture(scope="module")
def settings(tiny_model, prompts_file) -> dict:
    """Of a bench that takes seconds. Its 64 episodes are as many rows, which play the 256 that scale a reward, too."""
    return dict(
        designs="two.json", seeds=1, updates=2, workers=1, out="out", eval_episodes=10, episodes=64, max_new_tokens=6,
        model=str(tiny_model), prompts=str(prompts_file), algorithm=PPOConfig(minibatch_size=32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory) -> Path:
    """The folder of a bench that has ended."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "two.json").write_text(json.dumps(DESIGNS))
    return bench_rewards(RewardBench(**(settings | dict(designs=str(folder / "two.json"), out=str(folder / "out")))))


@pytest.fixture
def bench(settings, tmp_path, monkeypatch, undrawn):
    """Those settings with changes, in a folder of the test that has DESIGNS in two.json."""
    monkeypatch.chdir(tmp_path)
    designs(DESIGNS)
    return lambda **changes: RewardBench(**(settings | changes))


def designs(table: dict[str, str]) -> None:
    Path("two.json").write_text(json.dumps(table))


def results(out: Path = Path("out")) -> dict:
    """What a bench found, flat, less what depends on the machine's speed."""
    found = json.loads((out / "results.json").read_text())
    return dict(flat({k: v for k, v in found.items() if k not in ("seconds", "seconds_per_run", "workers")}))


def flat(value, path: str = ""):
    """The numbers and texts in nested dicts and lists, by path."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(inner, f"{path}/{key}")
    else:
        yield path, value


def equal(first: dict, second: dict) -> bool:
    """But for rounding, which depends on where in memory a tensor lies."""
    return first == pytest.approx(second, abs=1e-6)


def written(out: Path = Path("out")) -> dict[str, int]:
    """When each run's model was last saved."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in sorted(out.glob("*/*/model.safetensors"))}


def test_what_a_bench_leaves(finished):
    found = json.loads((finished / "results.json").read_text())
    assert list(written(finished)) == ["glad/seed-0/model.safetensors", "words/seed-0/model.safetensors"]
    assert list(found["matrix"]) == ["untrained", "words", "glad"]
    own = evaluate(finished / "words/seed-0", episodes=10)["trained"]
    assert found["by_seed"]["words"][0]["measures"]["vader"] == pytest.approx(own["vader"], abs=1e-6)
    assert found["training"]["normalise_reward"]
    for name in ("matrix.png", "curves.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    report = (finished / "report.md").read_text()
    for text in (
        "| untrained | ",
        "| words | ",
        "`sentiment - length(9)`",
        "1 seed, 2 updates of 64 episodes",
        "hacked",
    ):
        assert text in report
    assert all(len(line.split("|")) == 2 + 1 + 2 + len(MEASURES) for line in report.splitlines() if "± " in line[:40])


def test_a_finished_bench_can_get_more_designs_and_seeds(bench, finished):
    shutil.copytree(finished, "out")
    runs = written()
    bench_rewards(bench())  # everything is there
    assert written() == runs
    assert equal(results(), results(finished))
    designs({"glad": DESIGNS["glad"], "new": "length(3)"})
    bench_rewards(bench(seeds=2))
    now = written()
    assert [name for name in now if name not in runs] == [
        "glad/seed-1/model.safetensors", "new/seed-0/model.safetensors", "new/seed-1/model.safetensors",
    ]  # fmt: skip
    assert {name: now[name] for name in runs} == runs
    assert "2 seeds" in results()["/interval"]
    designs({"words": "length(4)"})  # no longer in the plan, but still there
    with pytest.raises(ValueError, match=r"words/seed-0 was trained on 'length\(2\)'"):
        bench_rewards(bench())


def test_runs_of_a_model_that_has_changed_do_not_go_on(bench, finished):
    shutil.copytree(finished, "out")
    path = Path("out/words/seed-0/run.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_fingerprint": "sha256:" + 64 * "0"}))
    with pytest.raises(
        ValueError, match=r"base model '.*tiny-model.*' has changed since this run began: it was .* 0000"
    ):
        bench_rewards(bench())


def test_other_settings_do_not_go_on(bench, finished):
    shutil.copytree(finished, "out")
    with pytest.raises(ValueError, match="out holds a bench with updates 2, now 3: give the same options"):
        bench_rewards(bench(updates=3))
    designs({"words": "length(4)"})
    with pytest.raises(ValueError, match=r"design 'words' = 'length\(2\)', now 'length\(4\)'"):
        bench_rewards(bench())


class StopsOnce(StopRequest):
    """A Ctrl-C as soon as a run has logged its first update."""

    def __init__(self, run: str):
        self._run = Path(run)

    @property
    def signal(self) -> signal.Signals | None:  # type: ignore[override]
        return signal.SIGINT if read_metrics(self._run) else None

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_an_interrupted_bench_ends_like_an_uninterrupted_one(bench, finished):
    bench_rewards(bench(), StopsOnce("out/glad/seed-0"))
    assert len(read_metrics(Path("out/words/seed-0"))) == 2
    assert len(read_metrics(Path("out/glad/seed-0"))) == 1
    assert not Path("out/report.md").exists()
    bench_rewards(bench())
    assert equal(results(), results(finished))


@needs_fork
def test_side_by_side_equals_one_after_the_other(bench, finished, monkeypatch):
    """By forked workers: for what the jobs do it is all the same, and spawned ones import for many seconds."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    bench_rewards(bench(workers=2))
    assert equal(results(), results(finished))


def test_an_error_in_training_names_the_design(bench):
    with pytest.raises(FloatingPointError, match="design 'words', seed 0: update 1 of 2 has no finite result"):
        bench_rewards(bench(algorithm=PPOConfig(learning_rate=1e30, minibatch_size=32)))


@pytest.mark.parametrize(
    "table, message",
    [
        ({"fine": "sentiment", "bad": "sentiment + fluency('nonesuch')"}, "design 'bad' = .* no model 'nonesuch'"),
        ({"fine": "sentiment", "bad": "matches('[')"}, "design 'bad' = .* no regular expression"),
        ({"fine": "sentiment", "bad": "clip(normalised(sentiment))"}, "design 'bad' = .* fits its scale anew"),
        ({"fine": "length(9)", "bad": "0*length"}, "design 'bad' = .* pays the untrained model the same"),
    ],
)
def test_a_wrong_design_fails_before_anything_is_trained(bench, table, message):
    designs(table)
    with pytest.raises(ValueError, match=message):
        bench_rewards(bench())
    assert not written()


def test_minutes_become_updates(bench):
    designs({"words": DESIGNS["words"]})
    bench_rewards(bench(updates=None, minutes=1e-6))
    assert results()["/training/updates"] == 1
    assert len(read_metrics(Path("out/words/seed-0"))) == 1
    bench_rewards(bench(updates=None, minutes=1.0))  # goes on with what the first trial found
    assert results()["/training/updates"] == 1


def test_quick_and_its_exceptions():
    plan = RewardBench(quick=True).plan()
    assert (len(plan.designs), plan.seeds) == (4, 1)
    assert plan.training.updates < RewardBench().plan().training.updates
    assert RewardBench(quick=True, seeds=2, updates=7).plan().training.updates == 7
    assert RewardBench(quick=True, seeds=2).plan().seeds == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(seeds=0), "seeds is 0, expected at least 1"),
        (dict(eval_episodes=1), "eval_episodes is 1"),
        (dict(minutes=1.0, updates=3), "updates or minutes, not both"),
        (dict(minutes=-1.0), "minutes is -1.0"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    with pytest.raises(ValueError, match=message):
        RewardBench(**changes)


def test_the_command(bench, finished, capsys):
    shutil.copytree(finished, "here")
    settings = bench()
    arguments = [
        "bench", "rewards", "--designs", "two.json", "--seeds", "1", "--updates", "2", "--workers", "1",
        "--out", "here", "--eval-episodes", "10", "--episodes", "64", "--model", settings.model,
        "--prompts", settings.prompts, "--max-new-tokens", "6", "--minibatch-size", "32",
        "--learning-rate", "5e-4", "--kl-coef", "0.05",
    ]  # fmt: skip
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads(Path("here/results.json").read_text())
    assert "hacked" in shown.err
    assert main(arguments) == 0
    assert "distinct-2" in capsys.readouterr().out
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    assert main([*arguments, "--out", "full"]) == 2
    assert "full is not empty and holds no bench.json" in capsys.readouterr().err
