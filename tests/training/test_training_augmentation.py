from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training_makers import head

from monai_ddfm.errors import InputError
from monai_ddfm.training.augmentation import SliceAugmenter, gaussian_blur, random_render
from monai_ddfm.training.views import head_and_bone, plain_view, random_view


def heads(count: int, size: int = 64) -> Tensor:
    return torch.stack([torch.from_numpy(head(size, seed=n))[None] for n in range(count)])


def augment(count: int = 8, *, seed: int = 0, mm: float = 2.0, **options: object) -> Tensor:
    torch.manual_seed(seed)
    sizes = torch.full((count,), mm)
    return SliceAugmenter(**options)(heads(count), sizes, sizes)  # type: ignore[arg-type]


@given(
    size=st.sampled_from([16, 48, 64, 96, 160]),
    count=st.integers(1, 6),
    mm=st.floats(0.5, 4.0),
    seed=st.integers(0, 2**31),
)
def test_pictures_are_finite_in_range_and_of_the_drawn_size(
    size: int, count: int, mm: float, seed: int
) -> None:
    pictures = augment(count, seed=seed, mm=mm, sizes=(size,))
    assert pictures.shape == (count, 1, size, size)
    assert torch.isfinite(pictures).all()
    assert pictures.min() >= -1
    assert pictures.max() <= 1


def test_large_pictures_are_fewer() -> None:
    pictures = augment(8, sizes=(64,), pixels_per_batch=3 * 64 * 64 + 5)
    assert pictures.shape == (3, 1, 64, 64)
    assert augment(8, sizes=(64,), pixels_per_batch=1).shape[0] == 1


def test_sizes_are_drawn_from_the_list() -> None:
    seen = {augment(1, seed=seed, sizes=(32, 48)).shape[-1] for seed in range(12)}
    assert seen == {32, 48}


@pytest.mark.parametrize("sizes", [(), (0,), (33,), (-2,), ("64",), (64.0,)])
def test_sizes_that_cannot_be_halved_are_refused(sizes: Any) -> None:
    with pytest.raises(InputError, match="picture sizes"):
        SliceAugmenter(sizes=sizes)


def test_same_seed_same_pictures_and_another_seed_others() -> None:
    first, again, other = augment(seed=3), augment(seed=3), augment(seed=4)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_background_is_mostly_exactly_minus_one() -> None:
    # Wide views of a head on black: their corners are background.
    corners = [augment(8, seed=seed, sizes=(64,))[:, 0, :2, :2].flatten(1) for seed in range(24)]
    exact = (torch.cat(corners) == -1).all(dim=1).float().mean()
    assert 0.5 < exact < 1


def test_contrasts_differ_and_some_are_inverted() -> None:
    torch.manual_seed(0)
    view = heads(1, 96).expand(200, -1, -1, -1)
    rendered = random_render(view, *head_and_bone(view))
    brain, dark = view[0] > 0.55, (view[0] > 0.2) & (view[0] < 0.45)
    difference = rendered[:, brain].mean(dim=1) - rendered[:, dark].mean(dim=1)
    assert (difference > 0.1).float().mean() > 0.2
    assert (difference < -0.1).float().mean() > 0.1
    assert rendered.min() >= 0
    assert rendered.max() <= 1


def test_rendering_leaves_its_input_alone() -> None:
    torch.manual_seed(1)
    view = heads(16)
    before = view.clone()
    random_render(view, *head_and_bone(view))
    assert torch.equal(view, before)


def test_coarse_views_are_averaged_and_not_aliased() -> None:
    # One-pixel stripes seen at 2.2 times their pixel size are grey; point sampling shows stripes.
    torch.manual_seed(0)
    stripes = (torch.arange(512) % 2).float().expand(4, 1, 512, 512)
    one = torch.ones(4)
    view = random_view(stripes, one, one, size=128, pixel_range=(2.2, 2.2))
    inside = view[..., 32:96, 32:96]
    assert abs(float(inside.mean()) - 0.5) < 0.05
    assert float(inside.std()) < 0.2


def test_views_keep_the_physical_scale() -> None:
    # A disc of 40 mm radius covers pi 40^2 mm^2, whatever the pixel size of the view.
    torch.manual_seed(0)
    y, x = np.mgrid[:256, :256] - 127.5
    disc = torch.from_numpy((np.hypot(x, y) < 40).astype(np.float32)).expand(6, 1, 256, 256)
    one = torch.ones(6)
    for size, mm in ((192, 1.2), (128, 2.0)):
        view = random_view(disc, one, one, size=size, pixel_range=(mm, mm))
        area = view.sum(dim=(1, 2, 3)) * mm**2
        assert torch.allclose(area, torch.full((6,), math.pi * 1600), rtol=0.02)


def test_no_view_is_finer_than_its_detail() -> None:
    torch.manual_seed(0)
    disc = heads(16, 128)
    views = random_view(
        disc, torch.ones(16), torch.full((16,), 2.0), size=64, pixel_range=(0.1, 0.1)
    )
    # At 1.2 mm, 64 pixels see 77 of the 128 mm.
    torch.manual_seed(0)
    coarse = random_view(disc, torch.ones(16), torch.ones(16), size=64, pixel_range=(1.2, 1.2))
    assert torch.allclose(views, coarse, atol=1e-4)


def test_head_covers_tissue_and_its_dark_ring_is_bone() -> None:
    view = heads(3, 128)
    inside, bone = head_and_bone(view)
    assert inside.shape == bone.shape == view.shape
    assert (inside[view > 0.3] > 0.5).float().mean() > 0.99
    assert float(inside[..., :4, :4].max()) == 0
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    far_inside = torch.from_numpy(np.hypot(x, y) < 0.2)
    assert float(bone[:, 0][:, far_inside].max()) == 0
    assert (bone > 0.5).any()
    assert float(view[bone > 0.9].max()) < 0.25


def test_blur_keeps_the_mean_and_has_the_asked_width() -> None:
    spikes = torch.zeros(3, 1, 65, 65)
    spikes[..., 32, 32] = 1
    sigma = torch.tensor([0.0, 1.0, 2.5])
    blurred = gaussian_blur(spikes, sigma, radius=12)
    assert torch.allclose(blurred.sum(dim=(1, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.equal(blurred[0], spikes[0])
    offsets = torch.arange(65.0) - 32
    for image, expected in zip(blurred[1:], sigma[1:], strict=True):
        variance = (image[0].sum(dim=0) * offsets**2).sum()
        assert abs(float(variance.sqrt()) - float(expected)) < 0.05


def test_plain_views_are_the_slices_own_pixels() -> None:
    torch.manual_seed(0)
    plain = torch.zeros(8, 1, 96, 96)
    content = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    plain[..., 16:80, 16:80] = content
    views = plain_view(plain, torch.full((8,), 64.0), size=32)
    assert views.shape == (8, 1, 32, 32)
    for view, image in zip(views[:, 0], content[:, 0], strict=True):
        windows = image.unfold(0, 32, 1).unfold(1, 32, 1)
        turned = [view.rot90(k) for k in range(4)]
        forms = turned + [one.flip(1) for one in turned]
        assert any(bool((windows == form).all(dim=(2, 3)).any()) for form in forms)
    whole = plain_view(plain, torch.full((8,), 64.0), size=64)
    assert torch.allclose(whole.sum(dim=(1, 2, 3)), content.sum(dim=(1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("share", "fewest", "most"), [(None, 20, 44), (0.0, 0, 0), (1.0, 64, 64)])
def test_plain_batches_keep_their_contrast_in_a_share_of_the_pictures(
    share: float | None, fewest: int, most: int
) -> None:
    slices, sizes = heads(64), torch.full((64,), 2.0)
    torch.manual_seed(0)
    own_share = {} if share is None else {"own_share": share}
    augmenter = SliceAugmenter(
        sizes=(64, 128), plain_share=1.0, pixels_per_batch=64 * 64**2, **own_share
    )
    pictures = augmenter(slices, sizes, sizes, plain=slices)
    # 128 pixels are more than the slices have.
    assert pictures.shape == (64, 1, 64, 64)
    forms = {round(float(one.sum()), 2) for one in slices}
    own = [round(float((one + 1).sum() / 2), 2) in forms for one in pictures]
    assert fewest <= sum(own) <= most


def test_smoothed_pictures_have_less_noise_and_keep_their_outlines() -> None:
    # Two halves of a slice with scanner's noise, in its own contrast or another one.
    noise = torch.randn(32, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    step = torch.full((32, 1, 64, 64), 0.3)
    step[..., 32:] = 0.8
    slices, mm = (step + 0.02 * noise).clamp(0, 1), torch.full((32,), 2.0)

    def roughness_and_range(share: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        augmenter = SliceAugmenter(sizes=(64,), plain_share=1.0, smooth_share=share)
        pictures = augmenter(slices, mm, mm, plain=slices)
        rows = pictures.diff(dim=2).abs().mean(dim=(1, 2, 3))
        columns = pictures.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return torch.minimum(rows, columns), pictures.amax(dim=(1, 2, 3)) - pictures.amin((1, 2, 3))

    rough, rough_range = roughness_and_range(0.0)
    smooth, smooth_range = roughness_and_range(1.0)
    changed = rough != smooth
    assert 8 < int(changed.sum()) < 24  # the others are in their own contrast
    assert float((smooth / rough)[changed].median()) < 0.7
    assert float((smooth_range / rough_range)[changed].median()) > 0.8


@pytest.mark.parametrize("name", ["plain_share", "own_share", "smooth_share"])
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), "much", None])
def test_shares_out_of_range_are_refused(name: str, share: object) -> None:
    with pytest.raises(InputError, match=name):
        SliceAugmenter(**{name: share})  # type: ignore[arg-type]


def test_plain_slices_smaller_than_any_picture_are_refused() -> None:
    slices, sizes = heads(4, 32), torch.full((4,), 2.0)
    augmenter = SliceAugmenter(sizes=(64,), plain_share=1.0)
    with pytest.raises(InputError, match="smaller than any of the picture sizes"):
        augmenter(slices, sizes, sizes, plain=slices)
