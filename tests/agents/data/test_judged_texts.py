"""Human texts in the form of an agent's, against an agent that writes them; and where turns stand."""

import pytest
import torch

from dyngen_agents.data.judged_texts import JudgedTexts, human_texts, join_texts, turns_of
from dyngen_agents.data.trajectories import Trajectories
from dyngen_env.lm.discriminators.reading import as_read
from tests.support.envs import Talker
from tests.support.small import small_env

PAIRS = [(f"p{i}", f" text {i}"[: 2 + i % 9]) for i in range(20)]


def pairs_file(folder):
    path = folder / "human.jsonl"
    lines = [f'{{"prompt": "{p}", "reference": "{t}"}}' for p, t in PAIRS]
    path.write_text("\n".join(lines))
    return str(path)


def test_human_texts_are_what_an_agent_that_writes_them_leaves(tmp_path):
    """Up to 8 tokens: longer ones are cut, shorter ones end by an end token, and "x" ends a text."""
    env = small_env(1, stop="x", autoreset_mode="disabled", output="numpy")
    env.reset(seed=0)
    found = human_texts(env, pairs_file(tmp_path))
    rows = [found.learned.tokens[i][found.learned.tokens[i] >= 0].tolist() for i in range(len(found.learned))]
    learned = [pair for i, pair in enumerate(PAIRS) if i % 10 != 9]
    assert found.reads_prompt and len(rows) == len(learned) == 18 and len(found.held_out) == 2
    for row, start, (prompt, text) in zip(rows, found.learned.starts.tolist(), learned, strict=True):
        env.reset(options={"prompt": prompt})
        for token in [*text.encode(), 257]:
            if not env.over:
                env.step([token])
        state = env.state
        whole = as_read(state.tokens, torch.zeros_like(state.length), state.length, env.tokenizer.end_ids)
        assert row == whole[0].tolist()
        assert start == int(state.turn_start)


def test_in_a_dialogue_texts_stand_by_themselves(tmp_path):
    env = small_env(2, user=Talker(), max_turns=2, max_context_tokens=60)
    env.reset(seed=0)
    found = human_texts(env, pairs_file(tmp_path))
    assert not found.reads_prompt and found.learned.starts.unique().tolist() == [0]
    assert found.learned.tokens[0].tolist()[:3] == [*b" t", 257]
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"line {i}\n" for i in range(10)))
    alone = human_texts(small_env_begun(), str(lines))
    assert not alone.reads_prompt and alone.learned.tokens[0].tolist() == [*b"line 0", 257]


def small_env_begun():
    env = small_env(1)
    env.reset(seed=0)
    return env


def test_too_few_texts_are_an_error_that_says_what_to_give():
    with pytest.raises(ValueError, match=r"0 human-written texts in the prompts of the env.*--human texts\.txt"):
        human_texts(small_env_begun(), None)
    with pytest.raises(FileNotFoundError, match=r"no prompts file .*missing\.txt"):
        human_texts(small_env_begun(), "missing.txt")


def test_the_reviews_come_with_the_env():
    env = small_env(1, tokenizer=None, model="reviews-lm", prompts=None, max_context_tokens=64, max_new_tokens=32)
    env.reset(seed=0)
    prompts = {e.prompt for e in env.task.examples}
    assert {e.prompt for e in env.task.written} == prompts
    assert all(e.reference is None for e in env.task.examples)  # no reward is given an answer to be matched


def test_where_turns_stand():
    mask = torch.tensor([[0, 1, 1, 0, 0, 1], [1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    turns = turns_of(mask)
    found = list(zip(turns.episodes.tolist(), turns.start.tolist(), turns.end.tolist(), strict=True))
    assert found == [(0, 1, 3), (0, 5, 6), (1, 0, 1), (1, 4, 5)]
    tokens = torch.arange(18).view(3, 6)
    zeros = torch.zeros(3, 6)
    batch = Trajectories(tokens, mask, zeros, zeros, zeros, torch.zeros(3), torch.arange(3))
    alone = turns.texts(batch, frozenset(), reads_prompt=False)
    assert alone.tokens.tolist() == [[1, 2], [5, -1], [6, -1], [10, -1]]
    whole = turns.texts(batch, frozenset(), reads_prompt=True)
    assert whole.tokens[0].tolist() == [0, 1, 2, -1, -1, -1] and whole.starts.tolist() == [1, 5, 0, 4]
    for texts in (alone, whole):  # the numbers of the turns' tokens come back to where these stand
        back = turns.aligned(texts.tokens.float(), texts, 6)
        assert back[0].tolist() == [0, 1, 2, 0, 0, 0] and back[3].tolist() == [0, 0, 0, 0, 10, 0]
    assert join_texts([alone, whole]).tokens.shape == (8, 6)
    assert isinstance(alone.take(slice(1)), JudgedTexts)
