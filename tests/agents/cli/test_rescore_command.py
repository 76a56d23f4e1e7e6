"""`dyngen rescore`: a run after its evaluation, a file of one's own, tables and JSON, and what cannot be rescored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dyngen_agents.cli.main import main
from dyngen_agents.data.episodes import read_episodes
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.training.train import train
from tests.support.judge_server import judge_server


def lines(path: Path, count: int = 60) -> Path:
    path.write_text("".join(json.dumps({"prompt": "q", "text": "good " * (1 + i % 4)}) + "\n" for i in range(count)))
    return path


def answer(capsys, *arguments) -> dict:
    assert main(["rescore", *map(str, arguments), "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    return json.loads(shown)


def test_a_run_earns_what_its_evaluation_has_found(tiny_config, capsys):
    run = train(tiny_config(updates=1))
    found = evaluate(run, episodes=30)
    again = answer(capsys, "latest", "--reward", "sentiment", "0.1*fluency + length(2)")
    for policy in ("trained", "untrained"):
        figures = again["rewards"]["sentiment"][policy]
        assert figures["mean"] == pytest.approx(found[policy]["reward_mean"], abs=1e-6)
        assert figures["ci95"] == pytest.approx(found[policy]["reward_ci95"], abs=1e-6)
        assert figures["episodes"] == 30
    assert set(again["rewards"]["0.1*fluency + length(2)"]["trained"]["terms"]) == {"fluency", "length"}
    assert again["audit"] is None  # 30 of a policy are too few
    assert Path(again["model"]).is_absolute()


def test_a_file_of_texts(tmp_path, capsys):
    """By hand: 1 to 4 words against a target of 2 are 0.5, 1, 0.5 and 0."""
    found = answer(capsys, lines(tmp_path / "mine.jsonl"), "--reward", "length(2)", "--out", tmp_path / "out.jsonl")
    figures = found["rewards"]["length(2)"]["all"]
    assert (
        found["model"] is None
        and figures["mean"] == pytest.approx(0.5)
        and figures["terms"] == {"length": figures["mean"]}
    )
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["rewards"]["length(2)"] for line in kept[:4]] == [0.5, 1.0, 0.5, 0.0]
    assert read_episodes(tmp_path / "out.jsonl") == read_episodes(tmp_path / "mine.jsonl")


def test_several_designs_are_audited(tmp_path, capsys):
    (tmp_path / "d.toml").write_text('short = "1 - length(4)"\nglad = "sentiment"\n')
    found = answer(capsys, lines(tmp_path / "mine.jsonl"), "--designs", tmp_path / "d.toml", "--reward", "length(4)")
    assert list(found["rewards"]) == list(found["audit"]["designs"]) == ["short", "glad", "length(4)"]
    assert found["audit"]["designs"]["short"]["agreement"]["length(4)"] == pytest.approx(-1)
    assert main(["rescore", str(tmp_path / "mine.jsonl"), "--designs", str(tmp_path / "d.toml")]) == 0
    shown = capsys.readouterr().out
    assert "glad" in shown and "VADER" in shown and "short: the episodes that it pays best are lower in" in shown


def test_a_reward_of_ones_own(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def right(text, reference):\n    return float(text == reference)\n")
    (tmp_path / "e.jsonl").write_text(
        '{"prompt": "2+2=", "text": "4", "reference": "4"}\n{"prompt": "1+1=", "text": "3"}\n'
    )
    own = f"{tmp_path / 'mine.py'}:right"
    assert answer(capsys, tmp_path / "e.jsonl", "--reward", own)["rewards"][own]["all"]["mean"] == 0.5


def test_a_judge_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with judge_server(lambda completion: f"Score: {completion.count('good')}") as server:
        reward = f"sentiment + 0.5*judge('{server.url}', rubric='Is it good?')"
        found = answer(capsys, lines(tmp_path / "mine.jsonl", 8), "--reward", reward)["rewards"][reward]["all"]
    assert found["terms"]["judge"] == pytest.approx(0.5 * 0.25) and len(server.requests) == 4  # texts that differ


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.jsonl"], "no reward to score by: give --reward"),
        (["mine.jsonl", "--reward", "sentimnt"], "unknown reward 'sentimnt'"),
        (["mine.jsonl", "--reward", "fluency"], "needs a language model"),
        (["nothing.jsonl", "--reward", "length"], "no run 'nothing.jsonl'"),
        (["empty.jsonl", "--reward", "length"], "holds no episodes"),
    ],
)
def test_what_cannot_be_rescored(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "mine.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["rescore", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_was_not_evaluated(tiny_config, capsys):
    train(tiny_config(max_minutes=1e-9))
    assert main(["rescore", "latest", "--reward", "length"]) == 2
    assert "has no episodes.jsonl yet: dyngen eval latest writes it" in capsys.readouterr().err
