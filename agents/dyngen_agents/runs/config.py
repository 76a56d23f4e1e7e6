"""The settings of a training run, and what a resumed run may change about them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from dyngen_agents.algorithms.settings import COUNT, NOT_NEGATIVE, POSITIVE, Range, check_setting
from dyngen_agents.runs.folder import lasting_model_name
from dyngen_agents.runs.imported import is_imported, with_absolute_path
from dyngen_env.envs.options import TaskOptions
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.sources import NAMES
from dyngen_env.tasks.named import NAMED

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TaskOptions):
    """What is learned, in which environment, for how long.

    What is asked of the agent, and what is paid for it, are the environment's own keywords (`TaskOptions`).
    """

    env: str = "dyngen/Sentiment-v0"
    """The registered environment: the one that needs no argument and no download."""
    data: str | None = None
    """Recorded episodes to learn from: a folder that `dyngen record` has written, or a .jsonl file with a prompt, a
    completion and a reward on each line. What is not said of the environment is as it was recorded."""
    feedback: str | None = None
    """A store of feedback (`dyngen serve`, or reward="human('FILE', 'deferred')"): learn from the dialogues in it that
    people have rated when the run begins, whichever policies have played them."""
    num_envs: int = 128
    """Rows that are played at a time, at most one an episode. Many rows cost little more than one."""
    episodes: int = 128
    """Episodes of an update. One a row: no row waits for another to finish a second one."""
    updates: int = 60
    """Updates of the whole run. Learning rates are annealed over them, so a resumed run keeps the number."""
    max_minutes: float | None = None
    """Stop after this much time, saved and resumable, even if updates are left. By default no limit."""
    seed: int = 0
    """Of everything that is drawn. A second run with the same seed, device and versions repeats the first."""
    device: str | None = None
    """Where models run, such as "cuda". By default the CPU, or the resumed run's own device."""
    threads: int | None = None
    """CPU threads. By default OMP_NUM_THREADS where that is set, else what a trial at the start finds to be fastest."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the model at work. bfloat16 is what a GPU is fast in; the optimizer keeps float32 weights beside it."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time."""
    capture_updates: bool = False
    """On a GPU, with dtype "bfloat16" and no adapters: run an update's passes as CUDA graphs. For small models."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank and a frozen base instead of all weights; wants about ten times the rate."""
    out: str | None = None
    """The run's folder. By default runs/<time>-<algorithm>; the newest run in runs/ is also runs/latest."""
    save_every: int = 10
    """Updates between checkpoints: what a power cut can cost."""
    track: Literal["wandb", "trackio"] | None = None
    """Send settings and metrics to this experiment tracker, too. Its package is installed separately."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """The distribution that completions are drawn from, in training and evaluation: its temperature."""
    credit: Literal["auto", "token", "end"] = "auto"
    """When a reward of texts reaches the learner. "end": with the last token of a turn, as the environment pays it.
    "token": at each token, by how much the score of the text so far has grown, which keeps the optimal policy (Ng et
    al. 1999) and learns sooner. "auto" is "token" for rewards that score a text in microseconds, such as sentiment, for
    algorithms with a discount of 1, on the CPU; on a GPU such a reward would make every step wait for the host."""
    task_weights: Literal["fixed", "progress"] = "fixed"
    """How often each of several tasks is played: by the weights of --tasks, "fixed"; or "progress" plays those more in
    which returns change. A fifth of the episodes goes by the weights in any case."""
    normalise_reward: bool = False
    """Scale returns to mean 0, deviation 1 under the untrained model, so that kl_coef means the same for any reward."""
    missing_eos_penalty: float = 0.0
    """Taken from the return of episodes whose last turn the agent did not end itself (Huang et al. 2023)."""
    resume: str | None = None
    """Continue this run, a folder or "latest". Its settings hold, but for limits of time, device, threads, tracker."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, hint, allowed in _NUMBERS:
            check_setting(name, getattr(self, name), hint, allowed)
        if self.sampling.top_k or self.sampling.top_p < 1:
            raise ValueError(
                "top_k and top_p cannot be trained with: what they cut off changes with the policy, so a sampled "
                "token can get probability zero and its ratio is undefined. Use temperature; generate takes both"
            )
        self.sampling.require_chance()
        if self.data is not None and self.feedback is not None:
            raise ValueError(f"data={self.data!r} and feedback={self.feedback!r}: learn from one of them at a time")


_NUMBERS: tuple[tuple[str, Any, Range], ...] = (
    ("num_envs", int, COUNT),
    ("episodes", int, COUNT),
    ("updates", int, COUNT),
    ("save_every", int, COUNT),
    ("seed", int, NOT_NEGATIVE),
    ("lora_rank", int, NOT_NEGATIVE),
    ("threads", int | None, COUNT),
    ("max_minutes", float | None, POSITIVE),
    ("missing_eos_penalty", float, NOT_NEGATIVE),
    ("normalise_reward", bool, NOT_NEGATIVE),
    ("gradient_checkpointing", bool, NOT_NEGATIVE),
    ("capture_updates", bool, NOT_NEGATIVE),
)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The same settings, readable from any working directory: a run is evaluated and resumed from elsewhere.

    A model that is a run becomes that run's folder. Links are followed: what the run began with stays what it was when
    runs/latest moves on.

    Raises:
        FileNotFoundError: the model is "latest", and there is no run. ValueError: it is a run that is damaged.
    """

    def absolute(name: str | None) -> str | None:
        is_path = name is not None and name not in (*NAMES, *NAMED) and Path(name).expanduser().exists()
        return str(Path(name).expanduser().absolute()) if is_path else name  # type: ignore[arg-type]

    banned: Any = config.banned and tuple(absolute(word) if word.endswith(".txt") else word for word in config.banned)
    own: dict[str, Any] = {
        name: with_absolute_path(text) for name in ("reward", "user") if is_imported(text := getattr(config, name))
    }
    return replace(
        config,
        model=lasting_model_name(config.model),
        prompts=absolute(config.prompts),
        data=absolute(config.data),
        feedback=absolute(config.feedback),
        banned=banned,
        **own,
    )


def train_config_from(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `dataclasses.asdict`, after a trip through JSON.

    Raises:
        ValueError: other fields than this version's.
    """
    sampling = config_from(SamplingConfig, values.get("sampling", {}))
    values = {"credit": "end"} | values  # a run from before there was a choice
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return config_from(TrainConfig, values | {"sampling": sampling} | tuples)


def config_from(kind: type[Config], values: dict[str, Any]) -> Config:
    """A configuration of flat fields from their values. Raises ValueError as `train_config_from`."""
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"the run was made by another version of dyngen: {error}") from error


def settings_of_resumed(given: TrainConfig, saved: TrainConfig) -> TrainConfig:
    """The saved settings with what may be given anew; ValueError if `given` asks for more (see `kept`)."""
    free = ("resume", "max_minutes", "save_every", "device", "threads", "track")
    kept(replace(given, **{name: getattr(saved, name) for name in free}), saved)
    return replace(
        saved,
        resume=None,
        max_minutes=given.max_minutes,
        save_every=saved.save_every if given.save_every == TrainConfig.save_every else given.save_every,
        device=given.device or saved.device,
        threads=given.threads or saved.threads,
        track=given.track or saved.track,
    )


def kept(given: Config, saved: Config) -> Config:
    """`saved`, provided that `given` asks for nothing else. A field at its default asks for nothing.

    Raises:
        ValueError: a field that differs from the run's.
    """
    default = type(saved)()
    for name in (f.name for f in fields(saved)):  # type: ignore[arg-type]
        wanted, own = getattr(given, name), getattr(saved, name)
        if wanted not in (own, getattr(default, name)):
            raise ValueError(
                f"{name}={wanted!r} differs from the resumed run's {own!r}: leave it out, or start a new run "
                "from its weights with model=<the run's folder>"
            )
    return saved
