"""Who answers the agent: users reply to its turns with words and ratings."""

from dyngen_env.users.user import Silent, User

USERS = {"silent": Silent}


def make_user(user: str | User | None) -> User:
    """A user from its name, or the object itself; None is nobody.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or an object that is no user.
    """
    if user is None:
        return Silent()
    if not isinstance(user, str):
        missing = [name for name in ("answers", "begin", "reply") if not hasattr(user, name)]
        if missing:
            raise ValueError(f"user={user!r} has no {', '.join(missing)}: expected a name or an object like users.User")
        return user
    if user not in USERS:
        raise ValueError(f"unknown user {user!r}: expected one of {', '.join(sorted(USERS))}, or a User object")
    return USERS[user]()


__all__ = ["USERS", "Silent", "User", "make_user"]
