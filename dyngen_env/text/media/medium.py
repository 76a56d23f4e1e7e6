"""What pictures and sounds have in common: a frozen array, and a number made from its content.

Equal content is one object (the flyweight pattern, as with interned strings): making a second `Picture` of the same
pixels gives the first one, for as long as anybody holds it. So media are compared and hashed at no cost, and a row of
tokens can name one by its number alone (`text.media.tokens`).
"""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import ClassVar
from weakref import WeakValueDictionary

import numpy as np

NUMBERS = 2**49  # how many there are: two of 10,000 media have the same with a chance of one in ten million

_alive: WeakValueDictionary[int, Medium] = WeakValueDictionary()
_lock = Lock()


class Medium:
    """A picture or a sound. Frozen: neither its attributes nor its array can be written to.

    Attributes:
        number: from 0 to 2^49 - 1, made from the content: the same in every process.
    """

    __slots__ = ("__weakref__", "_array", "number")
    kind: ClassVar[str]  # "picture" or "sound"
    number: int
    _array: np.ndarray

    @property
    def array(self) -> np.ndarray:
        """The pixels of a picture, the samples of a sound; read-only. `medium_of` is the inverse."""
        return self._array

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is frozen: make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} is frozen: make another one")

    def __copy__(self) -> Medium:
        return self

    def __deepcopy__(self, memo: object) -> Medium:
        return self

    def __reduce__(self) -> tuple:
        return type(self), (self._array,)


def interned(kind: type[Medium], array: np.ndarray) -> Medium:
    """The medium of this kind with the content of `array`, which has been checked and is copied."""
    content = np.array(array, order="C")
    content.setflags(write=False)
    digest = hashlib.blake2b(
        content.tobytes(), digest_size=8, person=f"{kind.kind}{content.shape}".encode()[:16]
    ).digest()
    number = int.from_bytes(digest, "little") % NUMBERS
    with _lock:
        known = _alive.get(number)
        if known is None:
            known = object.__new__(kind)
            object.__setattr__(known, "_array", content)
            object.__setattr__(known, "number", number)
            _alive[number] = known
        return known


def find(number: int) -> Medium:
    """The medium of this number.

    Raises:
        ValueError: nobody holds it any more.
    """
    known = _alive.get(number)
    if known is None:
        raise ValueError(
            f"the tokens show medium {number}, which nobody holds any more: keep the Example or the Trajectories that "
            "it came with for as long as their tokens are used"
        )
    return known
