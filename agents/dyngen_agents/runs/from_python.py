"""A reward and a user that came from Python: `run.json` holds only their names, so whoever opens the run gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dyngen_env.rewards import Reward
from dyngen_env.users import User

CustomReward = Reward | Callable[..., float] | None


@dataclass(frozen=True)
class FromPython:
    """Objects that take the place of the settings' own.

    Args:
        reward: a `Reward` or a function of text, instead of `config.reward`; None leaves that.
        user: instead of `config.user`; None leaves that.
    """

    reward: CustomReward = None
    user: User | None = None

    def names(self) -> dict[str, str | None]:
        """How `run.json` calls them; None for what was not given."""
        return {"custom_reward": _name(self.reward), "custom_user": _name(self.user)}

    def check_against(self, record: dict[str, Any]) -> None:
        """Raises ValueError if a run was trained with an object from Python and has not been given one again."""
        for what, given in (("reward", self.reward), ("user", self.user)):
            name = record.get(f"custom_{what}")  # runs of version 0.1 know no users from Python
            if name is not None and given is None:
                raise ValueError(
                    f"the run's {what} {name!r} came from Python, which run.json cannot hold: give it again, by "
                    f"{what}=... from Python. (The command finds it again in runs that it trained with "
                    f"--{what} <file>.py:{name})"
                )


NOTHING = FromPython()


def _name(given: Any) -> str | None:
    return None if given is None else getattr(given, "name", getattr(given, "__name__", type(given).__name__))
