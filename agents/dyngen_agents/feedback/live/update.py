"""One update of a live learner: a few gradient steps on the latest rated turns, near the model that it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.feedback.live.config import LiveConfig
from dyngen_agents.feedback.live.log import RatedTurn
from dyngen_agents.feedback.live.rows import RowBatch, TurnRow, batch_of, pieces, row_of, writable
from dyngen_agents.feedback.live.upper import UpperLayers
from dyngen_agents.feedback.live.weights import read_weights, write_weights
from dyngen_agents.functional.losses import tapered_weights
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.loading.models import context_window
from dyngen_env.lm.logprobs import TokenScores, token_scores
from dyngen_env.text.tokenizer import Tokenizer

HALVINGS = 5  # of a step that went too far from the base; what is then still too far is not taken at all


class Interrupted(Exception):
    """Somebody wants the update to stop; the weights are in the middle of it."""


@dataclass(frozen=True)
class _Known:
    """What the base, which never changes, says of a turn; so it is computed once for all updates that read the turn.

    Attributes:
        row: the turn.
        hidden: (m, D) hidden states before each of its m tokens.
        below: (T, D) what layers that do not learn make of the row's T tokens but the last; None if it is not kept.
    """

    row: TurnRow
    hidden: Tensor
    below: Tensor | None


@dataclass
class _Lesson:
    """What an update learns from one turn.

    Attributes:
        advantage: of its rating; 0 without one.
        taught: (m, D) the base's hidden states before each of its m tokens after the person's words; None if there
            are none.
        logprob: log π of the turn before the first step, where it is computed; None until then.
    """

    known: _Known
    advantage: float
    taught: Tensor | None
    logprob: Tensor | None = None


@dataclass(frozen=True)
class _Pair:
    """Two turns after one context, the first of which was preferred, and log π_base of each, summed, (2,)."""

    rows: tuple[TurnRow, TurnRow]
    ref_logprobs: Tensor


class LiveUpdate:
    """Learn from the latest rated turns, whatever was said of them.

    The loss, a mean over the turns, is the sum of

    - ratings: −w A log π(turn | context), REINFORCE with the advantage A of the rating (`advantages`). Turns are
      replayed, so they are off-policy; w is that of TOPR (Le Roux et al. 2025): 1 where A is above 0, and
      min(1, π/μ) below, so that what is hardly written any more is not pushed further away. μ is the policy at the
      beginning of the update.
    - words: KL(π(·|context) ‖ π_base(·|context, words)), token by token and exact: the self-distillation of SDPO and
      SDFT (2026; `algorithms.self_distillation`) without its sampling noise. The teacher has heard before each turn
      what its person has asked for in any of these turns (`requests`): people say it once.
    - corrections and preferences: DPO (Rafailov et al. 2023, eq. 7).
    - β KL(π‖π_base), exact at each token (`lm.logprobs.token_scores`).

    Afterwards, if the weights are more than `kl_limit` nats per token away from the base, the way they went in this
    update is halved until they are not.

    Args:
        policy: what learns, by the weights called `names`. reference: the base that it is held to. Both are nobody
            else's.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        tokenizer: Tokenizer,
        names: Sequence[str],
        config: LiveConfig,
    ):
        self.policy, self.reference, self.tokenizer = policy, reference, tokenizer
        self.names, self.config = list(names), config
        self.window = context_window(policy.lm.config)
        # Where all layers have adapters, none is frozen.
        self.upper = None if config.lora_rank else UpperLayers.of(policy.lm, reference.lm, config.last_layers)
        self._known: dict[RatedTurn, _Known] = {}  # of the turns that the latest update read

    def __call__(self, turns: Sequence[RatedTurn], go_on: Callable[[], bool] = lambda: True) -> float:
        """Change the policy's weights. Returns the nats per token that they are away from the base afterwards.

        Args:
            go_on: asked between forward passes.

        Raises:
            Interrupted: `go_on` said no.
            ValueError: none of the turns is one that the model may write.
            FloatingPointError: the gradients are not finite.
        """
        c = self.config
        self._go_on = go_on
        turns = writable(turns, self.policy.distribution.legal)
        before = read_weights(self.policy.lm, self.names)
        lessons, pairs = self._lessons(turns), self._pairs(turns)
        learning = [p for name, p in self.policy.lm.named_parameters() if name in set(self.names)]
        for parameter in learning:
            parameter.requires_grad_(True)
        optimizer = PolicyOptimizer(learning, c.rate_for(self.policy.lm.num_parameters()))
        try:
            for _ in range(c.steps):
                self._step(optimizer, lessons, pairs)
        finally:
            for parameter in learning:
                parameter.requires_grad_(False)
        return self._hold(before, lessons)

    def _step(self, optimizer: PolicyOptimizer, lessons: Sequence[_Lesson], pairs: Sequence[_Pair]) -> None:
        c = self.config
        for part in self._pieces(lessons):
            batch, hidden = self._run([lesson.known for lesson in part])
            scores = self._scores(batch, hidden, torch.cat([lesson.known.hidden for lesson in part]))
            advantages = hidden.new_tensor([lesson.advantage for lesson in part])
            logprobs = batch.sums(scores.logprobs)
            for lesson, now in zip(part, logprobs.detach(), strict=True):
                lesson.logprob = now if lesson.logprob is None else lesson.logprob
            log_ratios = logprobs.detach() - torch.stack(
                [lesson.logprob for lesson in part if lesson.logprob is not None]
            )
            weights = c.rating_coef * advantages * tapered_weights(log_ratios, advantages)
            loss = (-weights * logprobs).sum() + c.kl_coef * scores.kls.sum()
            if c.words_coef:
                loss = loss + c.words_coef * self._distance_to_teacher(part, batch, hidden)
            optimizer.backward(loss / len(lessons))
        for pair in pairs if c.pair_coef else ():
            self._check()
            batch, hidden = self._run(pair.rows)
            log_ratios = batch.sums(self._scores(batch, hidden).logprobs) - pair.ref_logprobs
            loss = -logsigmoid(c.dpo_beta * (log_ratios[0] - log_ratios[1]))
            optimizer.backward(c.pair_coef * loss / len(lessons))
        optimizer.step()

    def _distance_to_teacher(self, part: Sequence[_Lesson], batch: RowBatch, hidden: Tensor) -> Tensor:
        """Σ KL(π ‖ π_base after the words) over the tokens of the turns whose person asked for something."""
        heard = [lesson.taught for lesson in part if lesson.taught is not None]
        if not heard:
            return hidden.new_zeros(())
        spoken = torch.tensor([lesson.taught is not None for lesson in part], device=hidden.device)
        at = spoken[batch.at[0]]
        scores = token_scores(
            hidden[at],
            batch.targets[at],
            None,
            self.policy.logits,
            ref_hidden=torch.cat(heard),
            ref_logits_of=self.reference.logits,
        )
        return scores.kls.sum()

    def _lessons(self, turns: Sequence[RatedTurn]) -> list[_Lesson]:
        self._known = {turn: self._known.get(turn) or self._learn_of(turn) for turn in turns}
        heard = requests(turns, self.config.pleased) if self.config.words_coef else {}
        lessons = []
        for turn, advantage in zip(turns, advantages(turns), strict=True):
            known, words = self._known[turn], heard.get(turn.person, "")
            taught = self._ref_hidden(self._cut(known.row.after(words, self.tokenizer))) if words else None
            lessons.append(_Lesson(known, advantage, taught))
        return lessons

    def _learn_of(self, turn: RatedTurn) -> _Known:
        row = self._cut(row_of(turn))
        if self.upper is None or row.memory is not None:  # with notes the rows of a batch are more than their tokens
            return _Known(row, self._ref_hidden(row), None)
        batch = batch_of([row], self.policy.lm.device)
        with torch.no_grad():
            hidden, below = self.upper.base_hidden(batch.tokens[:, :-1])
        return _Known(row, hidden[batch.before[1]], below)

    def _pairs(self, turns: Sequence[RatedTurn]) -> list[_Pair]:
        chosen = [turn for turn in turns if turn.better]
        rows = [(self._cut(row_of(turn, turn.better)), self._cut(row_of(turn))) for turn in chosen]
        return [_Pair(pair, self._ref_logprobs(pair)) for pair in rows]

    @torch.no_grad()
    def _hold(self, before: dict[str, Tensor], lessons: Sequence[_Lesson]) -> float:
        """Go back towards the weights `before` until the limit is kept."""
        after = read_weights(self.policy.lm, self.names)
        for halvings in range(HALVINGS + 1):
            kl = self._kl(lessons)
            if kl <= self.config.kl_limit:
                return kl
            share = 0.5 ** (halvings + 1) if halvings < HALVINGS else 0.0
            write_weights(self.policy.lm, {n: before[n].lerp(after[n], share) for n in self.names})
        return self._kl(lessons)

    @torch.no_grad()
    def _kl(self, lessons: Sequence[_Lesson]) -> float:
        total, count = 0.0, 0
        for part in self._pieces(lessons):
            batch, hidden = self._run([lesson.known for lesson in part])
            kls = self._scores(batch, hidden, torch.cat([lesson.known.hidden for lesson in part])).kls
            total, count = total + float(kls.sum()), count + len(kls)
        return total / count

    def _run(self, part: Sequence[_Known | TurnRow]) -> tuple[RowBatch, Tensor]:
        """The policy's hidden states (M, D) before the tokens of turns."""
        batch = batch_of([x if isinstance(x, TurnRow) else x.row for x in part], self.policy.lm.device)
        below = [x.below for x in part if isinstance(x, _Known) and x.below is not None]
        if self.upper is not None and len(below) == len(part):
            return batch, self.upper(batch.tokens[:, :-1], below)[batch.before]
        hidden = self.policy.trunk(batch.tokens[:, :-1], batch.notes, self.policy.label_embedding)
        return batch, hidden[batch.before]

    def _scores(self, batch: RowBatch, hidden: Tensor, ref_hidden: Tensor | None = None) -> TokenScores:
        ref_logits = None if ref_hidden is None else self.reference.logits
        return token_scores(
            hidden, batch.targets, None, self.policy.logits, ref_hidden=ref_hidden, ref_logits_of=ref_logits
        )

    def _ref_hidden(self, row: TurnRow) -> Tensor:
        """The base's hidden states (m, D) before the m tokens of a turn."""
        self._check()
        batch = batch_of([row], self.policy.lm.device)
        return self.reference.hidden(batch.tokens, batch.notes)[batch.before]

    def _ref_logprobs(self, rows: Sequence[TurnRow]) -> Tensor:
        """log π_base of each row's turn (n,)."""
        batch = batch_of(rows, self.policy.lm.device)
        mask = torch.zeros_like(batch.tokens, dtype=torch.bool)
        mask[batch.at] = True
        return self.reference.logprobs(batch.tokens, mask, batch.notes).sum(1)

    def _cut(self, row: TurnRow) -> TurnRow:
        return row.cut(self.config.context_tokens, self.window)

    def _pieces(self, lessons: Sequence[_Lesson]) -> Iterator[list[_Lesson]]:
        for piece in pieces([lesson.known.row for lesson in lessons], self.config.max_tokens):
            self._check()
            yield [lessons[i] for i in piece]

    def _check(self) -> None:
        if not self._go_on():
            raise Interrupted


def advantages(turns: Sequence[RatedTurn]) -> list[float]:
    """How much better than usual each turn was rated, from -2 to 2; 0 of turns without a rating.

    A = (rating − b)/4, b the mean of the person's ratings in these turns, and of one rating of 0: people are kind or
    harsh, and what a person rates first is not yet what is usual.
    """
    by_person: dict[str, list[float]] = {}
    for turn in turns:
        if turn.rating is not None:
            by_person.setdefault(turn.person, []).append(turn.rating)
    usual = {person: sum(ratings) / (len(ratings) + 1) for person, ratings in by_person.items()}
    return [0.0 if turn.rating is None else (turn.rating - usual[turn.person]) / 4 for turn in turns]


def requests(turns: Sequence[RatedTurn], pleased: float, most: int = 3) -> dict[str, str]:
    """What each person has asked for: the latest `most` different things they said of turns that did not please them.

    Args:
        pleased: a rating from which on words ask for nothing.
    """
    said: dict[str, dict[str, None]] = {}
    for turn in turns:
        words = turn.words.strip()
        if words and (turn.rating is None or turn.rating < pleased):
            own = said.setdefault(turn.person, {})
            own.pop(words, None)  # said again, it is the latest
            own[words] = None
    return {person: " ".join(list(words)[-most:]) for person, words in said.items()}
