"""Rewards, their algebra, and what an episode says it paid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyngen_env.rewards import (
    IllegalToken,
    Keywords,
    Length,
    Repetition,
    Reward,
    TextReward,
    as_reward,
    make_reward,
    pay_turns,
)
from dyngen_env.scoring.sentiment import vader
from tests.support.envs import BOS, EOS, batch, random_actions, single, write


def shout(text):
    return float(text.isupper())


def echo(text, prompt):
    return float(text == prompt)


def right(text, example):
    return float(text == example.reference)


class Vowels(Reward):
    """Pays for each vowel when it is written."""

    name, per_token = "vowels", True

    def __call__(self, transition):
        return torch.isin(transition.actions, torch.tensor([97, 101, 105, 111, 117])).float()


def episode(reward, text, *more, **kwargs):
    """The rewards of the steps that write a text, and the last info."""
    env = single(**{"prompts": ["A"], "max_new_tokens": 30, "max_context_tokens": 40, **kwargs}, reward=reward)
    env.reset(seed=0)
    steps = [env.step(token) for token in [*text.encode(), *(more or (EOS,))]]
    assert all(step[2] == (step is steps[-1]) for step in steps)
    return [step[1] for step in steps], steps[-1][-1]


def paid(reward, text, **kwargs):
    """The return of an episode that writes a text."""
    return pytest.approx(sum(episode(reward, text, **kwargs)[0]))


@pytest.mark.parametrize(
    ("reward", "text", "expected"),
    [
        ("sentiment", "great fun", vader("great fun")),
        ("length(4)", "a b", 0.5),
        ("length(1)", "a b c d e", -1.0),
        ("length(2.5)", "a b", 0.8),
        ("length()", "", 0.0),
        ("keywords('Plot', 'bad acting')", "the plot, the bad acting", 1.0),
        ("keywords('plot')", "plots", 0.0),
        ("keywords('a', 'z')", "A", 0.5),
        ("repetition(1)", "a a A b", 0.5),
        ("repetition(n=2)", "a b a b", 1 / 3),
        ("repetition", "one", 0.0),
        ("2 * (length(2) - 0.25) / 4 + 1", "a", 1.125),
        ("-length(2)", "a", -0.5),
        ("1 - length(2)", "a", 0.5),
        ("length(2) * length(4) * 2", "a", 0.25),
        ("(length(2) + 1) * (length(4) - 1)", "a", 1.5 * -0.75),
        (lambda text: len(text), "abc", 3.0),
        (len, "abc", 3.0),
        (shout, "ABC", 1.0),
        (echo, "A", 1.0),
        (2, "x", 2.0),
        (Length(2) - 0.5 * Repetition(1) + shout, "a", 0.5),
        (0.5 - TextReward(len, name="size"), "abc", -2.5),
        (TextReward(len) * Length(4), "a b", 1.5),
        (shout * Length(2), "A", 0.5),
    ],
)
def test_what_a_reward_pays(reward, text, expected):
    assert paid(reward, text) == expected


def test_text_is_paid_at_the_end_and_tokens_at_once():
    rewards, info = episode(Vowels() - 0.5 * Length(1), "ab e")
    assert rewards == [1.0, 0.0, 0.0, 1.0, pytest.approx(0.0)]
    assert info["reward_terms"] == {"vowels": 2.0, "length": 0.0}


def test_a_reward_can_read_the_reference(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "A", "reference": "b"}\n')
    assert paid(right, "b", prompts=str(file)) == 1.0
    assert paid(right, "c", prompts=str(file)) == 0.0


@pytest.mark.parametrize(
    ("reward", "names"),
    [
        ("length + 0.1*repetition", ["length", "repetition"]),
        ("length(2) + length(3) - length(4)", ["length", "length_2", "length_3"]),
        ("length * repetition", ["length*repetition"]),
        ("(length + repetition) * length", ["(length + repetition)*length"]),
        ("length + 1", ["length", "constant"]),
        (lambda text: 0.0, ["lambda"]),
        (len, ["len"]),
        (Length() + TextReward(len, name="length_2") + Length(), ["length", "length_2", "length_3"]),
        ("sentiment - 5*illegal", ["sentiment", "illegal"]),
    ],
)
def test_names_of_terms(reward, names):
    assert list(episode(reward, "x")[1]["reward_terms"]) == names


def test_no_term_is_mistaken_for_a_mask_or_for_the_price_of_illegal_tokens():
    def _private(text):
        return 1.0

    def illegal(text):
        return 2.0

    reward = as_reward(_private) + illegal
    assert episode(reward, "x")[1]["reward_terms"] == {"private": 1.0, "illegal": 2.0}
    terms = episode(reward, "x", BOS)[1]["reward_terms"]
    assert terms == {"private": 1.0, "illegal": 2.0, "illegal_2": -1.0}


@pytest.mark.parametrize(("reward", "price"), [("0", -1.0), ("0 - 5*illegal", -5.0), (0 * IllegalToken(), 0.0)])
def test_the_price_of_an_illegal_token(reward, price):
    rewards, info = episode(reward, "x", BOS)
    assert sum(rewards) == price and info["reward_terms"]["illegal"] == price


EXPRESSIONS = st.recursive(
    st.sampled_from(["length(2)", "repetition(1)", "keywords('a')", "0.5", "2", "illegal"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner) | st.builds("-{}".format, inner),
    max_leaves=6,
)


@given(expression=EXPRESSIONS, seed=st.integers(0, 1000))
def test_the_terms_add_up_to_the_return(expression, seed):
    env, rng = batch(3, reward=expression, autoreset_mode="same_step"), np.random.default_rng(seed)
    env.reset(seed=seed)
    returns, ends = np.zeros(3), 0
    for _ in range(12):
        _, rewards, terminated, truncated, infos = env.step(random_actions(rng, 3))
        returns += rewards
        for row in np.flatnonzero(terminated | truncated):
            terms = infos["final_info"]["reward_terms"]
            total = sum(terms[name][row] for name in terms if not name.startswith("_"))
            assert total == pytest.approx(returns[row])
            returns[row] = 0
            ends += 1
    assert ends


@given(expression=EXPRESSIONS)
def test_an_expression_means_what_python_means(expression):
    """On a text where each reward is a known number."""
    known = dict(length=lambda n: 1 - abs(3 - n) / n, repetition=lambda n: 1 / 3, keywords=lambda w: 1.0, illegal=0.0)
    assert paid(expression, "a b a") == eval(expression, {}, known)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            "sentimnt",
            r"unknown reward 'sentimnt' in 'sentimnt': expected one of .*foreign, human, human_rating, illegal, ",
        ),
        ("length + nice('x')", "unknown reward 'nice'"),
        ("length +", "is not an expression"),
        ("", "is not an expression"),
        ("length(2", "is not an expression"),
        ("length ** 2", "cannot read 'length \\*\\* 2'"),
        ("length / repetition", "cannot read"),
        ("length / 0", "cannot read"),
        ("length('x')", "wrong arguments for length"),
        ("length(target=3, n=2)", "wrong arguments for length"),
        ("length(0)", "at least 1"),
        ("repetition(1.5)", "at least 1"),
        ("keywords()", "needs words"),
        ("keywords(plot)", "must be literals"),
        ("__import__('os')", "unknown reward '__import__'"),
        ("length.name", "cannot read"),
        ("'length'", "cannot read"),
        ("1e999 * length", "cannot read"),
        ("True", "cannot read"),
    ],
)
def test_a_wrong_expression_is_named(reward, message):
    with pytest.raises(ValueError, match=message):
        make_reward(reward)


@pytest.mark.parametrize("reward", [None, [], {"length": 1}, True])
def test_what_is_no_reward_is_refused(reward):
    with pytest.raises(TypeError, match="a reward is"):
        make_reward(reward)


class Wrong(Reward):
    name = "wrong"

    def __init__(self, value):
        self.value = value

    def __call__(self, transition):
        return self.value


class Turns(Wrong):
    name = "turns"

    def __call__(self, transition):
        return pay_turns(transition, [self.value] * len(transition.rows))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda text: float("nan"), "reward 'lambda' returned nan for 'ab': expected a finite number"),
        (lambda text: None, "reward 'lambda' returned None"),
        (lambda text: "good", "returned 'good'"),
        (lambda text: "1", "returned '1'"),
        (lambda text: math.inf, "returned inf"),
        (lambda text: 1e39, r"returned 1e\+39 for 'ab': expected a finite number of at most 3.4e38"),
        (lambda text: -1e39, "returned -1e"),
        (lambda text: 10**400, r"returned 100000.*\(401 characters\) for 'ab': expected a finite number"),
        (lambda text: 10**5000, "returned a int too long to show"),
        (lambda text: 1j, "returned 1j"),
        (lambda text: np.complex128(1), "returned np.complex128"),
        (lambda text: np.float64("inf"), "returned np.float64"),
        (lambda text: np.float64(1e39), "returned np.float64"),
        (lambda text: np.array([1.0, 2.0]), r"returned array\(\[1., 2.\]\)"),
        (lambda text: torch.tensor([1.0, 2.0]), "returned tensor"),
        (lambda text: torch.tensor(math.nan), "returned tensor"),
        (lambda text: [1.0], r"returned \[1.0\]"),
        (lambda text: math.exp(1000), "reward 'lambda' fails with an overflow"),
        (Wrong(None), "reward 'wrong' returned None: expected a finite number for each row, as a float tensor"),
        (Wrong(1.0), "reward 'wrong' returned 1.0"),
        (Wrong(np.zeros(1)), r"reward 'wrong' returned array\(\[0.\]\)"),
        (Wrong(torch.zeros(1, 1)), r"of shape \(1, 1\): expected a finite number for each row.* of shape \(1,\)"),
        (Wrong(torch.zeros(1, dtype=torch.complex64)), r"returned torch.complex64 of shape \(1,\): expected a finite"),
        (Wrong(torch.tensor([math.nan])), "reward 'wrong' pays nan in row 0: expected a finite number"),
        (Wrong(torch.tensor([-math.inf])), "reward 'wrong' pays -inf"),
        (Wrong(torch.tensor([1e39], dtype=torch.float64)), r"reward 'wrong' pays 1e\+39 in row 0"),
        (1e30 * Wrong(torch.tensor([-1e30])), "reward 'wrong' pays -inf in row 0"),
        (Wrong(torch.tensor([1e30])) * Wrong(torch.tensor([1e30])), r"reward 'wrong\*wrong' pays inf in row 0"),
        (Wrong(torch.tensor([3e38])) + Wrong(torch.tensor([3e38])), r"'wrong \+ wrong' pays inf in row 0: expected"),
        (Turns(10**400), "reward 'turns' pays 10000.* for a turn: expected a finite number"),
        (Turns(None), "reward 'turns' pays None for a turn"),
        (Turns("x"), "reward 'turns' pays 'x' for a turn"),
        (Turns(math.nan), "reward 'turns' pays nan for a turn"),
    ],
)
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_a_reward_that_is_no_number_is_named_and_loses_nothing(output, reward, message):
    wrong, working = as_reward(reward), {"is": False}

    class Sometimes(Reward):
        name = wrong.name

        def __call__(self, transition):
            return Length(2)(transition) if working["is"] else wrong(transition)

    env = single(reward=Length(2) + Sometimes(), output=output)
    env.reset(seed=0)
    write(env, "ab")
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            env.step(EOS)
    working["is"] = True
    *_, info = last = env.step(EOS)
    assert info["text"] == "ab" and last[1] == 1.0 and info["reward_terms"]["length"] == 0.5


def test_terms_that_are_finite_but_not_their_sum():
    huge = Wrong(torch.tensor([3e38], dtype=torch.float64))
    env = single(reward=huge + huge)
    env.reset(seed=0)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"wrong \+ wrong.* pays 6e\+38 in row 0: expected a finite number"):
            env.step(EOS)


@pytest.mark.parametrize("number", [1e39, -math.inf, math.nan, 10**400])
def test_constants_that_cannot_be_paid_are_refused_at_construction(number):
    for make in (lambda: as_reward(number), lambda: number * Length(2), lambda: Length(2) + number):
        with pytest.raises(ValueError, match="expected a finite number"):
            make()


def test_what_functions_may_return():
    for value in (1, True, np.float32(1), np.array(1.0), np.array([1.0]), torch.tensor(1.0)):
        assert paid(lambda text, v=value: v, "x") == 1.0


def test_fluency_needs_a_model():
    with pytest.raises(ValueError, match=r"fluency.*needs a language model.*fluency\('reviews-lm'\)"):
        single(reward="fluency")


def test_constants_keep_zero_rows_at_zero():
    env = batch(2, reward="1")
    env.reset(seed=0)
    assert env.step([97, EOS])[1].tolist() == [0.0, 1.0]
    assert env.step([97, EOS])[1].tolist() == [0.0, 0.0]  # a reset, paid nothing


def test_keywords_take_words():
    assert Keywords("a", "b").words == ("a", "b")


def test_a_function_that_fails_is_named_with_its_text():
    env = single(reward=lambda text: 1 / 0, prompts=["a"], max_new_tokens=1)
    env.reset(seed=0)
    with pytest.raises(ZeroDivisionError) as caught:
        env.step(98)
    assert any("in the reward function 'lambda', which was to score 'b'" in note for note in caught.value.__notes__)
