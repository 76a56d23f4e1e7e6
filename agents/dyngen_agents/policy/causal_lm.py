"""A causal language model as a policy with a value head.

`act` chooses one token a row, with a key-value cache; `evaluate` scores all tokens of given texts by one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from dyngen_agents.policy.reference import Reference
from dyngen_agents.policy.trunk import Trunk
from dyngen_agents.policy.value_head import ValueHead
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.draw import draw
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import head_shape, lm_head
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.logprobs import token_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Action(NamedTuple):
    """What the policy chooses in B rows."""

    tokens: Tensor  # (B,) int64
    logprobs: Tensor  # (B,) float32, of the behaviour distribution
    values: Tensor  # (B,) float32


class Evaluation(NamedTuple):
    """Log-probs, values and entropies of given tokens, aligned with them; zero where `completion_mask` is False."""

    logprobs: Tensor  # (N, T) float32
    values: Tensor  # (N, T) float32, V before each choice
    entropies: Tensor  # (N, T) float32, nats
    kls: Tensor  # (N, T) float32, nats, of the distribution from a reference's; zero if none was given


class CausalLMPolicy(nn.Module):
    """A language model with a value head on its last hidden states, so that one forward pass gives policy and values.

    Args:
        lm: any causal LM of transformers. Dropout stays off: it would cost 0.3 nats of log-prob mismatch.
        distribution: what may be written and how it is drawn: `env.token_distribution(sampling)`. It moves with the
            policy from device to device.
        compile: let inductor fuse the elementwise parts of the step that `collect` captures; the first rollout takes a
            minute longer. "auto": on a GPU alone.

    Raises:
        ValueError: `compile` is something else, the model's head is narrower than the distribution has tokens, or the
            model is not one that this package can use (`dyngen_env.lm.engine.compatibility`).
    """

    def __init__(self, lm: PreTrainedModel, distribution: TokenDistribution, compile: bool | Literal["auto"] = False):
        super().__init__()
        if compile not in (True, False, "auto"):
            raise ValueError(f'compile={compile!r}: expected True, False or "auto"')
        self.compile_step = compile
        self.engine = Engine(lm)
        width, hidden_size = head_shape(lm)
        if distribution.legal is not None and width < len(distribution.legal):
            raise ValueError(f"policy has {width} tokens, env has {len(distribution.legal)}: give both the same model")
        self.lm, self.distribution = lm, distribution.to(lm.device)
        self.trunk = Trunk(lm)
        self.value_head = ValueHead(hidden_size, lm.device)
        self.label_embedding: nn.Embedding | None = None
        self.decoders: dict[tuple[int, int], Any] = {}  # see `policy.decoder.decoder_for`
        self.train(False)

    def read_labels(self, count: int) -> nn.Embedding:
        """Let what rows attend to beside their tokens bear labels, 0 to `count` - 1, each a vector that is learned.

        The vectors are zero at first: until something was learned, a note is nothing but its words.
        """
        words = cast("nn.Embedding", self.lm.get_input_embeddings())
        embedding = nn.Embedding(count, words.weight.shape[1], device=self.lm.device, dtype=torch.float32)
        nn.init.zeros_(embedding.weight)
        self.label_embedding = self.engine.label_embedding = embedding
        return embedding

    def train(self, mode: bool = True) -> CausalLMPolicy:
        """Stays in evaluation mode whatever `mode` is, so that dropout is off; gradients flow in any mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CausalLMPolicy:
        """Called by `to`, `cuda` and the like: moves the distribution along with the weights."""
        super()._apply(fn, recurse)
        self.distribution = self.distribution.to(self.value_head.weight.device)
        return self

    def logits(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        """The policy's logits (..., V) from hidden states (..., D): at its temperature, -inf where illegal or banned.

        Args:
            states: (...) where the distribution stands after the same tokens (`TokenDistribution.states`); None where
                it needs no state.
        """
        return self.distribution.warp(lm_head(self.lm, hidden), states)

    def value(self, hidden: Tensor) -> Tensor:
        """V(s), the expected return, (...) float32, from hidden states (..., D)."""
        return self.value_head(hidden.to(self.value_head.weight.dtype)).squeeze(-1).float()

    @torch.no_grad()
    def act(self, tokens: Tensor, lengths: Tensor, uniform: Tensor | None, notes: Notes | None = None) -> Action:
        """Choose the next token of each row.

        Args:
            tokens: (B, L) int64, right-padded with -1. lengths: (B,) int64.
            uniform: (B,) float32 in [0, 1), the randomness; None is greedy.
            notes: (B, C, W) what the rows attend to beside their tokens.
        """
        return self.choose(self.engine.next_hidden(tokens, lengths, notes), tokens, lengths, uniform)

    @torch.no_grad()
    def choose(self, hidden: Tensor, tokens: Tensor, lengths: Tensor, uniform: Tensor | None) -> Action:
        """`act` from hidden states (B, D) at the rows' last tokens. Nothing is read on the host."""
        states = self.distribution.state(tokens, lengths)
        chosen, logprobs = draw(self.distribution, lm_head(self.lm, hidden), states, uniform)
        return Action(chosen, logprobs, self.value(hidden))

    def evaluate(
        self,
        tokens: Tensor,
        completion_mask: Tensor,
        entropy_gradient: bool = False,
        reference: Reference | None = None,
        value_gradient: bool = True,
        notes: Notes | None = None,
    ) -> Evaluation:
        """Log-probs, values and entropies of the chosen tokens, by one forward pass over the sequences.

        Args:
            tokens: (N, T) int64, right-padded with -1. completion_mask: (N, T) bool, never True at position 0.
            entropy_gradient: whether the entropies carry gradients, which costs time.
            reference: from which the exact KL divergence is measured at each choice, by a forward pass of its own.
            value_gradient: whether the values' gradient reaches the language model, or the value head alone.
            notes: (N, C, W) what the rows attend to beside their tokens. Gradients reach what the model makes of them.

        Raises:
            ValueError: gradients are wanted of a greedy policy, which has none.
        """
        if torch.is_grad_enabled():
            self.distribution.sampling.require_chance()
        rows, columns = completion_mask.nonzero(as_tuple=True)
        # Nothing is asked after the last token.
        hidden = self.trunk(tokens[:, :-1], notes, self.label_embedding)[
            rows, columns - 1
        ]  # (M, D), before each choice
        all_states = self.distribution.states(tokens)
        states = None if all_states is None else all_states[rows, columns - 1]
        ref_hidden = None if reference is None else reference.hidden(tokens, notes)[rows, columns - 1]
        logprobs, entropies, kls = token_scores(
            hidden,
            tokens[rows, columns],
            states,
            self.logits,
            entropy_gradient,
            ref_hidden,
            None if reference is None else reference.logits,
        )
        values = self.value(hidden if value_gradient else hidden.detach())
        zeros = torch.zeros(tokens.shape, device=tokens.device)
        return Evaluation(*(zeros.index_put((rows, columns), x) for x in (logprobs, values, entropies, kls)))
