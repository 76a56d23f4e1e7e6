"""`dyngen generate RUN --prompt ...`: what a model writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional

from dyngen_agents.cli.hints import mention_idle_gpu
from dyngen_agents.cli.options import Command
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.opened_run import OpenedRun, open_run
from dyngen_env.lm.decoding import generate
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer


@dataclass(frozen=True, kw_only=True)
class Generate(Command):
    """Let a run's model complete prompts."""

    run: Positional[str]
    """A run's folder, its name in runs/, "latest", or any model: "reviews-lm", a folder, a .gguf file, a hub id."""
    prompt: tuple[str, ...]
    """One or more texts to complete."""
    decode: Literal["greedy", "beam", "sample"] = "sample"
    """The likeliest token each time; the likeliest text that a beam finds; or chance."""
    temperature: float = 1.0
    """Of sampling. Below 1 is more cautious, above 1 more varied."""
    top_k: int = 0
    """Sample among the k likeliest tokens; 0 is all."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that have this mass together; 1 is all."""
    num_beams: int = 4
    """Width of the beam."""
    max_new_tokens: int = 32
    """Length of a completion, at most."""
    n: int = 1
    """Completions of each prompt."""
    seed: int = 0
    """Of sampling."""
    device: str | None = None
    """Where the model runs, such as "cuda". By default the CPU."""
    json: bool = False
    """Print one JSON object, {"model", "completions": [{"prompt", "texts"}]}, to standard output."""

    def execute(self) -> int:
        """Complete the prompts and print them."""
        mention_idle_gpu(self.device)
        run = self._opened()
        name = self.run if run is None else str(run.folder)
        texts = generate(
            load_model(name, device=self.device or "cpu") if run is None else run.lm,
            HFTokenizer(load_tokenizer(name)) if run is None else run.tokenizer,
            list(self.prompt),
            decode=self.decode,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            num_beams=self.num_beams,
            n=self.n,
            seed=self.seed,
            banned=() if run is None else run.banned,
            engine=None if run is None else run.engine,
        )
        if self.json:
            answers = [{"prompt": p, "texts": t} for p, t in zip(self.prompt, texts, strict=True)]
            print(json.dumps({"model": name, "completions": answers}))
            return 0
        out = Console()
        for prompt, completions in zip(self.prompt, texts, strict=True):
            for text in completions:
                out.print(Text.assemble((prompt, "bold"), text))
        return 0

    def _opened(self) -> OpenedRun | None:
        """The run, if it is one and not just a model."""
        try:
            find_run(self.run)
        except FileNotFoundError:
            if self.run == "latest":
                raise
            return None
        return open_run(self.run, device=self.device or "cpu")
