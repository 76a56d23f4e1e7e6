"""A judge behind an endpoint, tried against a local server: scores, cache, retries, errors, what it is shown."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from dyngen_env import Dialogue, Example, Feedback
from dyngen_env.rewards import Judge, make_reward
from dyngen_env.scoring.judge.answers import Answers, key_of
from dyngen_env.scoring.judge.endpoint import Endpoint, EndpointFailed
from dyngen_env.scoring.judge.question import messages_about, score_in
from dyngen_env.testing import check_reward
from tests.support.envs import END, EOS, Talker, batch, single, write
from tests.support.judge_server import judge_server

RUBRIC = "Is it short?"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DYNGEN_JUDGE_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache/dyngen/judge.sqlite"


def by_length(completion):
    """A judge who counts characters."""
    return f"It has {len(completion)} characters.\nScore: {len(completion)}"


class InTurn:
    """Says one thing after the other, and the last one from then on."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), 0

    def __call__(self, completion):
        self.asked += 1
        return self.replies[min(self.asked, len(self.replies)) - 1]


def paid(reward, text="abc", **options):
    env = single(reward=reward, prompts=["A"], max_new_tokens=9, max_context_tokens=40, **options)
    env.reset(seed=0)
    return write(env, text, EOS)[1]


# ---------------------------------------------------------------- the question and the number in the answer


def test_the_judge_is_shown_rubric_prompt_reference_and_completion():
    system, user = messages_about("5", Example("2+2=", "4"), None, "Is it right?", (1, 5))
    assert "from 1 (worst) to 5 (best)" in system["content"] and system["role"] == "system"
    assert user == {
        "role": "user",
        "content": "<rubric>\nIs it right?\n</rubric>\n\n<prompt>\n2+2=\n</prompt>\n\n"
        "<reference_answer>\n4\n</reference_answer>\n\n<completion>\n5\n</completion>",
    }


def test_the_judge_is_shown_all_turns_of_a_dialogue():
    answers = Feedback("more", 1.0), Feedback("thanks", 2.0)
    talk = Dialogue(Example("films?"), None, ("Alien", "Up"), answers)
    _, user = messages_about("Up", Example("films?"), talk, RUBRIC, (0, 10))
    assert "<prompt>\nUser: films?\nAssistant: Alien\nUser: more\n</prompt>" in user["content"]
    assert user["content"].endswith("<completion>\nUp\n</completion>") and "thanks" not in user["content"]


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Score: 7", 7.0),
        ("It could score 2, but no. Score: 7", 7.0),
        ("**Score:** 7.5/10", 7.5),
        ("score = 0", 0.0),
        ("SCORE\n10", 10.0),
        (" 8 ", 8.0),
        ("Score: 11", None),
        ("Score: -1", None),
        ("The score is 7", None),
        ("I would say 7.", None),
        ("", None),
        ("Score: high", None),
    ],
)
def test_the_number_in_an_answer(answer, score):
    assert score_in(answer, (0, 10)) == score


# ---------------------------------------------------------------- what is paid


def test_a_score_is_paid_on_a_scale_from_0_to_1():
    with judge_server(by_length) as server:
        assert paid(Judge(server.url, RUBRIC), "abc") == 0.3
        assert paid(Judge(server.url, RUBRIC, scale=(-5, 5)), "abc") == 0.8
        [first, second] = server.requests
    assert first["model"] == "tiny-judge" and first["temperature"] == 0 and first["max_tokens"] == 512
    assert "from -5 (worst) to 5" in second["messages"][0]["content"]


def test_in_an_expression_with_others():
    with judge_server(by_length) as server:
        expression = (
            f"length(1) + 0.5*judge('{server.url}', rubric='Is it short?', name='short') - judge('{server.url}', '?')"
        )
        env = single(reward=expression, prompts=["A"], max_new_tokens=9)
        env.reset(seed=0)
        *_, info = write(env, "abcd", EOS)
    assert info["reward_terms"] == {"length": 1.0, "short": 0.2, "judge": -0.4}


def test_each_turn_of_a_dialogue_is_judged():
    with judge_server(by_length) as server:
        env = single(reward=Judge(server.url, RUBRIC), prompts=["A"], user=Talker(), max_turns=2, max_context_tokens=40)
        env.reset(seed=0)
        assert write(env, "ab", END)[1] == 0.2
        assert write(env, "a", END)[1] == 0.1
    assert "User: A\nAssistant: ab\nUser: ok" in server.requests[1]["messages"][1]["content"]


def test_a_judge_is_a_function_of_the_text():
    with judge_server(lambda completion: f"Score: {len(completion) % 10}") as server:
        check_reward(Judge(server.url, RUBRIC), steps=15)


def test_a_judge_travels_to_worker_processes():
    with judge_server(by_length) as server:
        judge = Judge(server.url, RUBRIC)
        paid(judge)
        assert paid(pickle.loads(pickle.dumps(judge)), "ab") == 0.2


# ---------------------------------------------------------------- the cache, many at a time


def test_nothing_is_asked_twice(own_cache):
    with judge_server(by_length) as server:
        for _ in range(2):
            env = batch(4, reward=Judge(server.url, RUBRIC), prompts=["A"], autoreset_mode="same_step")
            env.reset(seed=0)
            env.step([97, 97, 98, 98])
            assert env.step([EOS, EOS, EOS, 99])[1].tolist() == [0.1, 0.1, 0.1, 0.0]
        assert sorted(server.graded) == ["a", "b"] and own_cache.is_file()
        paid(Judge(server.url, "Is it long?"), "a")
        paid(Judge(server.url, RUBRIC, model="other"), "a")
        paid(Judge(server.url, RUBRIC, options={"seed": 1}), "a")
        assert sorted(server.graded) == ["a", "a", "a", "a", "b"]


def test_the_cache_may_be_elsewhere(tmp_path, own_cache):
    with judge_server(by_length) as server:
        for _ in range(2):
            assert paid(Judge(server.url, RUBRIC, cache=tmp_path / "mine/answers.sqlite")) == 0.3
    assert len(server.requests) == 1 and not own_cache.exists()
    request = server.requests[0]
    kept = Answers(tmp_path / "mine/answers.sqlite").known([key_of(request), key_of(request | {"model": "other"})])
    assert kept == {key_of(request): by_length("abc")}


def test_requests_are_made_side_by_side_but_no_more_than_allowed():
    active, most, lock, all_in = 0, 0, threading.Lock(), threading.Event()

    def slow(completion):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
            if active == 3:
                all_in.set()
        all_in.wait(5)  # nobody is answered before three are asked
        time.sleep(0.02)
        with lock:
            active -= 1
        return "Score: 5"

    with judge_server(slow) as server:
        env = batch(8, reward=Judge(server.url, RUBRIC, concurrency=3), autoreset_mode="same_step")
        env.reset(seed=0)
        env.step([97 + i for i in range(8)])
        assert env.step([EOS] * 8)[1].tolist() == [0.5] * 8
    assert most == 3 and len(server.requests) == 8


# ---------------------------------------------------------------- when it fails


@pytest.mark.parametrize(
    "failure",
    [(429, {"error": "slow down"}, {"Retry-After": "0"}), (503, "starting"), (500, {"error": "oops"}), (408, "")],
)
def test_a_server_that_fails_at_first_is_asked_again(failure, caplog):
    with judge_server(InTurn(failure, failure, "Score: 4")) as server:
        assert paid(Judge(server.url, RUBRIC, wait=0.01)) == 0.4
    assert len(server.requests) == 3 and f"status {failure[0]}" in caplog.text


def test_a_server_says_how_long_to_wait(monkeypatch):
    waited = []
    monkeypatch.setattr("dyngen_env.scoring.judge.endpoint.time.sleep", waited.append)
    busy = [(429, "", {"Retry-After": after}) for after in ("3", "500", "Wed, 21 Oct 2026 07:28:00 GMT")]
    with judge_server(InTurn(*busy, (500, ""), "Score: 4")) as server:
        assert paid(Judge(server.url, RUBRIC, wait=0.5)) == 0.4
    assert waited == [3.0, 60.0, 0.5 * 4, 0.5 * 8]


def test_a_server_that_is_too_slow_is_asked_again():
    slow = threading.Event()

    def at_first_slow(completion):
        if not slow.is_set():
            slow.set()
            time.sleep(0.6)
        return "Score: 4"

    with judge_server(at_first_slow) as server:
        assert paid(Judge(server.url, RUBRIC, timeout=0.3, wait=0.01)) == 0.4


@pytest.mark.parametrize(
    ("reply", "message", "times"),
    [
        ((429, {"error": {"message": "quota"}}), r"asked 3 times and said '\{\"error\": .*quota.*', status 429", 3),
        ((401, {"error": "bad key"}), r"asked once and said .*bad key.*, status 401", 1),
        ((404, "no such model"), "asked once and said 'no such model', status 404", 1),
        ((200, "<html>hello</html>"), "asked once and said '<html>hello</html>', which is no JSON", 1),
        ((200, {"choices": []}), r"gave no chat completion but '\{\"choices\": \[\]\}'", 1),
        ((200, {"choices": [{"message": {"content": None}}]}), "gave no chat completion", 1),
        ((200, [1, 2]), "gave no chat completion", 1),
    ],
)
def test_a_failed_judge_is_named_and_the_step_changes_nothing(reply, message, times):
    replies = InTurn(*[reply] * times, "Score: 4")
    with judge_server(replies) as server:
        env = single(reward=Judge(server.url, RUBRIC, retries=2, wait=0.01), prompts=["A"])
        env.reset(seed=0)
        write(env, "ab")
        with pytest.raises(EndpointFailed, match=rf"{server.url}.*{message}"):
            env.step(EOS)
        assert len(server.requests) == times
        *_, info = last = env.step(EOS)
    assert last[1] == 0.4 and info["text"] == "ab"


def test_a_server_that_is_not_there():
    with judge_server(by_length) as server:
        gone = server.url
    with pytest.raises(EndpointFailed, match=rf"{gone}/models was asked 2 times and said .*refused"):
        paid(Judge(gone, RUBRIC, retries=1, wait=0.01))


def test_what_was_answered_before_a_failure_is_kept():
    def fails_for_b(completion):
        return (400, "no b") if completion == "b" else "Score: 5"

    with judge_server(fails_for_b) as server:
        env = batch(3, reward=Judge(server.url, RUBRIC, concurrency=1), autoreset_mode="same_step")
        env.reset(seed=0)
        env.step([97, 98, 99])
        with pytest.raises(EndpointFailed, match="no b"):
            env.step([EOS] * 3)
        assert server.graded[:2] == ["a", "b"]
        server.answer = by_length
        assert env.step([EOS] * 3)[1].tolist()[:2] == [0.5, 0.1]
        assert server.graded.count("a") == 1 and server.graded.count("b") == 2


def test_an_answer_without_a_score(caplog):
    with judge_server(lambda completion: "What a lovely text!") as server:
        with pytest.raises(
            ValueError, match=rf"judge {server.url} said 'What a lovely text!': expected .* \"Score: N\""
        ):
            paid(Judge(server.url, RUBRIC))
        assert paid(Judge(server.url, RUBRIC, unreadable=0.25)) == 0.25
    assert "it is paid 0.25" in caplog.text and len(server.requests) == 1


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DYNGEN_JUDGE_KEY", "secret")
    monkeypatch.setenv("MY_KEY", "mine")
    with judge_server(by_length) as server:
        paid(Judge(server.url, RUBRIC))
        paid(Judge(server.url, RUBRIC, key_variable="MY_KEY", model="m"))
        paid(Judge(server.url, RUBRIC, key_variable="NOT_SET", model="n"))
    assert server.keys == ["Bearer secret", "Bearer mine", None]
    assert "secret" not in repr(server.requests)


@pytest.mark.parametrize("models", [(), ("a", "b")])
def test_the_model_must_be_clear(models):
    with judge_server(by_length, models) as server:
        with pytest.raises(ValueError, match=rf"{server.url} serves {', '.join(models) or 'no model'}: give .*model="):
            paid(Judge(server.url, RUBRIC))
        assert paid(Judge(server.url, RUBRIC, model="b")) == 0.3


def test_entries_of_the_request_can_be_changed():
    with judge_server(by_length) as server:
        paid(Judge(server.url, RUBRIC, options={"max_tokens": None, "max_completion_tokens": 9}))
    request = server.requests[0]
    assert request["max_completion_tokens"] == 9 and "max_tokens" not in request and request["temperature"] == 0


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("https://a.example/v1/", "https://a.example/v1"),
        ("https://a.example/openai/v2", "https://a.example/openai/v2"),
        ("https://a.example/v1/chat/completions", "https://a.example/v1"),
    ],
)
def test_addresses(given, used):
    assert Endpoint(given).url == used


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'127.0.0.1:8000', rubric='x'", "expected an address such as 'http://127.0.0.1:8000/v1'"),
        ("'file:///etc/passwd', rubric='x'", "expected an address"),
        ("'http://a', rubric=' '", "needs a rubric"),
        ("'http://a'", "wrong arguments for judge"),
        ("'http://a', 'x', scale=(1, 1)", "expected the lowest and the highest score"),
        ("'http://a', 'x', concurrency=0", "concurrency=0: expected at least 1"),
        ("'http://a', 'x', retries=-1", "expected 0 or more"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_reward(f"judge({arguments})")
