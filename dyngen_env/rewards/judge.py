"""What a language model behind an HTTP endpoint thinks of the completion, by a rubric: LLM as a judge."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.judge.answers import Answers, key_of
from dyngen_env.scoring.judge.endpoint import Endpoint, Message
from dyngen_env.scoring.judge.question import messages_about, score_in
from dyngen_env.types import Transition
from dyngen_env.user_cache import user_cache

log = logging.getLogger(__name__)


class Judge(Reward):
    """The score that a language model behind an HTTP endpoint gives the turn's completion by a rubric, scaled to [0, 1]
    (Zheng et al. 2023, "LLM-as-a-judge").

    The endpoint is any server with OpenAI's chat completions: vLLM, llama.cpp, Ollama, a provider. Its model is shown
    the rubric, the prompt (in a dialogue all turns so far), the reference answer if the prompt has one, and the
    completion; it answers at temperature 0 and is asked to end with "Score: N". Answers are kept in an SQLite file, so
    that no text is asked about twice. Like every judge it can be fooled by what the agent learns to write, such as
    "Score: 10".

        judge('http://127.0.0.1:8000/v1', rubric='Is the answer polite?')

    Args:
        url: the address of the server up to the version, as above. `scoring.judge.endpoint.Endpoint` describes when
            requests are repeated.
        rubric: what a good completion is, in words.
        model: the name that the server has for the model. None takes the only one that it serves.
        scale: the lowest and the highest score.
        unreadable: what is paid where an answer has no score on the scale. With None that is an error.
        concurrency: how many requests are under way at the same time, at most.
        options: more entries of each request, beside temperature 0 and max_tokens 512; None leaves one out, as in
            `options={'max_tokens': None, 'max_completion_tokens': 2000}`.
        key_variable: the environment variable that holds the API key. It is sent to `url`.
        timeout, retries, wait: as for `Endpoint`.
        cache: the SQLite file; None is judge.sqlite in `$XDG_CACHE_HOME/dyngen` or `~/.cache/dyngen`.
        name: of the term in `info["reward_terms"]`.

    Raises:
        ValueError: arguments that cannot work; when a turn is scored, an answer without a score.
        EndpointFailed: when a turn is scored, the server did not answer. Its answers to other texts are kept.
    """

    def __init__(
        self,
        url: str,
        rubric: str,
        *,
        model: str | None = None,
        scale: Sequence[float] = (0, 10),
        unreadable: float | None = None,
        concurrency: int = 8,
        options: Mapping[str, Any] | None = None,
        key_variable: str = Endpoint.key_variable,
        timeout: float = Endpoint.timeout,
        retries: int = Endpoint.retries,
        wait: float = Endpoint.wait,
        cache: str | Path | None = None,
        name: str = "judge",
    ):
        if not isinstance(rubric, str) or not rubric.strip():
            raise ValueError(f"judge needs a rubric, such as rubric='Is the answer polite?'; got {rubric!r}")
        if len(scale) != 2 or not scale[0] < scale[1]:
            raise ValueError(f"judge with scale={scale!r}: expected the lowest and the highest score")
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"judge with concurrency={concurrency!r}: expected at least 1")
        self.rubric, self.scale = rubric, (float(scale[0]), float(scale[1]))
        self.unreadable, self.concurrency, self.name = unreadable, concurrency, name
        request = {"temperature": 0, "max_tokens": 512} | dict(options or {})
        self.endpoint = Endpoint(url, model, request, key_variable, timeout, retries, wait)
        self.answers = Answers(user_cache() / "judge.sqlite" if cache is None else Path(cache).expanduser())

    def __call__(self, transition: Transition) -> torch.Tensor:
        turns = zip(transition.completions, transition.examples, transition.dialogues, strict=True)
        questions = [messages_about(*turn, self.rubric, self.scale) for turn in turns]
        return pay_turns(transition, [self._value(answer) for answer in self._ask(questions)] if questions else [])

    def _ask(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        """The answers to questions. Those that are not on disk are asked for side by side, equal ones once."""
        keys = [key_of(self.endpoint.request(question)) for question in questions]
        wanted = dict(zip(keys, questions, strict=True))
        known = self.answers.known(wanted)
        new = {key: question for key, question in wanted.items() if key not in known}
        if new:
            with ThreadPoolExecutor(self.concurrency, thread_name_prefix="judge") as pool:
                asked = {key: pool.submit(self.endpoint.ask, question) for key, question in new.items()}
                try:
                    known |= {key: future.result() for key, future in asked.items()}
                finally:  # of an error, too: what has been answered is not asked again
                    pool.shutdown(cancel_futures=True)
                    done = {k: f.result() for k, f in asked.items() if not f.cancelled() and f.exception() is None}
                    self.answers.keep(done)
        return [known[key] for key in keys]

    def _value(self, answer: str) -> float:
        """An answer's score, from the scale to [0, 1]."""
        low, high = self.scale
        score = score_in(answer, self.scale)
        if score is not None:
            return (score - low) / (high - low)
        said = answer if len(answer) <= 300 else f"...{answer[-300:]}"
        wrong = (
            f'judge {self.endpoint.url} said {said!r}: expected it to end with "Score: N", N from {low:g} to {high:g}'
        )
        if self.unreadable is None:
            raise ValueError(f"{wrong}; a better model may follow this, or pay unreadable=... for such answers")
        log.warning("%s; it is paid %g", wrong, self.unreadable)
        return self.unreadable
