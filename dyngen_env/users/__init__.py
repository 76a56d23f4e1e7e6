"""Who answers the agent: users reply to its turns with words and ratings."""

from collections.abc import Callable
from typing import cast

from dyngen_env.expressions import Grammar
from dyngen_env.users.console import ConsoleUser
from dyngen_env.users.lm import LMUser
from dyngen_env.users.maze import MazeUser
from dyngen_env.users.muted import MutedUser
from dyngen_env.users.page import PageUser
from dyngen_env.users.recorded import RecordedUser
from dyngen_env.users.replay import ReplayUser
from dyngen_env.users.returning import ReturningUser
from dyngen_env.users.scripted import ScriptedUser
from dyngen_env.users.simulated import SimulatedUser, raters
from dyngen_env.users.spoken import SpokenUser
from dyngen_env.users.user import Silent, User

USERS: dict[str, Callable[..., User]] = {
    "console": ConsoleUser,
    "lm": LMUser,
    "maze": MazeUser,
    "page": PageUser,
    "raters": raters,
    "recorded": RecordedUser,
    "replay": ReplayUser,
    "scripted": ScriptedUser,
    "silent": Silent,
    "simulated": SimulatedUser,
}

WRAPPERS: dict[str, Callable[..., User]] = {"muted": MutedUser, "returning": ReturningUser, "spoken": SpokenUser}

_EXPRESSIONS = Grammar("user", USERS, WRAPPERS)


def make_user(user: str | User | None) -> User:
    """A user from an expression ("simulated", "scripted('turns.txt')"), or the object itself; None is nobody.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or an object that is no user.
    """
    if user is None:
        return Silent()
    if isinstance(user, str):
        return cast(User, _EXPRESSIONS.parse(user))
    if isinstance(user, type):
        raise ValueError(f"user is the class {user.__name__}, expected an object: {user.__name__}()")
    missing = [name for name in ("answers", "begin", "reply") if not hasattr(user, name)]
    if missing:
        raise ValueError(f"user={user!r} has no {', '.join(missing)}: expected a name or an object like users.User")
    return user


__all__ = [
    "USERS",
    "WRAPPERS",
    "ConsoleUser",
    "LMUser",
    "MazeUser",
    "MutedUser",
    "PageUser",
    "RecordedUser",
    "ReplayUser",
    "ReturningUser",
    "ScriptedUser",
    "Silent",
    "SimulatedUser",
    "SpokenUser",
    "User",
    "make_user",
]
