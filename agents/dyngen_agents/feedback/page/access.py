"""Who is who: pseudonyms, signed cookies, and the token that the page asks for when it is open to others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from dyngen_agents.feedback.store import Person

DAYS = 30  # that a cookie counts
LONGEST_NAME = 40  # characters of a new pseudonym
QUALITIES = ("amber", "brisk", "calm", "deft", "early", "fond", "gentle", "keen", "lucid", "merry", "quiet", "swift")
ANIMALS = ("badger", "crane", "finch", "heron", "ibis", "lynx", "marten", "otter", "plover", "raven", "tern", "wren")


class Access:
    """Signs cookies with a secret that only the server knows, and checks what comes back.

    Args:
        secret: of the store (`secret_of`), so that cookies outlive the server's process.
        token: what people must know to come in; None: nothing. Cookies of another token do not count.
    """

    def __init__(self, secret: bytes, token: str | None = None):
        self._key = hmac.new(secret, b"dyngen serve\0" + (token or "").encode(), hashlib.sha256).digest()
        self._token = None if token is None else token.encode()

    @property
    def asks_for_token(self) -> bool:
        """Whether people must know a token."""
        return self._token is not None

    def admits(self, token: str) -> bool:
        """Whether this is the token. It takes the same time whatever is wrong with it."""
        given = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        return self._token is None or hmac.compare_digest(given, hashlib.sha256(self._token).digest())

    def cookie(self, person: Person) -> str:
        """A cookie that says who somebody is."""
        who = base64.urlsafe_b64encode(_identity(person)).decode().rstrip("=")
        claim = f"{who}.{int(time.time()) + DAYS * 86400}"
        return f"{claim}.{self._sign('person', claim)}"

    def person_of(self, cookie: str) -> tuple[int, str] | None:
        """Who a cookie says somebody is, by id and pseudonym; None if it is forged, damaged or too old.

        The person may have been forgotten since. Nobody else ever gets their id, though perhaps their pseudonym.
        """
        claim, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign("person", claim).encode()):
            return None
        who, _, until = claim.partition(".")
        if int(until) < time.time():
            return None
        number, _, name = base64.urlsafe_b64decode(who + "=" * (-len(who) % 4)).decode().partition(" ")
        return int(number), name

    def csrf(self, cookie: str) -> str:
        """What a request that changes something must bring in a header, which other sites cannot set or know."""
        return self._sign("csrf", cookie)

    def code(self, person: Person) -> str:
        """By which a person shows in another browser that a pseudonym is theirs."""
        digest = hmac.new(self._key, b"code\0" + _identity(person), hashlib.sha256).digest()
        letters = base64.b32encode(digest).decode().lower()[:12]
        return "-".join(letters[i : i + 4] for i in (0, 4, 8))

    def is_code(self, person: Person, code: str) -> bool:
        """Whether this is the person's code, however it is spaced."""
        given = "".join(code.lower().split()).replace("-", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, self.code(person).replace("-", "").encode())

    def _sign(self, purpose: str, text: str) -> str:
        digest = hmac.new(self._key, f"{purpose}\0{text}".encode("utf-8", "replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _identity(person: Person) -> bytes:
    return f"{person.id} {person.name}".encode()


def secret_of(store: Path) -> bytes:
    """The secret that belongs to a store: 32 bytes in a file beside it that only its owner may read.

    Raises:
        OSError: it can be neither read nor written. ValueError: the file holds something else.
    """
    path = store.with_name(store.name + ".key")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass
    secret = path.read_bytes()
    if len(secret) != 32:
        raise ValueError(
            f"{path} holds {len(secret)} bytes, expected the 32 of a secret: remove it, and people log in anew"
        )
    return secret


def pseudonym(text: str) -> str:
    """A pseudonym as it is kept: one spelling of each character, no space around it. Nothing at all makes one up.

    Raises:
        ValueError: it is too long, or holds what nobody can see.
    """
    name = _spelled(text)
    if not name:
        return f"{secrets.choice(QUALITIES)}-{secrets.choice(ANIMALS)}-{secrets.randbelow(9000) + 1000}"
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a pseudonym has at most {LONGEST_NAME} characters, all of them visible: choose another one")
    return name


def known_as(text: str, names: Iterable[str]) -> str | None:
    """The one of these names by which somebody means to be known: spelled like that, or but for capitals and spaces."""
    names = list(names)
    if text in names:
        return text
    wanted = _spelled(text).casefold()
    return next((name for name in names if _spelled(name).casefold() == wanted), None)


def _spelled(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
