"""A preallocated key-value cache in which every row writes at its own position: the memory behind the engine.

transformers' caches append to all rows at once; here rows have different lengths and restart at different times
(continuous batching), so a layer is told which rows write where.
"""

from __future__ import annotations

import torch
from transformers import PretrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotCache(Cache):
    """Keys and values of B slots of length L for every layer of a model. `aim` says what the next forward writes."""

    def __init__(self, config: PretrainedConfig, num_slots: int, max_length: int):
        self.num_slots, self.max_length = num_slots, max_length
        self.rows: torch.Tensor | None = None
        self.start, self.alone = 0, False
        super().__init__(layers=[SlotLayer(self) for _ in range(config.get_text_config().num_hidden_layers)])

    def aim(
        self, rows: torch.Tensor | None, positions: torch.Tensor, end: int, start: int = 0, alone: bool = False
    ) -> None:
        """The next forward runs slots `rows` (R,) (None: all) at `positions` (R, W).

        It attends to start <= positions < end, or, `alone`, to what it writes.
        """
        self.rows, self.start, self.alone = rows, start, alone
        self.write_rows = (torch.arange(self.num_slots, device=positions.device) if rows is None else rows)[:, None]
        self.positions, self.end = positions, end

    def addresses(self) -> tuple[int, ...]:
        """Where keys and values lie; empty before the first forward."""
        layers = [layer for layer in self.layers if isinstance(layer, SlotLayer)]
        parts = [part for layer in layers for part in (layer.keys, layer.values)]
        return tuple(part.data_ptr() for part in parts if part is not None)

    def fork(self, rows: torch.Tensor) -> None:
        """Slot i becomes a copy of what slot rows[i] holds; the number of slots becomes len(rows)."""
        self.num_slots = len(rows)
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]


class SlotLayer(CacheLayerMixin):
    """One layer's slots: keys and values (B, heads, L, head_dim)."""

    is_sliding = False

    def __init__(self, cache: SlotCache):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def slots(states: torch.Tensor) -> torch.Tensor:
            _, heads, _, dim = states.shape
            return states.new_zeros(self.cache.num_slots, heads, self.cache.max_length, dim)

        self.keys, self.values = slots(key_states), slots(value_states)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Write keys and values (R, heads, W, head_dim), return those to attend to, (R, heads, E, head_dim)."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        cache = self.cache
        self.keys[cache.write_rows, :, cache.positions] = key_states.transpose(1, 2)
        self.values[cache.write_rows, :, cache.positions] = value_states.transpose(1, 2)
        if cache.alone:
            return key_states, value_states
        seen = slice(cache.start, cache.end)
        if cache.rows is None:
            return self.keys[:, :, seen], self.values[:, :, seen]
        return self.keys[cache.rows, :, seen], self.values[cache.rows, :, seen]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.end - self.cache.start, 0

    def get_seq_length(self) -> int:
        return 0  # positions are always given explicitly

    def get_max_length(self) -> int:
        return self.cache.max_length

    def get_max_cache_shape(self) -> int:  # its name before transformers 5.20
        return self.cache.max_length
