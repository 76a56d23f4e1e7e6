"""Tasks: what an episode asks of the agent. A task draws an example, a prompt and what a reward may want to know."""

from dyngen_env.tasks.mixture import MixedTask
from dyngen_env.tasks.prompts import Prompts, as_example, can_be_held_out, make_task, read_prompts
from dyngen_env.tasks.task import Task

__all__ = ["MixedTask", "Prompts", "Task", "as_example", "can_be_held_out", "make_task", "read_prompts"]
