"""Dropout stays off: while learning from rollouts it makes log-probs of the same tokens disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def drop_dropout(config: PreTrainedConfig) -> None:
    """Set every dropout of a configuration to 0, those of configurations in it, too."""
    from transformers import PreTrainedConfig

    for field, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            drop_dropout(value)
        elif "drop" in field and isinstance(value, float):
            setattr(config, field, 0.0)
