"""Predicts the rating that people would give a text, by a linear regression on a language model's hidden states.

The text is put into a sentence that asks what the reviewer thinks. The hidden states at the last token, where the model
would answer, predict ratings better than averages over the text do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dyngen_env.lm.loading.fingerprint import check_unchanged, fingerprint
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.padding import pad_rows
from dyngen_env.text.saved_arrays import saved_arrays

BEFORE, AFTER = "Review: ", "\nThe reviewer's opinion of it: it is"
BATCH_TOKENS = 1024  # padding included: bounds memory, changes no result


class LMRater:
    """A linear model of ratings: ŷ = b + Σₗ wₗᵀhₗ, with hₗ the hidden state after layer l at the last token.

    Args:
        model: the language model's name, as for `load_model`.
        layers: the numbers of the K layers whose hidden states are used; 1 is the first layer.
        weights: (K, D), the wₗ.
        bias: b.
    """

    def __init__(self, model: str, layers: Sequence[int], weights: np.ndarray, bias: float):
        self.model, self.layers, self.weights, self.bias = model, tuple(layers), weights, bias

    def __call__(self, texts: Sequence[str], device: str = "cpu") -> np.ndarray:
        """Predicted ratings (N,) of N texts, on the scale that the weights were fitted to, not clipped to it."""
        if not texts:
            return np.zeros(0)
        states = last_states(self.model, self.layers, texts, device)  # (N, K, D)
        return self.bias + np.einsum("nkd,kd->n", states, self.weights)

    def save(self, path: Path) -> None:
        """Write the weights and the model's name and fingerprint, but not the model, to an `.npz` file."""
        np.savez_compressed(
            path,
            model=self.model,
            model_fingerprint=fingerprint(self.model),
            layers=self.layers,
            weights=self.weights,
            bias=self.bias,
        )

    @classmethod
    def load(cls, path: str | Path) -> LMRater:
        """Read what `save` has written.

        Raises:
            FileNotFoundError: no such file.
            ValueError: `save` has not written this file, or the model has changed since.
        """
        remedy = "`python -m dyngen_agents.pretraining.make_human_rating --model smollm2` writes one"
        saved = saved_arrays(path, ("model", "layers", "weights", "bias"), "regression on hidden states", remedy)
        if "model_fingerprint" in saved:  # older files do not have it
            known = str(saved["model_fingerprint"])
            check_unchanged(str(saved["model"]), known, f"the ratings in {path} were fitted to it")
        return cls(str(saved["model"]), saved["layers"].tolist(), saved["weights"], float(saved["bias"]))


@torch.no_grad()
def last_states(model: str, layers: Sequence[int], texts: Sequence[str], device: str = "cpu") -> np.ndarray:
    """Hidden states of K layers at the last token of the question about each of N texts: (N, K, D) float32.

    The model runs in bfloat16, which halves the time.
    """
    tokenizer = load_tokenizer(model)
    lm = load_model(model, device=device, dtype=torch.bfloat16)
    before, after = (tokenizer.encode(part, add_special_tokens=False) for part in (BEFORE, AFTER))
    ids = [[*before, *tokenizer.encode(text, add_special_tokens=False), *after] for text in texts]
    out = np.zeros((0, len(layers), 0), dtype=np.float32)  # until a forward has shown how wide the states are
    for rows in _by_length(ids):
        tokens = pad_rows([ids[row] for row in rows], fill=0).to(device)
        states = lm.base_model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
        last = torch.tensor([len(ids[row]) - 1 for row in rows], device=device)
        picked = [states[layer][torch.arange(len(rows), device=device), last] for layer in layers]
        widths = sorted({layer.shape[1] for layer in picked})
        if len(widths) > 1:  # OPT-350m projects its last states, and only these, to another width
            raise ValueError(f"layers {list(layers)} of {model!r} have states of widths {widths}: choose those of one")
        if not len(out):
            out = np.zeros((len(texts), len(layers), widths[0]), dtype=np.float32)
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
