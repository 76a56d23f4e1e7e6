"""The step on a GPU, here on a simulated one: it does what the CPU does, in few launches and with one host read."""

import numpy as np
import pytest
import torch

from dyngen_env.envs import prompt_queue, tensor_step
from dyngen_env.envs.seeding import BLOCK
from dyngen_env.rewards import Reward
from tests.support.envs import batch, random_actions
from tests.support.simulated_cuda import capture, needs_compiler, put, simulated
from tests.support.simulated_graphs import use_simulated_graphs

pytestmark = needs_compiler
ROWS = 8
SETTINGS = dict(prompts=["a", "bb", "ccc", "dddd"], max_new_tokens=6, max_context_tokens=16, output="torch")


class Vowels(Reward):
    """Pays for each vowel as it is written, by tensors alone."""

    name, per_token, on_tokens = "vowels", True, True

    def __init__(self, device):
        self.table = torch.tensor([float(chr(i) in "aeiou") for i in range(260)], dtype=torch.float64).to(device)

    def __call__(self, transition):
        return self.table.take(transition.actions) * transition.live


def plain(value):
    """Tensors and lazy sequences as lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    return [plain(part) for part in value] if isinstance(value, tuple) else list(value)


def shown(step):
    """What a step returns, without what nobody may read: observations of rows that did not end."""
    *numbers, infos = step
    final = infos.pop("final_obs", None)
    seen = [*map(plain, numbers), plain(infos)]
    if final is not None:
        tokens = final["input_ids"] if isinstance(final, dict) else final
        seen.append(tokens.tolist())
    return seen


def play(actions, place, device, **settings):
    env = batch(ROWS, **SETTINGS, **settings, device=device)
    seen = [plain(env.reset(seed=3)[0])]
    for action in actions:
        if env.over and settings["autoreset_mode"] == "disabled":
            ended = (env.state.finish > 0).numpy(force=True)
            seen.append(plain(env.reset(options={"reset_mask": ended})[0]))
        seen.append(shown(env.step(place(action))))
    return [*seen, [e.prompt for e in env.examples], [int(s) for s in env._rows.episode_seeds]]


def some_actions(seed=0, steps=16):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(random_actions(rng, ROWS)) for _ in range(steps)]


@pytest.mark.parametrize(
    "mode, more",
    [
        ("next_step", dict(reward=0.3, stop="ab")),
        ("same_step", dict(reward="length(3) - 0.5*repetition(1)", length_limit="truncate")),
        ("disabled", dict(reward="delayed(0.5 + clip(1, 0, 0.25), to='episode') - 2*illegal")),
        ("same_step", dict(reward=lambda text, prompt: len(prompt) + len(text) / 10, observation="dict")),
        ("next_step", dict(reward=1.0, banned=["e"], length_limit="truncate")),
    ],
    ids=["stop", "text", "delayed", "example", "banned"],
)
def test_trajectories_are_those_of_a_cpu(mode, more):
    actions = some_actions()
    here = play(actions, torch.clone, "cpu", autoreset_mode=mode, **more)
    with simulated():
        there = play(actions, put, "cuda:0", autoreset_mode=mode, **more)
    assert there == here


def test_prompts_are_drawn_ahead_again_and_again(monkeypatch):
    for module in (prompt_queue, tensor_step):
        monkeypatch.setattr(module, "AHEAD", BLOCK)
    actions = [torch.full((ROWS,), 258)] * (2 * BLOCK + 3)
    actions[5] = torch.tensor([258] * 4 + [65] * 4)
    here = play(actions, torch.clone, "cpu", autoreset_mode="same_step", reward=1.0)
    with simulated():
        assert play(actions, put, "cuda:0", autoreset_mode="same_step", reward=1.0) == here


def test_as_graphs_too(monkeypatch):
    actions = some_actions(1)
    here = play(actions, torch.clone, "cpu", autoreset_mode="same_step", reward=Vowels("cpu") + 0.3)
    use_simulated_graphs(monkeypatch)
    with simulated():
        reward = Vowels("cuda:0") + 0.3
        assert play(actions, put, "cuda:0", autoreset_mode="same_step", reward=reward) == here


@pytest.fixture
def env_and_counts():
    with simulated() as counts:
        env = batch(ROWS, **SETTINGS, reward=1.0, autoreset_mode="same_step", device="cuda:0")
        env.reset(seed=0)
        yield env, counts


def letters(value=65):
    return put(torch.full((ROWS,), value))


def test_a_step_in_which_episodes_end_takes_40_launches_and_one_read(env_and_counts):
    env, counts = env_and_counts
    env.step(letters())
    for _ in range(3):
        action = letters()
        action[:2] = 258
        counts.reset()
        *_, infos = env.step(action)
        assert "final_obs" in infos
        assert counts.launches <= 40 and len(counts.reads) == 1 and not counts.transfers, counts.reads


def test_graphs_can_hold_its_parts(env_and_counts):
    env, _ = env_and_counts
    env.step(letters())
    with capture():  # raises at a host read or a transfer
        for part in (env._tensors._proposing, env._tensors._renewing, env._tensors._keeping):
            part()
        env._tensors._queue.refill()


def test_what_was_returned_does_not_change_later(env_and_counts, monkeypatch):
    env, _ = env_and_counts
    use_simulated_graphs(monkeypatch)
    first = env.step(letters(258))
    state, before = env.state, plain(first[:4])
    final, tokens = plain(first[4]["final_obs"]), plain(state.tokens)
    env.step(letters(66)), env.step(letters(258))
    assert plain(first[:4]) == before and plain(first[4]["final_obs"]) == final and plain(state.tokens) == tokens
    assert list(first[4]["final_info"]["text"]) == [""] * ROWS


@pytest.mark.parametrize("wrong", [put, lambda a: a.numpy()], ids=["tensor", "array"])
def test_a_wrong_action_changes_nothing(env_and_counts, wrong):
    env, _ = env_and_counts
    env.step(letters())
    before = plain(env.state.tokens), env.state.length.tolist()
    actions = torch.full((ROWS,), 65)
    actions[3] = 999
    with pytest.raises(ValueError, match="action 999 of row 3"):
        env.step(wrong(actions))
    assert (plain(env.state.tokens), env.state.length.tolist()) == before
    env.step(letters())


def test_a_reward_that_cannot_be_paid_changes_nothing():
    class Wrong(Vowels):
        name = "wrong"

        def __call__(self, transition):
            return super().__call__(transition) / (transition.actions != 66)

    with simulated():
        env = batch(ROWS, **SETTINGS, reward=Wrong("cuda:0"), autoreset_mode="same_step", device="cuda:0")
        env.reset(seed=0)
        env.step(letters())
        before = plain(env.state.tokens)
        with pytest.raises(ValueError, match="reward 'wrong' pays nan in row 0"):
            env.step(letters(66))
        assert plain(env.state.tokens) == before


def test_a_fork_goes_on_as_the_original_does(env_and_counts):
    env, _ = env_and_counts
    for letter in (65, 258, 66):
        env.step(letters(letter))
    twin = env.fork(range(ROWS))
    for letter in (67, 258, 68, 258, 258, 69, 70, 258, 71, 258):  # longer than a fork's patience
        action = letters(letter)
        assert shown(twin.step(action)) == shown(env.step(action))
    assert [e.prompt for e in twin.examples] == [e.prompt for e in env.examples]


def test_generators_of_another_kind_are_drawn_from_on_the_host():
    def play(place, device):
        env = batch(ROWS, **SETTINGS, reward=1.0, autoreset_mode="same_step", device=device)
        env.reset(seed=0)
        env.step(place(torch.full((ROWS,), 65)))
        env.reseed(1, np.random.Generator(np.random.MT19937(5)))
        return [plain(env.step(place(torch.full((ROWS,), 258)))[0]) for _ in range(18)]

    here = play(torch.clone, "cpu")
    with simulated():
        assert play(put, "cuda:0") == here


def test_rows_go_on_after_a_reset(env_and_counts):
    env, _ = env_and_counts
    env.step(letters())
    tokens, _ = env.reset(seed=0, options={"prompt": "zz"})
    assert tokens[:, 1].tolist() == [ord("z")] * ROWS or tokens[:, 0].tolist() == [ord("z")] * ROWS
    seen, *_ = env.step(letters(258))
    other = batch(ROWS, **SETTINGS, reward=1.0, autoreset_mode="same_step")
    other.reset(seed=0, options={"prompt": "zz"})
    assert plain(seen) == plain(other.step(torch.full((ROWS,), 258))[0])
