"""Reward functions get their arguments by name, in an env and by themselves."""

from __future__ import annotations

import functools

import pytest
import torch

from dyngen_env import Dialogue, Example, Feedback, Transition
from dyngen_env.rewards import Keywords, Reward, Shaping, as_reward
from dyngen_env.rewards.arguments import NAMES, arguments_of, turn_values
from dyngen_env.testing import check_reward
from tests.support.envs import END, EOS, Talker, single, write

EXAMPLE = Example("2+2=", "4", {"level": 1})
DIALOGUE = Dialogue(EXAMPLE, None, ("5",), (Feedback("no"),))
VALUES = turn_values("5", EXAMPLE, DIALOGUE)


def got(function):
    """What a function returns for the values above."""
    return arguments_of(function).call(function, VALUES)


class Scorer:
    def __call__(self, text, reference):
        return text, reference

    def method(self, prompt, text):
        return prompt, text

    @classmethod
    def of_class(cls, text, example):
        return text, example

    @staticmethod
    def static(reference):
        return reference


def scored(prefix, text, reference="none", *, prompt="none", scale=1):
    return prefix, text, reference, prompt, scale


def in_place(completion, /, reference, scale=1):
    return completion, reference, scale


def far_in_place(text, scale=1, prompt="none", /):
    return text, scale, prompt


def called_otherwise(function):
    @functools.wraps(function)
    def inner(t, r):
        return function(t, r)

    return inner


def passing_on(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (lambda text: text, "5"),
        (lambda t: t, "5"),
        (lambda completion, scale=3: (completion, scale), ("5", 3)),
        (lambda *, words: words, "5"),
        (lambda text, prompt: (text, prompt), ("5", "2+2=")),
        (lambda prompt, text: (prompt, text), ("2+2=", "5")),
        (lambda text, reference: (text, reference), ("5", "4")),
        (lambda reference, text: (reference, text), ("4", "5")),
        (lambda text, reference=None: (text, reference), ("5", "4")),
        (lambda text, *, reference: (text, reference), ("5", "4")),
        (lambda text, *, reference="?", scale=2: (text, reference, scale), ("5", "4", 2)),
        (lambda text, scale=2, reference="?": (text, scale, reference), ("5", 2, "4")),
        (lambda t, reference="?": (t, reference), ("5", "4")),
        (lambda reference: reference, "4"),
        (lambda prompt: prompt, "2+2="),
        (lambda dialogue, example, text: (dialogue, example, text), (DIALOGUE, EXAMPLE, "5")),
        (lambda *args: args, ("5",)),
        (lambda *args, **kwargs: (args, kwargs), (("5",), {})),
        (lambda text, **kwargs: (text, sorted(kwargs)), ("5", sorted(NAMES[1:]))),
        (lambda t, **kwargs: (t, sorted(kwargs)), ("5", sorted(NAMES[1:]))),
        (lambda **kwargs: kwargs, VALUES),
        (lambda text, *more, reference, **kwargs: (more, reference, "reference" in kwargs), ((), "4", False)),
        (in_place, ("5", "4", 1)),
        (far_in_place, ("5", 1, "2+2=")),
        (Scorer(), ("5", "4")),
        (Scorer().method, ("2+2=", "5")),
        (Scorer.of_class, ("5", EXAMPLE)),
        (Scorer().static, "4"),
        (functools.partial(scored, "x"), ("x", "5", "4", "2+2=", 1)),
        (functools.partial(scored, "x", reference="mine"), ("x", "5", "mine", "2+2=", 1)),
        (functools.partial(scored, prefix="x", scale=3), ("x", "5", "4", "2+2=", 3)),
        (functools.partial(functools.partial(scored, "x"), prompt="p"), ("x", "5", "4", "p", 1)),
        (functools.partial(lambda text, **kwargs: kwargs.pop("prompt"), prompt="p"), "p"),
        (called_otherwise(lambda text, reference: (text, reference)), ("5", "4")),
        (passing_on(lambda text, *, reference: (text, reference)), ("5", "4")),
        (functools.lru_cache(lambda text, reference: (text, reference)), ("5", "4")),
        (len, 1),
        (str.isdigit, True),
        (max, "5"),  # a builtin that does not tell its parameters
    ],
)
def test_arguments_that_a_function_gets(function, values):
    assert got(function) == values


def test_a_prompt_without_a_reference_gives_none():
    assert turn_values("5", Example("2+2="), None)["reference"] is None


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda text, answer: 0.0, "'answer'"),
        (lambda completion, answer: 0.0, "'completion', 'answer'"),
        (lambda question, text: 0.0, "'question'"),
        (lambda prompt, completion: 0.0, "'completion'"),
        (lambda t, reference: 0.0, "'t'"),
        (lambda text, *, answer: 0.0, "'answer'"),
        (lambda text, answer, **kwargs: 0.0, "'answer'"),
        (functools.partial(scored, reference="x"), "'prefix'"),
        (Scorer.method, "'self'"),
    ],
)
def test_a_required_argument_of_another_name_is_refused(function, names):
    with pytest.raises(TypeError, match=rf"requires {names}: .* text .*, prompt, reference, example, dialogue"):
        as_reward(function)
    with pytest.raises(TypeError, match=f"requires {names}"):
        single(reward=function)


@pytest.mark.parametrize("function", [lambda: 0.0, lambda scale=2: scale, lambda *, scale=2: scale])
def test_a_function_that_asks_for_nothing_is_refused(function):
    with pytest.raises(TypeError, match=r"asks for nothing: .* gets its arguments by name: text"):
        as_reward(function)


def test_the_class_of_a_reward_is_refused():
    with pytest.raises(TypeError, match=r"write Keywords\(\.\.\.\), not the class Keywords"):
        as_reward(Keywords)


def paid_at_the_end(function, example, text, *more, **options):
    env = single(reward=function, prompts=[example], max_new_tokens=9, max_context_tokens=40, **options)
    env.reset(seed=0)
    return write(env, text, *(more or (EOS,)))[1]


def test_the_reference_in_an_env():
    def right(text, reference):
        return float(text == reference)

    assert paid_at_the_end(right, EXAMPLE, "4") == 1.0
    assert paid_at_the_end(right, EXAMPLE, "5") == 0.0


def test_the_dialogue_in_an_env():
    seen = []

    def grows(text, dialogue):
        seen.append(dialogue)
        return float(len(dialogue.completions))

    talker = Talker((Feedback("more", 1.0), Feedback("bye", 2.0, True)))
    env = single(reward=grows, prompts=["A"], user=talker, max_turns=3, max_context_tokens=40)
    env.reset(seed=0)
    assert write(env, "b", END)[1] == 1.0
    assert write(env, "c", END)[1] == 2.0
    persona = seen[0].persona
    turns = ("b", "c"), (Feedback("more", 1.0), Feedback("bye", 2.0, True))
    assert seen == [Dialogue(Example("A"), persona, *(part[:n] for part in turns)) for n in (1, 2)]


def test_there_is_no_dialogue_where_nobody_answers():
    assert paid_at_the_end(lambda dialogue: float(dialogue is None), EXAMPLE, "x") == 1.0


def test_an_unfinished_turn_is_the_last_of_its_dialogue():
    """Shaping asks a reward about each token's turn so far, before anybody has answered it."""
    seen = []

    def spy(text, dialogue):
        seen.append((text, dialogue.completions, len(dialogue.feedback)))
        return 0.0

    env = single(reward=Shaping(spy), user=Talker(), max_turns=2, max_context_tokens=40)
    env.reset(seed=0)
    write(env, "b", END)
    write(env, "cd")
    assert seen == [("b", ("b",), 0), ("c", ("b", "c"), 1), ("cd", ("b", "cd"), 1)]


def test_check_reward_gives_arguments_by_name():
    check_reward(lambda text, *, prompt, reference=None: float(len(text) > len(prompt)), steps=20)


def test_a_step_without_an_ended_turn_has_dialogues_of_no_row():
    seen: list[Transition] = []

    class Spy(Reward):
        per_token = True

        def __call__(self, transition):
            seen.append(transition)
            return torch.zeros(1)

    env = single(reward=Spy(), user=Talker(), max_turns=2)
    env.reset(seed=0)
    write(env, "b", END)
    assert [len(t.dialogues) for t in seen] == [0, 1]
    assert [t.talks[0].completions for t in seen] == [(), ()]
