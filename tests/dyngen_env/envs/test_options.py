"""The keywords: declared once, shown by both classes, checked."""

from __future__ import annotations

import inspect

import gymnasium as gym
import pytest

from dyngen_env import TextGenEnv, TextGenVectorEnv
from dyngen_env.envs.keywords import field_docs
from dyngen_env.envs.options import EnvOptions, VectorEnvOptions, keywords_of

KINDS = {TextGenEnv: EnvOptions, TextGenVectorEnv: VectorEnvOptions}


@pytest.mark.parametrize("kind", KINDS)
def test_signature_and_documentation_show_every_keyword(kind):
    known = keywords_of(KINDS[kind])
    parameters = inspect.signature(kind).parameters
    assert parameters.keys() == known.keys()
    for name, keyword in known.items():
        assert parameters[name].default == keyword.default
        assert parameters[name].kind == (parameters[name].KEYWORD_ONLY if name != "num_envs" else 1)
        line = next(line for line in inspect.getdoc(kind).splitlines() if line.strip().startswith(f"{name}: "))
        assert field_docs(KINDS[kind])[name].startswith(line.split(": ", 1)[1])


def test_the_defaults_are_those_of_the_built_env():
    env = TextGenVectorEnv(prompts=["A"])
    assert (env.num_envs, env.max_new_tokens, env.max_turns, env.max_context_tokens) == (1, 32, 1, 128)
    assert (env.output, env.render_mode, env.device.type, env.model) == ("numpy", None, "cpu", "reviews-lm")
    assert env.reward_names == ["fluency", "illegal"] and env.options.prompt_overflow == "error"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextGenEnv(rewrd="1"), r"TextGenEnv.__init__\(\) got an unexpected keyword argument 'rewrd'"),
        (lambda: TextGenEnv(rewrd="1"), "did you mean 'reward'\\? the known ones are model, prompts, reward, user"),
        (lambda: TextGenEnv(num_envs=2), "unexpected keyword argument 'num_envs'"),
        (lambda: TextGenVectorEnv(2, frameskip=4), "unexpected keyword argument 'frameskip': the known ones are"),
        (lambda: gym.make("dyngen/Generate-v0", frameskip=4), "unexpected keyword argument 'frameskip'"),
        (lambda: gym.make_vec("dyngen/Generate-v0", 2, frameskip=4), "unexpected keyword argument 'frameskip'"),
    ],
)
def test_an_unknown_keyword_is_a_type_error_in_pythons_words(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    "name", [name for name, keyword in keywords_of(EnvOptions).items() if keyword.default is not None]
)
def test_none_is_no_value_where_there_is_a_default(name):
    with pytest.raises(ValueError, match=f"{name} is None: leave it out for the default"):
        TextGenEnv(**{name: None})
