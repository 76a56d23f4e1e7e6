"""`dyngen record`, and training from what it has written."""

import json

import pytest

from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.cli.main import main
from dyngen_agents.data.episodes import read_episodes
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.folder import find_run
from dyngen_agents.training.train import train


def answer(capsys, *arguments) -> dict:
    assert main([*map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_episodes_of_a_model_and_of_what_learned_from_them(tiny_model, prompts_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    play = ["--model", tiny_model, "--prompts", prompts_file, "--max-new-tokens", 6, "--reward", "length(3)"]
    first = answer(capsys, "record", "--env", "dyngen/Generate-v0", *play, "--episodes", 10, "--out", "D")
    episodes = read_episodes(tmp_path / "D" / "episodes.jsonl")
    assert first["episodes"] == len({episode.example for episode in episodes}) == 10
    assert first["tokens"] == sum(len(episode.tokens.rewards) for episode in episodes)
    paid = [sum(episode.tokens.rewards) for episode in episodes]
    assert first["reward_mean"] == pytest.approx(sum(paid) / 10)

    options = ["--updates", 2, "--episodes", 8, "--eval-episodes", 0]
    run = answer(capsys, "train", "behaviour-cloning", "--data", "D", *options)["run"]
    settings = open_checkpoint(find_run(run)).record["train"]
    assert (settings["env"], settings["max_new_tokens"], settings["reward"]) == ("dyngen/Generate-v0", 6, "length(3)")
    assert (settings["model"], settings["data"]) == (str(tiny_model), str(tmp_path / "D"))

    again = answer(capsys, "record", "--policy", "latest", "--episodes", 3, "--seed", 1, "--out", "E")
    recording = json.loads((tmp_path / "E" / "recording.json").read_text())
    assert again["episodes"] == 3 and recording["policy"] == "latest"
    assert recording["options"]["max_new_tokens"] == 6  # plays where it was trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "--out", "D", "--episodes", "0"], "episodes is 0, expected at least 1"),
        (["record", "--out", ".", "--policy", "latest"], "no run 'latest'"),
        (["train", "ppo", "--data", "D"], "is not there"),
        (["train", "behaviour-cloning", "--data", "nonesuch"], "data 'nonesuch' is not there: dyngen record"),
    ],
)
def test_wrong_input(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_those_who_play_themselves_refuse_data(tiny_config, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(ValueError, match=r"grpo learns from episodes of its own, .* or train ppo or behaviour-cloning"):
        train(tiny_config(data="mine.jsonl"), GRPOConfig())
    with pytest.raises(ValueError, match=r"of 1 of 1 recorded episodes nobody knows how likely their tokens were"):
        train(tiny_config(data="mine.jsonl"))
