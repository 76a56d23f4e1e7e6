"""A simulated accelerator on a machine that has none: tensors that say they live on `cuda:0` and hold real values.

A CPU tensor that meets one of them is an error, as on a GPU; every kernel launch, host read (`.item()`, `.tolist()`,
`.numpy()`, `.cpu()`, `nonzero`, boolean indexing) and transfer is counted, with the line of ours that caused it; and
inside `capture()` a host read or a transfer is an error, as inside a CUDA graph. So code can be made ready for graphs
without a GPU.

Limits: forward passes only (autograd's engine wants a real device), no streams, no memory model, and attention runs by
its CPU decomposition, so a layer counts about six launches more than a GPU's fused kernel would.
Needs g++ (a device guard for CUDA that does nothing is compiled into a temporary file): `needs_compiler` skips a test.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile
import traceback

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

# It has no devices, so that autograd starts no threads for them.
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
struct Guard : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::DeviceIndex deviceCount() const noexcept override { return 0; }
};
static c10::impl::DeviceGuardImplRegistrar r(c10::DeviceType::CUDA, new Guard());
"""
VIEWS = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze", "detach",
    "alias", "as_strided", "split", "unbind", "narrow", "diagonal", "chunk", "split_with_sizes", "lift_fresh",
    "_reshape_alias", "unfold",
}  # fmt: skip
DYNAMIC = {"nonzero", "masked_select", "_unique2", "repeat_interleave"}  # their shape is data: a host read
DEVICE = torch.device("cuda:0")
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or torch.cuda.is_available(), reason="simulates a GPU with g++, where there is none"
)


class Counts:
    """What has happened on the device since `reset`."""

    def __init__(self):
        self.reset()
        self.capturing = False

    def reset(self):
        self.launches, self.ops, self.reads, self.transfers = 0, collections.Counter(), [], []

    def launch(self, name):
        self.launches += 1
        self.ops[name] += 1

    def read(self, name):
        self._forbidden("host read", name)
        self.reads.append((name, _where()))

    def transfer(self, name):
        self._forbidden("transfer", name)
        self.transfers.append((name, _where()))

    def _forbidden(self, what, name):
        if self.capturing:
            raise RuntimeError(f"{what} ({name}) inside a captured graph at {_where()}")


counts = Counts()


def _where() -> str:
    ours = [f for f in traceback.extract_stack() if "/dyngen_env/" in f.filename or "/agents/" in f.filename]
    return "/".join(pathlib.Path(ours[-1].filename).parts[-3:]) + f":{ours[-1].lineno}" if ours else "?"


class OnDevice(torch.Tensor):
    @staticmethod
    def __new__(cls, real):
        new = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=DEVICE, layout=real.layout,
        )  # fmt: skip
        new.real_ = real
        return new

    def data_ptr(self):
        return self.real_.data_ptr()

    def __repr__(self):
        return f"OnDevice({self.real_!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _is_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


def _real(tree):
    return tree_map(lambda x: x.real_ if isinstance(x, OnDevice) else x, tree)


def _run(func, args, kwargs):
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    ours = [x for x in tensors if isinstance(x, OnDevice)]
    name, device = func._schema.name.split("::")[1], kwargs.get("device")
    plain = dict(_real(kwargs)) | ({} if device is None else {"device": torch.device("cpu")})
    if name == "_to_copy":
        out = func(*_real(args), **plain)
        here = _is_cuda(device) if device is not None else bool(ours)
        if ours and not here:
            counts.read(name)
            return out
        if here and not ours:
            counts.transfer(name)
        if here:
            counts.launch(name)
            return OnDevice(out)
        return out
    if name == "copy_" and ours:
        func(*_real(args), **_real(kwargs))
        if isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            (counts.transfer if isinstance(args[0], OnDevice) else counts.read)(name)
        counts.launch(name)
        return args[0]
    if not ours and not _is_cuda(device):
        return func(*args, **kwargs)
    for tensor in tensors:
        if not isinstance(tensor, OnDevice) and tensor.dim() > 0:
            raise RuntimeError(f"{name}: a CPU tensor {tuple(tensor.shape)} meets cuda:0 at {_where()}")
    out = func(*_real(args), **plain)
    if name in ("_local_scalar_dense", "equal"):
        counts.read(name)
        return out
    indices = tree_flatten(args[1])[0] if name in ("index", "index_put", "index_put_") else []
    if name in DYNAMIC or any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in indices):
        counts.read(name)
    if name not in VIEWS:
        counts.launch(name)
    if name.endswith("_") and not name.startswith("_") and isinstance(args[0], OnDevice):
        return args[0]
    if "out" in kwargs:
        return kwargs["out"]
    return tree_map(lambda x: OnDevice(x) if isinstance(x, torch.Tensor) else x, out)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What leaves Python for a device before the dispatcher sees it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        mine = bool(args) and isinstance(args[0], OnDevice)
        if name in ("tensor", "as_tensor"):
            device = kwargs.pop("device", None)
            made = args[0] if isinstance(args[0], torch.Tensor) else func(*args, **kwargs)
            return made if device is None else made.to(device)
        if name == "tolist" and mine:
            counts.read(name)
            return args[0].real_.tolist()
        if name == "numpy" and mine:
            if not kwargs.get("force"):
                raise TypeError("a tensor on cuda:0 has no numpy(): use numpy(force=True)")
            counts.read(name)
            return args[0].detach().real_.numpy()
        if name == "to":
            device = kwargs.get("device", args[1] if len(args) > 1 else None)
            device = device.device if isinstance(device, torch.Tensor) else device
            if isinstance(device, str | torch.device) and _is_cuda(device):
                dtype = kwargs.get("dtype", args[2] if len(args) > 2 and isinstance(args[2], torch.dtype) else None)
                moved = args[0] if mine else put(args[0])
                return moved if dtype in (None, moved.dtype) else moved.to(dtype)
        if name in ("__getitem__", "__setitem__") and mine:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(x, list) for x in index):
                index = tuple(put(torch.as_tensor(x)) if isinstance(x, list) else x for x in index)
                args = (args[0], index, *args[2:])
        return func(*args, **kwargs)


def put(tensor: torch.Tensor) -> OnDevice:
    """A tensor, moved to the device."""
    counts.transfer("to")
    counts.launch("to")
    return OnDevice(tensor.detach().clone())


def put_module(module: torch.nn.Module) -> torch.nn.Module:
    """A module whose parameters and buffers live on the device (in place)."""
    for part in module.modules():
        for key, value in part._parameters.items():
            if value is not None and not isinstance(value, OnDevice):
                part._parameters[key] = torch.nn.Parameter(OnDevice(value.detach().clone()), value.requires_grad)
        for key, value in part._buffers.items():
            if value is not None and not isinstance(value, OnDevice):
                part._buffers[key] = OnDevice(value.detach().clone())
    return module


@functools.cache
def _load_guard() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, library = pathlib.Path(folder, "guard.cpp"), pathlib.Path(folder, "guard.so")
        source.write_text(GUARD)
        home = pathlib.Path(torch.__file__).parent
        subprocess.run(
            ["g++", "-O1", "-shared", "-fPIC", "-std=c++20", f"-I{home}/include",
             str(source), "-o", str(library), f"-L{home}/lib", "-lc10"], check=True,
        )  # fmt: skip
        ctypes.CDLL(str(library))


@contextlib.contextmanager
def simulated():
    """A device `cuda:0` while it lasts."""
    _load_guard()
    before, torch.cuda._lazy_init = torch.cuda._lazy_init, lambda: None
    try:
        with _Dispatch(), _Functions():
            yield counts
    finally:
        torch.cuda._lazy_init = before


@contextlib.contextmanager
def capture():
    """Like the capture of a CUDA graph: no host reads and no transfers in it."""
    counts.capturing = True
    try:
        yield
    finally:
        counts.capturing = False
