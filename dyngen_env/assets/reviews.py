"""The human-rated review texts, split once for training, tuning and evaluation."""

import hashlib
import lzma
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("reviews.tsv.xz")
KINDS = ("film", "product")
SPLITS = ("train", "tune", "eval")

_SHORTEST_PROMPT, _LONGEST_PROMPT = 4, 8  # words
_WORDS_LEFT = 4  # what a prompt leaves to continue, at least
_HALF_OPEN = re.compile(r"[\"“”()\[\]{}–/*]|\.\.|(?:^|\s)['-]|'(?:\s|$)|[^\w.!?]$")


@dataclass(frozen=True)
class Review:
    """One snippet and what people thought of it.

    `id` is `kind:number`, unique. `mean` is the mean of `ratings`, each from -4 (very negative) to +4 (very
    positive) by another person, 15 to 29 of them.
    """

    id: str
    kind: str
    mean: float
    ratings: tuple[int, ...]
    text: str


def normalised(text: str) -> str:
    """`text` without case and punctuation, words joined by one space: two texts are the same if this is equal."""
    return " ".join(re.findall(r"\w+", text.lower()))


def split_of(review_id: str) -> str:
    """ "train", "tune" or "eval" (80/10/10), by the SHA-256 of `review_id`.

    The published data repeat 19 texts and hold 4 without a word; `make_reviews_tsv` dropped those 23, so equal
    texts (up to case and punctuation) cannot be on two sides, and the id is enough.
    """
    tenth = _draw(review_id, 10)
    return "train" if tenth < 8 else "tune" if tenth == 8 else "eval"


def load_reviews(split: str | None = None, kind: str | None = None) -> list[Review]:
    """The reviews of one split ("train", "tune", "eval") and kind ("film", "product"); None means all.

    The order is that of the file and never changes. Raises ValueError for another split or kind.
    """
    _check("split", split, SPLITS)
    _check("kind", kind, KINDS)
    return [r for r in _all_reviews() if kind in (None, r.kind) and split in (None, split_of(r.id))]


@cache
def film_prompts(split: str) -> tuple[str, ...]:
    """The first 4 to 8 words of the split's film reviews, each prompt once, in the order of the reviews.

    How many words is drawn by a hash of the review's id, so it is the same everywhere. At least 4 words of the
    review are left to continue. Beginnings that break inside a quotation or a bracket, or after a comma, take
    another number of words or are left out. What occurs in "train" is in no other split, what occurs in "tune"
    not in "eval" (ignoring case and punctuation).
    """
    return tuple(prompt for prompt, _ in film_continuations(split))


@cache
def film_continuations(split: str) -> tuple[tuple[str, str], ...]:
    """Each of the split's `film_prompts` with what its author wrote after it: the rest of the review, which begins
    with a space.
    """
    _check("split", split, SPLITS)
    taken = {normalised(p) for earlier in SPLITS[: SPLITS.index(split)] for p in film_prompts(earlier)}
    pairs = []
    for review in load_reviews(split, "film"):
        prompt = _prompt(review)
        if prompt and normalised(prompt) not in taken:
            taken.add(normalised(prompt))
            pairs.append((prompt, " " + " ".join(review.text.split()[len(prompt.split()) :])))
    return tuple(pairs)


@cache
def _all_reviews() -> tuple[Review, ...]:
    lines = lzma.decompress(PATH.read_bytes()).decode("utf-8").splitlines()[1:]
    reviews = []
    for line in lines:
        kind, number, mean, ratings, text = line.split("\t")
        reviews.append(Review(f"{kind}:{number}", kind, float(mean), tuple(map(int, ratings.split(","))), text))
    return tuple(reviews)


def _prompt(review: Review) -> str:
    """The review's beginning, or "" if no number of words gives a good one."""
    words = review.text.split()
    sizes = range(_SHORTEST_PROMPT, _LONGEST_PROMPT + 1)
    first = _draw("prompt of " + review.id, len(sizes))
    for size in (*sizes[first:], *sizes[:first]):
        prompt = " ".join(words[:size])
        ends_sentence = prompt[-1:] in ".!?"
        if len(words) >= size + _WORDS_LEFT and not ends_sentence and not _HALF_OPEN.search(prompt):
            return prompt
    return ""


def _draw(key: str, n: int) -> int:
    """A number from 0 to n - 1, uniform over keys, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest()[:8], "big") % n


def _check(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(map(repr, known))}")
