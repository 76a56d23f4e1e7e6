"""A run on a GPU says how much memory it needed; one on a CPU says nothing."""

import types

import torch

from dyngen_agents.training.gpu_memory import describe_peak, peak_memory


def test_a_cpu_has_no_such_metric():
    assert peak_memory(torch.device("cpu")) == {} and describe_peak(torch.device("cpu")) == ""


def test_the_peak_in_gibibytes(monkeypatch):
    card = types.SimpleNamespace(name="Card X", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**30 // 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    device = torch.device("cuda:0")
    assert peak_memory(device) == {"peak_memory_gib": 2.5}
    assert describe_peak(device) == "peak GPU memory 2.5 of 80 GiB (Card X)"
