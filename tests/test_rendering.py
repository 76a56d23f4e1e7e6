"""Pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env.rendering import BACKGROUND, CHOSEN, GIVEN, HEIGHT, WIDTH
from tests.envs import BOS, EOS, batch, single, write


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
    assert capsys.readouterr().out == "A\n[2 tokens, return +0.00]\nA\x1b[34mb\x1b[0m\n[3 tokens, return +0.00]\n"


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
    assert BACKGROUND in colours(frame) and (len(written) != 2 or {CHOSEN, GIVEN} <= colours(frame))


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
