"""What an episode asks for: tasks draw the examples that prompt the agent."""

from dyngen_env.tasks.prompts import Prompts, as_example, make_task, read_prompts
from dyngen_env.tasks.task import Task

__all__ = ["Prompts", "Task", "as_example", "make_task", "read_prompts"]
