"""Turns that are written side by side are those of the behaviour policy, and people share the thread fairly."""

import threading

import pytest
import torch

from dyngen_agents.feedback.page.context import Said
from dyngen_agents.feedback.page.served_model import TurnSettings, serve_model
from dyngen_agents.feedback.page.writer import TooBusy, Writer
from dyngen_agents.feedback.page.writing import Job
from dyngen_env.lm.distribution import SamplingConfig


@pytest.fixture(scope="module")
def model(tiny_model):
    return serve_model(str(tiny_model), temperature=1.0)


@pytest.fixture
def writer(model):
    writer = Writer(model)
    yield writer
    writer.close()


def job(model, text, keep=lambda written: {}, person="anna", **settings):
    settings = {"sampling": SamplingConfig(0.9, 50, 0.95), "max_new_tokens": 12, **settings}
    return Job((text, 0), person, model.frame.context([Said(False, text)], 12), TurnSettings(**settings), keep)


def finished(*writings):
    for writing in writings:
        done = threading.Event()
        writing.watch(done.set)
        while writing.outcome is None:
            assert done.wait(20)
            done.clear()


def test_log_probs_are_those_of_the_policy_under_its_settings(model, writer):
    kept = {}
    jobs = [
        job(model, text, lambda w, text=text: kept.setdefault(text, w) and {}) for text in ("good film", "a sad one")
    ]
    writings = writer.submit(*jobs)
    finished(*writings)
    for job_, writing in zip(jobs, writings, strict=True):
        written = kept[job_.seat[0]]
        tokens = torch.tensor([[*job_.context, *written.tokens]])
        mask = torch.arange(tokens.shape[1])[None] >= len(job_.context)
        model.policy.distribution = model.distribution(job_.settings)
        expected = model.policy.evaluate(tokens, mask).logprobs[mask]
        torch.testing.assert_close(torch.tensor(written.logprobs), expected, atol=2e-5, rtol=0)
        # Half a character at the end, which no piece has, is U+FFFD in the text.
        assert written.text.removesuffix("\ufffd") == "".join(writing.pieces).removesuffix("\ufffd")
        assert written.finish in ("stop", "length")
        assert len(written.tokens) == 12 or written.tokens[-1] in model.tokenizer.end_ids


def test_banned_words_and_greed(model, writer):
    kept = []
    greedy = SamplingConfig(0.0)
    finished(*writer.submit(job(model, "the film", lambda w: kept.append(w) or {}, sampling=greedy)))
    finished(*writer.submit(job(model, "the film", lambda w: kept.append(w) or {}, sampling=greedy)))
    assert kept[0].tokens == kept[1].tokens
    word = next(part for part in kept[0].text.replace("\ufffd", " ").split() if part.isascii())
    finished(*writer.submit(job(model, "the film", lambda w: kept.append(w) or {}, sampling=greedy, banned=(word,))))
    assert word not in kept[2].text
    with pytest.raises(ValueError, match="banned words"):
        TurnSettings(banned=("x" * 100,))


def test_people_take_turns_and_may_stop(model, writer):
    order = []
    watched = {}

    def watch(name):
        return lambda: order.append(name)

    blocked = threading.Event()
    writer.call(lambda: blocked.wait(20))  # so that all are there before the first token
    ban = tuple(f"zq{i}" for i in range(3))
    for name in ("anna", "bob", "cleo"):
        one = job(model, name, person=name, max_new_tokens=40, banned=ban)
        (watched[name],) = writer.submit(one)
        watched[name].watch(watch(name))
    watched["cleo"].stop()
    blocked.set()
    finished(*watched.values())
    assert "error" in watched["cleo"].outcome  # not a word was written
    pieces = {name: len(writing.pieces) for name, writing in watched.items()}
    shared = order[: 2 * min(pieces["anna"], pieces["bob"])]
    lead = 0
    for name in shared:
        lead += {"anna": 1, "bob": -1}.get(name, 0)
        assert abs(lead) <= 6  # a piece may take several tokens, as half a character has none


def test_nobody_may_fill_the_queue(model, writer):
    blocked = threading.Event()
    writer.call(lambda: blocked.wait(20))
    some = writer.submit(*(job(model, f"{i}") for i in range(4)))
    with pytest.raises(TooBusy):
        writer.submit(job(model, "one more"))
    (other,) = writer.submit(job(model, "mine", person="bob"))
    blocked.set()
    finished(*some, other)
    assert writer.open_in("mine") == [] and writer.writing(other.key) is other


def test_an_error_ends_one_turn_alone(model, writer):
    def full(written):
        raise OSError("the disk is full")

    bad, good = writer.submit(job(model, "bad", full), job(model, "good", lambda w: {"text": w.text}))
    finished(bad, good)
    assert "the disk is full" in bad.outcome["error"] and good.outcome["text"].startswith("".join(good.pieces))


def test_what_is_half_written_is_kept_at_the_end(model):
    kept = []
    writer = Writer(model)
    begun = threading.Event()
    (writing,) = writer.submit(job(model, "on and on", lambda w: kept.append(w) or {"text": w.text}, max_new_tokens=60))
    writing.watch(begun.set)
    assert begun.wait(20)
    writer.close()
    assert len(kept) == 1 and writing.outcome is not None
    with pytest.raises(TooBusy):
        writer.submit(job(model, "late"))
