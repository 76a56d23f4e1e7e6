"""A model's fingerprint follows its content and nothing else: not its place, its times, or what lies beside it."""

import hashlib
import os
import shutil
import time

import huggingface_hub
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from dyngen_env.lm.loading import fingerprint as module
from dyngen_env.lm.loading.fingerprint import check_unchanged, fingerprint

SNAPSHOT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_copies_have_one_fingerprint(folder, tmp_path):
    before = fingerprint(str(folder))
    shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / "training.safetensors").write_bytes(b"an optimizer")
    assert before.startswith("sha256:") and len(before) == 7 + 64
    assert fingerprint(str(folder)) == fingerprint(str(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_byte_is_another_fingerprint(folder, name):
    before, content = fingerprint(str(folder)), (folder / name).read_bytes()
    times = (folder / name).stat()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    os.utime(folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))  # and the same time, as a copy may have
    assert fingerprint(str(folder)) != before


@pytest.fixture
def settled(monkeypatch, tmp_path):
    """Files count as unchanging at once, and all are large; the user's cache is a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED", 0)
    monkeypatch.setattr(module, "LARGE", 0)
    module._kept.cache_clear()
    yield tmp_path / "cache" / "dyngen" / "sha256"
    module._kept.cache_clear()


def test_another_process_does_not_read_a_file_again_until_it_changes(folder, settled, monkeypatch):
    reads = []
    monkeypatch.setattr(
        module, "_read", lambda file: reads.append(file.name) or hashlib.sha256(file.read_bytes()).hexdigest()
    )
    before = fingerprint(str(folder))
    assert sorted(reads) == ["config.json", "model.safetensors"]
    module._kept.cache_clear()  # as a new process begins
    assert fingerprint(str(folder)) == before and len(reads) == 2
    time.sleep(0.05)  # more than a tick of the file system's clock
    content, times = (folder / "model.safetensors").read_bytes(), (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(folder / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(str(folder)) != before and reads[2:] == ["model.safetensors"]


def test_a_cache_that_is_damaged_or_cannot_be_written_does_no_harm(folder, settled):
    before = fingerprint(str(folder))
    for number, place in enumerate(settled.iterdir()):
        place.write_bytes(b"" if number else b"\xff" * 64)
    module._kept.cache_clear()
    assert fingerprint(str(folder)) == before
    shutil.rmtree(settled)
    settled.write_text("a file where the folder should be")
    module._kept.cache_clear()
    assert fingerprint(str(folder)) == before


def test_shards_in_another_order_are_another_model(folder):
    for number, content in enumerate((b"one", b"two"), start=1):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(content)
    before = fingerprint(str(folder))
    for number, content in enumerate((b"two", b"one"), start=1):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(content)
        os.utime(folder / f"model-0000{number}-of-00002.safetensors", ns=(number, number))
    assert fingerprint(str(folder)) != before


def test_a_gguf_file_is_its_content(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    found = fingerprint(str(tmp_path / "a.gguf"))
    assert found == fingerprint(str(tmp_path / "b.gguf")) == f"sha256:{hashlib.sha256(b'GGUF').hexdigest()}"
    (tmp_path / "b.gguf").write_bytes(b"GGUg")
    os.utime(tmp_path / "b.gguf", ns=(1, 1))
    assert fingerprint(str(tmp_path / "b.gguf")) != found


def test_of_the_hub_it_is_the_snapshot_s_commit(tmp_path, monkeypatch):
    def nowhere(*_args):
        raise OSError("name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="hub did not give it"):
        fingerprint("somebody/some-model")
    repository = tmp_path / "models--somebody--some-model"
    (repository / "snapshots" / SNAPSHOT).mkdir(parents=True)
    (repository / "snapshots" / SNAPSHOT / "config.json").write_text('{"model_type": "gpt2"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SNAPSHOT)
    assert fingerprint("somebody/some-model") == f"commit:{SNAPSHOT}"


def test_a_change_is_told_with_the_name_and_what_to_do(folder):
    known = fingerprint(str(folder))
    check_unchanged(str(folder), known, "yesterday")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    with pytest.raises(ValueError, match=r"base model .*model' has changed since yesterday.*train anew") as caught:
        check_unchanged(str(folder), known, "yesterday")
    assert known[7:19] in str(caught.value) and "\n" not in str(caught.value)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        check_unchanged(str(folder), known, "yesterday")
