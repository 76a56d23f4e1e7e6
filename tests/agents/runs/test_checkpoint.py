"""A run's folder: what loads it, what a kill or a full disk at any moment leaves, what damage says."""

import json
import resource

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dyngen_agents.runs import checkpoint as checkpoint_module
from dyngen_agents.runs.checkpoint import RECORD, TRAINING, open_checkpoint, save_checkpoint
from dyngen_env.lm.loading.models import load_model, load_tokenizer


@pytest.fixture
def save(tiny_model, tmp_path):
    """save(k): a checkpoint whose first weight, tensor and record all say k."""
    lm, tokenizer = load_model(str(tiny_model), fresh=True), load_tokenizer(str(tiny_model))

    def save(k: int):
        with torch.no_grad():
            next(lm.parameters()).fill_(k)
        save_checkpoint(tmp_path / "run", lm, tokenizer, {"k": torch.tensor(k)}, {"iteration": k})
        return tmp_path / "run"

    return save


def says(folder):
    """The numbers that weight, tensor and record of a checkpoint say."""
    found = open_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return [float(next(model.parameters()).detach().flatten()[0]), int(found.tensors()["k"]), found.record["iteration"]]


def test_transformers_load_a_run(save, tiny_model):
    run = save(3)
    assert next(AutoModelForCausalLM.from_pretrained(run).parameters()).detach().flatten()[0] == 3
    assert AutoTokenizer.from_pretrained(run).get_vocab() == AutoTokenizer.from_pretrained(tiny_model).get_vocab()
    assert {path.suffix for path in run.iterdir()} == {".json", ".safetensors"}  # nothing pickled
    assert len({path.stat().st_mode for path in run.iterdir()}) == 1  # whoever may read one may read all


class Killed(BaseException):
    """The process ends here: no handler of the code under test runs."""


@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename", "replace", "rmdir"])
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(save, monkeypatch, call):
    run, survivors, at = save(0), set(), 0
    original = getattr(checkpoint_module.os, call)
    while True:
        at += 1
        calls = 0

        def killing(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at:  # noqa: B023  called within the same turn of the loop
                raise Killed
            return original(*args, **kwargs)

        before = open_checkpoint(run).record["iteration"]
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module.os, call, killing)
            try:
                save(before + 1)
                break
            except Killed:
                pass
        weight, tensor, iteration = says(run)
        assert weight == tensor == iteration
        assert iteration in (before, before + 1)
        survivors.add(iteration - before)
    assert says(run) == [before + 1] * 3
    assert not list(run.glob(".*"))
    assert at > 1  # it has been killed at least once


def test_a_full_disk_leaves_the_older_checkpoint(save):
    run = save(1)
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # bytes; the model has more
    try:
        with pytest.raises(OSError, match=r"could not be written to .*run.*needs about 0\.2 MB.* whole: make room"):
            save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files
    save(3)
    assert says(run) == [3, 3, 3]


def test_the_first_checkpoint_on_a_full_disk(save, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(OSError, match=r"No space left on device.* Make room"):
        save(1)


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", TRAINING])
@pytest.mark.parametrize("harm, says_why", [(cut, r"bytes, expected \d+"), (flip, "SHA-256"), (None, "is missing")])
def test_damage_names_the_file_and_the_remedy(save, name, harm, says_why):
    run = save(1)
    harm(run / name) if harm else (run / name).unlink()
    with pytest.raises(ValueError, match=f"{name} .*{says_why}.*: ") as error:
        open_checkpoint(run)
    if name == TRAINING:
        assert "start a new run from it" in str(error.value)
        assert open_checkpoint(run, training=False).record["iteration"] == 1  # evaluation needs no optimizer
    else:
        assert "put back a copy" in str(error.value)


def test_a_damaged_record(save):
    run = save(1)
    cut(run / RECORD)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        open_checkpoint(run)
    (run / RECORD).write_text(json.dumps({"format": 99, "files": {}}))
    with pytest.raises(ValueError, match="format 99"):
        open_checkpoint(run)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        open_checkpoint(run.parent)


def test_other_files_in_the_folder_survive(save):
    run = save(1)
    (run / "metrics.jsonl").write_text("{}\n")
    save(2)
    assert (run / "metrics.jsonl").read_text() == "{}\n"


def test_a_reader_while_the_next_checkpoint_is_put_in_place(save, monkeypatch):
    """The training process has moved the new model, not yet the new record: the reader makes the other moves."""
    run = save(1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "_finish_moves", lambda folder: None)
        save(2)
    whole = run / checkpoint_module.WHOLE
    record = checkpoint_module._read_record(run)
    (whole / "model.safetensors").replace(run / "model.safetensors")
    assert next(checkpoint_module._faults(run, record, True), None)
    assert says(run) == [2, 2, 2]
