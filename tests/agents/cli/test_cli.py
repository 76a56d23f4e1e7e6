"""The command `dyngen`: what it prints where, its exit codes, and what a wrong input or a Ctrl-C looks like."""

import json
import os
import re
import signal
import time
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from transformers import AutoModelForCausalLM

from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.cli.hints import command_line
from dyngen_agents.cli.main import main
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.folder import find_run
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from dyngen_env.lm.distribution import SamplingConfig
from tests.support.forked import forked, needs_fork


@pytest.fixture
def options(tiny_config) -> list[str]:
    """The options of a run that takes a second."""
    config = tiny_config()
    return [
        "--model", config.model, "--prompts", config.prompts, "--max-new-tokens", "6", "--num-envs", "8",
        "--episodes", "8", "--updates", "2", "--eval-episodes", "10",
    ]  # fmt: skip


def only_object(text: str) -> dict:
    """The one JSON object that is all of a program's answer."""
    assert text.count("\n") == 1
    return json.loads(text)


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_train_prints_tables(options, algorithm, capsys):
    assert main(["train", algorithm, *options]) == 0
    shown = capsys.readouterr().out
    for word in ("before", "after", "The film number", "trained", "untrained", "VADER", "distinct-2"):
        assert word in shown


def test_train_json_and_eval_json(options, capsys):
    assert main(["train", "ppo", *options, "--json"]) == 0
    answer = only_object(capsys.readouterr().out)
    assert main(["eval", "latest", "--episodes", "10", "--best-of", "4", "--json"]) == 0
    again = only_object(capsys.readouterr().out)
    assert list(again["untrained"].pop("best_of_n")) == ["1", "2", "4"]
    assert again == answer["evaluation"]
    assert main(["eval", answer["run"], "--episodes", "10", "--best-of", "4"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "perplexity" in shown and "its best of 4" in shown


@pytest.mark.parametrize("name", [["reinforce"], []], ids=["named", "the run's own"])
def test_resume(options, capsys, name):
    assert main(["train", "reinforce", *options, "--max-minutes", "1e-9", "--out", "here", "--json"]) == 0
    assert main(["train", *name, "--resume", "here", "--eval-episodes", "0", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[1] == {"run": "here", "evaluation": None}
    assert open_checkpoint(Path("here")).record["iteration"] == 2


def test_ppo_unless_something_else_is_said(options):
    assert main(["train", *options, "--max-minutes", "1e-9", "--eval-episodes", "0", "--out", "here"]) == 0
    assert open_checkpoint(Path("here")).record["algorithm"] == "ppo"


def test_a_run_of_another_algorithm_cannot_be_resumed(options, capsys):
    assert main(["train", "reinforce", *options, "--max-minutes", "1e-9", "--out", "here"]) == 0
    assert main(["train", "ppo", "--resume", "here"]) == 2
    assert "trained by reinforce, not by ppo" in capsys.readouterr().err


def test_too_few_updates_to_learn_from(options, caplog):
    """The command that it names runs as it stands."""
    assert main(["train", "ppo", *options, "--updates", "9", "--max-minutes", "1e-9", "--eval-episodes", "0"]) == 0
    go_on = re.search(r"0 of 9 updates in 0 seconds: too few to learn from; go on with (.*)", caplog.text).group(1)
    assert go_on == f"{command_line()} train ppo --resume {find_run('latest')}"


def test_quiet(options, capsys):
    assert main(["train", "ppo", *options, "--quiet", "--json"]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    assert only_object(streams.out)["evaluation"]


def test_an_idle_gpu_is_mentioned(options, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main(["train", "ppo", *options, "--max-minutes", "1e-9", "--eval-episodes", "0"]) == 0
    assert "a GPU lies idle: --device cuda runs on it" in caplog.messages
    caplog.clear()
    assert main(["generate", "latest", "--prompt", "x", "--device", "cpu"]) == 0
    assert "idle" not in caplog.text


@pytest.mark.parametrize("decode, n", [("greedy", 1), ("beam", 2), ("sample", 3)])
def test_generate(tiny_config, capsys, decode, n):
    run = train(tiny_config(max_minutes=1e-9))
    arguments = ["generate", str(run), "--prompt", "The film", "A picture", "--decode", decode, "--n", str(n)]
    arguments += ["--max-new-tokens", "5"]
    answers = []
    for _ in range(2):
        assert main([*arguments, "--json"]) == 0
        answers.append(only_object(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert [c["prompt"] for c in answers[0]["completions"]] == ["The film", "A picture"]
    assert [len(c["texts"]) for c in answers[0]["completions"]] == [n, n]
    assert main(arguments) == 0
    assert "The film" in capsys.readouterr().out


@pytest.mark.parametrize("decode, n", [("greedy", 1), ("beam", 4), ("sample", 8)])
def test_generate_keeps_to_the_banned_words_of_the_run(tiny_config, decode, n, capsys):
    """What the model writes without a ban is banned, and then it writes something else."""

    def texts(model: str) -> list[str]:
        arguments = ["generate", model, "--prompt", "The film", "--decode", decode, "--n", str(n), "--json"]
        assert main(arguments) == 0
        return ["The film" + text for text in only_object(capsys.readouterr().out)["completions"][0]["texts"]]

    def words(model: str) -> set[str]:
        return {word.lower() for text in texts(model) for word in re.findall("[A-Za-z0-9_]+", text)} - {"the", "film"}

    free = words("reviews-lm")
    assert free
    run = train(tiny_config(model="reviews-lm", max_minutes=1e-9, banned=tuple(sorted(free))))
    assert not words(str(run)) & free


def test_generate_takes_any_model_and_any_text(tiny_model, capsys):
    assert main(["generate", str(tiny_model), "--prompt", "[bold]a [/nonesuch]"]) == 0
    assert "[bold]a [/nonesuch]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["train", "ppo", "--reward", "sentimnt"],
            "unknown reward 'sentimnt' in 'sentimnt': expected one of brevity, discriminator",
        ),
        (["train", "ppo", "--model", "review-lm"], "Did you mean 'reviews-lm'?"),
        (["train", "ppo", "--env", "dyngen/Nonesuch-v0"], "Nonesuch"),
        (["train", "ppo", "--prompts", "no.txt"], "no prompts file no.txt"),
        (["train", "ppo", "--max-new-tokens", "99999"], "max_new_tokens=99999"),
        (["train", "reinforce", "--group-size", "3"], "no multiple of group_size=3"),
        (["train", "ppo", "--resume", "nonesuch"], "no run 'nonesuch'"),
        (["eval", "nonesuch"], "no run 'nonesuch'"),
        (["generate", "latest", "--prompt", "x"], "no run 'latest'"),
        (["generate", "reviews-lm", "--prompt", "x", "--top-k", "-5"], "top_k is -5, expected an integer"),
        (["generate", "reviews-lm", "--prompt", "x", "--top-p", "nan"], "top_p is nan, expected a number above 0"),
        (["generate", "reviews-lm", "--prompt", "x", "--temperature", "-1"], "temperature is -1.0, expected a number"),
        (["generate", "reviews-lm", "--prompt", "x", "--max-new-tokens", "-3"], "max_new_tokens must be an integer"),
        (["generate", "reviews-lm", "--prompt", "x", "--num-beams", "0"], "num_beams must be an integer"),
        (["generate", "reviews-lm", "--prompt", "x", "--n", "0"], "n must be an integer of at least 1, got 0"),
        (["generate", "reviews-lm", "--prompt", "x", "--device", "tpu9"], "device='tpu9' is no device of torch"),
        (["generate", "reviews-lm", "--prompt", "x", "--device", "cuda:77"], "device='cuda:77' is not available here"),
        (["train", "ppo", "--device", "tpu9"], "device='tpu9' is no device of torch"),
    ],
)
def test_wrong_input_is_one_message(options, arguments, message, capsys):
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments = [*arguments[:2], *options, *arguments[2:]]
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert streams.err.splitlines()[0].startswith("dyngen: ")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "ppo", "--seed", "-1"], "dyngen: seed is -1, expected a whole number of at least 0\n"),
        (["train", "ppo", "--temperature", "0"], "dyngen: temperature is 0, which is greedy"),
        (["train", "ppo", "--temperature", "nan"], "dyngen: temperature is nan, expected a number from"),
        (["train", "ppo", "--threads", "0"], "dyngen: threads is 0, expected a whole number of at least 1 or None\n"),
        (
            ["train", "ppo", "--lr", "1"],
            "unknown option --lr: did you mean --learning-rate? See dyngen train ppo --help-all",
        ),
        (["train", "--lr=1"], "unknown option --lr: did you mean --learning-rate? See dyngen train --help-all"),
        (["train", "ppo", "--updtes", "3"], "unknown option --updtes: did you mean --updates?"),
        (["train", "ppo", "--nonesuch"], "unknown option --nonesuch: See dyngen train ppo --help-all"),
        (["train", "ppo", "--top-k", "5"], "unknown option --top-k"),
        (["train", "pppo"], "unknown algorithm 'pppo': did you mean ppo? Expected one of ppo, reinforce"),
        (["train", "ppo", "--env", "Sentiment-v0"], "did you mean 'dyngen/Sentiment-v0'?"),
        (["eval", "latest", "once"], "'once' is one argument too many: see dyngen eval --help"),
        (["evaluate"], "unknown command 'evaluate': did you mean eval? Expected one of train, eval, frontier, inspect"),
        (["bench", "rewards", "--seeds", "0"], "dyngen: seeds is 0, expected at least 1\n"),
    ],
)
def test_wrong_options(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a checkout has runs/ once somebody has trained
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("arguments", [["train", "ppo", "--seed", "one"], ["generate", "latest"], ["eval"]])
def test_values_that_cannot_be_read(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "command." not in said


def test_no_command_at_all(capsys):
    assert main([]) == 2
    assert "usage: dyngen COMMAND" in capsys.readouterr().err


def test_a_traceback_on_request(capsys):
    assert main(["eval", "nonesuch", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_damage_is_one_message(tiny_config, capsys):
    run = train(tiny_config(max_minutes=1e-9))
    (run / "model.safetensors").write_bytes(b"short")
    for arguments in (
        ["eval", str(run)],
        ["generate", str(run), "--prompt", "x"],
        ["train", "ppo", "--resume", str(run)],
    ):
        assert main(arguments) == 2
        assert "model.safetensors is damaged (5 bytes, expected" in capsys.readouterr().err


def test_a_failing_run_has_exit_code_1(options, capsys):
    assert main(["train", "ppo", *options, "--learning-rate", "1e30", "--minibatch-size", "4"]) == 1
    assert "update 1 of 2 has no finite result" in capsys.readouterr().err


def words_of_help(arguments, capsys) -> str:
    """The help, less its lines and boxes."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("algorithm, kind", [(name, each.Config) for name, each in ALGORITHMS.items()])
def test_all_help_explains_every_option(algorithm, kind, capsys):
    words = words_of_help(["train", algorithm, "--help-all"], capsys)
    names = [f.name.replace("_", "-") for c in (TrainConfig, SamplingConfig, kind) for f in fields(c)]
    for name in names:
        if name not in ("sampling", "top-k", "top-p"):  # a group; not to be trained with
            assert f"--{name}" in words or f"--no-{name}" in words
    assert "--top-k" not in words
    assert "--top-p" not in words
    assert ("Discount per token" in words) == ("gamma" in names)
    assert "what a power cut can cost" in words
    assert "None}" not in words


def test_help_shows_what_people_need_first(capsys):
    words = words_of_help(["train", "ppo", "--help"], capsys)
    shown = set(re.findall(r"--[a-z-]+", words))
    assert {"--model", "--reward", "--learning-rate", "--kl-coef", "--resume", "--quiet"} <= shown
    assert not {"--kl-horizon", "--missing-eos-penalty", "--traceback"} & shown
    hidden = len(set(re.findall(r"--[a-z-]+", words_of_help(["train", "ppo", "--help-all"], capsys))) - shown)
    assert f"--help-all shows {hidden} more options" in words


def test_help_of_train_names_the_algorithms(capsys):
    words = words_of_help(["train", "--help"], capsys)
    for name, algorithm in ALGORITHMS.items():
        assert f"{name}: {algorithm.Config.__doc__.split('.')[0]}" in words


def test_temperature_is_explained_as_it_works(capsys):
    assert "Below 1 is more cautious, above 1 more varied" in words_of_help(["generate", "--help"], capsys)


@needs_fork
def test_ctrl_c_saves_and_says_how_to_go_on(options, tmp_path):
    command = ["train", "ppo", *options, "--updates", "100000", "--save-every", "99999", "--out", "run"]
    with forked(lambda: main(command), tmp_path / "said") as process:
        until = time.monotonic() + 120
        while len(read_metrics(tmp_path / "run")) < 2:
            assert process.is_alive(), (tmp_path / "said").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 128 + signal.SIGINT
    said = (tmp_path / "said").read_text()
    iteration = open_checkpoint(tmp_path / "run").record["iteration"]
    assert iteration == len(read_metrics(tmp_path / "run")) >= 2
    assert "SIGINT: saving the run" in said
    assert f"{100000 - iteration} updates are left. Go on: {command_line()} train ppo --resume run" in said
    assert "Traceback" not in said
    AutoModelForCausalLM.from_pretrained(tmp_path / "run")


def test_a_registered_env_of_ones_own(options, capsys):
    gym.register(
        "tests/Vowels-v0",
        vector_entry_point="dyngen_env.envs.vector_env:TextGenVectorEnv",
        kwargs=dict(reward=lambda text: float(text.count("e")), max_context_tokens=64),
    )
    try:
        assert main(["train", "ppo", *options, "--env", "tests/Vowels-v0"]) == 0
    finally:
        del gym.registry["tests/Vowels-v0"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--env", "CartPole-v1"], "generates no text: expected an env of dyngen"),
        (["--device", "tpu"], "is no device of torch"),
        (["--reward", "rating"], "nobody answers in this env"),
        (["--reward", "mine.py"], "mine.py:function"),
    ],
)
def test_what_newcomers_write_is_explained(options, arguments, message, capsys):
    assert main(["train", "ppo", *options, *arguments]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert message in shown and "Traceback" not in shown
