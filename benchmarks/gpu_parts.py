"""The parts of `benchmarks.gpu`: each is a generator of rows, given the sizes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks import env_step, gpu_setting, gpu_update
from benchmarks.gpu_setting import Sizes, env, floor, release, sync
from benchmarks.rollout import generate
from dyngen_agents import Actor, CausalLMPolicy, collect
from dyngen_agents.policy.decoder import Decoder, decoder_for

Row = dict[str, Any]


def captured_equals_eager(sizes: Sizes) -> Iterator[Row]:
    """In float32 the captured steps choose the tokens of the eager path, but for draws within a rounding error."""
    rows = sizes.batches[0] if sizes.quick else sizes.batches[1]
    rollouts = Rollouts(sizes, rows, new=min(32, sizes.new), dtype=torch.float32)
    torch.nn.init.normal_(rollouts.policy.value_head.weight)
    ours, theirs = rollouts.captured(), rollouts.eager()
    equal = (ours.tokens == theirs.tokens).all(1)
    yield row(f"rows with equal tokens, float32, batch {rows}", 100 * float(equal.float().mean()), "%")
    for name in ("logprobs", "values"):
        apart = (getattr(ours, name)[equal] - getattr(theirs, name)[equal]).abs()
        yield row(f"largest difference of {name} in equal rows", float(apart.max()), "")
    first = (ours.tokens != theirs.tokens).float().argmax(1)[~equal].tolist()
    yield row("attention", 0.0, "", detail=rollouts.how(), first_differences=first[:20])


def logprobs_equal_evaluate(sizes: Sizes) -> Iterator[Row]:
    """In bfloat16: |log-prob of the rollout - log-prob of the update's forward| of the same tokens and weights."""
    for name, play in (("captured", Rollouts.captured), ("eager", Rollouts.eager)):
        rollouts = Rollouts(sizes, sizes.batches[0])
        batch = play(rollouts)
        with torch.no_grad():
            again = rollouts.policy.evaluate(batch.tokens, batch.completion_mask)
        apart = (batch.logprobs - again.logprobs)[batch.completion_mask].abs()
        yield row(f"|log-prob - evaluate's|, {name}, mean", float(apart.mean()), "nats", largest=float(apart.max()))


def collect_captured(sizes: Sizes) -> Iterator[Row]:
    """`collect` with the sentiment reward, as a user calls it."""
    for rows in sizes.batches:
        rollouts = Rollouts(sizes, rows)
        start = time.perf_counter()
        rollouts.captured()
        sync(sizes.device)
        first = time.perf_counter() - start
        rate = rollouts.rate(rollouts.captured, sizes.repeats)
        parts, idle = rollouts.parts()
        yield row(
            f"collect, captured, batch {rows}", rate, "tokens/s", rollouts.floor(), first_s=round(first, 2),
            idle_share=idle, seconds=parts, how=rollouts.how(), memory_GiB=peak(sizes.device),
        )  # fmt: skip


def collect_eager(sizes: Sizes) -> Iterator[Row]:
    """The same token by token, as it is where no graph can be captured."""
    for rows in sizes.batches[1:2] if sizes.quick else sizes.batches:
        rollouts = Rollouts(sizes, rows)
        yield row(
            f"collect, eager, batch {rows}", rollouts.rate(rollouts.eager, 1), "tokens/s", rollouts.floor(),
            memory_GiB=peak(sizes.device),
        )  # fmt: skip


def generate_eager(sizes: Sizes) -> Iterator[Row]:
    """`transformers.generate` alone, sampling, without rewards, log-probs or values."""
    for rows in sizes.batches[1:2] if sizes.quick else sizes.batches:
        yield _generate(sizes, rows, "eager", 1, {})


def generate_static(sizes: Sizes) -> Iterator[Row]:
    """The same with a static cache, which transformers compiles and captures."""
    for rows in sizes.batches[1:3]:
        yield _generate(sizes, rows, "static cache", sizes.repeats, {"cache_implementation": "static"})


def step_alone(sizes: Sizes) -> Iterator[Row]:
    """The captured step by itself, in the middle of an episode."""
    for rows in sizes.batches[1::2]:
        rollouts = Rollouts(sizes, rows)
        decoder = rollouts.loaded()
        seconds = timed_steps(decoder, sizes)
        yield row(
            f"step alone, batch {rows}", rows / seconds, "tokens/s", rollouts.floor(), ms=1e3 * seconds,
            how=rollouts.how(),
        )  # fmt: skip


def compiled_step(sizes: Sizes) -> Iterator[Row]:
    """The captured step with the forward compiled by inductor."""
    for rows in sizes.batches[1:2] if sizes.quick else sizes.batches[1::2]:
        rollouts = Rollouts(sizes, rows, compile=True)
        start = time.perf_counter()
        decoder = rollouts.loaded()
        decoder.run(1, sizes.prompt, greedy=False)
        sync(sizes.device)
        first = time.perf_counter() - start
        seconds = timed_steps(decoder, sizes)
        yield row(
            f"step alone, compiled, batch {rows}", rows / seconds, "tokens/s", rollouts.floor(), ms=1e3 * seconds,
            first_s=round(first, 1), how=rollouts.how(),
        )  # fmt: skip
        rate = rollouts.rate(rollouts.captured, sizes.repeats)
        yield row(f"collect, compiled, batch {rows}", rate, "tokens/s", rollouts.floor())


def kernels(sizes: Sizes) -> Iterator[Row]:
    """What one captured step is made of, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    cuda = sizes.device.startswith("cuda")
    for rows in (sizes.batches[1], sizes.batches[-1]):
        rollouts = Rollouts(sizes, rows)
        decoder = rollouts.loaded()
        decoder.run(2, sizes.prompt, greedy=False)
        sync(sizes.device)
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
            decoder.run(1, sizes.prompt + 2, greedy=False)
            sync(sizes.device)
        events = seen.key_averages()
        time_of = (lambda e: e.device_time_total) if cuda else (lambda e: e.self_cpu_time_total)
        total, count = sum(map(time_of, events)), sum(e.count for e in events)
        for event in sorted(events, key=time_of, reverse=True)[:25]:
            print(f"  {time_of(event):9.0f} us {event.count:5d} x  {event.key[:110]}")
        yield row(f"kernels of a step, batch {rows}", total / 1e3, "ms", kernels=count, how=rollouts.how())


def one_row(sizes: Sizes) -> Iterator[Row]:
    """GPT-2's shape, a single row: 128 tokens of prompt, 32 new ones."""
    prompt, new = (12, 8) if sizes.is_tiny else (128, 32)
    model = gpu_setting.gpt2(sizes)
    rollouts = Rollouts(sizes, 1, prompt=prompt, new=new, model=model)
    rate = rollouts.rate(rollouts.captured, 3 * sizes.repeats)
    parts, _ = rollouts.parts()
    yield row("GPT-2 shape, batch 1, captured", rate, "tokens/s", rollouts.floor(), seconds=parts, how=rollouts.how())
    yield row("GPT-2 shape, batch 1, eager", rollouts.rate(rollouts.eager, 2), "tokens/s", rollouts.floor())
    prompts = rollouts.env.reset(seed=0)[0][:, :prompt]
    rate = rollouts.rate(lambda: generate(model, prompts, new), 2)
    yield row("GPT-2 shape, batch 1, generate", rate, "tokens/s", rollouts.floor())


def env_step_rows(sizes: Sizes) -> Iterator[Row]:
    """The env alone, as `python -m benchmarks.env_step --device cuda` measures it."""
    if sizes.is_tiny:
        measured: Any = [env_step.ends(16, 8, 4, 1, sizes.device)]
    else:
        measured = env_step.measure(argparse.Namespace(device=sizes.device, repeats=sizes.repeats - 1))
    for told in measured:
        yield row(
            told["measure"][:57], told["ours"], told["unit"], whole=told["measure"], copy_of_tokens=told["theirs"]
        )


def update_rows(sizes: Sizes) -> Iterator[Row]:
    """The update alone: `python -m benchmarks.gpu_update`, which prints rows of its own."""
    gpu_update.main(["--device", sizes.device, *(["--tiny"] if sizes.is_tiny else [])])
    yield {"note": "see the lines above"}


class Rollouts:
    """A model of SmolLM2's shape (or another), a policy and an env of so many rows; each plays one episode."""

    def __init__(
        self,
        sizes: Sizes,
        rows: int,
        prompt: int | None = None,
        new: int | None = None,
        dtype: torch.dtype = torch.bfloat16,
        model: Any = None,
        compile: bool = False,
    ):
        release(sizes.device)  # of what was measured before: graphs and policies hold each other
        self.sizes, self.rows = sizes, rows
        self.prompt, self.new = prompt or sizes.prompt, new or sizes.new
        self.model = gpu_setting.llama(sizes, dtype) if model is None else model
        self.env = env(sizes, rows, self.model.config.vocab_size, self.prompt, self.new)
        self.policy = CausalLMPolicy(
            self.model, self.env.token_distribution(), **({"compile": True} if compile else {})
        )

    def captured(self) -> Any:
        """One rollout by the path that `collect` chooses on a GPU."""
        return collect(self.env, Actor(self.policy, seed=1), self.rows, seed=0, steps=self.sizes.steps)

    def eager(self) -> Any:
        """The same token by token: `collect` does not know this actor."""
        actor = Actor(self.policy, seed=1)
        return collect(self.env, lambda tokens, lengths: actor(tokens, lengths), self.rows, seed=0)

    def rate(self, play: Callable[[], Any], repeats: int) -> float:
        """Completion tokens per second."""
        from benchmarks.gpu import median_rate

        def tokens() -> float:
            played = play()
            return played if isinstance(played, float) else float(played.completion_lengths.sum())

        return median_rate(tokens, repeats, self.sizes.device)

    def floor(self) -> float:
        """Tokens per second by memory traffic alone, at the mean length of an episode."""
        return floor(self.sizes, self.model, self.rows, self.prompt + self.new / 2)

    def decoder(self) -> Decoder:
        return decoder_for(self.policy, self.env.rules, self.env.banned, self.rows, self.env.max_context_tokens)

    def loaded(self) -> Decoder:
        """A decoder that has been told of fresh episodes."""
        self.env.reset(seed=0)
        decoder = self.decoder()
        decoder.begin(1, torch.arange(self.rows, device=self.sizes.device), 0)
        if not decoder.load(self.env.state, torch.zeros(self.rows, dtype=torch.bool, device=self.sizes.device)):
            raise RuntimeError("this model cannot be run beside a cache")
        return decoder

    def how(self) -> str:
        """Which attention the captured step uses, and how many graphs there are."""
        decoder = self.decoder()
        graphs = sum(type(step).__name__ == "builtin_function_or_method" or "replay" in repr(step)
                     for step in decoder.graphs.values())  # fmt: skip
        return f"attention by {decoder.attention}; {graphs} of {len(decoder.graphs)} steps are CUDA graphs"

    def parts(self) -> tuple[dict[str, float], float]:
        """Seconds of one rollout by what they are spent on, and the rows' idle share."""
        decoder = self.decoder()
        spent: dict[str, float] = {}
        originals: list[tuple[Any, str, Any]] = []

        def watch(owner: Any, name: str) -> None:
            method = getattr(owner, name)
            originals.append((owner, name, method))

            def watched(*arguments: Any, **keywords: Any) -> Any:
                sync(self.sizes.device)
                start = time.perf_counter()
                try:
                    return method(*arguments, **keywords)
                finally:
                    sync(self.sizes.device)
                    spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

            setattr(owner, name, watched)

        for owner, name in ((self.env, "reset"), (decoder, "load"), (decoder, "run"), (self.env, "advance")):
            watch(owner, name)
        start = time.perf_counter()
        try:
            idle = self.captured().idle_share
        finally:
            for owner, name, _ in originals:
                delattr(owner, name)
        spent["all"] = time.perf_counter() - start
        return {name: round(seconds, 4) for name, seconds in spent.items()}, round(idle, 4)


def timed_steps(decoder: Decoder, sizes: Sizes) -> float:
    """Seconds of a step, over many."""
    count = sizes.new // 2
    decoder.run(count, sizes.prompt, greedy=False)  # half an episode, so that rows are as long as on average
    sync(sizes.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        decoder.run(count // 4, sizes.prompt + count, greedy=False)
        sync(sizes.device)
        times.append((time.perf_counter() - start) / (count // 4))
    return float(np.median(times))


def _generate(sizes: Sizes, rows: int, how: str, repeats: int, options: dict[str, Any]) -> Row:
    rollouts = Rollouts(sizes, rows)
    prompts = rollouts.env.reset(seed=0)[0][:, : sizes.prompt]
    start = time.perf_counter()
    rate = rollouts.rate(lambda: generate(rollouts.model, prompts, sizes.new, **options), repeats)
    return row(
        f"generate, {how}, batch {rows}", rate, "tokens/s", rollouts.floor(),
        all_s=round(time.perf_counter() - start, 1), memory_GiB=peak(sizes.device),
    )  # fmt: skip


def peak(device: str) -> float | None:
    """GiB of device memory in use at most since the part began."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.startswith("cuda") else None


def row(measure: str, value: float, unit: str, floor: float | None = None, **more: Any) -> Row:
    """One line of the report."""
    return {"measure": measure, "value": value, "unit": unit, **({"floor": floor} if floor else {}), **more}
