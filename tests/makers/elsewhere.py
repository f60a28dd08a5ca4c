"""A device that is not here: it computes on the CPU, and notes whenever the host waits for it.

Its tensors say that they are on PyTorch's device ``meta``, and hold values nevertheless, so that a
whole program runs on it. As on a GPU, tensors of the host do not mix with its own, and the host
waits wherever it reads a value back, needs the number of values that meet a condition, or hands
over a tensor without saying that it need not wait (``non_blocking``).
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import monai_ddfm

__all__ = ["ELSEWHERE", "Waits", "elsewhere", "moved", "there"]

ELSEWHERE: Final = torch.device("meta")

_READS: Final = {"_local_scalar_dense", "is_nonzero", "equal", "item"}
_COUNTS: Final = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
_INDEXED: Final = {"index", "index_put", "index_put_", "_index_put_impl_"}
_PACKAGE: Final = Path(monai_ddfm.__file__).parent


class _There(Tensor):
    """A tensor elsewhere; `inner` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> _There:
        made: _There = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} is called outside of `elsewhere`")


class Waits(TorchDispatchMode):
    """Computes, and counts why the host waits: by operation and line of the package."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors: list[Tensor] = []
        _each((args, kwargs), tensors.append)
        from_there = any(isinstance(one, _There) for one in tensors)
        wanted = kwargs.get("device")
        to_there = from_there if wanted is None else torch.device(wanted).type == ELSEWHERE.type
        self._judge(name, args, kwargs, tensors, from_there=from_there, to_there=to_there)
        # A list as an index, or as values: PyTorch copies it to the device, and waits.
        if any(one.device == ELSEWHERE and not isinstance(one, _There) for one in tensors):
            raise RuntimeError(f"{name} of a list of the host")
        if name == "_fused_sdp_choice":
            return 0  # the plain form, which all devices have
        if wanted is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        args, kwargs = _each((args, kwargs), _inner)
        made = func(*args, **kwargs)
        if func._schema.name.endswith("_") and tensors:  # in place: the same tensor
            return tensors[0] if isinstance(made, Tensor) else made
        return _each(made, _There) if to_there else made

    def _judge(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        tensors: list[Tensor],
        *,
        from_there: bool,
        to_there: bool,
    ) -> None:
        """Count a wait; refuse what no device does."""
        if name in {"_to_copy", "copy_"}:
            both = {isinstance(one, _There) for one in tensors} | {to_there}
            waits = not (kwargs.get("non_blocking", False) and to_there)
            if len(both) == 2 and waits:
                self._note(f"{name} {'to the device' if to_there else 'to the host'}")
            return
        if not from_there:
            return
        here = [one for one in tensors if not isinstance(one, _There)]
        if name in _INDEXED:
            indices = [one for one in args[1] if one is not None]
            if any(one.dtype in {torch.bool, torch.uint8} for one in indices):
                self._note(f"{name} by a mask")
            if any(not isinstance(one, _There) for one in indices):
                self._note(f"{name} by numbers of the host")
            here = [one for one in here if not any(one is index for index in indices)]
        if name in _READS | _COUNTS:
            self._note(name)
        if any(one.ndim for one in here):
            raise RuntimeError(f"{name} mixes tensors of two devices")

    def _note(self, why: str) -> None:
        lines = [
            f"{Path(frame.filename).relative_to(_PACKAGE)}:{frame.lineno}"
            for frame in traceback.extract_stack()
            if Path(frame.filename).is_relative_to(_PACKAGE)
        ]
        self.seen[f"{why} at {lines[-1] if lines else 'the test'}"] += 1


def _inner(tensor: Tensor) -> Tensor:
    return tensor.inner if isinstance(tensor, _There) else tensor


def _each(values: Any, work: Callable[[Tensor], Any]) -> Any:
    """Return values, in lists and the like, with `work` done on every tensor."""
    if isinstance(values, Tensor):
        return work(values)
    if isinstance(values, list | tuple):
        return type(values)([_each(one, work) for one in values])
    if isinstance(values, dict):
        return {key: _each(one, work) for key, one in values.items()}
    return values


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Have the device there; yields what the host waits for."""
    autocast = torch.autocast

    # PyTorch lowers precision on the devices it knows. It is told of one of them.
    def known(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cuda" if device_type == ELSEWHERE.type else device_type, *args, **kwargs)

    with monkeypatch.context() as patched, Waits() as waits, torch.no_grad():
        patched.setattr(torch, "autocast", known)
        yield waits


def there(tensor: Tensor) -> Tensor:
    """Return a tensor elsewhere."""
    return _There(tensor.clone())


def moved(network: nn.Module) -> nn.Module:
    """Move a network's weights elsewhere, in place."""
    for module in network.modules():
        for name, weight in [*module._parameters.items()]:
            if weight is not None:
                module._parameters[name] = nn.Parameter(there(weight.data), requires_grad=False)
        for name, buffer in [*module._buffers.items()]:
            if buffer is not None:
                module._buffers[name] = there(buffer)
    return network
