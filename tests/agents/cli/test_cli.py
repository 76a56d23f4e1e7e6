"""The command `dyngen`: what it prints where, its exit codes, and what a wrong input or a Ctrl-C looks like."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import pytest
from transformers import AutoModelForCausalLM

import dyngen_env
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.cli.main import main
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from dyngen_env.lm.distribution import SamplingConfig

ROOT = Path(dyngen_env.__file__).parents[1]


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
    assert main(["eval", "latest", "--episodes", "10", "--json"]) == 0
    assert only_object(capsys.readouterr().out) == answer["evaluation"]
    assert main(["eval", answer["run"], "--episodes", "10"]) == 0
    assert "perplexity" in capsys.readouterr().out


def test_resume(options, capsys):
    assert main(["train", "reinforce", *options, "--max-minutes", "1e-9", "--out", "here", "--json"]) == 0
    assert main(["train", "reinforce", "--resume", "here", "--eval-episodes", "0", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[1] == {"run": "here", "evaluation": None}
    assert open_checkpoint(Path("here")).record["iteration"] == 2


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


def test_generate_takes_any_model_and_any_text(tiny_model, capsys):
    assert main(["generate", str(tiny_model), "--prompt", "[bold]a [/nonesuch]"]) == 0
    assert "[bold]a [/nonesuch]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "ppo", "--reward", "sentimnt"], "unknown reward 'sentimnt' in 'sentimnt': expected one of fluency"),
        (["train", "ppo", "--model", "review-lm"], "Did you mean 'reviews-lm'?"),
        (["train", "ppo", "--env", "dyngen/Nonesuch-v0"], "Nonesuch"),
        (["train", "ppo", "--prompts", "no.txt"], "no prompts file no.txt"),
        (["train", "ppo", "--max-new-tokens", "99999"], "max_new_tokens=99999"),
        (["train", "reinforce", "--group-size", "3"], "no multiple of group_size=3"),
        (["train", "ppo", "--resume", "nonesuch"], "no run 'nonesuch'"),
        (["eval", "nonesuch"], "no run 'nonesuch'"),
        (["generate", "latest", "--prompt", "x"], "no run 'latest'"),
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


@pytest.mark.parametrize("arguments", [["train", "ppo", "--seed", "-1"], ["train", "ppo", "--nonesuch"], ["fly"]])
def test_wrong_options(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


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


@pytest.mark.parametrize("algorithm, kind", [("ppo", PPOConfig), ("reinforce", REINFORCEConfig)])
def test_help_explains_every_option(algorithm, kind, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", algorithm, "--help"])
    assert left.value.code == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    names = [f.name.replace("_", "-") for c in (TrainConfig, SamplingConfig, kind) for f in fields(c)]
    for name in names:
        if name != "sampling":  # a group, not an option
            assert f"--{name}" in words or f"--no-{name}" in words
    assert "Discount per token" in words
    assert "what a power cut can cost" in words


def test_ctrl_c_saves_and_says_how_to_go_on(options, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "dyngen_agents.cli",
        "train",
        "ppo",
        *options,
        "--updates",
        "100000",
        "--save-every",
        "99999",
    ]
    process = subprocess.Popen([*command, "--out", "run"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 120
        while len(read_metrics(tmp_path / "run")) < 2:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT
    iteration = open_checkpoint(tmp_path / "run").record["iteration"]
    assert iteration == len(read_metrics(tmp_path / "run")) >= 2
    assert "SIGINT: saving the run" in said
    assert f"{100000 - iteration} updates are left. Go on: dyngen train ppo --resume run" in said
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
