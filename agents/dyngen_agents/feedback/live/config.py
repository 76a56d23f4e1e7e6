"""How a live learner learns: which weights, from how many turns, how far from the model that it began with."""

from __future__ import annotations

from dataclasses import dataclass

from dyngen_agents.algorithms.settings import COUNT, NOT_NEGATIVE, POSITIVE, check_settings


@dataclass(frozen=True)
class LiveConfig:
    """Settings of `LiveLearner`. The defaults are to learn a wish from two dozen ratings, in updates of seconds."""

    every: int = 4
    """Rated turns after which the weights learn anew. 0: they never do, and there is only the memory."""
    replay: int = 12
    """From how many of the latest rated turns an update learns, those of earlier updates included."""
    steps: int = 6
    """Gradient steps of an update, each over all these turns."""
    learning_rate: float | None = None
    """Of Adam, which begins anew with each update. By default 2e-3 for 2.7 M parameters, as dialogue-lm has, and less
    for larger models: by the power of -3/4 of their size, which is 1e-4 for 135 M."""
    last_layers: int = 2
    """How many of the model's last layers learn; the others stay what they are. Not used where `lora_rank` is set."""
    lora_rank: int = 0
    """Rank of adapters that learn beside frozen weights, in all layers; 0 is none. Needs PEFT."""
    rating_coef: float = 1.0
    """Weight of what ratings teach."""
    words_coef: float = 1.0
    """Weight of what words teach, by self-distillation."""
    pair_coef: float = 1.0
    """Weight of what corrections and preferences teach, by DPO."""
    dpo_beta: float = 0.1
    """β of DPO: a log-ratio of 1 counts as so much reward."""
    kl_coef: float = 0.02
    """β of the penalty β KL(π‖π_base), exact at every token."""
    kl_limit: float = 1.0
    """Nats per token that no version is allowed to be away from the model that learning began with."""
    pleased: float = 2.0
    """A rating from which on a person's words ask for nothing, so that they are not distilled."""
    kept_notes: int = 8
    """How many of a person's latest answers the memory holds. 0: there is no memory."""
    note_tokens: int = 24
    """Of how many tokens the memory of one answer has room; longer answers are cut off."""
    context_tokens: int = 256
    """How many tokens before a turn are learned with, the latest."""
    max_tokens: int = 2048
    """Padded tokens of one forward pass. Bounds memory and the time for which other threads may have to wait."""
    threads: int = 1
    """CPU threads of the background thread."""
    seed: int = 0
    """Of the adapters' first weights."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            every=NOT_NEGATIVE,
            replay=COUNT,
            steps=COUNT,
            last_layers=COUNT,
            lora_rank=NOT_NEGATIVE,
            rating_coef=NOT_NEGATIVE,
            words_coef=NOT_NEGATIVE,
            pair_coef=NOT_NEGATIVE,
            dpo_beta=POSITIVE,
            kl_limit=POSITIVE,
            pleased=NOT_NEGATIVE,
            kept_notes=NOT_NEGATIVE,
            note_tokens=COUNT,
            context_tokens=COUNT,
            threads=COUNT,
            seed=NOT_NEGATIVE,
        )

    def rate_for(self, parameters: int) -> float:
        """The learning rate of a model with so many parameters."""
        return self.learning_rate or 2e-3 * (2.7e6 / parameters) ** 0.75
