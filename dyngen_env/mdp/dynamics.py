"""The dynamics of the token MDP: pure functions from states and tokens to states, batched over rows.

`append` is the transition: it adds the token that the agent chose. `hear` adds what a user answered to a turn that has
ended, `forget` drops tokens from the middle of some rows and `take_back` a turn from their end, `restart` begins new
episodes in some rows, `put` writes rows and `fork` copies them. A row whose episode has ended is absorbing: `append`
leaves it as it is. Nothing here decodes text, pays rewards or reads a tensor on the host. Shapes: B rows, L tokens of
context, V tokens in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from dyngen_env.mdp.state import ALWAYS, CONTEXT, LENGTH, LIVE, TokenState


@dataclass(frozen=True, slots=True)
class Rules:
    """What each token of the vocabulary does to a turn, as tables.

    The automaton that looks for stop strings has S states: 1 if there are no stop strings (`mdp.automaton`).
    """

    outcome: torch.Tensor  # (S, V) int64: LIVE, STOP or ILLEGAL, by the automaton's state and the token
    stop_next: torch.Tensor  # (S, V) int64: the automaton's state after the token
    max_new_tokens: int  # of one turn
    budget: torch.Tensor = field(
        init=False
    )  # (max_new_tokens + 2,) int64: LIVE or LENGTH, by the turn's number of tokens

    def __post_init__(self):
        # One entry beyond the budget: what an ended row would say is computed, too, before it absorbs.
        budget = torch.tensor([LIVE] * self.max_new_tokens + [LENGTH] * 2, device=self.outcome.device)
        object.__setattr__(self, "budget", budget)


def initial(prompts: torch.Tensor, prompt_lengths: torch.Tensor, budget: torch.Tensor | None = None) -> TokenState:
    """The state in which B episodes begin.

    Args:
        prompts: (B, L) int64 tokens, padded on the right with -1. They become the state's own: do not write to them.
        prompt_lengths: (B,) int64, below L: there is room for a token of the agent's.
        budget: (B,) int64, how many tokens a turn may have in each row, at most `Rules.max_new_tokens`; None: so many.
    """
    zeros = torch.zeros_like(prompt_lengths)
    return TokenState(
        tokens=prompts,
        length=prompt_lengths,
        turn_start=prompt_lengths,
        earlier=torch.zeros_like(prompts, dtype=torch.bool),
        stop_state=zeros,
        finish=zeros,
        budget=budget,
    )


def append(state: TokenState, actions: torch.Tensor, rules: Rules, all_live: bool = False) -> TokenState:
    """The state after the agent has chosen a token in each live row; other rows stay as they are.

    Where the token ends the turn, `finish` says why. If there are several reasons, an illegal token comes before an end
    token or a stop string, these before the turn's budget, and that before a full context. Whether the end of a turn is
    the end of the episode is not decided here: where a user answers, `hear` makes the row live again.

    Args:
        actions: (B,) int64 tokens, each in [0, V).
        all_live: the caller knows that all rows are live, which saves a comparison of rows.
    """
    states, vocabulary = rules.outcome.shape
    width = state.tokens.shape[1]
    length = state.length + 1
    index = actions if states == 1 else state.stop_state * vocabulary + actions
    written = length - state.turn_start
    spent = rules.budget.take(written) if state.budget is None else (written >= state.budget) * LENGTH
    full = length >= width  # as a number CONTEXT, which is 1
    finish = rules.outcome.take(index).maximum(spent).maximum(full)  # the precedence is the order of the reasons
    stop_state = state.stop_state if states == 1 else rules.stop_next.take(index)
    at, token = state.length.unsqueeze(1), actions.unsqueeze(1)  # a live row has room for a token
    if not all_live:
        live, at = state.live, at.clamp(max=width - 1)
        length, finish = torch.where(live, length, state.length), torch.where(live, finish, state.finish)
        stop_state = stop_state if states == 1 else torch.where(live, stop_state, state.stop_state)
        # An ended row writes what stands there already: a choice between rows (B, L) would copy the batch once more.
        token = torch.where(live.unsqueeze(1), token, state.tokens.gather(1, at))
    return TokenState(
        tokens=state.tokens.scatter(1, at, token),
        length=length,
        turn_start=state.turn_start,
        earlier=state.earlier,
        stop_state=stop_state,
        finish=finish,
        budget=state.budget,
    )


def hear(
    state: TokenState, rows: torch.Tensor, words: torch.Tensor, counts: torch.Tensor, finish: torch.Tensor
) -> TokenState:
    """The state after users have answered in some rows; there the agent's next turn begins, or the episode ends.

    A row that cannot hold its words and one token more is left as it is and finishes with CONTEXT.

    Args:
        rows: (R,) int64, rows whose turn has just ended.
        words: (R, W) int64, tokens to append: those that close the turn, the user's words, those that open the agent's
            next turn.
        counts: (R,) int64, how many of `words` each row appends. Nothing is appended where the dialogue ends.
        finish: (R,) int64, LIVE where the agent goes on, else why the episode ends.
    """
    width = state.tokens.shape[1]
    start = state.length[rows]
    fits = start + counts < width
    counts = torch.where(fits & (finish == LIVE), counts, 0)
    finish = torch.where((finish == LIVE) & ~fits, CONTEXT, finish)
    offset = torch.arange(width, device=state.tokens.device) - start.unsqueeze(1)  # (R, L)
    new = (offset >= 0) & (offset < counts.unsqueeze(1))
    said = words.gather(1, offset.clamp(0, words.shape[1] - 1))
    length, goes_on, chosen = start + counts, finish == LIVE, fork(state, rows).completion_mask
    return replace(
        state,
        tokens=state.tokens.index_copy(0, rows, torch.where(new, said, state.tokens[rows])),
        length=state.length.index_copy(0, rows, length),
        turn_start=state.turn_start.index_copy(0, rows, torch.where(goes_on, length, state.turn_start[rows])),
        earlier=state.earlier.index_copy(0, rows, torch.where(goes_on.unsqueeze(1), chosen, state.earlier[rows])),
        stop_state=state.stop_state.index_fill(0, rows, 0),
        finish=state.finish.index_copy(0, rows, finish),
    )


def forget(state: TokenState, rows: torch.Tensor, start: torch.Tensor, count: torch.Tensor) -> TokenState:
    """The state after some tokens have been taken out of rows (R,); what stood behind them moves up.

    Args:
        start: (R,) int64, where the tokens begin.
        count: (R,) int64, how many there are. All must lie before the current turn.
    """
    width = state.tokens.shape[1]
    column = torch.arange(width, device=state.tokens.device)
    source = column + (column >= start.unsqueeze(1)) * count.unsqueeze(1)  # (R, L), what moves to each position
    empty, source = source >= width, source.clamp(max=width - 1)
    return replace(
        state,
        tokens=state.tokens.index_copy(0, rows, state.tokens[rows].gather(1, source).masked_fill(empty, -1)),
        earlier=state.earlier.index_copy(0, rows, state.earlier[rows].gather(1, source) & ~empty),
        length=state.length.index_add(0, rows, -count),
        turn_start=state.turn_start.index_add(0, rows, -count),
    )


def take_back(state: TokenState, rows: torch.Tensor) -> TokenState:
    """The state in which nothing of the current turn of rows (R,) has been written. Their `finish` stays as it is."""
    column, start = torch.arange(state.tokens.shape[1], device=state.tokens.device), state.turn_start[rows]
    left = state.tokens[rows].masked_fill(column >= start.unsqueeze(1), -1)
    return replace(
        state,
        tokens=state.tokens.index_copy(0, rows, left),
        length=state.length.index_copy(0, rows, start),
        stop_state=state.stop_state.index_fill(0, rows, 0),
    )


def restart(
    state: TokenState,
    rows: torch.Tensor,
    prompts: torch.Tensor,
    lengths: torch.Tensor,
    budget: torch.Tensor | None = None,
) -> TokenState:
    """The state after new episodes have begun in rows (R,), with prompts (R, L) of `lengths` (R,) as in `initial`."""
    return put(state, rows, initial(prompts, lengths, budget))


def put(state: TokenState, rows: torch.Tensor, other: TokenState) -> TokenState:
    """The state whose rows (R,) are the R rows of `other`."""
    return _each(lambda mine, theirs: mine.index_copy(0, rows, theirs), state, other)


def fork(state: TokenState, rows: torch.Tensor) -> TokenState:
    """A state of R rows: copies of rows (R,), any of which may be named more than once."""
    return _each(lambda tensor: tensor[rows], state)


def _each(function, *states: TokenState) -> TokenState:
    """A state made of the states' fields, one by one; those that the first state lacks, it lacks, too."""
    whole = {name: function(*(getattr(state, name) for state in states)) for name in ALWAYS}
    budgets = [state.budget for state in states]
    return TokenState(**whole, budget=None if budgets[0] is None else function(*budgets))
