"""`dyngen frontier`: groups of runs, intervals over seeds, the table, the picture, and errors for other input."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from dyngen_agents.cli.frontier import named_runs
from dyngen_agents.cli.main import main
from dyngen_agents.evaluation.frontier import Interval, frontier_table, read_path
from dyngen_agents.training.train import train


def test_the_interval_is_students():
    interval = Interval.of([1.0, 2.0, 3.0])  # deviation 1, two degrees of freedom
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # t(p) = (2p - 1)/sqrt(2p(1 - p)) for two degrees
    assert interval.mean == 2 and interval.half == pytest.approx(quantile / math.sqrt(3))
    assert Interval.of([0.25]) == Interval(0.25, None) and str(Interval.of([0.25])) == "0.250"


def test_runs_are_grouped_by_name():
    assert named_runs(("ppo=runs/a,runs/b", "grpo=c")) == {"ppo": ["runs/a", "runs/b"], "grpo": ["c"]}


@pytest.mark.parametrize(
    "arguments, message",
    [(("runs/a",), "expected NAME=RUN"), (("a=",), "expected NAME=RUN"), (("a=b", "a=c"), "twice"), ((), "no run")],
)
def test_other_arguments_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        named_runs(arguments)


def test_the_table_reads_prices_off_the_line():
    trained = [{"trained": {"reward_mean": r, "kl_per_episode": 2.0, "distinct_2": 0.8}} for r in (0.4, 0.6)]
    line = {1: {"reward": 0.0, "kl": 0.0}, 2: {"reward": 1.0, "kl": 0.2}}
    heading, row, *rest = frontier_table({"mine": trained}, line)
    assert row[:2] == ("mine", "2") and row[2].startswith("0.500 ±") and row[-1] == "0.10 nats"
    assert len(heading) == len(row) and [r[0] for r in rest] == ["untrained, best of 1", "untrained, best of 2"]


def test_a_folder_without_metrics_is_no_path(tmp_path):
    with pytest.raises(ValueError, match=r"no metrics\.jsonl: give folders of training runs"):
        read_path(tmp_path)


def test_the_command_draws_and_tells(tiny_config, tmp_path, capsys):
    runs = [train(tiny_config(updates=2, seed=seed)) for seed in (0, 1)]
    group = "ppo=" + ",".join(map(str, runs))
    out = tmp_path / "f.png"
    assert main(["frontier", group, "--out", str(out), "--episodes", "8", "--best-of", "4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["groups"]["ppo"]) == 2 and list(answer["best_of_n"]) == ["1", "2", "4"]
    assert np.asarray(Image.open(out)).std() > 0
    assert main(["frontier", group, "--out", str(out), "--episodes", "8", "--best-of", "0"]) == 0
    assert "ppo" in capsys.readouterr().out


def test_what_would_fail_after_the_work_is_refused_before(tiny_config, tmp_path, capsys):
    run = train(tiny_config(updates=1))
    other = train(tiny_config(updates=1, env="dyngen/Generate-v0", reward="length"))
    for arguments, message in (
        ([f"a={run}", "--out", str(tmp_path / "none" / "f.png")], "there is no folder"),
        ([f"a={run}", "--out", str(tmp_path / "f.doc")], "expected .png, .pdf, .svg"),
        ([f"a={run}", f"b={other}"], "do not compare"),
        ([f"a={run}", "--best-of", "-3"], "best_of is -3"),
    ):
        assert main(["frontier", *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
