"""A run whose base model has changed on disk says so, wherever it would use the base."""

import json
import shutil

import pytest
import torch

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.cli.main import main
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.train import train
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.lm.loading.models import load_model


@pytest.fixture(params=[0, 2], ids=["whole", "lora"])
def run(request, tiny_config, tiny_model, tmp_path):
    """A run that has not ended, of a base in the test's own folder."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    settings = tiny_config(model=str(base), lora_rank=request.param, updates=2, max_minutes=1e-9)
    return train(settings, PPOConfig(minibatch_size=4))


def change(base):
    lm = load_model(str(base), fresh=True)
    with torch.no_grad():
        lm.transformer.wte.weight[7] += 1
    lm.save_pretrained(base)


def test_a_changed_base_is_named_by_all_who_use_it(run, tmp_path, capsys):
    record = json.loads((run / "run.json").read_text())
    assert record["model_fingerprint"] == fingerprint(record["model"])
    change(tmp_path / "base")
    with pytest.raises(ValueError, match=r"base model '.*base' has changed since this run began.*train anew"):
        train(TrainConfig(resume=str(run), max_minutes=10.0))
    for part in ("reference", "untrained", "policy", "env"):
        with pytest.raises(ValueError, match="has changed since"):
            getattr(open_run(run), part)
    for command in ("eval", "inspect"):
        assert main([command, str(run), "--episodes", "2"]) == 2
        assert "has changed since this run began" in capsys.readouterr().err


def test_what_a_run_writes_does_not_depend_on_its_base(run, tmp_path, capsys):
    """The folder holds the whole model, merged if it has adapters, and its tokenizer."""
    texts = []
    for _ in range(2):
        assert main(["generate", str(run), "--prompt", "The film", "--json"]) == 0
        texts.append(capsys.readouterr().out)
        change(tmp_path / "base")
    assert texts[0] == texts[1]


def test_another_tokenizer_is_another_base(run, tmp_path):
    path = tmp_path / "base" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = content["model"]["merges"][:-1]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has changed since"):
        _ = open_run(run).env


def test_written_again_with_the_same_content_it_is_the_same(run, tmp_path):
    weights = tmp_path / "base" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content)
    train(TrainConfig(resume=str(run), max_minutes=10.0))
    assert open_run(run).record["iteration"] == 2


def test_a_run_that_did_not_record_it_is_not_checked(run, tmp_path):
    record = json.loads((run / "run.json").read_text())
    del record["model_fingerprint"]
    (run / "run.json").write_text(json.dumps(record))
    change(tmp_path / "base")
    assert open_run(run).reference is not None
