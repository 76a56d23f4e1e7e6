"""How likely a frozen language model finds the completion: the likelihood reward."""

from __future__ import annotations

import torch

from dyngen_env.lm.distribution import PLAIN
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.lm.logprobs import completion_logprobs
from dyngen_env.lm.modalities.attached import check_encoder
from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.types import Transition


class Fluency(Reward):
    """Mean log-prob of the turn's tokens under a frozen language model, given all before them: nats per token, below 0.

    The log-probs are of the model's softmax over its whole vocabulary, whatever is legal or banned in the env and
    however the agent samples. A model with the env's vocabulary scores the very ids that the agent chose. For a model
    with another vocabulary the text is encoded anew; the reward is then in nats per byte of the completion, and its
    term is called `fluency_per_byte`.

    Args:
        model: the frozen model, a name as for the env's `model=`. None is the env's own model.

    Raises:
        ValueError: when the env is built, if neither the reward nor the env names a model, or the model would have to
            read pictures or sounds and has no encoder for them.
    """

    name = "fluency"

    def __init__(self, model: str | None = None):
        self.model = model
        self._device: torch.device | None = None

    def bind(self, context: RewardContext) -> Reward:
        name = self.model or context.model
        if name is None:
            raise ValueError(
                "reward 'fluency' needs a language model: give the env model=..., or write fluency('reviews-lm')"
            )
        bound = Fluency(name)
        bound._device = context.device
        if name != context.model:
            other = adapted(load_tokenizer(name))
            if tuple(other.token_bytes) != tuple(context.tokenizer.token_bytes):
                bound._other, bound.name = other, "fluency_per_byte"
        if context.media and bound._other is None:
            self._check_sees(name, context)
        return bound

    def _check_sees(self, name: str, context: RewardContext) -> None:
        """Raises ValueError if the model cannot read what the env shows beside words."""
        try:
            check_encoder(load_model(name, device=str(context.device)), context.media, context.places)
        except ValueError as error:
            raise ValueError(f"reward {self.name!r}: {error}; or name another reward") from error

    _other: HFTokenizer | None = None  # set when the judge reads with another vocabulary than the env

    def __call__(self, transition: Transition) -> torch.Tensor:
        if self._device is None or self.model is None:
            raise ValueError("reward 'fluency' is not bound to an env: call bind(context) first")
        if not len(transition.rows):
            return pay_turns(transition, [])
        judge = load_model(self.model, device=str(self._device))
        if self._other is not None:
            return self._per_byte(transition, judge, self._other)
        rows = torch.as_tensor(transition.rows, device=self._device)
        start, end = transition.before.turn_start[rows], transition.spoken.length[rows]
        tokens = transition.spoken.tokens[rows, : int(end.max())]
        column = torch.arange(tokens.shape[1], device=self._device)
        chosen = (column >= start.unsqueeze(1)) & (column < end.unsqueeze(1))
        logprobs = completion_logprobs(judge, tokens, chosen, PLAIN)
        return pay_turns(transition, (logprobs.double().sum(1) / chosen.sum(1)).tolist())

    def _per_byte(self, transition: Transition, judge, tokenizer: HFTokenizer) -> torch.Tensor:
        values = []
        for text, example in zip(transition.completions, transition.examples, strict=True):
            context, whole = (
                tokenizer.encode_prompt(example.prompt),
                tokenizer.encode_prompt(example.prompt + text),
            )
            tokens = torch.tensor([whole], device=self._device)
            # Tokens can join across the border: the completion's share is the difference of two whole texts.
            scores = [
                float(completion_logprobs(judge, t, torch.arange(t.shape[1], device=t.device)[None] > 0, PLAIN).sum())
                for t in (tokens, torch.tensor([context], device=self._device))
            ]
            values.append((scores[0] - scores[1]) / max(1, len(text.encode())))
        return pay_turns(transition, values)
