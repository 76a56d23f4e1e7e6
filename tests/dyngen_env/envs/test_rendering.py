"""Pictures."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from dyngen_env import Feedback
from dyngen_env.envs.rendering import BACKGROUND, CHOSEN, DISPLEASED, GIVEN, HEIGHT, PLEASED, WIDTH
from tests.support.envs import BOS, END, EOS, Talker, batch, single, write

BLUE, GREEN, RED, YELLOW, PLAIN = "\x1b[34m", "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def colours(frame):
    return {tuple(c) for c in frame.reshape(-1, 3)}


def test_ansi():
    env = single(render_mode="ansi", prompts=["A"], reward="length(1)")
    assert env.render() is None  # before the first reset
    env.reset(seed=0)
    assert env.render() == "A\n[2 tokens, return +0.00]"
    write(env, "b", EOS)
    assert env.render() == "A\x1b[34mb\x1b[0m\n[4 tokens, return +1.00, ended: stop]"


def test_what_an_agent_writes_cannot_command_the_terminal():
    env = single(render_mode="ansi", prompts=["A\x1b[2J"])
    env.reset(seed=0)
    write(env, b"\x07\r\n\t\xff")
    assert env.render().split("\n[")[0] == "A\ufffd[2J\x1b[34m\ufffd \n \ufffd\x1b[0m"


def test_human_prints_each_step_and_returns_nothing(capsys):
    env = single(render_mode="human", prompts=["A"])
    env.reset(seed=0)
    assert env.render() is None
    env.step(ord("b"))
    assert capsys.readouterr().out == "A\n[2 tokens, return +0.00]\nAb\n[3 tokens, return +0.00]\n"


def test_without_a_mode_there_is_nothing():
    env = single()
    env.reset(seed=0)
    assert env.render() is None and env.render_mode is None


@pytest.mark.parametrize(
    "written", [b"", b"hi", b"\xff\x00\x1b", b"a\tb\n\nc\r", "漢字".encode(), b"x" * 200, bytes(range(256))]
)
def test_images_of_anything(written):
    env = single(render_mode="rgb_array", prompts=["\tA \n"], max_new_tokens=300, max_context_tokens=400)
    env.reset(seed=0)
    for token in written:
        env.step(token)
    frame = env.render()
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 and frame.flags.writeable
    assert BACKGROUND in colours(frame) and (len(written) != 2 or {CHOSEN.rgb, GIVEN.rgb} <= colours(frame))


def test_a_batch_has_a_frame_for_each_row(capsys):
    ansi, images, human = (batch(2, render_mode=mode, prompts=["A"]) for mode in ("ansi", "rgb_array", "human"))
    for env in (ansi, images, human):
        assert env.render() is None
        env.reset(seed=0)
        env.step(np.array([ord("b"), BOS]))
    assert [frame.splitlines()[-1] for frame in ansi.render()] == [
        "[3 tokens, return +0.00]",
        "[3 tokens, return -1.00, ended: illegal]",
    ]
    frames = images.render()
    assert len(frames) == 2 and not np.array_equal(*frames)
    assert human.render() is None and capsys.readouterr().out.count("tokens") == 2


# ---------------------------------------------------------------- dialogues


def talk(mode, *replies, **kwargs):
    kwargs = dict(prompts=["A"], reward="rating", max_turns=4, max_context_tokens=64) | kwargs
    return single(render_mode=mode, user=Talker(replies), **kwargs)


def test_a_dialogue_is_shown_turn_by_turn():
    replies = Feedback("no", -2.0), Feedback("hm", 0.0), Feedback("more\nplease"), Feedback("thanks", 3.5, "goal")
    env = talk("ansi", *replies)
    env.reset(seed=0)
    assert env.render() == "user: A\nagent: \n[4 tokens, return +0.00]"  # BOS USER A END
    write(env, "hi")
    assert env.render() == f"user: A\nagent: {BLUE}hi{PLAIN}\n[6 tokens, return +0.00]"
    env.step(END)
    first = f"user: A\nagent: {BLUE}hi{PLAIN}\nuser: {RED}(-2) {PLAIN}no\n"
    assert env.render() == f"{first}agent: \n[11 tokens, return -0.50]"  # END, USER n o END
    for text in ("b", "c", "d"):
        write(env, text, END)
    assert env.render() == (
        f"{first}agent: {BLUE}b{PLAIN}\nuser: {YELLOW}(0) {PLAIN}hm\nagent: {BLUE}c{PLAIN}\nuser: more please\n"
        f"agent: {BLUE}d{PLAIN}\nuser: {GREEN}(+3.5) {PLAIN}thanks\n[34 tokens, return +0.38, ended: goal]"
    )


def test_a_turn_that_nobody_answers():
    """An illegal token ends the dialogue unheard; what stood before it is shown."""
    env = talk("ansi", Feedback("no", -2.0))
    env.reset(seed=0)
    write(env, "hi", BOS)
    assert env.render() == f"user: A\nagent: {BLUE}hi{PLAIN}\n[7 tokens, return -1.00, ended: illegal]"


def test_a_user_without_words_still_rates():
    env = talk("ansi", Feedback("", 1.0))
    env.reset(seed=0)
    write(env, "", END)
    assert env.render().split("\nagent: \n[")[0] == f"user: A\nagent: \nuser: {GREEN}(+1) {PLAIN}"


def test_a_batch_of_dialogues_shows_each():
    replies = Feedback("no", -1.0), Feedback("yes", 1.0)
    env = batch(2, render_mode="ansi", prompts=["A"], user=Talker(replies), max_turns=4, max_context_tokens=64)
    env.reset(seed=0)
    env.step(np.array([ord("x"), END]))
    frames = [frame.rsplit("\n", 1)[0] for frame in env.render()]
    assert frames == [f"user: A\nagent: {BLUE}x{PLAIN}", f"user: A\nagent: \nuser: {RED}(-1) {PLAIN}no\nagent: "]


def test_an_image_of_a_dialogue_shows_ratings_in_their_colours():
    env = talk("rgb_array", Feedback("no", -2.0), Feedback("yes", 2.0))
    env.reset(seed=0)
    seen = [colours(env.render())]
    for text in ("a", "b"):
        write(env, text, END)
        seen.append(colours(env.render()))
    assert [(DISPLEASED.rgb in c, PLEASED.rgb in c) for c in seen] == [(False, False), (True, False), (True, True)]


class Terminal(io.StringIO):
    """A terminal as far as rich is concerned; `screen` is what a person would see on it."""

    def isatty(self):
        return True

    def screen(self):
        lines, at = [""], 0
        for part in re.split(r"(\x1b\[\d*(?:;\d+)*[A-Za-z]|\n)", self.getvalue()):
            if part == "\n":
                at += 1
                lines += [""] * (at == len(lines))
            elif part == "\x1b[1A":
                at -= 1
            elif part == "\x1b[2K":
                lines[at] = ""
            elif not part.startswith("\x1b"):
                lines[at] += part
        return lines


def test_a_terminal_shows_one_frame_that_grows_and_keeps_the_last_of_an_episode(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    for name, value in dict(TERM="xterm", COLUMNS="20", LINES="30").items():
        monkeypatch.setenv(name, value)
    env = talk("human", Feedback("a longer answer here", -2.0), Feedback("bye", 3.0, True))
    env.reset(seed=0)
    write(env, "hi", END)
    episode = ["user: A", "agent: hi", "user: (-2) a longer ", "answer here"]
    assert terminal.screen() == [*episode, "agent: ", "[29 tokens, return ", "-0.50]", ""]
    write(env, "ho", END)
    episode += ["agent: ho", "user: (+3) bye", "[32 tokens, return ", "+0.25, ended: user]"]
    assert terminal.screen() == [*episode, ""]
    env.reset(seed=0)
    assert terminal.screen() == [*episode, "user: A", "agent: ", "[4 tokens, return ", "+0.00]", ""]


def test_of_a_frame_that_is_higher_than_the_terminal_the_last_lines_are_shown(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    for name, value in dict(TERM="xterm", COLUMNS="40", LINES="4").items():
        monkeypatch.setenv(name, value)
    env = talk("human", Feedback("no", -2.0))
    env.reset(seed=0)
    write(env, "hi", END)
    assert terminal.screen() == ["user: (-2) no", "agent: ", "[11 tokens, return -0.50]", ""]
