"""Chunks of logits: those of a CPU are for its caches, those of a GPU for its memory."""

import pytest
import torch

from dyngen_env.lm.logit_chunks import BYTES_PER_LOGIT, CPU_CHUNKS, gpu_chunks, logit_chunks


def test_a_cpu_has_its_own():
    assert logit_chunks(torch.device("cpu")) == CPU_CHUNKS == (2**21, 2**24, 2**18)


@pytest.mark.parametrize("gigabytes", [0, 1, 8, 24, 80, 140])
def test_a_gpu_works_on_as_many_as_a_quarter_of_its_free_memory_holds(gigabytes):
    chunks = gpu_chunks(gigabytes * 10**9)
    assert chunks.kept * BYTES_PER_LOGIT <= max(gigabytes * 10**9 / 4, 2**21 * BYTES_PER_LOGIT)
    assert chunks.computed <= chunks.kept and chunks.kept.bit_count() == 1


def test_a_large_gpu_takes_a_minibatch_of_4096_tokens_and_a_vocabulary_of_49152_at_once():
    """In chunks of 2**21 it would take 98, of which each is computed twice."""
    chunks = gpu_chunks(70 * 10**9)
    assert chunks.computed >= 4096 * 49152 and chunks.kept >= 4096 * 49152


def test_free_is_what_the_driver_and_the_allocator_can_still_give(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10**9)
    assert logit_chunks(torch.device("cuda")) == gpu_chunks(12 * 10**9)
