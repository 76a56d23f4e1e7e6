"""A user played by another language model, from a description of its role."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from dyngen_env import mdp
from dyngen_env.arguments import named_device
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.loading.models import context_window, load_config, load_model, load_tokenizer
from dyngen_env.lm.sampling import sample
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.rules import token_rules
from dyngen_env.scoring.sentiment import vader
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Dialogue, Example, Feedback

ROLE = (
    "You are a film fan who talks with a friend about films. You like honest, lively opinions and dislike empty "
    "phrases. When you have heard enough, you say goodbye."
)
TASK = "What do you say next? Answer with one short sentence."
FAREWELLS = ("goodbye", "bye", "see you")


class LMUser:
    """A language model in the role of a user: it writes the answers, given a description of the role and the dialogue.

    The rating of a turn is the sentiment of the answer: 4 times its VADER compound score, rounded. An answer that says
    goodbye ends the dialogue; with a rating above 0 the user got what they wanted. The oldest turns are left out if the
    dialogue does not fit into the model's context window. Equal seeds give equal answers, up to the rounding of batched
    matrix products.

    Args:
        model: the language model, a name as for the env's `model=`. It is loaded at the first answer.
        role: who the user is and what they like, in words.
        max_new_tokens: the length of an answer in tokens, at most. A line break ends it as well.
        temperature, top_p: how answers are sampled, see `lm.distribution.SamplingConfig`.
        device: where the model runs.

    Raises:
        ValueError: role and answer together exceed the model's context window.
    """

    answers = True

    def __init__(
        self,
        model: str = "smollm2",
        role: str = ROLE,
        *,
        max_new_tokens: int = 24,
        temperature: float = 0.8,
        top_p: float = 0.95,
        device: str = "cpu",
    ):
        self.model, self.role, self.device = model, role, named_device(device)
        self.max_new_tokens, self.sampling = max_new_tokens, SamplingConfig(temperature, top_p=top_p)
        self.window = context_window(load_config(model))
        if len(self.tokenizer.encode_opening(f"{role}\n\n\n{TASK}")) + max_new_tokens > self.window:
            raise ValueError(
                f"role and max_new_tokens={max_new_tokens} exceed the {self.window} tokens of {model!r}: shorten them"
            )

    @cached_property
    def tokenizer(self) -> HFTokenizer:
        """That of the user's own model."""
        return adapted(load_tokenizer(self.model))

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[None]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        uniforms = np.stack([rng.random(self.max_new_tokens, dtype=np.float32) for rng in rngs])
        return [_feedback(text) for text in self._write([self._prompt(d) for d in dialogues], uniforms)]

    def _prompt(self, dialogue: Dialogue) -> list[int]:
        """Ids of the role, as much of the dialogue as fits, and what is asked for."""
        lines = [f"You: {dialogue.example.prompt}"]
        for i, completion in enumerate(dialogue.completions):
            lines.append(f"Friend: {completion}")
            lines += [f"You: {f.text}" for f in dialogue.feedback[i : i + 1]]
        while True:
            ids = self.tokenizer.encode_opening("\n".join([self.role, "", *lines, "", TASK]))
            if len(ids) + self.max_new_tokens <= self.window or not lines:
                return ids
            lines = lines[1:]

    @torch.no_grad()
    def _write(self, prompts: list[list[int]], uniforms: np.ndarray) -> list[str]:
        """A continuation of each prompt, drawn with uniforms (R, max_new_tokens)."""
        engine = Engine(load_model(self.model, device=self.device))
        rules, strings = token_rules(self.tokenizer, "\n", self.max_new_tokens, self.device)
        distribution = TokenDistribution.of(self.tokenizer, self.sampling, device=self.device)
        tokens = pad_rows(prompts, max(map(len, prompts)) + self.max_new_tokens)
        state = mdp.initial(tokens.to(self.device), torch.tensor([len(i) for i in prompts]).to(self.device))
        for uniform in torch.from_numpy(uniforms).to(self.device).T:
            raw = engine.next_logits(state.tokens, state.length)
            chosen, _ = sample(distribution.logits(raw, state.tokens, state.length), uniform)
            state = mdp.append(state, chosen, rules)
            if not state.live.any():
                break
        return completion_texts(self.tokenizer, state, range(len(prompts)), strings)


def _feedback(text: str) -> Feedback:
    said = text.strip().removeprefix("You:").strip()
    rating = round(4 * vader(said))
    leaves = any(word in said.lower() for word in FAREWELLS)
    return Feedback(said, rating, ("goal" if rating > 0 else True) if leaves else False)
