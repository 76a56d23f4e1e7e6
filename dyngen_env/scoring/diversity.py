"""Measures of diversity: distinct-n over many texts, at equal length too, self-BLEU, and repeats within one text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import exp, log, prod


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al., NAACL 2016): different word n-grams of all texts together, divided by all n-grams.

    In [0, 1]; 0 if there are none. Words are separated by spaces and compared in lower case.
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngram_counts(text: str, n: int) -> Counter[tuple[str, ...]]:
    """How often each word n-gram stands in a text."""
    return Counter(_ngrams(text, n))


def rarefied(often: Mapping[int, int], size: int) -> float:
    """How many of `size` n-grams that are drawn at random, without putting them back, are different; as a share.

    Distinct-n falls as texts grow longer, since they have more n-grams to repeat; at an equal number of them texts of
    any length compare (rarefaction: Hurlbert 1971, "The nonconcept of species diversity", eq. 5):

        1/M Σ_g 1 - C(T - c_g, M)/C(T, M),  T = Σ_g c_g

    Args:
        often: how many n-grams stand in the texts c times, by c. size: M; all T are taken where there are fewer.
    """
    total = sum(c * n for c, n in often.items())
    size = min(size, total)
    if not size:
        return 0.0
    return sum(n * (1 - _missed(c, size, total)) for c, n in often.items()) / size


def _missed(count: int, size: int, total: int) -> float:
    """C(T - c, M)/C(T, M) = Π (T - M - i)/(T - i) for i < c: none of c is among M of T."""
    return prod((total - size - i) / (total - i) for i in range(count))


def self_bleu(texts: Sequence[str], n: int = 4) -> float:
    """Self-BLEU (Zhu et al. 2018, "Texygen"): the mean BLEU of each text with all others as its references.

    In [0, 1]; 1 if every text occurs twice, 0 with fewer than two texts. Words are separated by spaces and compared in
    lower case. Precisions of 0 count as 0.1 matches (Chen and Cherry 2014, smoothing 1); where a text has fewer than n
    words, BLEU is of as many as it has.
    """
    if len(texts) < 2:
        return 0.0
    lengths = [len(text.split()) for text in texts]
    scores = [list[float]() for _ in texts]  # log precision, of each order
    for order in range(1, n + 1):
        counts = [ngram_counts(text, order) for text in texts]
        most: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])  # the two highest counts in any text
        for each in counts:
            for gram, count in each.items():
                most[gram] = sorted((*most[gram], count))[1:]
        for score, each in zip(scores, counts, strict=True):
            if total := each.total():
                # Elsewhere it stands as often as in the text that has most of it, unless that is this very text.
                found = sum(min(c, most[gram][0] if c == most[gram][1] else most[gram][1]) for gram, c in each.items())
                score.append(log((found or 0.1) / total))
    bleus = []
    for i, score in enumerate(scores):
        if not score:
            bleus.append(0.0)
            continue
        own = lengths[i]
        nearest = min((abs(other - own), other) for j, other in enumerate(lengths) if j != i)[1]
        bleus.append(min(1.0, exp(1 - nearest / own)) * exp(sum(score) / len(score)))
    return sum(bleus) / len(bleus)


def repeated_share(text: str, n: int) -> float:
    """The share of a text's word n-grams that repeat an earlier one of the text, in [0, 1); 0 if there are none."""
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
