"""Who answers the agent: users reply to its turns with words and ratings."""

from collections.abc import Callable

from dyngen_env.users.console import ConsoleUser
from dyngen_env.users.expression import parse_user
from dyngen_env.users.lm import LMUser
from dyngen_env.users.muted import MutedUser
from dyngen_env.users.replay import ReplayUser
from dyngen_env.users.scripted import ScriptedUser
from dyngen_env.users.simulated import SimulatedUser
from dyngen_env.users.user import Silent, User

USERS: dict[str, Callable[..., User]] = {
    "console": ConsoleUser,
    "lm": LMUser,
    "muted": MutedUser,
    "replay": ReplayUser,
    "scripted": ScriptedUser,
    "silent": Silent,
    "simulated": SimulatedUser,
}


def make_user(user: str | User | None) -> User:
    """A user from an expression ("simulated", "scripted('turns.txt')"), or the object itself; None is nobody.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or an object that is no user.
    """
    if user is None:
        return Silent()
    if isinstance(user, str):
        return parse_user(user, USERS)
    missing = [name for name in ("answers", "begin", "reply") if not hasattr(user, name)]
    if missing:
        raise ValueError(f"user={user!r} has no {', '.join(missing)}: expected a name or an object like users.User")
    return user


__all__ = [
    "USERS",
    "ConsoleUser",
    "LMUser",
    "MutedUser",
    "ReplayUser",
    "ScriptedUser",
    "Silent",
    "SimulatedUser",
    "User",
    "make_user",
]
