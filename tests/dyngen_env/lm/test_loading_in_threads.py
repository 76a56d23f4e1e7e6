"""Models, tokenizers and configurations read by several threads at once: transformers alone breaks the process."""

import multiprocessing
import threading
import time

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from dyngen_agents.policy.lora import add_lora
from dyngen_env.lm.loading import models
from dyngen_env.lm.loading.exclusive import exclusive
from dyngen_env.lm.loading.models import load_config, load_model, load_tokenizer
from tests.support.envs import single


@pytest.fixture
def folders(tmp_path):
    """Three tiny models whose head is their embedding, and one whose weights cannot be read."""
    for name in ("a", "b", "c", "broken"):
        GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=8, n_layer=1, n_head=1)).save_pretrained(
            tmp_path / name
        )
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    return [str(tmp_path / name) for name in ("a", "b", "c", "broken")]


def in_threads(*work):
    """Results or errors of functions that begin at the same moment, each in a thread of its own."""
    barrier, results = threading.Barrier(len(work)), [None] * len(work)

    def run(number, function):
        barrier.wait()
        try:
            results[number] = function()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "deadlock"
    return results


def test_every_thread_gets_its_model_and_nothing_stays_broken(folders):
    tied, linear = PreTrainedModel.tie_weights, torch.nn.init.normal_
    for _ in range(3):
        jobs = [lambda f=f: load_model(f, fresh=True) for f in folders for _ in range(2)]
        jobs += [lambda f=f: load_config(f) for f in folders]
        jobs += [lambda: load_tokenizer("reviews-lm"), lambda: load_model(folders[0], dtype=torch.bfloat16)]
        results = in_threads(*jobs)
        for model in (*results[:6], results[-1]):
            assert isinstance(model, PreTrainedModel), model
            assert model.lm_head.weight is model.transformer.wte.weight
        assert all(isinstance(error, ValueError) and "could not be loaded" in str(error) for error in results[6:8])
        assert results[-1].dtype == torch.bfloat16
    assert PreTrainedModel.tie_weights is tied
    assert torch.nn.init.normal_ is linear
    assert torch.get_default_dtype() == torch.float32
    load_model(folders[1], fresh=True)  # alone again


def test_threads_that_ask_for_one_model_share_it(folders):
    models._frozen_model.cache_clear()
    models._tokenizer.cache_clear()
    first, *others = in_threads(*[lambda: load_model(folders[0])] * 4)
    assert all(model is first for model in others)
    first, *others = in_threads(*[lambda: load_tokenizer("reviews-lm")] * 4)
    assert all(tokenizer is first for tokenizer in others)


def test_two_envs_whose_reward_is_a_model_in_two_threads():
    models._frozen_model.cache_clear()

    def episode():
        env = single(model="reviews-lm", tokenizer=None, reward="fluency", max_new_tokens=1)
        env.reset(seed=0)
        return env.step(20)[1]

    rewards = in_threads(episode, episode, episode)
    assert rewards[0] < 0
    assert rewards == [rewards[0]] * 3


def test_adapters_are_made_while_another_thread_loads(folders):
    pytest.importorskip("peft")
    lms = [GPT2LMHeadModel(GPT2Config(n_positions=16, n_embd=8, n_layer=1, n_head=1)) for _ in range(2)]
    jobs = [lambda lm=lm: add_lora(lm, 2, seed=0) for lm in lms]
    results = in_threads(*jobs, *[lambda f=f: load_model(f, fresh=True) for f in folders[:3]])
    assert results[:2] == [None, None]
    first, second = ({n: p for n, p in lm.named_parameters() if ".lora_A." in n} for lm in lms)
    assert first and all(torch.equal(first[name], second[name]) for name in first)  # drawn from the seed alone


def test_one_thread_may_enter_twice_and_others_wait():
    order = []

    def inner():
        with exclusive():
            order.append("other")

    with exclusive(), exclusive():
        other = threading.Thread(target=inner)
        other.start()
        time.sleep(0.05)
        order.append("own")
    other.join(10)
    assert order == ["own", "other"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_a_child_forked_while_a_thread_reads_can_read():
    reads, go_on = threading.Event(), threading.Event()

    def read():
        with exclusive():
            reads.set()
            go_on.wait(10)

    thread = threading.Thread(target=read)
    thread.start()
    reads.wait(10)
    threading.Timer(0.1, go_on.set).start()  # the fork waits for this
    child = multiprocessing.get_context("fork").Process(target=_enter)
    child.start()
    child.join(20)
    code = child.exitcode
    if code is None:
        child.kill()
    assert code == 0
    thread.join(10)
    _enter()  # the parent can, too


def _enter():
    with exclusive():
        pass
