"""The background of noisy volumes, which needs no sampling: its clean images are black."""

from __future__ import annotations

from torch import Tensor

from monai_ddfm.inferers.layout import SliceLayout
from monai_ddfm.likelihoods.rectifiers import Background
from monai_ddfm.utils.slabs import slabs

__all__ = ["without_background"]


def without_background(
    result: Tensor,
    slices: Tensor,
    layout: SliceLayout,
    background: Background | None,
    *,
    divisor: int,
) -> SliceLayout:
    """Fuse the background of a volume, and leave it out of what is sampled.

    Args:
        result: [N, C, H, W]; the luminance is put in.
        slices: the sources, [N, C, H, W].
        layout: with the noisy background in it.
        background: what is known of it; None leaves all as it is.
        divisor: sides of a patch are multiples of this.

    Returns:
        The layout of what is left; `layout` if that is nothing.
    """
    if background is None:
        return layout
    tight = SliceLayout.of(
        slices,
        divisor=divisor,
        crop=True,
        together=True,
        noise_at_black=background.noise_at_black,
    )
    if not tight.patches:
        return layout
    for part in slabs((len(slices), *slices.shape[2:])):
        result[part, 0] = background.fuse(slices[part])
    return tight
