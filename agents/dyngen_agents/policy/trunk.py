"""A language model below its head, over whole rows: as it is, with less memory, or as two CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dyngen_agents.policy.lora import has_lora
from dyngen_env.lm.engine.capture import memory_pool
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.modalities import encoder_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS, COLUMNS = 8, 8  # a graph's batch is a multiple of these: fewer graphs, little padding
MOST_GRAPHS = 8  # each takes a second to capture; batches of other shapes run as they are

log = logging.getLogger(__name__)


class Trunk:
    """`trunk(tokens)`: last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty.

    With `notes` (N, C, W), of rows that attend to them (`lm.engine.notes`).

    A small model's passes are some thousand kernels of a few microseconds, which a host launches more slowly than a GPU
    computes them. Captured, forward and backward pass are one launch each. The activations of such a forward are
    overwritten by the next one, so its backward pass has to come first, and gradients have to be taken out of `.grad`
    before the next backward pass: as `PolicyOptimizer.backward` does for weights of less precision than float32.

    Attributes:
        captured: whether passes with gradients run as graphs, where that is possible: on a GPU, in bfloat16 or float16,
            without adapters and without an encoder.
    """

    def __init__(self, lm: PreTrainedModel):
        self.lm, self.captured = lm, False
        self._graphs: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}
        self._weights: tuple[int, ...] = ()  # their addresses, which the graphs know
        self._pool: Any = None
        self._checkpointed = False

    def checkpoint_layers(self) -> None:
        """Keep the input of each layer alone for the backward pass, which computes the rest of it again.

        Raises:
            ValueError: transformers does not offer it for this model.
        """
        if not _layers(self.lm):
            raise ValueError(f"{type(self.lm).__name__} has no gradient checkpointing: leave the option out")
        self._checkpointed = True

    def __call__(
        self, tokens: Tensor, notes: Notes | None = None, label_embedding: nn.Embedding | None = None
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return hidden_states(self.lm, tokens, notes, label_embedding)
        if self._checkpointed:
            with _checkpointing(self.lm):
                return hidden_states(self.lm, tokens, notes, label_embedding)
        if notes is not None:  # of another shape in each batch
            return hidden_states(self.lm, tokens, notes, label_embedding)
        graph = self._graph(*tokens.shape) if self.captured and self._capturable() else None
        if graph is None:
            return hidden_states(self.lm, tokens)
        return graph(padded(tokens))[: tokens.shape[0], : tokens.shape[1]]

    def _capturable(self) -> bool:
        reads_words_alone = not has_lora(self.lm) and encoder_of(self.lm) is None
        return self.lm.device.type == "cuda" and self.lm.dtype.itemsize == 2 and reads_words_alone

    def _graph(self, rows: int, columns: int) -> Callable[[Tensor], Tensor] | None:
        """The graph for a batch of this shape; None if there is none."""
        weights = tuple(parameter.data_ptr() for parameter in self.lm.parameters())
        if weights != self._weights:
            self._graphs.clear()
            self._weights, self._pool = weights, memory_pool(self.lm.device)
        shape = (multiple(rows, ROWS), multiple(columns, COLUMNS))
        if shape not in self._graphs and len(self._graphs) < MOST_GRAPHS:
            try:
                self._graphs[shape] = capture(self.lm, shape, self._pool)
            except Exception as error:  # whatever an architecture does that a graph cannot hold
                self.captured = False
                log.warning(
                    "the passes of an update cannot be captured as CUDA graphs (%s: %s): their kernels are launched "
                    "one by one", type(error).__name__, error, exc_info=log.isEnabledFor(logging.DEBUG),
                )  # fmt: skip
        return self._graphs.get(shape)


def capture(lm: PreTrainedModel, shape: tuple[int, int], pool: Any) -> Callable[[Tensor], Tensor]:
    """Forward and backward pass over tokens (N, T) of this shape, no entry negative, as two CUDA graphs."""
    sample = torch.zeros(shape, dtype=torch.int64, device=lm.device)
    return torch.cuda.make_graphed_callables(_WholeRows(lm), (sample,), allow_unused_input=True, pool=pool)  # type: ignore[return-value]


class _WholeRows(nn.Module):
    """`hidden_states` as a module whose parameters are those that it uses: what torch makes graphs of."""

    def __init__(self, lm: PreTrainedModel):
        super().__init__()
        self.base = lm.base_model
        self._lm = (lm,)  # not a module of this one
        self.train(False)

    def forward(self, tokens: Tensor) -> Tensor:
        return hidden_states(self._lm[0], tokens)


def padded(tokens: Tensor) -> Tensor:
    """Tokens (N, T), 0 where empty, in a batch of a shape that graphs are made for; what is added is 0, too."""
    rows, columns = tokens.shape
    out = tokens.new_zeros(multiple(rows, ROWS), multiple(columns, COLUMNS))
    out[:rows, :columns] = tokens.clamp(min=0)
    return out


def multiple(count: int, of: int) -> int:
    """The smallest multiple that is no less than `count`."""
    return -(-count // of) * of


@contextmanager
def _checkpointing(lm: PreTrainedModel) -> Iterator[None]:
    """Within it transformers' layers are checkpointed, which they are in training alone; their dropouts stay off."""
    on = dict(gradient_checkpointing=True, _gradient_checkpointing_func=_checkpoint, training=True)
    layers = _layers(lm)
    for layer in layers:
        vars(layer).update(on)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).update(gradient_checkpointing=False, training=False)


def _layers(lm: PreTrainedModel) -> list[nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in lm.modules() if isinstance(module, GradientCheckpointingLayer)]


def _checkpoint(layer: Callable[..., Any], *arguments: Any) -> Any:
    return checkpoint(layer, *arguments, use_reentrant=False)
