"""Q-learning finds the known Q* of tiny MDPs, from recorded random episodes and from its own; a run goes on exactly."""

import copy
import json
import signal
import zlib

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.q_learning import QLearning, QLearningConfig
from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.progress import NoProgress
from dyngen_agents.training.train import train
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.tiny_mdp import all_episodes, tiny_env, tiny_policy

MDPS = {
    "one turn": dict(max_new_tokens=2),
    "a scripted user": dict(max_new_tokens=1, max_turns=2, user=Talker((Feedback("b"), Feedback("a")))),
}


def taste(text: str) -> float:
    """Anything from -50 to 50, another number for each text."""
    return 100 * zlib.crc32(text.encode()) / 2**32 - 50


def store_of(episodes) -> EpisodeStore:
    """Every episode once, paid at its last choice."""
    stored = []
    for tokens, mask, paid in zip(*episodes, strict=True):
        last = int(mask.nonzero()[-1]) + 1
        rewards = torch.zeros(last)
        rewards[-1] = paid
        stored.append(StoredEpisode(tokens[:last].to(torch.int64), mask[:last], rewards, torch.zeros(last)))
    return EpisodeStore(stored)


def best_values_by_prefix(store: EpisodeStore) -> dict[tuple[int, ...], float]:
    """Q*(s, a) by enumeration (γ = 1): the highest return of an episode that begins with s and a."""
    best: dict[tuple[int, ...], float] = {}
    for episode, paid in zip(store.episodes, store.returns.tolist(), strict=True):
        ids = episode.tokens.tolist()
        for end in (episode.completion_mask.nonzero().flatten() + 1).tolist():
            best[tuple(ids[:end])] = max(paid, best.get(tuple(ids[:end]), -1e9))
    return best


def learner(env, config, updates, episodes):
    policy = tiny_policy(env)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    return QLearning(policy, reference, config, total_updates=updates, episodes=episodes)


@pytest.mark.parametrize(("mdp", "backup"), [("a scripted user", "expectile"), ("one turn", "double")])
def test_recorded_random_episodes_give_the_optimum(mdp, backup):
    options = dict(MDPS[mdp], reward=taste)
    env, store = tiny_env(32, **options), store_of(all_episodes(**options))
    config = QLearningConfig(
        learning_rate=1e-2, gamma=1.0, tau=0.99, polyak=0.2, minibatch_size=64, epochs=5, backup=backup, beta=5.0
    )
    ours = learner(env, config, 40, len(store))
    ours.read(store)
    for _ in range(40):
        metrics = ours.update(ours.experience(None))
    expected = best_values_by_prefix(store)
    batch = store.take(range(len(store)))
    q, v = ours._critic(batch.tokens, batch.completion_mask)
    for row, ids in enumerate(batch.tokens.tolist()):
        for at in batch.completion_mask[row].nonzero().flatten().tolist():
            assert float(q[row, at]) == pytest.approx(expected[tuple(ids[: at + 1])], abs=6), ids
    start = max(paid for prefix, paid in expected.items() if len(prefix) == min(map(len, expected)))
    assert float(v[batch.completion_mask][0]) == pytest.approx(start, abs=6)
    assert metrics["q_loss"] < 0.01
    played = collect(env, ours.actor(0), 32, seed=0)
    assert float(played.episode_returns.mean()) > 0.98 * float(store.returns.max())


def test_a_replay_of_its_own_episodes_does_too():
    env = tiny_env(32, max_new_tokens=2, reward=taste)
    config = QLearningConfig(
        learning_rate=1e-2, gamma=1.0, polyak=0.2, minibatch_size=64, backup="double", beta=0.1, bc_coef=0.0, replay=256
    )
    ours = learner(env, config, 25, 32)
    ours.read(None)
    for update in range(25):
        batch = ours.experience(lambda actor: collect_together(env, actor, 32, seed=update, actor_seed=update))  # noqa: B023
        ours.update(batch)
    ours.tilted.beta = 5.0
    best = float(all_episodes(max_new_tokens=2, reward=taste).returns.max())
    assert float(collect(env, ours.actor(0), 32, seed=0).episode_returns.mean()) > 0.98 * best


def test_the_losses_by_hand():
    """One episode of two choices, before anything was learned: Q = μ_Q, V = μ_V, σ = 2."""
    env = tiny_env(1, max_new_tokens=2, reward=taste)
    ours = learner(env, QLearningConfig(gamma=0.5, tau=0.9, cql_coef=1.0), 1, 1)
    ours.heads.begin_at(-3.0, 1.0, 2.0)
    ours.recorded = EpisodeStore(
        [
            StoredEpisode(
                torch.tensor([3, 0, 1, 0], dtype=torch.int64),
                torch.tensor([False, False, True, True]),
                torch.tensor([0.0, 0.0, 4.0, 5.0]),
                torch.zeros(4),
            )
        ]
    )
    metrics = ours.update(ours.experience(None))
    # Targets: 4 + 0.5 · 1 and 5 + 0. Both heads; u = -3 - 1 at both choices; three legal tokens.
    q_loss = 2 * (((-3 - 4.5) / 2) ** 2 + ((-3 - 5) / 2) ** 2) / 2
    assert metrics["q_loss"] == pytest.approx(q_loss, rel=1e-5)
    assert metrics["v_loss"] == pytest.approx(0.1 * (4 / 2) ** 2, rel=1e-5)
    assert metrics["cql_loss"] == pytest.approx(2 * torch.log(torch.tensor(3.0)).item(), rel=1e-5)


def test_what_follows_a_piece_is_worth_v_of_its_last_state():
    """Two turns of one token, cut apart: the same targets as whole, where V is the same everywhere."""
    env = tiny_env(1, max_new_tokens=1, reward=taste)
    whole = StoredEpisode(
        torch.tensor([3, 0, 4, 1, 0], dtype=torch.int64),
        torch.tensor([False, True, False, False, True]),
        torch.tensor([0.0, 4.0, 0.0, 0.0, 5.0]),
        torch.zeros(5),
    )
    losses = []
    for store in (EpisodeStore([whole]), EpisodeStore([whole]).cut(1)):
        ours = learner(env, QLearningConfig(gamma=0.5, bc_coef=0.0), 1, len(store))
        ours.heads.begin_at(-3.0, 1.0, 2.0)
        ours.recorded = store
        losses.append(ours.update(ours.experience(None))["q_loss"])
    assert losses == pytest.approx([2 * (((-3 - 4.5) / 2) ** 2 + ((-3 - 5) / 2) ** 2) / 2] * 2, rel=1e-5)


def test_a_value_above_all_that_can_be_earned_is_not_handed_on():
    """V says +50 where no choice is paid above 0: the target of the first choice is its reward, -1."""
    env = tiny_env(1, max_new_tokens=2, reward=taste)
    ours = learner(env, QLearningConfig(gamma=0.5, bc_coef=0.0), 1, 2)
    tokens, mask = torch.tensor([3, 0, 1, 0], dtype=torch.int64), torch.tensor([False, False, True, True])
    bad, worse = (StoredEpisode(tokens, mask, torch.tensor([0.0, 0.0, -1.0, r]), torch.zeros(4)) for r in (-1.0, -2.0))
    ours.read(EpisodeStore([bad, worse]))
    ours.heads.begin_at(-3.0, 50.0, 1.0)
    metrics = ours.update(ours.experience(None))
    assert metrics["q_loss"] == pytest.approx(2 * (2 * 2**2 + 2**2 + 1) / 4, rel=1e-5)  # targets -1, -1, -1, -2


def test_equal_returns_teach_nothing():
    store = EpisodeStore(store_of(all_episodes(max_new_tokens=2, reward=lambda text: 1.0)).episodes)
    with pytest.raises(ValueError, match="recorded episodes return 1, so there is nothing to prefer"):
        learner(tiny_env(reward=len), QLearningConfig(), 1, 1).read(store)


def lines(path):
    words = [("good", 3.0), ("bad", -1.0), ("sad", 0.5), ("great", 2.0)]
    path.write_text(
        "".join(json.dumps({"prompt": "The film", "completion": f" is {w}", "reward": r}) + "\n" for w, r in words)
    )
    return path.name


class StopsAfterTwo(NoProgress):
    """A Ctrl-C after the second update."""

    def __init__(self, stop: StopRequest):
        self.stop = stop

    def update(self, metrics, seconds_left):
        if metrics["update"] == 2:
            self.stop.signal = signal.SIGINT


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "its own"])
def test_a_run_goes_on_exactly(tiny_config, tmp_path, recorded):
    data = lines(tmp_path / "mine.jsonl") if recorded else None
    config, stop = QLearningConfig(minibatch_size=4, beta=0.5, cql_coef=0.1, replay=12), StopRequest()
    whole = train(tiny_config(updates=3, data=data, out="whole"), config)
    parts = train(tiny_config(updates=3, data=data, out="parts"), config, stop=stop, progress=StopsAfterTwo(stop))
    assert open_run(parts).record["iteration"] == 2
    train(TrainConfig(resume=str(parts)))
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(parts / name), load_file(whole / name)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [r["q_loss"] for r in read_metrics(parts)] == [r["q_loss"] for r in read_metrics(whole)]
    if recorded:
        opened = open_run(whole)
        assert opened.policy is opened.algorithm.acting and opened.policy.beta == 0.5  # whoever plays, plays by Q
        page = inspect_run(whole, 2)
        assert {"q", "value", "advantage"} <= {quantity["key"] for quantity in page["quantities"]}
