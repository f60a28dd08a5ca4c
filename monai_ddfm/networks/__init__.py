"""Networks: the prior's, its schedulers (`schedulers`) and its files (`priors`)."""

from __future__ import annotations

from monai_ddfm.networks.admunet import ADMUNet, ScaleShiftResnetBlock

__all__ = [
    "ADMUNet",
    "ScaleShiftResnetBlock",
]
