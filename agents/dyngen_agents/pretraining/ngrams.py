"""Unigram and interpolated bigram models of token ids: the baselines of the language model."""

from collections.abc import Sequence

import numpy as np

SMOOTHINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Bigram:
    """p(b | a) = (c(a, b) + m t(a) u(b)) / (c(a) + m t(a)), with u(b) = (c(b) + k) / (N + k V).

    c are counts, t(a) the number of different followers of a, u the unigram model. m = 1 is Witten-Bell smoothing
    (Witten and Bell 1991). A text is a list of ids with BOS in front and EOS at the end; BOS is never predicted.
    """

    def __init__(self, texts: Sequence[Sequence[int]], vocab_size: int) -> None:
        first, second = _pairs(texts)
        self.vocab_size = vocab_size
        self._unigrams = np.bincount(second, minlength=vocab_size)  # (V,)
        pairs, counts = np.unique(first * vocab_size + second, return_counts=True)
        self._pairs, self._pair_counts = pairs, counts
        self._contexts = np.bincount(first, minlength=vocab_size)  # (V,) c(a)
        self._followers = np.bincount(pairs // vocab_size, minlength=vocab_size)  # (V,) t(a)

    def unigram_perplexity(self, texts: Sequence[Sequence[int]], k: float) -> float:
        """exp of the mean negative log-prob per predicted token (EOS included) under u."""
        _, second = _pairs(texts)
        return float(np.exp(-np.log(self._unigram(k)[second]).mean()))

    def perplexity(self, texts: Sequence[Sequence[int]], k: float, m: float) -> float:
        """exp of the mean negative log-prob per predicted token (EOS included)."""
        first, second = _pairs(texts)
        wanted = first * self.vocab_size + second
        at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
        count = np.where(self._pairs[at] == wanted, self._pair_counts[at], 0)
        backoff = m * np.maximum(self._followers[first], 1)
        probs = (count + backoff * self._unigram(k)[second]) / (self._contexts[first] + backoff)
        return float(np.exp(-np.log(probs).mean()))

    def _unigram(self, k: float) -> np.ndarray:
        return (self._unigrams + k) / (self._unigrams.sum() + k * self.vocab_size)


def baseline_perplexities(
    train: Sequence[Sequence[int]],
    tune: Sequence[Sequence[int]],
    test: Sequence[Sequence[int]],
    vocab_size: int,
) -> dict[str, float]:
    """{"unigram": ..., "bigram": ...} on `test`, counted on `train`, with the k and m that are best on `tune`."""
    model = Bigram(train, vocab_size)
    k = min(SMOOTHINGS, key=lambda k: model.unigram_perplexity(tune, k))
    best = min(((k2, m) for k2 in SMOOTHINGS for m in SMOOTHINGS), key=lambda km: model.perplexity(tune, *km))
    return {"unigram": model.unigram_perplexity(test, k), "bigram": model.perplexity(test, *best)}


def _pairs(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours within each text: (N,) what stands before, (N,) what follows."""
    first = np.concatenate([np.asarray(ids[:-1], dtype=np.int64) for ids in texts])
    second = np.concatenate([np.asarray(ids[1:], dtype=np.int64) for ids in texts])
    return first, second
