"""CUDA graphs on the simulated GPU: what a function launches is written down once, and replayed without the function.

As on a GPU, a replay reads and writes the same tensors, and sees nothing of what Python has changed since.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from dyngen_env.lm.engine import capture as capture_module
from tests.support.simulated_cuda import OnDevice, capture, counts


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.launches = []  # (function, arguments, keywords, outputs), outputs None if it works in place

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        aliases = [returned.alias_info for returned in func._schema.returns]
        views = any(a is not None and not a.is_write for a in aliases)
        if not views:
            in_place = any(a is not None for a in aliases)
            self.launches.append((func, _real(args), _real(kwargs), None if in_place else _real(out)))
        return out


def _real(tree):
    def real(x):
        if isinstance(x, OnDevice):
            return x.real_
        return torch.device("cpu") if isinstance(x, torch.device) else x

    return tree_map(real, tree)


def recorded(function, device, pool):
    """In the place of `capture._cuda_graph`."""
    for _ in range(capture_module.WARM_UP):
        function()
    with capture(), _Recorder() as graph:
        function()

    def replay():
        counts.launch("graph")
        with torch.utils._python_dispatch._disable_current_modes(), torch.no_grad():
            for func, args, kwargs, out in graph.launches:
                made = func(*args, **kwargs)
                if out is not None:
                    for old, new in zip(tree_flatten(out)[0], tree_flatten(made)[0], strict=True):
                        if isinstance(old, torch.Tensor):
                            old.copy_(new)

    return replay


def use_simulated_graphs(monkeypatch) -> None:
    """Captures are simulated for the rest of the test."""
    monkeypatch.setattr(capture_module, "_cuda_graph", recorded)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
