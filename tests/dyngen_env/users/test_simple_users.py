"""Users that say what they are given to say: scripted, replayed, muted, at the terminal; and users by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dyngen_env import Example, Feedback
from dyngen_env.testing import check_user
from dyngen_env.users import ConsoleUser, MutedUser, ReplayUser, ScriptedUser, SimulatedUser, make_user
from dyngen_env.users.console import parse_line
from tests.support.envs import END, single, write

SCRIPT = "# a friend\n[-1] shorter, please\n\nand the music?\n[+3] thanks, bye\n"


def dialogue(user, turns=5, prompt="A"):
    """What a user answers, turn by turn, to an agent who says x; and the last info."""
    env = single(user=user, max_turns=turns, max_context_tokens=200, prompts=[prompt])
    env.reset(seed=0)
    for _ in range(turns):
        *_, terminated, _, info = write(env, "x", END)
        if terminated:
            break
    return [t for t in info.get("dialogue", []) if t["role"] == "user"][1:], info


def rngs(count):
    return [np.random.default_rng(i) for i in range(count)]


def said(*answers):
    return [{"role": "user", "text": text, "rating": rating} for text, rating in answers]


def test_a_script_is_said_line_by_line(tmp_path):
    path = tmp_path / "turns.txt"
    path.write_text(SCRIPT, encoding="utf-8")
    heard, info = dialogue(f"scripted({str(path)!r})")
    assert heard == said(("shorter, please", -1.0), ("and the music?", None), ("thanks, bye", 3.0))
    assert info["finish_reason"] == "user"
    check_user(ScriptedUser(path))


def test_a_script_from_python():
    user = ScriptedUser(["more", Feedback("great", 4, "goal")])
    assert dialogue(user)[0] == said(("more", None), ("great", 4)) and dialogue(user)[1]["finish_reason"] == "goal"
    with pytest.raises(ValueError, match="script is empty"):
        ScriptedUser([])


def test_a_recorded_dialogue_is_replayed(tmp_path):
    heard, info = dialogue(ScriptedUser(["more", "[2] ok", "bye"]))
    path = tmp_path / "recorded.jsonl"
    other = [{"role": "user", "text": "B"}, {"role": "agent", "text": ""}, {"role": "user", "text": "no", "rating": -2}]
    path.write_text(json.dumps(info["dialogue"]) + "\n" + json.dumps(other), encoding="utf-8")
    again, info = dialogue(f"replay({str(path)!r})")
    assert again == heard and info["finish_reason"] == "user"
    check_user(ReplayUser(path))
    prompts = ReplayUser(path)
    assert prompts.begin([Example("B")] * 9, rngs(9)) == [1] * 9
    assert set(prompts.begin([Example("unheard of")] * 50, rngs(50))) == {0, 1}


def test_a_recording_without_answers(tmp_path):
    with pytest.raises(ValueError, match="recorded dialogue 0 has no answer"):
        ReplayUser([[{"role": "user", "text": "A"}, {"role": "agent", "text": "b"}]])
    with pytest.raises(ValueError, match="no recorded dialogues"):
        ReplayUser([])
    path = tmp_path / "recorded.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"recorded\.jsonl has no recorded dialogues"):
        ReplayUser(path)
    path.write_text("[]\n{")
    with pytest.raises(ValueError, match=r"recorded\.jsonl, line 2: no JSON"):
        ReplayUser(path)


def test_a_muted_user_rates_and_leaves_alike_and_says_nothing():
    (loud, info), (mute, other) = (dialogue(user, prompt="A film") for user in ("simulated", "muted(simulated)"))
    assert [t["rating"] for t in loud] == [t["rating"] for t in mute] and len(loud) > 1
    assert {t["text"] for t in mute} == {""} and "" not in {t["text"] for t in loud}
    assert info["finish_reason"] == other["finish_reason"]
    check_user(MutedUser(SimulatedUser()))


@pytest.mark.parametrize(
    ("line", "feedback"),
    [
        ("", Feedback()),
        ("  ", Feedback()),
        ("nice", Feedback("nice")),
        ("+2", Feedback("", 2.0)),
        (" -4 no, shorter ", Feedback("no, shorter", -4.0)),
        ("3 stars", Feedback("stars", 3.0)),
        ("30 is too long", Feedback("30 is too long")),
        ("5 is too much", Feedback("5 is too much")),
        ("/leave", Feedback(ends=True)),
        ("/leave me alone", Feedback("me alone", ends=True)),
        ("/leave +3 thanks", Feedback("thanks", 3.0, "goal")),
        ("/leave -1", Feedback("", -1.0, True)),
        ("/leaves", Feedback("/leaves")),
        ("/again", Feedback(revise=True)),
        ("/again -2 shorter, please", Feedback("shorter, please", -2.0, revise=True)),
        ("/again 3", Feedback("", 3.0, revise=True)),
    ],
)
def test_what_a_line_at_the_terminal_means(line, feedback):
    assert parse_line(line) == feedback


def test_a_person_at_the_terminal_answers_is_late_and_leaves():
    lines, shown = ["+1 go on", None, "/leave 2 bye"], []
    user = ConsoleUser(timeout=7.0, read=lambda timeout: lines.pop(0) if timeout == 7.0 else "", write=shown.append)
    heard, info = dialogue(user, prompt="A\x1b[2J")
    assert heard == said(("go on", 1.0), ("", None), ("bye", 2.0)) and info["finish_reason"] == "goal"
    assert "\x1b" not in "".join(shown) and "(no answer)" in "".join(shown)


def test_users_by_name():
    user = make_user("simulated('zh', wants=2, noise=0)")
    assert isinstance(user, SimulatedUser) and (user.wants, user.noise) == (2, 0)
    inner = make_user(" muted( user = simulated(wants=3) ) ")
    assert isinstance(inner, MutedUser) and inner.user.wants == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bob",
            "unknown user 'bob' in 'bob': expected one of console, lm, maze.*around one muted, returning",
        ),
        ("muted(bob)", "unknown user 'bob' in"),
        ("muted(simulated + 1)", r"cannot read 'simulated \+ 1'"),
        ("simulated(silent)", "arguments of simulated must be literals"),
        ("2", "cannot read '2'; expected a name or a call of one"),
        ("simulated(", "is not an expression"),
        ("simulated(wants=1+1)", r"arguments of simulated must be literals, which '1 \+ 1' is not"),
        ("simulated.begin", "cannot read"),
        ("simulated + simulated", "cannot read"),
        ("simulated(moods=2)", "wrong arguments for simulated"),
        ("muted", "wrong arguments for muted"),
        ("__import__('os')", "unknown user '__import__'"),
    ],
)
def test_user_expressions_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        make_user(text)
