"""TRL's trainers take a step on what `dyngen export` writes.

They are skipped without TRL (`make test-trl` makes an environment in which it is there).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from dyngen_agents.feedback.exchange import export_rows, write_rows
from dyngen_env.lm.loading.models import load_model, load_tokenizer

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}<|eos|>{% endfor %}"


@pytest.fixture
def trl():
    return pytest.importorskip("trl", reason="needs TRL: make test-trl, or pip install 'trl>=1.10,<2'")


@pytest.fixture(params=["texts", "messages"])
def people_said(store, request):
    """Eight prompts with two answers each, which ada compares and rates; as a completion, or as an answer in a chat."""
    with store.at_once():
        ada = store.person("ada")
        for number in range(8):
            chat = request.param == "messages"
            dialogue = store.begin_dialogue(None, opening="" if chat else f"The film {number}")
            asked = store.add_turn(dialogue, "user", f"The film {number}?") if chat else None
            good = store.add_turn(dialogue, "agent", " is good", after=asked)
            bad = store.add_turn(dialogue, "agent", " is bad", beside=good)
            store.add_feedback("preference", ada, (good, bad))
            store.add_feedback("rating", ada, good, 3)
            store.add_feedback("rating", ada, bad, -3)
    return store


@pytest.mark.parametrize(
    "name, format, ending",
    [
        ("DPO", "preference", "parquet"),
        ("Reward", "preference", "jsonl"),
        ("KTO", "unpaired", "parquet"),
        ("SFT", "prompt-completion", "jsonl"),
    ],
)
def test_a_trainer_takes_a_step(trl, people_said, tiny_model, tmp_path, name, format, ending):
    import datasets
    from transformers import AutoModelForSequenceClassification

    file = tmp_path / f"rows.{ending}"
    rows = export_rows(people_said, format).rows
    write_rows(file, rows)
    cache = dict(cache_dir=str(tmp_path / "cache"))
    data = (datasets.Dataset.from_parquet if ending == "parquet" else datasets.Dataset.from_json)(str(file), **cache)
    assert len(data) == len(rows)
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = TEMPLATE
    if name == "Reward":
        model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = load_model(str(tiny_model), fresh=True)
    settings = dict(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=1,
        per_device_train_batch_size=4, learning_rate=1e-3, logging_steps=1, disable_tqdm=True, seed=1,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = getattr(trl, f"{name}Trainer")(
        model=model,
        args=getattr(trl, f"{name}Config")(**settings),
        train_dataset=data,
        processing_class=tokenizer,
    )
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses and np.isfinite(losses).all() and (after != before).any()
