"""Whole runs of a tiny model: what they leave, that a resumed one equals an uninterrupted one, and how they fail."""

import io
import json
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories

from dyngen_agents.algorithms.dpo import DPOConfig
from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditionedConfig
from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.algorithms.vine import VineConfig
from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards, standardising
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.evaluation.samples import samples_table
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.runs import checkpoint as checkpoint_module
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.folder import find_run, lasting_model_name
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training import progress
from dyngen_agents.training import train as train_module
from dyngen_agents.training.learning_curve import draw_learning_curve
from dyngen_agents.training.metrics_log import read_metrics, tensorboard_folder
from dyngen_agents.training.progress import NoProgress
from dyngen_agents.training.train import TrainConfig, train
from dyngen_env.lm.loading.models import load_model
from dyngen_env.rewards import TextReward
from dyngen_env.types import Feedback
from tests.support.people import vowels as people_vowels
from tests.support.raters import answer_all, at_work


def vowels(text: str) -> float:
    """A reward that differs between any two completions."""
    return sum(text.count(v) for v in "aeiou") / 10 + len(text) / 100


class StopsAfter:
    """`vowels`, and a Ctrl-C after so many completions."""

    name = __name__ = "vowels"

    def __init__(self, completions: int, stop: StopRequest):
        self.left, self.stop = completions, stop

    def __call__(self, text: str) -> float:
        self.left -= 1
        if self.left == 0:
            self.stop.signal = signal.SIGINT
        return vowels(text)


class Counts:
    """A user who rates a turn by its letters and asks for more."""

    answers = True

    def begin(self, examples, rngs):
        return [None] * len(examples)

    def reply(self, dialogues, rngs):
        return [Feedback("more, please", rating=float(len(d.completions[-1]))) for d in dialogues]


class StopsLater(Counts):
    """A Ctrl-C after so many turns."""

    __name__ = "Counts"

    def __init__(self, turns: int, stop: StopRequest):
        self.left, self.stop = turns, stop

    def reply(self, dialogues, rngs):
        self.left -= len(dialogues)
        if self.left <= 0:
            self.stop.signal = signal.SIGINT
        return super().reply(dialogues, rngs)


def numbers(run):
    """The metrics of a run, less those that say how fast the machine was."""
    timed = ("tokens_per_second", "seconds")
    return [{name: v for name, v in record.items() if name not in timed} for record in read_metrics(run)]


def test_what_a_run_leaves(tiny_config, tmp_path, monkeypatch):
    config = tiny_config()
    monkeypatch.setattr(train_module, "draw_learning_curve", draw_learning_curve)  # other tests go without
    run = train(config)
    assert run == find_run("latest")
    assert run.resolve() == (tmp_path / "runs" / "latest").resolve()
    metrics = read_metrics(run)
    assert [record["update"] for record in metrics] == [1, 2, 3]
    assert [record["episodes"] for record in metrics] == [8, 16, 24]
    wanted = {"reward", "reward_terms", "kl_per_token", "entropy", "policy_loss", "tokens_per_second", "distinct_2"}
    assert wanted <= set(metrics[0])
    assert metrics[0]["kl_per_token"] == pytest.approx(0, abs=1e-5)  # nothing has been learned before
    assert (run / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / "samples.md").read_text().splitlines()) == 2 + 6
    board = EventAccumulator(str(tensorboard_folder(run))).Reload()
    assert [event.step for event in board.Scalars("reward_terms/sentiment")] == [1, 2, 3]
    record = open_checkpoint(run).record
    assert (record["iteration"], record["algorithm"], record["train"]["updates"]) == (3, "ppo", 3)
    assert record["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "algorithm",
    [
        PPOConfig(epochs=2, minibatch_size=16, kl_target=0.1, kl_horizon=50),
        REINFORCEConfig(baseline="rloo", group_size=2),
        GRPOConfig(epochs=2, minibatch_size=16, group_size=4),
        DPOConfig(epochs=2, minibatch_size=8, group_size=2, kl_target=0.1, kl_horizon=50),
        VineConfig(epochs=2, minibatch_size=16, forks=1, fork_at="turns", kl_target=0.1, kl_horizon=50),
    ],
    ids=["ppo", "reinforce", "grpo", "dpo", "vine"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(tiny_config, algorithm):
    rows = dict(num_envs=32, episodes=32)  # so many play at a time the 256 episodes that scale the reward
    settings = tiny_config(**rows, updates=4, normalise_reward=True, missing_eos_penalty=0.1, seed=5)
    whole = train(replace(settings, out="whole"), algorithm, reward=TextReward(vowels))
    stop = StopRequest()
    # 256 completions measure the scale; the 80th after them is in the third update, the 160th if each is forked once.
    interrupted = StopsAfter(256 + (160 if isinstance(algorithm, VineConfig) else 80), stop)
    run = train(replace(settings, out="parts"), algorithm, reward=interrupted, stop=stop)
    assert open_checkpoint(run).record["iteration"] == 2
    assert (run / "samples.md").exists()
    (run / "metrics.jsonl").open("a").write('{"update": 3, "of a later update": 1}\n{"cut sho')
    assert train(TrainConfig(resume=str(run)), type(algorithm)(), reward=vowels) == run
    assert numbers(run) == numbers(whole)
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(run / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    records = [open_checkpoint(folder).record for folder in (run, whole)]
    assert records[0]["algorithm_state"] == records[1]["algorithm_state"]
    assert records[0]["reward_scale"] == records[1]["reward_scale"] != {"gain": 1.0, "bias": 0.0}


def equal_weights(run, other) -> bool:
    files = ("model.safetensors", "training.safetensors")
    ours, theirs = ([load_file(folder / name) for name in files] for folder in (run, other))
    return all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(ours, theirs, strict=True)
    )


def test_people_may_rate_meanwhile_and_a_run_on_their_feedback_goes_on_as_if_they_had_not(tiny_config):
    played = train(tiny_config(updates=1, reward="human('f.sqlite', 'deferred')", out="played"))
    assert not (played / "samples.md").exists()  # nobody was asked to rate what nobody learns from
    store = FeedbackStore("f.sqlite")
    assert answer_all(store, "ada", people_vowels) == 8
    settings = tiny_config(feedback="f.sqlite", updates=2)
    whole = train(replace(settings, out="whole"))
    assert read_metrics(whole)[0]["reward"] == pytest.approx(
        sum(given.value for given in store.feedback()) / 8 / 4, abs=1e-6
    )
    assert all(0 < record["importance"] <= 1 for record in read_metrics(whole))
    stop = StopRequest()

    class StopsSoon(NoProgress):
        def update(self, metrics, seconds_left):
            stop.signal = signal.SIGINT

    run = train(replace(settings, out="parts"), stop=stop, progress=StopsSoon())
    assert open_checkpoint(run).record["iteration"] == 1
    for given in store.feedback():
        store.add_feedback("rating", store.person("bob"), given.turns, -4)
    train(TrainConfig(resume=str(run)))
    assert numbers(run) == numbers(whole) and equal_weights(run, whole)
    assert set(store.forget("ada").runs) == {str(run.resolve()), str(whole.resolve())}


def test_a_run_that_waits_for_people_can_be_interrupted_and_loses_nothing(tiny_config):
    settings = tiny_config(updates=1, reward="human('f.sqlite', timeout=60)", max_new_tokens=3)
    stop, store = StopRequest(), FeedbackStore("f.sqlite")

    def stop_once_somebody_is_asked():
        while not store.waiting():
            time.sleep(0.02)
        stop.signal = signal.SIGINT

    threading.Thread(target=stop_once_somebody_is_asked).start()
    run = train(replace(settings, out="parts"), stop=stop)
    assert open_checkpoint(run).record["iteration"] == 0
    assert 0 < answer_all(store, "ada", people_vowels) <= 8
    with at_work("f.sqlite", ada=people_vowels):
        train(TrainConfig(resume=str(run)))
        whole = train(replace(settings, out="whole"))
    assert open_checkpoint(run).record["iteration"] == 1 and equal_weights(run, whole)
    assert len(store.feedback()) == len({turn for given in store.feedback() for turn in given.turns}) <= 8


def test_a_resumed_run_with_a_memory_equals_an_uninterrupted_one(tiny_config):
    """The user's words are in the memory alone; inspection and evaluation read it, too."""
    settings = tiny_config(
        updates=3, max_turns=2, max_context_tokens=100, reward="rating", words_in_context=False, save_every=1
    )
    algorithm = FeedbackConditionedConfig(supervised_updates=1, liked=5.0, note_tokens=8)
    whole = train(replace(settings, out="whole"), algorithm, user=Counts())
    stop = StopRequest()
    run = train(replace(settings, out="parts"), algorithm, user=StopsLater(30, stop), stop=stop)
    assert open_checkpoint(run).record["iteration"] == 1  # of 16 turns each
    train(TrainConfig(resume=str(run)), user=Counts())
    assert numbers(run) == numbers(whole)
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(run / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert load_file(run / "training.safetensors")["labels"].abs().sum() > 0
    assert "more, please" in (run / "samples.md").read_text()
    figures = evaluate(run, 4, user=Counts())
    assert figures["trained"]["kl_per_token"] != 0
    assert figures["untrained"]["kl_per_token"] == pytest.approx(0, abs=1e-5)  # it has read the memory, too
    page = inspect_run(run, 2, user=Counts())
    assert "memory" in [quantity["key"] for quantity in page["quantities"]]
    assert "more, please" in json.dumps(page["episodes"])


def test_tensorboard_shows_each_run_once(tiny_config, tmp_path):
    """It follows links, and runs/latest is one."""
    runs = [train(tiny_config(updates=1)) for _ in range(2)]
    train(tiny_config(updates=1, out="elsewhere"))
    shown = [Path(folder).name for folder in GetLogdirSubdirectories(str(tmp_path / "runs"))]
    assert sorted(shown) == [run.name for run in runs]
    assert list(GetLogdirSubdirectories("elsewhere")) == ["elsewhere/tensorboard"]


def test_a_run_with_events_of_its_own_goes_on_with_them(tiny_config):
    """As versions before 0.2 left them."""
    run = train(tiny_config(max_minutes=1e-9))
    tensorboard_folder(run).rename(run / "tensorboard")
    train(TrainConfig(resume=str(run)))
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("reward")] == [1, 2, 3]


def test_equal_seeds_give_equal_runs(tiny_config):
    first, second, other = (numbers(train(tiny_config(updates=2, out=f"{i}", seed=i // 2))) for i in range(3))
    assert first == second != other


def test_a_resumed_run_keeps_its_settings(tiny_config):
    run = train(tiny_config(max_minutes=1e-9))
    again = TrainConfig(resume=str(run))
    with pytest.raises(ValueError, match="seed=7 differs from the resumed run's 0"):
        train(replace(again, seed=7))
    with pytest.raises(ValueError, match=r"learning_rate=0\.5 differs"):
        train(again, PPOConfig(learning_rate=0.5))
    with pytest.raises(ValueError, match="trained by ppo, not by reinforce"):
        train(again, REINFORCEConfig())
    assert train(replace(again, max_minutes=10.0, save_every=1)) == run
    record = open_checkpoint(run).record
    assert record["iteration"] == 3
    assert (record["train"]["save_every"], record["train"]["seed"]) == (1, 0)
    train(again)  # finished already
    assert open_checkpoint(run).record["iteration"] == 3


def test_a_reward_from_python_must_be_given_again(tiny_config):
    run = train(tiny_config(max_minutes=1e-9), reward=vowels)
    with pytest.raises(ValueError, match="reward 'vowels' came from Python"):
        train(TrainConfig(resume=str(run)))


def test_a_user_from_python(tiny_config):
    """Who answers in training, in the samples, and, given again, in evaluation, inspection and a resumed run."""
    settings = tiny_config(max_turns=2, max_context_tokens=100, reward="rating", updates=2, max_minutes=1e-9)
    run = train(settings, user=Counts())
    assert open_checkpoint(run).record["custom_user"] == "Counts"
    assert "more, please" in (run / "samples.md").read_text()
    for again in (evaluate, inspect_run, lambda run: train(TrainConfig(resume=str(run)))):
        with pytest.raises(ValueError, match=r"user 'Counts' came from Python, .* give it again, by user="):
            again(run)
    assert train(TrainConfig(resume=str(run)), user=Counts()) == run
    trained = evaluate(run, 4, user=Counts())["trained"]
    assert trained["reward_mean"] > 0
    assert len(trained["rating_by_turn"]) == 2
    assert evaluate(run, 4, user=Counts(), reward=lambda text: 3.0)["trained"]["reward_mean"] == 6  # two turns
    assert "more, please" in json.dumps(inspect_run(run, 1, user=Counts())["episodes"])


@pytest.mark.parametrize(
    "user, why",
    [
        ("simulatd", "unknown user 'simulatd'"),
        (Counts, r"class Counts, expected an object: Counts\(\)"),
        (7, "no answers"),
    ],
)
def test_what_is_no_user_leaves_nothing(tiny_config, tmp_path, user, why):
    with pytest.raises(ValueError, match=why):
        train(tiny_config(), user=user)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "reward, why",
    [
        (lambda calls: "oops", "expected a finite number"),
        (lambda calls: float("nan"), "nan"),
    ],
)
def test_a_reward_that_fails_loses_no_update(tiny_config, reward, why):
    calls = []

    def fails_in_third_update(text):
        calls.append(text)
        return reward(calls) if len(calls) == 20 else vowels(text)

    with pytest.raises(ValueError, match=why):
        train(tiny_config(out="run", updates=9, save_every=9), reward=fails_in_third_update)
    assert open_checkpoint(find_run("run")).record["iteration"] == 2


class NaNLater(TextReward):
    """A reward that pays NaN, unchecked, from the 17th completion on."""

    def __init__(self):
        super().__init__(vowels, "later")
        self.paid = 0

    def __call__(self, transition):
        rewards = super().__call__(transition)
        self.paid += len(transition.rows)
        return rewards * (float("nan") if self.paid > 16 else 1.0)


def test_a_nan_reward_is_not_learned(tiny_config, caplog):
    with pytest.raises(ValueError, match="reward 'later' pays nan"):
        train(tiny_config(out="run", updates=9, save_every=9), reward=NaNLater())
    assert "update 3 stopped in its rollout; run holds what was learned before" in caplog.text
    assert open_checkpoint(find_run("run")).record["iteration"] == 2
    assert all(p.isfinite().all() for p in load_model("run").parameters())


@pytest.mark.parametrize(
    "algorithm, update",
    [(PPOConfig(learning_rate=1e30, minibatch_size=4), 1), (REINFORCEConfig(learning_rate=1e37, warmup_steps=1), 2)],
    ids=["within an update", "after an update"],
)
def test_numbers_that_explode_stop_the_run(tiny_config, algorithm, update):
    with pytest.raises(
        FloatingPointError, match=f"update {update} of 9 .* no finite .*checkpoint of update 0 .* whole"
    ):
        train(tiny_config(out="run", updates=9, save_every=9), algorithm, reward=vowels)
    assert all(p.isfinite().all() for p in load_model("run").parameters())
    assert open_checkpoint(find_run("run")).record["iteration"] == 0


def test_what_cannot_work_leaves_nothing(tiny_config, tmp_path):
    for changes, why in (
        (dict(reward="sentimnt"), "unknown reward 'sentimnt'"),
        (dict(model="no/such/folder"), "no model"),
        (dict(env="CartPole-v1"), "CartPole"),
        (dict(device="cuda:99"), "is not available here"),
    ):
        with pytest.raises(Exception, match=why):
            train(tiny_config(**changes))
    with pytest.raises(ValueError, match="no multiple of group_size=3"):
        train(tiny_config(), REINFORCEConfig(group_size=3))
    assert not (tmp_path / "runs").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="out is not empty"):
        train(tiny_config(out="out"))


@pytest.mark.parametrize("field, value", [
    ("num_envs", 0), ("updates", 0), ("updates", 1.5), ("episodes", True), ("save_every", None), ("seed", -1),
    ("lora_rank", -1), ("threads", 0), ("max_minutes", 0.0), ("max_minutes", float("nan")),
    ("missing_eos_penalty", float("inf")), ("missing_eos_penalty", -1.0), ("normalise_reward", 1),
])  # fmt: skip
def test_impossible_settings(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        TrainConfig(**{field: value})


def test_names_of_runs(tiny_config, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run 'latest': there is none in runs/"):
        find_run("latest")
    first, second = (train(tiny_config(max_minutes=1e-9)) for _ in range(2))
    assert find_run(first.name) == first
    assert find_run("latest") == second
    (tmp_path / "runs" / "latest").unlink()  # as on a file system without links
    assert find_run("latest") == second
    with pytest.raises(FileNotFoundError, match=f"runs/ has {second.name}, {first.name}"):
        find_run("nonesuch")


def test_the_first_signal_asks_and_the_second_acts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent may ignore it
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_scaled_rewards_by_hand():
    mask = torch.tensor([[False, True, True, False], [False, True, True, True]])
    batch = Trajectories(
        torch.zeros(2, 4, dtype=torch.int64), mask, *torch.zeros(2, 2, 4),
        rewards=torch.tensor([[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, -4.0]]), bootstrap=torch.zeros(2),
        groups=torch.zeros(2), finish_reasons=["stop", "length"],
    )  # fmt: skip
    rewards = scaled_rewards(batch, RewardScale(gain=2.0, bias=0.5), missing_eos_penalty=1.0)
    assert rewards.tolist() == [[0, 2, 4.5, 0], [0, 0, 0, -8.5]]


def test_standardising():
    returns = torch.tensor([1.0, 2.0, 4.0])
    scale = standardising(returns)
    scaled = scale.gain * returns + scale.bias
    assert (float(scaled.mean()), float(scaled.std())) == pytest.approx((0, 1), abs=1e-6)
    with pytest.raises(ValueError, match=r"all 3 episodes .* return 2"):
        standardising(torch.full((3,), 2.0))


def test_a_bar_on_a_terminal_of_80_columns(tiny_config, monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "console", terminal)
    with progress.training_progress(0, 3) as bar:
        bar.phase("playing")
        bar.tokens(1024)
        bar._bar.refresh()  # by itself it is drawn ten times a second
    assert "playing 1,024 tokens" in terminal.file.getvalue()
    train(tiny_config())
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.file.getvalue())
    assert re.search(r"━+ +3/3 0:00 left", shown)
    assert re.search(r"reward [+-]\d\.\d+  KL -?\d\.\d+ \(-?\d\.\d+ a token\)  entropy \d\.\d+  [\d,]+ tokens/s", shown)


def test_lines_where_there_is_no_terminal(tiny_config, monkeypatch, capsys):
    """A notebook, a log file, Slurm: train() itself tells on standard error how it goes."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    run = train(tiny_config())
    streams = capsys.readouterr()
    assert streams.out == ""
    lines = streams.err.splitlines()
    assert re.fullmatch(rf"run {run}: .*tiny-model.* learns in dyngen/Sentiment-v0, update 0 of 3", lines[0])
    assert any(re.fullmatch(r"update 1/3  playing  \d+ tokens", line) for line in lines)
    updates = [line for line in lines if "reward" in line]
    assert [line.split()[1] for line in updates] == ["1/3", "2/3", "3/3"]
    assert re.search(
        r"reward [+-]\d\.\d+  KL -?\d\.\d+ \(-?\d\.\d+ a token\)  entropy \d\.\d+  [\d,]+ tokens/s  0:00 left",
        lines[-1],
    )


def test_few_lines_where_nobody_watches(tiny_config, capsys):
    train(tiny_config())
    said = [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()[1:]]
    assert said == ["update 1/3", "update 3/3"]


def test_no_lines_on_request(tiny_config, capsys):
    train(tiny_config(), progress=progress.NoProgress())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("count, lines", [(3, [0.0, 1.0, 0.0]), (9, [0.4] * 9)])
def test_a_short_curve_is_not_smoothed(count, lines, tmp_path, monkeypatch):
    """Rewards 0, 1, 0, ...: three are joined as they are; of nine the mean over each one's neighbours is drawn."""
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, *a, **k: drawn.append(y) or plot(self, x, y, *a, **k))
    metrics = [{"update": i + 1, "reward": float(i % 2), "kl_per_token": 0.0, "entropy": 1.0} for i in range(count)]
    draw_learning_curve(tmp_path / "curve.png", metrics, "title")
    assert len(drawn) == 6  # a line of dots and one of the running mean in each panel
    assert list(drawn[1]) == pytest.approx(lines, abs=0.1)


def test_a_samples_table_survives_any_text():
    assert samples_table(["a | b"], ["one\ntwo"], [""]).splitlines()[2] == "| a \\| b | one two |  |"


# ---------------------------------------------------------------- a run that begins with another run's model


def base_of_run(run):
    return open_checkpoint(run).record["model"]


@pytest.mark.parametrize("name", ["latest", "runs/latest"])
def test_a_new_run_begins_with_the_weights_of_another(tiny_config, name):
    """runs/latest moves on to the new run, whose reference must stay the older one."""
    first = train(tiny_config(updates=1), PPOConfig(learning_rate=1e-2, minibatch_size=4), reward=vowels)
    assert {lasting_model_name(same) for same in (first.name, f"runs/{first.name}", name)} == {str(first.resolve())}
    second = train(tiny_config(model=name, updates=1), reward=vowels)
    assert second != first and find_run("latest") == second
    assert base_of_run(second) == str(first.resolve())
    assert read_metrics(second)[0]["kl_per_token"] == pytest.approx(0, abs=1e-5)
    reference = open_run(second, reward=vowels).reference.lm.state_dict()
    assert all(torch.equal(reference[key], x) for key, x in load_file(first / "model.safetensors").items())


def test_a_link_of_ones_own_is_followed_as_well(tiny_config, tmp_path):
    first = train(tiny_config(max_minutes=1e-9, out="first"))
    (tmp_path / "best").symlink_to("first")
    assert base_of_run(train(tiny_config(model="best", max_minutes=1e-9))) == str(first.resolve())


def test_without_a_run_latest_is_no_model(tiny_config, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run 'latest': there is none in runs/"):
        train(tiny_config(model="latest"))
    assert not (tmp_path / "runs").exists()


def test_a_damaged_run_is_no_model(tiny_config):
    run = train(tiny_config(max_minutes=1e-9, out="first"))
    (run / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        train(tiny_config(model="first"))


@pytest.mark.parametrize("out", [None, "here"])
def test_a_run_without_a_first_checkpoint_leaves_no_folder(tiny_config, tmp_path, monkeypatch, out):
    first = train(tiny_config(max_minutes=1e-9))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            train(tiny_config(out=out))
    assert find_run("latest") == first and (tmp_path / "runs" / "latest").resolve() == first.resolve()
    assert [path.name for path in (tmp_path / "runs").glob("*-ppo*")] == [first.name]
    assert not (tmp_path / "here").exists()
