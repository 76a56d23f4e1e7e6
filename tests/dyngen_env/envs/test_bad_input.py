"""Bad input: every error says what was wrong and what to do."""

from __future__ import annotations

import json

import pytest
from gymnasium.vector import AutoresetMode

from tests.support.envs import batch, byte_level, single

SIZE = len(byte_level())


def model_folder(tmp_path, window=64, vocabulary=40):
    """A folder that names a model and holds a tokenizer; no weights, since construction reads none."""
    hf = byte_level(bos_token="<s>", eos_token="</s>")
    hf.save_pretrained(tmp_path)
    config = {
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": window,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 1,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"observation": "tokns"}, "unknown observation 'tokns': expected one of tokens, dict, text"),
        ({"output": "jax"}, "output='jax': expected one of 'numpy', 'torch'"),
        ({"render_mode": "movie"}, "render_mode='movie': expected one of None, 'ansi', 'human', 'rgb_array'"),
        ({"length_limit": "stop"}, "length_limit='stop': expected one of"),
        ({"context_overflow": "drop"}, "context_overflow='drop': expected one of"),
        ({"prompt_overflow": "cut"}, "prompt_overflow='cut': expected one of"),
        ({"split": "test"}, "unknown split 'test': expected one of train, tune, eval"),
        ({"user": "bob"}, "unknown user 'bob' in 'bob': expected one of console, lm"),
        ({"user": 5}, "user=5 has no answers, begin, reply"),
        ({"device": "tpu9"}, "device='tpu9'"),
        ({"device": "cuda"}, "device='cuda'.*not available"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1, got 0"),
        ({"max_new_tokens": "8"}, "max_new_tokens must be an integer of at least 1, got '8'"),
        ({"max_turns": -1}, "max_turns must be"),
        ({"max_turns": True}, "max_turns must be"),
        ({"max_context_tokens": 2.5}, "max_context_tokens must be"),
        ({"max_context_tokens": 5}, "leaves no room for a prompt in max_context_tokens=5: raise max_context_tokens"),
        ({"stop": [""]}, "stop strings must be non-empty text"),
        ({"stop": 5}, "stop strings must be non-empty text"),
        ({"stop": ["a", 5]}, "stop strings must be non-empty text"),
        ({"prompts": []}, "no prompts"),
        ({"prompts": 5}, "prompts=5: expected a list of texts, a path"),
        ({"prompts": ["a", 5]}, "a prompt is a str or an Example, got int: 5"),
        ({"prompts": "Once upon a time"}, "expected .txt or .jsonl"),
        ({"prompts": "nowhere.txt"}, "no prompts file nowhere.txt"),
        ({"tokenizer": 5}, "tokenizer=5 has no end_ids"),
        ({"tokenizer": "", "prompts": ["a"]}, "named by a non-empty string"),
        ({"model": "reviews-lm"}, "model='reviews-lm' brings its own tokenizer: leave tokenizer='bytes' out"),
        ({"tokenizer": None, "model": "reviws-lm/x y"}, "no model 'reviws-lm/x y'"),
        ({"reward": "sentimnt"}, "unknown reward 'sentimnt'"),
        ({"reward": "fluency"}, "needs a language model"),
        ({"max_new_tokens": 20}, "prompts are longer than"),
    ],
)
def test_arguments_that_cannot_work(kwargs, message):
    for make in (single, lambda **kw: batch(2, **kw)):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            make(**kwargs)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, "4"])
def test_the_number_of_rows(num_envs):
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1"):
        batch(num_envs)


@pytest.mark.parametrize("mode", ["never", None, 1])
def test_an_unknown_autoreset_mode(mode):
    with pytest.raises(ValueError, match=", ".join(m.name for m in AutoresetMode)):
        batch(1, autoreset_mode=mode)


def test_long_prompts_are_listed():
    prompts = ["short", "x" * 30, "y" * 50, *(f"{i} is far too long for this context" for i in range(6))]
    with pytest.raises(ValueError, match="8 of 9 prompts are longer") as error:
        single(prompts=prompts)
    assert "31 tokens: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'" in str(error.value)
    assert "and 3 more" in str(error.value)
    assert 'prompt_overflow="truncate_left"' in str(error.value) and "19 tokens" in str(error.value)


def test_long_prompts_can_lose_their_beginning():
    env = single(prompts=["0123456789abcdefghijklmnop"], prompt_overflow="truncate_left")
    tokens, _ = env.reset(seed=0)
    assert bytes(t for t in tokens.tolist() if t >= 0) == b"789abcdefghijklmnop" and (tokens >= 0).sum() == 24 - 5


def test_a_context_beyond_the_models_window(tmp_path):
    folder = model_folder(tmp_path, window=16, vocabulary=400)
    with pytest.raises(ValueError, match=r"max_context_tokens=24 exceeds the 16 tokens of model .*: lower it"):
        single(tokenizer=None, model=folder)
    assert single(tokenizer=None, model=folder, max_context_tokens=16, max_new_tokens=1).action_space.n == SIZE


def test_a_tokenizer_that_is_not_its_models(tmp_path):
    with pytest.raises(ValueError, match=f"has {SIZE} tokens, its model only 40: they do not belong together"):
        single(tokenizer=None, model=model_folder(tmp_path))


def test_naming_the_models_own_tokenizer_beside_it_is_fine(tmp_path):
    folder = model_folder(tmp_path, vocabulary=400)
    assert single(tokenizer=folder, model=folder).batch.model == folder


def test_a_tokenizer_that_cannot_begin_a_text():
    with pytest.raises(ValueError, match="neither BOS nor EOS"):
        single(tokenizer=byte_level())


def test_a_task_has_no_split():
    class Task:
        def sample(self, rng):
            raise NotImplementedError

    with pytest.raises(ValueError, match="split='eval' has no meaning for Task"):
        single(prompts=Task(), split="eval")


def test_a_task_that_draws_too_long_a_prompt_is_told_so_and_can_go_on():
    from dyngen_env import Example

    class Task:
        calls = 0

        def sample(self, rng):
            self.calls += 1
            return Example("x" * 99 if self.calls == 2 else "fine")

    env = single(prompts=Task())
    env.reset(seed=0)
    env.step(97)
    with pytest.raises(ValueError, match="100 tokens"):
        env.reset()
    env.step(98)  # the episode before is still there
    assert env.batch.state.length.item() == 7
    env.reset()


@pytest.mark.parametrize("name", ["no/such-model-at-all", "no-such-folder/"])
def test_an_unknown_model_says_what_was_tried(name):
    with pytest.raises((ValueError, FileNotFoundError), match=name.rstrip("/")) as error:
        single(tokenizer=None, model=name)
    assert "reviews-lm" in str(error.value)
