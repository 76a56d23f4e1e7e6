"""Texts as a discriminator reads them: the agent's turns out of episodes, and human texts in exactly the same form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dyngen_agents.data.trajectories import Trajectories
from dyngen_env import mdp
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.discriminators.reading import as_read
from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.tasks import read_prompts
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Example

ROWS = 1024  # of human texts that are written into the env's rules at a time: bounds memory


@dataclass(frozen=True)
class JudgedTexts:
    """N texts as a discriminator reads them."""

    tokens: Tensor  # (N, T) int64, right-padded with -1
    starts: Tensor  # (N,) int64, where what is judged begins; before it stands the prompt, if that is read

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor | slice) -> JudgedTexts:
        """The texts `rows`, without padding that all of them have."""
        tokens = self.tokens[rows]
        return JudgedTexts(tokens[:, : int((tokens >= 0).sum(1).max())], self.starts[rows])

    @property
    def mask(self) -> Tensor:
        """(N, T) bool: the tokens that are judged."""
        return (self.tokens >= 0) & (
            torch.arange(self.tokens.shape[1], device=self.tokens.device) >= self.starts[:, None]
        )


def join_texts(parts: Sequence[JudgedTexts]) -> JudgedTexts:
    """The texts of all parts, one part after the other."""
    width = max(part.tokens.shape[1] for part in parts)
    padded = [F.pad(part.tokens, (0, width - part.tokens.shape[1]), value=-1) for part in parts]
    return JudgedTexts(torch.cat(padded), torch.cat([part.starts for part in parts]))


@dataclass(frozen=True)
class Turns:
    """Where the agent's M turns stand in N episodes, in the order of the episodes."""

    episodes: Tensor  # (M,) int64
    start: Tensor  # (M,) int64, position of the turn's first token
    end: Tensor  # (M,) int64, position after its last one

    def texts(self, batch: Trajectories, end_ids: frozenset[int], reads_prompt: bool) -> JudgedTexts:
        """What a discriminator reads of them: all tokens up to the turn's end, or the turn's alone."""
        begin = torch.zeros_like(self.start) if reads_prompt else self.start
        tokens = as_read(batch.tokens[self.episodes], begin, self.end, end_ids)
        return JudgedTexts(tokens, self.start - begin)

    def mask(self, width: int) -> Tensor:
        """(M, width) bool: the turns' tokens, at their positions in the episodes."""
        at = torch.arange(width, device=self.start.device)
        return (at >= self.start[:, None]) & (at < self.end[:, None])

    def aligned(self, values: Tensor, texts: JudgedTexts, width: int) -> Tensor:
        """(M, width): values (M, T) of the tokens of `texts`, at the positions of the episodes; 0 elsewhere."""
        out = values.new_zeros(len(values), width)
        out[self.mask(width)] = values[texts.mask]
        return out


def turns_of(completion_mask: Tensor) -> Turns:
    """The agent's turns: runs of True in a completion mask (N, L)."""
    before = F.pad(completion_mask[:, :-1], (1, 0))
    after = F.pad(completion_mask[:, 1:], (0, 1))
    episodes, start = (completion_mask & ~before).nonzero(as_tuple=True)
    _, last = (completion_mask & ~after).nonzero(as_tuple=True)
    return Turns(episodes, start, last + 1)


@dataclass(frozen=True)
class HumanTexts:
    """What people wrote: nine tenths to learn from, and every tenth text to measure with."""

    learned: JudgedTexts
    held_out: JudgedTexts
    reads_prompt: bool


def human_texts(env: TextGenVectorEnv, path: str | None) -> HumanTexts:
    """Human texts as if an agent had written them in `env`: after the same prompts, cut by the same limits.

    Length, end tokens and stop strings are then no signs by which to tell people from agents. Where no user answers and
    the texts have prompts, a discriminator reads prompt and continuation; elsewhere it reads each turn by itself.

    Args:
        env: which has been reset. It is not changed.
        path: a `.txt` file with a text on each line, or a `.jsonl` file of {"prompt": ..., "reference": ...}, where the
            reference continues the prompt; a line without a reference is a text by itself. None: what people wrote
            after the prompts of the env's own task.

    Raises:
        FileNotFoundError: no such file. ValueError: it cannot be read, or there are fewer than ten texts.
    """
    examples = getattr(env.task, "written", ()) if path is None else read_prompts(path).examples
    texts = [("", e.prompt) if e.reference is None else (e.prompt, e.reference) for e in examples]
    texts = [(prompt, text) for prompt, text in texts if text.strip()]
    if len(texts) < 10:
        raise ValueError(
            f"{len(texts)} human-written texts in {path or 'the prompts of the env, as references'}: expected at least "
            "ten. Name a file with human='texts.txt' (--human texts.txt), a text on each line, or .jsonl with prompts "
            "and references"
        )
    reads_prompt = not env.user.answers and all(prompt for prompt, _ in texts)
    parts = [_written(env, texts[i : i + ROWS], reads_prompt) for i in range(0, len(texts), ROWS)]
    whole = join_texts(parts)
    held = torch.arange(len(whole), device=whole.tokens.device) % 10 == 9
    return HumanTexts(whole.take(~held), whole.take(held), reads_prompt)


def _written(env: TextGenVectorEnv, texts: Sequence[tuple[str, str]], reads_prompt: bool) -> JudgedTexts:
    """Pairs of prompt and text, written into the env by its own rules, less those that it does not allow."""
    tokenizer, prompts = env.tokenizer, [prompt for prompt, _ in texts]
    if reads_prompt:
        twin = env.fork([0] * len(texts))
        twin.reset(options={"prompt": [Example(prompt) for prompt in prompts]})
        state, ids = twin.state, [_continuation(env, *text) for text in texts]
    else:
        state, ids = _empty(env, len(texts)), [tokenizer.encode(text) for _, text in texts]
    closing = sorted(tokenizer.end_ids)[:1] or [0]
    columns = pad_rows([row + closing for row in ids], max(map(len, ids)) + 1, fill=0).to(env.device)
    for tokens in columns.unbind(1)[: env.max_new_tokens]:
        state = mdp.append(state, tokens, env.rules)
    allowed = state.finish != ILLEGAL
    begin = torch.zeros_like(state.turn_start) if reads_prompt else state.turn_start
    read = as_read(state.tokens, begin, state.length, tokenizer.end_ids)
    return JudgedTexts(read[allowed], (state.turn_start - begin)[allowed])


def _continuation(env: TextGenVectorEnv, prompt: str, text: str) -> list[int]:
    """The ids of a text after its prompt, as they are where both are encoded together, if the prompt's stay its own."""
    before, whole = env.tokenizer.encode_prompt(prompt), env.tokenizer.encode_prompt(prompt + text)
    return whole[len(before) :] if whole[: len(before)] == before else env.tokenizer.encode(text)


def _empty(env: TextGenVectorEnv, rows: int) -> TokenState:
    """The state of rows whose context holds nothing that matters."""
    before = env.tokenizer.encode_prompt("")
    prompts = pad_rows([before] * rows, len(before) + env.max_new_tokens + 1).to(env.device)
    return mdp.initial(prompts, torch.full((rows,), len(before), device=env.device))
