r"""The model reader: channels on gray levels, or on lightness and chroma, with internal noise.

A gray image is seen through the channels as it is. A color image is taken to CIELAB, because there
equal distances look about equally different: L through the same channels as gray levels, a and b
through coarser ones, all divided by 100, so that black to white is 1 in either form and the
internal noise is the same. (L is not the gray level but a perceptual lightness of it; gray pictures
of both forms differ by that curve.) Several images side by side are seen through all their channels
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.metrics.observer.channels import CHROMA_WIDTHS, Channels, channel_outputs
from monai_ddfm.utils.color import rgb_to_lab

__all__ = ["INTERNAL_NOISE", "Reader"]

INTERNAL_NOISE: Final = 0.05
"""Standard deviation in each channel, for images from 0 to 1; see
`monai_ddfm.metrics.observer.thresholds`.
"""

_WHITE: Final = 100.0


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Sees images through channels.

    Attributes:
        lightness: channels for gray levels and for L.
        chroma: channels for a and for b.
    """

    lightness: Channels = field(default_factory=Channels)
    chroma: Channels = field(default_factory=lambda: Channels(widths=CHROMA_WIDTHS))

    def look(self, shown: Sequence[Tensor], centers: Tensor) -> Tensor:
        """Look at places of images that are shown side by side.

        Args:
            shown: images [N, 1, H, W] or, in color, sRGB [N, 3, H, W], each in [0, 1].
            centers: places (row, column), integer [S, 2].

        Returns:
            Outputs of all channels of all images, float64 [N, S, C].

        Raises:
            InputError: as `channel_outputs`.
        """
        seen = []
        for image in shown:
            if image.shape[1] == 1:
                seen.append(channel_outputs(image[:, 0], centers, channels=self.lightness))
                continue
            lab = rgb_to_lab(image.clamp(0, 1)) / _WHITE
            seen.append(channel_outputs(lab[:, 0], centers, channels=self.lightness))
            for plane in (1, 2):
                seen.append(channel_outputs(lab[:, plane], centers, channels=self.chroma))
        return torch.cat(seen, -1)
