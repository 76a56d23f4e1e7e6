"""Settings of a run that learns from recorded episodes: what is not said of the environment is as it was recorded."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from dyngen_agents.data.offline import recording_of
from dyngen_agents.runs.config import TrainConfig
from dyngen_env.envs.options import TaskOptions

ENV = "env"


def described(config: TrainConfig) -> dict[str, Any]:
    """What a recording says of its environment: the id and the keywords that were given."""
    return {ENV: config.env, "options": config.given()}


def with_recorded_env(config: TrainConfig) -> TrainConfig:
    """The settings with the environment of `config.data`, if that is a recording; whatever was given holds.

    Raises:
        FileNotFoundError, ValueError: as `recording_of`.
    """
    about = {} if config.data is None else recording_of(config.data)
    if not about:
        return config
    known = {field.name for field in fields(TaskOptions)}
    options = {name: tuple(x) if isinstance(x, list) else x for name, x in about["options"].items() if name in known}
    options.setdefault("model", about["model"])
    missing: dict[str, Any] = {name: x for name, x in options.items() if getattr(config, name) is None}
    if config.env == TrainConfig.env:
        missing[ENV] = about[ENV]
    return replace(config, **missing)
