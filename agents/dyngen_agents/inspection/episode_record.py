"""One episode as values that JSON can hold: turns, their tokens, and each token's numbers and alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.data.segments import apart
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.inspection.token_text import is_text, token_text, token_texts, visible
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.text.tokenizer import Tokenizer

ALTERNATIVES = 5  # tokens shown of each distribution


def episode_record(
    tokenizer: Tokenizer,
    policy: CausalLMPolicy,
    reference: Reference,
    batch: Trajectories,
    numbers: dict[str, Tensor],
    row: int,
) -> dict[str, Any]:
    """One episode: its end, and its turns in order.

    A turn has a "role": "prompt", "user" or "agent". What the agent read is a list of "pieces" (text, whether it is a
    control token). What it chose is a list of "tokens" with "id", "text", "control", the `numbers`, its "rank" and the
    likeliest tokens there, "top": (id, text, π, π_ref). A user's turn has the "rating" of the agent's turn before it;
    "unread" are words that came after the end. An episode of a mixture says which "task" it is.
    """
    length, task = int(batch.lengths[row]), batch.tasks[row] if batch.tasks else None
    ids, mine = batch.tokens[row, :length].tolist(), batch.completion_mask[row, :length].tolist()
    notes = batch.notes_of(torch.tensor([row], device=batch.tokens.device))
    parts = apart(
        batch.tokens[[row]], batch.completion_mask[[row]], [batch.starts[row] if batch.starts else [0]], notes
    )
    ranks, tops = list[int](), list[list[tuple[int, float, float]]]()
    for i, count in enumerate((parts.tokens >= 0).sum(1).tolist()):
        of_part = None if parts.notes is None else parts.notes.take(torch.tensor([i], device=batch.tokens.device))
        some = alternatives(policy, reference, parts.tokens[i, :count], parts.completion_mask[i, :count], of_part)
        ranks, tops = ranks + some[0], tops + some[1]
    columns = {name: x[row, :length].tolist() for name, x in numbers.items()}
    talk = batch.dialogues[row]
    answers = iter([] if talk is None else [turn for turn in talk[1:] if turn["role"] == "user"])
    turns: list[dict[str, Any]] = []
    choice = 0
    for chosen, places in groupby(range(length), key=mine.__getitem__):
        at = list(places)
        run = [ids[p] for p in at]
        if not chosen:
            answer = next(answers, {}) if turns else {}
            pieces = list(_pieces(tokenizer, run))
            if notes is not None and answer and all(control for _, control in pieces):
                pieces.append([visible(answer["text"]), False])  # it read them in its memory
            turns.append(
                {
                    "role": "prompt" if talk is None else "user",
                    "pieces": pieces,
                    "rating": answer.get("rating"),
                }
            )
            continue
        tokens = []
        for p, token, text in zip(at, run, token_texts(tokenizer, run), strict=True):
            top = [[i, token_text(tokenizer, i), _short(pi), _short(ref)] for i, pi, ref in tops[choice]]
            own = {name: _short(column[p]) for name, column in columns.items()}
            control = not is_text(tokenizer, token)
            tokens.append({"id": token, "text": text, "control": control, **own, "rank": ranks[choice], "top": top})
            choice += 1
        turns.append({"role": "agent", "tokens": tokens})
    turns.extend(
        {"role": "user", "pieces": [[visible(a["text"]), False]], "rating": a["rating"], "unread": True}
        for a in answers
    )
    return {
        "turns": turns,
        "finish_reason": batch.finish_reasons[row],
        "return": _short(float(batch.episode_returns[row])),
        "reward_terms": {
            name: _short(float(paid[row])) for name, paid in batch.reward_terms.items() if _is_of(name, task)
        },
    } | ({"task": task} if task else {})


@torch.no_grad()
def alternatives(
    policy: CausalLMPolicy, reference: Reference, tokens: Tensor, completion_mask: Tensor, notes: Notes | None
) -> tuple[list[int], list[list[tuple[int, float, float]]]]:
    """Of each of M choices in a row of tokens (T,): its rank, 1 is the likeliest; and the likeliest (id, π, π_ref).

    notes: (1, C, W) what both models attend to beside the row; None: nothing.
    """
    at = completion_mask.nonzero().squeeze(1)
    before = CausalLMPolicy(reference.lm, reference.distribution)
    states = policy.distribution.states(tokens[None])
    states = None if states is None else states[0, at - 1]
    hidden = (hidden_states(p.lm, tokens[None], notes, p.label_embedding)[0, at - 1] for p in (policy, before))
    logp, ref = (p.logits(h, states).log_softmax(-1) for p, h in zip((policy, before), hidden, strict=True))
    ranks = 1 + (logp > logp.gather(1, tokens[at, None])).sum(1)
    best = logp.topk(min(ALTERNATIVES, policy.distribution.fewest_choices), dim=-1)
    columns = best.indices.tolist(), best.values.exp().tolist(), ref.gather(1, best.indices).exp().tolist()
    return ranks.tolist(), [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[list[Any]]:
    """Tokens as (text, whether it is a control token), text in as few pieces as can be."""
    for text, run in groupby(ids, key=lambda token: is_text(tokenizer, token)):
        shown = token_texts(tokenizer, list(run))
        yield from [["".join(shown), False]] if text else ([name, True] for name in shown)


def _is_of(term: str, task: str | None) -> bool:
    """Whether a term of the reward is one of those that a task pays: in a mixture they are named after it."""
    return task is None or "/" not in term or term.startswith((f"{task}/", f"{task.split('/')[-1]}/"))


def _short(number: float) -> float:
    """Six digits: as many as float32 has, and a page of a third of the size."""
    return float(f"{number:.6g}")
