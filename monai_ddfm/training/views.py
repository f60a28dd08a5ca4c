r"""Views of the training slices, and what in a view is head and what is bone.

A *random* view turns, mirrors and shifts a slice and draws its pixel size log-uniformly. It is
sampled bicubically at twice the resolution and averaged down, so that coarse views are not aliased.
A *plain* view is a crop of the slice as it was acquired, turned by quarters and mirrored only.

All steps are tensor operations on the batch's own device and draw from torch's global generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["head_and_bone", "plain_view", "random_view"]


def plain_view(plain: Tensor, sides: Tensor, *, size: int) -> Tensor:
    """Crop slices as they were acquired, mirrored and turned by quarters at random.

    Args:
        plain: slices in the middle of [N, 1, H, H], in [0, 1].
        sides: [N], side in pixels of the square that each slice fills there.
        size: side of the crop in pixels, at most H.

    Returns:
        Crops [N, 1, size, size] in [0, 1]; each lies within its slice as far as that is larger.
    """
    free = ((sides - size) / 2).clamp(min=0)
    middle = (plain.shape[-1] - size) / 2
    corners = middle + free[:, None] * (2 * torch.rand(len(plain), 2, device=plain.device) - 1)
    crops = []
    for image, corner in zip(plain, corners.round().long().tolist(), strict=True):
        crop = image[:, corner[0] : corner[0] + size, corner[1] : corner[1] + size]
        crop = crop.rot90(int(torch.randint(4, ())), dims=(1, 2))
        crops.append(crop.flip(2) if torch.rand(()) < 0.5 else crop)
    return torch.stack(crops)


def random_view(
    slices: Tensor,
    pixel_mm: Tensor,
    detail_mm: Tensor,
    *,
    size: int,
    pixel_range: tuple[float, float],
) -> Tensor:
    """Look at each slice under a random rotation, flip, shift and pixel size.

    Args:
        slices: [N, 1, H, W] in [0, 1].
        pixel_mm: [N], pixel size of the slices in mm.
        detail_mm: [N], pixel size at acquisition in mm. No view is finer than 0.6 of it, since
            there is no detail to be had.
        size: side of the view in pixels.
        pixel_range: smallest and largest pixel size of the view in mm.

    Returns:
        Views [N, 1, size, size] in [0, 1].
    """
    count, device = slices.shape[0], slices.device
    low = torch.maximum(0.6 * detail_mm, detail_mm.new_tensor(pixel_range[0])).log()
    high = max(math.log(pixel_range[1]), float(low.max()))
    target_mm = (low + (high - low) * torch.rand(count, device=device)).exp()
    zoom = size * target_mm / (pixel_mm * slices.shape[-1])

    quarter = torch.randint(4, (count,), device=device) * (math.pi / 2)
    angle = quarter + (torch.rand(count, device=device) - 0.5) * math.radians(50)
    flip = torch.randint(2, (count,), device=device) * 2 - 1
    # A narrow view may look anywhere in the head; a wide one keeps the head in sight.
    reach = 0.15 + 0.45 * (1 - zoom).clamp(min=0)
    shift = (torch.rand(count, 2, device=device) * 2 - 1) * reach[:, None]

    rows = torch.stack(
        [
            torch.stack([zoom * angle.cos() * flip, -zoom * angle.sin(), shift[:, 0]], dim=1),
            torch.stack([zoom * angle.sin() * flip, zoom * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(rows, [count, 1, 2 * size, 2 * size], align_corners=False)
    fine = functional.grid_sample(slices, grid, mode="bicubic", align_corners=False)
    return functional.avg_pool2d(fine, 2).clamp(0, 1)


def head_and_bone(
    view: Tensor, *, threshold: float = 0.1, closing: int = 13, depth: int = 15
) -> tuple[Tensor, Tensor]:
    """Soft masks of the head, and of the dark ring below its surface that bone makes in T1.

    Args:
        view: [N, 1, H, W] in [0, 1], H and W even.
        threshold: grey value above which a pixel is surely tissue.
        closing: dark gaps up to about this many pixels wide count as head.
        depth: how far below the surface bone is looked for, in pixels.

    Returns:
        Head and bone, each [N, 1, H, W] in [0, 1].
    """
    # Half the resolution is enough for masks that are smoothed anyway, and four times cheaper.
    small = functional.avg_pool2d(view, 2)
    tissue = (functional.avg_pool2d(small, 3, 1, 1) > threshold).to(view.dtype)
    inside = -_dilate(-_dilate(tissue, closing // 4), closing // 4)
    core = -_dilate(-inside, depth // 2)
    ring = inside * (1 - core) * (small < 2 * threshold).to(view.dtype)
    masks = functional.avg_pool2d(torch.cat([inside, ring], dim=1), 3, 1, 1)
    masks = functional.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
    return masks[:, :1], masks[:, 1:]


def _dilate(images: Tensor, radius: int) -> Tensor:
    """Maximum over a square of side 2 radius + 1, one direction after the other."""
    side = 2 * radius + 1
    rows = functional.max_pool2d(images, (1, side), 1, (0, radius))
    return functional.max_pool2d(rows, (side, 1), 1, (radius, 0))
