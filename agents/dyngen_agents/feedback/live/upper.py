"""The layers that learn, run by themselves: what the frozen layers below them make of a row is computed once.

An update runs the same rows several times, and of thirty layers two may learn. Running those alone costs a fifteenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dyngen_agents.feedback.live.weights import layers_of, twin
from dyngen_env.lm.engine.compatibility import agree, trial_tokens
from dyngen_env.lm.engine.forward import whole_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UpperLayers:
    """The last layers of a model, and a forward of the base that keeps what the layers below them give.

    Args:
        lm: the model whose last layers learn. They are shared: what is run here has their weights as they are.
        base: the frozen model of the same kind, of which nobody else makes use meanwhile.
        count: how many layers learn.
    """

    def __init__(self, lm: PreTrainedModel, base: PreTrainedModel, count: int):
        self.base, self._upper, self._below = base, twin(lm), torch.empty(0)
        lower = max(0, len(layers_of(lm)) - count)
        layers = layers_of(self._upper)
        for i in range(lower):
            layers[i] = _Skipped(layers[i])
        self._last = layers[lower - 1] if lower else None
        if lower:
            layers_of(base)[lower - 1].register_forward_hook(self._keep)

    @staticmethod
    def of(lm: PreTrainedModel, base: PreTrainedModel, count: int) -> UpperLayers | None:
        """The last layers of `lm`, if there are others below them, and if two short rows show that they can be run by
        themselves; else None."""
        if len(layers_of(lm)) <= count:
            return None
        try:
            upper, tokens = UpperLayers(lm, base, count), trial_tokens(lm)
            with torch.no_grad():
                rows = [upper.base_hidden(tokens[i : i + 1, : 6 - i]) for i in range(2)]
                short = tokens.clone()
                short[1, 5:] = -1
                ours = upper(short[:, :6], [below for _, below in rows])
                own = whole_rows(lm, short[:, :6])
        except Exception:  # whatever an architecture does between its layers
            return None
        return upper if agree(ours[0], own[0]) and agree(ours[1, :5], own[1, :5]) else None

    def base_hidden(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The base's last hidden states (T, D) of one row (1, T), and what the layer below the learning ones gives."""
        hidden = whole_rows(self.base, tokens)
        return hidden[0], self._below[0]

    def __call__(self, tokens: Tensor, below: Sequence[Tensor]) -> Tensor:
        """Last hidden states (n, T, D) of rows (n, T), -1 where empty, given what is below of each, (its length, D)."""
        assert isinstance(self._last, _Skipped)
        given = below[0].new_zeros(*tokens.shape, below[0].shape[-1])
        for row, part in zip(given, below, strict=True):
            row[: len(part)] = part
        self._last.given = given
        return whole_rows(self._upper, tokens)

    def _keep(self, layer: nn.Module, given: Any, output: Any) -> None:
        assert isinstance(self._last, _Skipped)
        self._last.is_tuple = isinstance(output, tuple)
        self._below = output[0] if isinstance(output, tuple) else output


class _Skipped(nn.Module):
    """In a layer's place: gives what it was told to, or passes on what it gets."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self._layer = (layer,)  # not a module of this one
        self.given: Tensor | None = None
        self.is_tuple = False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # models ask their layers, for the kind of attention among other things
            return getattr(super().__getattribute__("_layer")[0], name)

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        out = hidden_states if self.given is None else self.given
        return (out,) if self.is_tuple else out
