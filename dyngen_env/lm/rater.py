"""A language model as a judge of ratings: a linear reading of what it has understood after a question.

The text stands in a sentence that asks for an opinion of it. The hidden states of the last token, where the model would
answer, hold that opinion better than any average over the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.padding import pad_rows

BEFORE, AFTER = "Review: ", "\nThe reviewer's opinion of it: it is"
BATCH_TOKENS = 1024  # padding included: bounds memory, changes no result


class LMRater:
    """ŷ = b + Σₗ wₗᵀhₗ, with hₗ the hidden state after layer l at the last token of the question.

    Args:
        model: its name, see `lm.loading`. layers: which layers' states are read, 1 is the first.
        weights: (K, D). bias: b.
    """

    def __init__(self, model: str, layers: Sequence[int], weights: np.ndarray, bias: float):
        self.model, self.layers, self.weights, self.bias = model, tuple(layers), weights, bias

    def __call__(self, texts: Sequence[str], device: str = "cpu") -> np.ndarray:
        """(N,) predicted ratings, not bounded."""
        states = last_states(self.model, self.layers, texts, device)  # (N, K, D)
        return self.bias + np.einsum("nkd,kd->n", states, self.weights)

    def save(self, path: Path) -> None:
        """A file of the weights; the model itself is found by its name."""
        np.savez_compressed(path, model=self.model, layers=self.layers, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, path: str | Path) -> LMRater:
        """The inverse of `save`.

        Raises:
            FileNotFoundError: no such file. ValueError: it is none that `save` has written.
        """
        with np.load(path) as saved:
            missing = {"model", "layers", "weights", "bias"} - set(saved.files)
            if missing:
                raise ValueError(
                    f"{path} has no {', '.join(sorted(missing))}: expected a file written by "
                    "`python -m dyngen_agents.pretraining.make_human_rating --model smollm2`"
                )
            return cls(str(saved["model"]), saved["layers"].tolist(), saved["weights"], float(saved["bias"]))


@torch.no_grad()
def last_states(model: str, layers: Sequence[int], texts: Sequence[str], device: str = "cpu") -> np.ndarray:
    """(N, K, D) float32: hidden states after some layers at the last token of the question about each text.

    Computed in bfloat16, which halves the time.
    """
    tokenizer = load_tokenizer(model)
    lm = load_model(model, device=device, dtype=torch.bfloat16)
    before, after = (tokenizer.encode(part, add_special_tokens=False) for part in (BEFORE, AFTER))
    ids = [[*before, *tokenizer.encode(text, add_special_tokens=False), *after] for text in texts]
    out = np.zeros((len(texts), len(layers), lm.config.get_text_config().hidden_size), dtype=np.float32)
    for rows in _by_length(ids):
        tokens = pad_rows([ids[row] for row in rows], fill=0).to(device)
        states = lm.base_model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
        last = torch.tensor([len(ids[row]) - 1 for row in rows], device=device)
        picked = [states[layer][torch.arange(len(rows), device=device), last] for layer in layers]
        out[rows] = torch.stack(picked, 1).float().numpy(force=True)
    return out


def _by_length(ids: Sequence[list[int]]) -> list[list[int]]:
    """Row numbers in batches of similar length."""
    batches: list[list[int]] = [[]]
    for row in sorted(range(len(ids)), key=lambda row: len(ids[row])):
        if batches[-1] and (len(batches[-1]) + 1) * len(ids[row]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches if batches[0] else []
