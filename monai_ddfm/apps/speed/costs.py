r"""What a fusion costs, on paper.

With F operations for the network's evaluation of one patch, N evaluations per slice and S slices, a
volume takes

.. math::
    t = \frac{F N S}{u P} + r

where P is the peak of the device (a large matrix product or convolution), u the share of it that
the network reaches, and r the rest: rectifier, solver, reading, registration and writing. Each
evaluation moves the weights W once per batch of B and the features A of a patch about once for
every layer, so its bytes are :math:`W / B + A`; a device whose memory moves M bytes per second is
bound by arithmetic where :math:`F / P > (W / B + A) / M`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["NetworkCost", "network_cost"]

_DEVICES = {
    # Dense bfloat16 peak and memory bandwidth as their maker publishes them.
    "H100 SXM": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
    "A100 SXM 80 GB": (312e12, 2.04e12),
}


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """One evaluation of the network.

    Attributes:
        size: height and width of the patch.
        operations: multiplications and additions, counted apart.
        weights: number of weights.
        features: values that the layers read and write for one patch.
    """

    size: tuple[int, int]
    operations: int
    weights: int
    features: int

    def moved(self, *, bytes_per_value: int, batch: int) -> float:
        """Return the bytes that one patch's evaluation moves, without any cache."""
        return bytes_per_value * (self.weights / batch + self.features)


@torch.no_grad()
def network_cost(network: nn.Module, size: tuple[int, int]) -> NetworkCost:
    """Count the operations and values of one evaluation.

    Args:
        network: the prior.
        size: height and width of a patch.
    """
    device = next(network.parameters()).device
    channels = int(getattr(network, "image_channels", 1))
    x = torch.zeros(1, channels, *size, device=device)
    features = 0

    def count(module: nn.Module, given: Any, made: Any) -> None:  # noqa: ARG001
        nonlocal features
        for value in (*given, made):
            features += value.numel() if isinstance(value, torch.Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with FlopCounterMode(display=False) as counter:
            network(x, torch.zeros(1, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    weights = sum(parameter.numel() for parameter in network.parameters())
    return NetworkCost(
        size=size, operations=counter.get_total_flops(), weights=weights, features=features
    )


def on_other_devices(
    cost: NetworkCost, *, evaluations: int, slices: int, share: float
) -> list[dict[str, Any]]:
    """Return what a volume and 10,000 of them would take on GPUs, in bfloat16.

    Args:
        cost: of one evaluation.
        evaluations: per slice.
        slices: per volume.
        share: of the published peak that the network is taken to reach.
    """
    rows = []
    for name, (peak, bandwidth) in _DEVICES.items():
        arithmetic = cost.operations / (peak * share)
        memory = cost.moved(bytes_per_value=2, batch=slices) / bandwidth
        seconds = max(arithmetic, memory) * evaluations * slices
        rows.append(
            {
                "device": name,
                "bound by": "arithmetic" if arithmetic >= memory else "memory",
                "seconds per volume": seconds,
                "hours for 10,000": seconds * 10_000 / 3600,
            }
        )
    return rows


def described(cost: NetworkCost) -> dict[str, Any]:
    """Return the cost as plain values."""
    return asdict(cost)
