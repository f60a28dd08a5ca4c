"""The network's arithmetic: its type, the order of its data in memory, and compilation.

Float32 outside of the network is not negotiable: the rectifier's precisions and the solver's
differences do not survive eight bits of mantissa. In the network, bfloat16 halves the time on CPUs
that have it (AVX512-BF16, AMX) and more on GPUs.

Compilation fuses what lies between the convolutions. It begins with a warm-up, of a minute or more,
for every size of patch; it pays for many volumes, not for one. What is compiled rounds otherwise,
by about 3e-6 of the network's output in float32; `monai-ddfm benchmark-speed --compile` measures
both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn

from monai_ddfm.errors import InputError

__all__ = ["Acceleration", "Compile", "limit_device_memory"]

Compile = Literal["default", "graphs"]

_log = logging.getLogger(__name__)
_MODES: dict[Compile, str] = {"default": "default", "graphs": "reduce-overhead"}


@dataclass(frozen=True)
class Acceleration:
    """How the network computes.

    Attributes:
        autocast_dtype: type of its arithmetic; None is float32.
        compile: "default", or "graphs" to replay the network as CUDA graphs too; None is as it is.
    """

    autocast_dtype: torch.dtype | None = None
    compile: Compile | None = None
    _compiled: WeakKeyDictionary[nn.Module, Any] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the choices alone: what is compiled belongs to one process."""
        return type(self), (self.autocast_dtype, self.compile)

    @classmethod
    def named(cls, dtype: str | None, compile_mode: str | bool | None) -> Acceleration:
        """Read the options of the inferer.

        Raises:
            InputError: if one is unknown.
        """
        known = {None: None, "float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if dtype not in known:
            raise InputError(
                f"autocast type {dtype!r} is unknown; use bfloat16, float16 or float32."
            )
        modes: dict[str | bool | None, Compile | None] = {
            None: None,
            False: None,
            True: "default",
            "default": "default",
            "graphs": "graphs",
        }
        if compile_mode not in modes:
            raise InputError(f"compilation {compile_mode!r} is unknown; use default or graphs.")
        return cls(known[dtype], modes[compile_mode])

    @property
    def dtype_name(self) -> str | None:
        """The type of the network's arithmetic as `named` takes it."""
        return None if self.autocast_dtype is None else str(self.autocast_dtype).split(".")[-1]

    @contextmanager
    def prepared(self, network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
        """Give the network as the sampling loop is to call it; it is left as it was.

        Args:
            network: the caller's.
            device: where it computes.

        Yields:
            The network, or its compiled form.
        """
        if device.type == "cpu" or (device.type == "cuda" and self.autocast_dtype is not None):
            # oneDNN and tensor cores take channels last; convolutions would reorder everything
            # otherwise.
            with _channels_last(network):
                yield self._called(network)
        else:
            yield self._called(network)

    def _called(self, network: nn.Module) -> nn.Module:
        if self.compile is None:
            return network
        if network not in self._compiled:
            _log.info("the network is compiled at its first call for every size of patch")
            self._compiled[network] = torch.compile(network, mode=_MODES[self.compile])
        compiled: nn.Module = self._compiled[network]
        return compiled


@contextmanager
def _channels_last(network: nn.Module) -> Iterator[None]:
    """Have a network's weights with their channels last in memory, and put them back after."""
    weights = [*network.parameters(), *network.buffers()]
    if any(weight.dim() == 5 for weight in weights):  # of volumes: that order is not theirs
        yield
        return
    before = [(weight, weight.stride()) for weight in weights if weight.dim() == 4]
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        for weight, stride in before:
            if weight.stride() != stride:
                old = torch.empty_strided(
                    weight.shape, stride, dtype=weight.dtype, device=weight.device
                )
                weight.data = old.copy_(weight.data)


def limit_device_memory(device: str | torch.device, gibibytes: Any) -> None:
    """Let PyTorch use only so much of a GPU's memory; automatic batches then shrink to fit.

    Args:
        device: "cuda" or "cuda:1".
        gibibytes: how much; None is all there is.

    Raises:
        InputError: if it is no positive number, more than there is, or the device is no GPU.
    """
    if gibibytes is None:
        return
    try:
        wanted = float(gibibytes) * 2**30
    except (TypeError, ValueError):
        wanted = -1.0
    if not 0 < wanted < float("inf"):
        raise InputError(f"memory of {gibibytes!r} GiB is unusable; give a positive number.")
    device = torch.device(device)
    if device.type != "cuda":
        raise InputError(
            "a memory limit is for a GPU; on a CPU use --batch-size and OMP_NUM_THREADS, each "
            "thread takes the memory of one slice."
        )
    total = torch.cuda.get_device_properties(device).total_memory
    if wanted > total:
        raise InputError(f"{device} has {total / 2**30:.1f} GiB; limit it to less.")
    torch.cuda.set_per_process_memory_fraction(wanted / total, device)
