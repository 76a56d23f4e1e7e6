"""Candidates equal a brute force over the vocabulary; views are in their spaces; single envs equal rows of a batch."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3
from transformers import GPT2Config, GPT2LMHeadModel

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_env.lm.loading.models import load_model
from dyngen_env.wrappers import LMFeatures, TopKActions
from tests.support.architectures import tiny
from tests.support.bans import PROMPTS, WORDS
from tests.support.envs import END, EOS, SMALL

K = 6
MODES = ["next_step", "same_step", "disabled"]


@pytest.fixture(scope="module")
def lm() -> GPT2LMHeadModel:
    """Over bytes; its head is wider than the env's 260 tokens. It likes to end turns."""
    config = GPT2Config(
        vocab_size=270, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=256, eos_token_id=257
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval()
        for p in model.parameters():
            if p.dim() > 1:
                torch.nn.init.normal_(p, std=0.3)
    return model.requires_grad_(False)


def wrappers(lm):
    return {
        "candidates": lambda env: TopKActions(env, lm, K),
        "features": lambda env: LMFeatures(env, lm),
        "both": lambda env: LMFeatures(TopKActions(env, lm, K), lm),
        "named candidates": lambda env: TopKActions(env, lm, K, show_candidates=True),
        "both, named": lambda env: LMFeatures(TopKActions(env, lm, K, show_candidates=True), lm),
    }


def single(wrap=lambda env: env, **options):
    return wrap(gym.make("dyngen/Generate-v0", **{**SMALL, **options}))


def batch(wrap=lambda env: env, rows=3, mode="next_step", **options):
    settings = {**SMALL, "autoreset_mode": mode, **options}
    return wrap(gym.make_vec("dyngen/Generate-v0", num_envs=rows, **settings))


def forward(lm, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D,) hidden state and (270,) logits after one row of tokens, by transformers alone."""
    with torch.no_grad():
        out = lm(torch.as_tensor(tokens[tokens >= 0])[None], output_hidden_states=True)
    return out.hidden_states[-1][0, -1].numpy(), out.logits[0, -1].numpy()


def brute_force(lm, tokens: np.ndarray) -> tuple[list[int], list[float]]:
    """The K most likely legal tokens of a row, and their log-probs among the legal, one token at a time."""
    _, logits = forward(lm, tokens)
    scores = {token: float(logits[token]) for token in [*range(256), EOS, END]}  # not BOS 256, user 259, nor beyond
    total = np.log(sum(np.exp(s) for s in scores.values()))
    best = sorted(scores, key=scores.get, reverse=True)[:K]
    return best, [scores[token] - total for token in best]


def play(env, steps: int, seed: int = 0):
    """Observations, infos and tokens of random play in a single env, resets included."""
    rng = np.random.default_rng(seed)
    yield env.reset(seed=seed)
    over = False
    for _ in range(steps):
        if over:
            yield env.reset()
            over = False
            continue
        observation, _, terminated, truncated, info = env.step(int(rng.integers(env.action_space.n)))
        over = terminated or truncated
        yield observation, info


def test_candidates_equal_a_brute_force(lm):
    env = single(wrappers(lm)["candidates"])
    for observation, info in play(env, 40):
        ids, logprobs = brute_force(lm, observation["tokens"])
        assert info["candidates"].tolist() == ids
        np.testing.assert_allclose(observation["logprobs"], logprobs, atol=1e-4)
        assert env.action_masks().tolist() == [True] * K


def test_a_rank_writes_its_candidate(lm):
    env = single(wrappers(lm)["candidates"])
    observation, info = env.reset(seed=0)
    for rank in (3, 0, 5):
        length = int((observation["tokens"] >= 0).sum())
        chosen = info["candidates"][rank]
        observation, *_, info = env.step(rank)
        assert observation["tokens"][length] == chosen


def test_features_are_the_last_hidden_state_and_the_log_probs_follow(lm):
    alone, both = (single(wrappers(lm)[kind]) for kind in ("features", "both"))
    inner = both.env  # shows the tokens
    observation, _ = both.reset(seed=1)
    tokens = inner.unwrapped.batch.state.tokens[0].numpy()
    hidden, _ = forward(lm, tokens)
    np.testing.assert_allclose(observation[:16], hidden, atol=1e-4)
    np.testing.assert_allclose(observation[16:], brute_force(lm, tokens)[1], atol=1e-4)
    np.testing.assert_allclose(alone.reset(seed=1)[0], hidden, atol=1e-4)
    assert alone.action_space.n == 260 and both.action_space.n == K


@pytest.mark.filterwarnings("ignore:.*(Box observation space m|different from the unwrapped version)")
@pytest.mark.parametrize("kind", ["candidates", "features", "both", "named candidates", "both, named"])
def test_single_observations_are_in_their_space(lm, kind):
    env = single(wrappers(lm)[kind])
    for observation, _ in play(env, 40):
        assert env.observation_space.contains(observation)
    check_env(env, skip_render_check=True)
    check_for_sb3(env)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["candidates", "both", "both, named"])
def test_rows_of_a_batch_equal_single_envs(lm, kind, mode):
    """In each autoreset mode, over dozens of ends: observations, final ones too, rewards, flags and infos."""
    rows = 3
    env = batch(wrappers(lm)[kind], rows, mode)
    singles = [single(wrappers(lm)[kind]) for _ in range(rows)]
    observations, infos = env.reset(seed=5)
    for row, one in enumerate(singles):
        assert_row(observations, infos, row, *one.reset(seed=5 + row))
    rng, over, ends = np.random.default_rng(0), np.zeros(rows, dtype=bool), 0
    for _ in range(60):
        if mode == "disabled" and over.any():
            observations, infos = env.reset(options={"reset_mask": over})
            assert env.observation_space.contains(observations)
            for row in over.nonzero()[0]:
                assert_row(observations, infos, row, *singles[row].reset())
            over[:] = False
        actions = rng.integers(K, size=rows)
        actions[over] = 99  # what is said to rows that await their reset does not matter
        observations, rewards, terminated, truncated, infos = env.step(actions)
        assert env.observation_space.contains(observations)
        for row, one in enumerate(singles):
            if over[row]:  # NEXT_STEP
                assert_row(observations, infos, row, *one.reset())
                assert not rewards[row] and not terminated[row] and not truncated[row]
                continue
            observation, reward, *flags, info = one.step(actions[row])
            assert rewards[row] == pytest.approx(reward) and [terminated[row], truncated[row]] == flags
            if mode == "same_step" and any(flags):
                assert one.observation_space.contains(infos["final_obs"][row])
                assert_same(infos["final_obs"][row], observation)
                assert infos["final_info"]["candidates"][row].tolist() == info["candidates"].tolist()
                assert infos["final_info"]["text"][row] == info["text"]
                observation, info = one.reset()
            assert_row(observations, infos, row, observation, info)
        ends += int((terminated | truncated).sum())
        over = (terminated | truncated) & (mode != "same_step")
    assert ends > 20


def assert_row(observations, infos, row, observation, info):
    one = {k: v[row] for k, v in observations.items()} if isinstance(observations, dict) else observations[row]
    assert_same(one, observation)
    assert infos["_candidates"][row] and infos["candidates"][row].tolist() == info["candidates"].tolist()


def assert_same(ours, theirs):
    if isinstance(theirs, dict):
        assert ours["tokens"].tolist() == theirs["tokens"].tolist()
        ours, theirs = ours["logprobs"], theirs["logprobs"]
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_stacked_wrappers_share_one_forward(lm, mode):
    runs = []
    for kind in ("both", "candidates"):
        env = batch(wrappers(lm)[kind], mode=mode)
        env.reset(seed=0)
        rng, ended = np.random.default_rng(0), False
        env.view.reader._engine.tokens_run = 0
        for _ in range(30):
            if not ended:
                _, _, terminated, truncated, _ = env.step(rng.integers(K, size=3))
                ended = mode == "disabled" and bool((terminated | truncated).any())
        runs.append(env.view.reader._engine.tokens_run)
    assert runs[0] == runs[1] > 0


def test_another_lm_has_its_own_reader(lm):
    env = LMFeatures(TopKActions(single(), lm, K), GPT2LMHeadModel(lm.config))
    assert env.view.reader is not env.env.view.reader


def test_observations_share_no_memory_between_steps(lm):
    env = batch(wrappers(lm)["both"], mode="same_step")
    first, infos = env.reset(seed=0)
    kept, ids = first.copy(), infos["candidates"].copy()
    infos["candidates"][:] = 0  # what a caller does with it is the caller's affair
    env.step(np.zeros(3, dtype=int))
    np.testing.assert_array_equal(first, kept)
    assert env.unwrapped.state.tokens[range(3), env.unwrapped.state.length - 1].tolist() == ids[:, 0].tolist()


def test_named_models_and_specs():
    """By name the wrapped env can be made again from its spec; the log-probs are those of the shared model."""
    env = LMFeatures(TopKActions(gym.make("dyngen/Sentiment-v0"), "reviews-lm", k=4), "reviews-lm")
    twin = gym.make(env.spec)
    assert env.observation_space == twin.observation_space == gym.spaces.Box(-np.inf, np.inf, (196,), np.float32)
    np.testing.assert_allclose(env.reset(seed=3)[0], twin.reset(seed=3)[0], atol=1e-5)
    assert env.view.reader.model is load_model("reviews-lm")


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("bad", [K, -1, 1.0, [1]])
def test_a_rank_that_is_none_is_refused_and_nothing_changes(lm, bad):
    env = single(wrappers(lm)["candidates"])
    tokens = env.reset(seed=0)[0]["tokens"]
    with pytest.raises(ValueError, match=r"expected (0 <= rank < 6|integers)"):
        env.step(np.asarray(bad))
    many = batch(wrappers(lm)["candidates"])
    before = many.reset(seed=0)[0]["tokens"]
    with pytest.raises(ValueError, match=r"expected (0 <= rank < 6|integers)|row 1"):
        many.step(np.asarray([0, bad, 0]) if not isinstance(bad, list) else np.zeros((3, 1), dtype=int))
    np.testing.assert_array_equal(many.unwrapped.state.tokens.numpy(), before)
    np.testing.assert_array_equal(env.unwrapped.batch.state.tokens[0].numpy(), tokens)


def test_a_step_before_the_reset_is_refused(lm):
    for env in (single(wrappers(lm)["candidates"]), batch(wrappers(lm)["candidates"])):
        with pytest.raises(ResetNeeded):
            env.step(env.action_space.sample())


@pytest.mark.parametrize("rows", [None, 2])
def test_what_does_not_fit_is_refused_with_a_remedy(lm, rows):
    def env(**options):
        return batch(rows=rows, **options) if rows else single(**options)

    with pytest.raises(ValueError, match="lm 'reviews-lm' has 4096 tokens, env has 260: give both the same model"):
        TopKActions(env(), "reviews-lm", K)
    with pytest.raises(ValueError, match="lm GPT2LMHeadModel has 99 tokens, env has 260"):
        LMFeatures(env(), GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=8, n_layer=1, n_head=1)))
    with pytest.raises(ValueError, match="exceeds the 32 tokens of lm"):
        TopKActions(env(max_context_tokens=40), lm, K)
    for kind in ("dict", "text"):
        with pytest.raises(ValueError, match='observation="tokens"'):
            TopKActions(env(observation=kind), lm, K)
    with pytest.raises(ValueError, match="put LMFeatures over TopKActions"):
        TopKActions(LMFeatures(env(), lm), lm, K)
    for k in (0, 259):
        with pytest.raises(ValueError, match="258 legal tokens"):
            TopKActions(env(), lm, k)
    with pytest.raises(ValueError, match='output="numpy"'):
        LMFeatures(env(output="torch").unwrapped, lm).reset()


@pytest.mark.parametrize("stacked", [False, True])
def test_no_candidate_completes_a_banned_word(lm, stacked):
    env = batch(wrappers(lm)["both" if stacked else "candidates"], prompts=PROMPTS, banned=WORDS, mode="same_step")
    _, infos = env.reset(seed=0)
    rng, reasons = np.random.default_rng(0), []
    for _ in range(40):
        masks = env.unwrapped.action_masks()
        assert np.take_along_axis(masks, infos["candidates"], 1).all()
        _, _, _, _, infos = env.step(rng.integers(K, size=3))
        reasons += [reason for reason in infos.get("final_info", {}).get("finish_reason", []) if reason is not None]
    assert reasons and "illegal" not in reasons


def test_more_candidates_than_some_texts_leave_are_refused(lm):
    """258 bytes and ends are legal; after a border 26 letters in two cases and 8 marks are not."""
    with pytest.raises(ValueError, match="k=199 candidates cannot be had of 198 legal tokens, as few as that where"):
        TopKActions(single(prompts=PROMPTS, banned=WORDS), lm, 199)
    observation, info = TopKActions(single(prompts=PROMPTS, banned=WORDS), lm, 198).reset(seed=0)
    assert np.isfinite(observation["logprobs"]).all() and len(set(info["candidates"])) == 198


def test_features_are_as_wide_as_the_head_takes_them():
    """OPT-350m has layers of width 1024 and a head of width 512."""
    env = LMFeatures(gym.make("dyngen/Generate-v0", **SMALL), tiny("opt-350m", vocabulary=270))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.shape == observation.shape == (16,)
    assert env.observation_space.contains(observation)


def test_an_agent_may_see_which_words_its_actions_are(lm):
    """The ids in the observation are those of the infos, and `LMFeatures` shows rows of the model's embedding table."""
    named = batch(wrappers(lm)["named candidates"])
    observation, infos = named.reset(seed=0)
    assert named.single_observation_space["candidates"].contains(observation["candidates"][0])
    assert np.array_equal(observation["candidates"], infos["candidates"])
    plain, shown = batch(wrappers(lm)["both"]), batch(wrappers(lm)["both, named"])
    before, after = plain.reset(seed=0)[0], shown.reset(seed=0)[0]
    assert np.array_equal(after[:, : before.shape[1]], before)
    table = lm.transformer.wte.weight.numpy(force=True)
    assert np.array_equal(after[:, before.shape[1] :], table[infos["candidates"]].reshape(3, -1))
    assert shown.single_observation_space.shape == (after.shape[1],)
