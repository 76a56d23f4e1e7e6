"""Files of recorded episodes: what may stand in a line, and what cannot be read."""

from __future__ import annotations

import json

import pytest
import torch

from dyngen_agents.data.episodes import Episode, EpisodeTokens, read_episodes, recorded, write_episodes
from dyngen_agents.data.trajectories import Trajectories
from dyngen_env import Example, Feedback
from dyngen_env.scoring.said import Answers, answers_from_json

TALK = [
    {"role": "user", "text": "films?"},
    {"role": "agent", "text": "Alien"},
    {"role": "user", "text": "no", "rating": -2.0},
    {"role": "agent", "text": "Up"},
    {"role": "user", "text": "yes!", "rating": 3.0},
]


def reading(tmp_path, *lines):
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), "utf-8")
    return read_episodes(file)


def test_a_line_of_prompt_and_text(tmp_path):
    lines = {"prompt": "2+2=", "text": "4"}, "\n", {"prompt": "a\u2028b", "text": "", "reference": "x", "more": 1}
    assert reading(tmp_path, *lines) == [Episode(Example("2+2="), ("4",)), Episode(Example("a\u2028b", "x"), ("",))]


@pytest.mark.parametrize("shape", ["with the prompt first", "prompt beside", "both"])
def test_a_line_of_a_dialogue(tmp_path, shape):
    line = {"dialogue": TALK if shape != "prompt beside" else TALK[1:], "finish_reason": "goal"}
    line |= {} if shape == "with the prompt first" else {"prompt": "films?"}
    [episode] = reading(tmp_path, line)
    assert episode.example == Example("films?") and episode.completions == ("Alien", "Up") and episode.answered
    assert episode.feedback == (Feedback("no", -2.0), Feedback("yes!", 3.0, "goal"))  # the end says that they got it
    assert episode.dialogue(1).completions == ("Alien",) and episode.dialogue(1).feedback == (Feedback("no", -2.0),)


def test_a_user_who_left(tmp_path):
    [episode] = reading(tmp_path, {"dialogue": TALK, "finish_reason": "user"})
    assert [answer.ends for answer in episode.feedback] == [False, True]


def test_the_last_turn_may_be_unheard(tmp_path):
    [episode] = reading(tmp_path, {"dialogue": TALK[:4], "finish_reason": "context"})
    assert episode.completions == ("Alien", "Up") and episode.feedback == (Feedback("no", -2.0),)


EPISODES = [
    Episode(Example("q", "r", {"level": 2}), ("a\n漢",), finish_reason="stop", policy="trained"),
    Episode(Example("q"), ("a",), (), True, "context"),
    Episode(Example("q"), ("a", "b"), (Feedback("c", 1.5), Feedback("d", None, "goal")), True, "goal"),
    Episode(Example("q"), ("a",), tokens=EpisodeTokens("m", [1, 2], [(1, 2)])),
    Episode(Example("q"), ("a",), tokens=EpisodeTokens("m", [1, 2], [(1, 2)], [0.5], [-1.25]), reward=0.5),
]


@pytest.mark.parametrize("episode", EPISODES)
def test_what_was_written_can_be_read(tmp_path, episode):
    write_episodes(tmp_path / "episodes.jsonl", [episode, episode])
    assert read_episodes(tmp_path / "episodes.jsonl") == [episode, episode]


def test_a_rollout_as_episodes():
    """Row 0 is a dialogue of two turns; row 1 ends by a token of its own."""
    batch = Trajectories(
        tokens=torch.tensor([[5, 6, 7, 8, 9, 4], [5, 6, 4, -1, -1, -1]]),
        completion_mask=torch.tensor([[0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0]]).bool(),
        logprobs=-torch.arange(12.0).view(2, 6) / 10,
        values=torch.zeros(2, 6),
        rewards=torch.tensor([[0, 0, 0.1, 0, 0, 2], [0, 0, 1, 0, 0, 0]]),
        bootstrap=torch.zeros(2),
        groups=torch.arange(2),
        prompts=["films?", "q"],
        texts=["Up", "a"],
        finish_reasons=["user", "stop"],
        dialogues=[TALK, None],
    )
    examples = [Example("films?"), Example("q", "reference")]
    talk, alone = recorded(batch, examples, "m", "trained")
    paid, logprobs = [0.0, 0.1, 2.0], [-0.1, -0.2, -0.5]
    assert talk.tokens == EpisodeTokens("m", [5, 6, 7, 8, 9, 4], [(1, 3), (5, 6)], paid, logprobs)
    assert talk.completions == ("Alien", "Up") and talk.feedback[1] == Feedback("yes!", 3.0, True)
    tokens = EpisodeTokens("m", [5, 6, 4], [(1, 3)], [0.0, 1.0], [-0.7, -0.8])
    assert alone == Episode(Example("q", "reference"), ("a",), (), False, "stop", "trained", tokens)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 1: Expecting .*; expected \{\"prompt\": "),
        ("[1]", "line 1: "),
        ({"prompt": "q"}, "'text' is missing"),
        ({"text": "a"}, "'prompt' is missing"),
        ({"prompt": 3, "text": "a"}, "3 is no text"),
        ({"prompt": "q", "text": None}, "None is no text"),
        ({"prompt": "q", "text": "a", "finish_reason": "tired"}, "finish_reason 'tired': expected one of context, "),
        ({"dialogue": []}, r"roles are \[\]"),
        ({"dialogue": TALK[:1]}, r"roles are \['user'\]: expected agent and user in turn"),
        ({"prompt": "q", "dialogue": [TALK[1], TALK[3]]}, r"roles are \['agent', 'agent'\]"),
        ({"prompt": "q", "text": "a", "tokens": [1, 2]}, "'turns' is missing"),
        ({"prompt": "q", "text": "a", "model": "m", "tokens": [1, 2], "turns": [[0, 2]]}, "expected a prompt"),
        (
            {"prompt": "q", "text": "a", "model": "m", "tokens": [1, 2], "turns": [[1, 1], [1, 2]]},
            "of 1 turns, in order",
        ),
        (
            {"prompt": "q", "text": "a", "model": "m", "tokens": [1, 2], "turns": [[1, 2]], "logprobs": [0, 1]},
            "2 logprobs for 1 tokens",
        ),
    ],
)
def test_a_line_that_is_no_episode_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        reading(tmp_path, line)


def test_a_file_without_episodes(tmp_path):
    with pytest.raises(ValueError, match="holds no episodes"):
        reading(tmp_path, "\n")
    with pytest.raises(FileNotFoundError, match="no file of episodes"):
        read_episodes(tmp_path / "other.jsonl")


def test_facts_that_json_cannot_hold(tmp_path):
    """A dataclass becomes an object, which the reward that knows it reads again; anything else is left out."""
    answers = Answers((("big", "dog"),), frozenset({"cat", "ant"}), frozenset({"no"}))
    write_episodes(tmp_path / "e", [Episode(Example("q", facts=facts), ("a",)) for facts in (answers, object())])
    known, unknown = read_episodes(tmp_path / "e")
    assert known.example.facts == {"phrases": [["big", "dog"]], "foreign": ["ant", "cat"], "wrong": ["no"]}
    assert answers_from_json(**known.example.facts) == answers
    assert unknown.example.facts is None
