"""Pictures and volumes of any size and axis: what is sampled of them, and what comes back."""

from __future__ import annotations

import pytest
import torch
from inferer_makers import from_noise, head, uniform
from monai.data import MetaTensor
from run_cases import RecordingNet

from monai_ddfm.inferers import PRESETS, DDFMInferer


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_says_how_slices_follow_each_other(axis: int, small: RecordingNet) -> None:
    volume = head(9, 14, 18, 10)
    result = from_noise(steps=2, axis=axis)(volume, small)
    turned = from_noise(steps=2, axis=2)(volume.movedim(2 + axis, 4), small)
    assert torch.equal(result, turned.movedim(4, 2 + axis))
    other = from_noise(steps=2, axis=(axis + 1) % 3)(volume, small)
    assert not torch.equal(result, other)


def test_empty_slices_are_not_sent_through_the_network() -> None:
    network, volume = RecordingNet(), torch.full((1, 2, 16, 16, 9), -1.0)
    volume[..., 2] = uniform(1, 1, 2, 16, 16)
    volume[0, 1, 4:9, 3:8, 6] = 0.5  # one source is enough
    result = from_noise(steps=3)(volume, network)
    assert len(network.seen) == 2 * 3
    empty = [0, 1, 3, 4, 5, 7, 8]
    assert bool((result[:, 0, ..., empty] == -1).all())
    assert bool((result[:, 1, ..., empty] == 0.5).all())


def test_an_empty_volume_needs_no_network() -> None:
    network, volume = RecordingNet(), torch.full((1, 2, 8, 8, 3), 0.25)
    volume[:, 1] = 0.75
    result = from_noise()(volume, network)
    assert network.seen == []
    assert bool((result == 0.5).all())


def test_only_a_patch_around_the_foreground_is_sampled() -> None:
    network = RecordingNet()
    volume = torch.full((1, 2, 96, 80, 3), -1.0)
    volume[:, :, 40:52, 30:40, :] = uniform(2, 1, 2, 12, 10, 3)
    cropped = from_noise(steps=2)(volume, network)
    assert {tuple(x.shape) for x, _ in network.seen} == {(1, 1, 32, 32)}
    outside = torch.ones(96, 80, dtype=torch.bool)
    outside[30:62, 19:51] = False
    assert bool((cropped[0, 0][outside] == -1).all())
    assert bool((cropped[0, 1][outside] == 0.5).all())
    network.seen.clear()
    from_noise(steps=2, crop_foreground=False)(volume, network)
    assert {tuple(x.shape) for x, _ in network.seen} == {(1, 1, 96, 80)}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 31), (15, 17), (2, 40)])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_any_size_comes_back_as_it_was(size: tuple[int, int], preset: str) -> None:
    network = RecordingNet(patch_size=8)
    assert network.size_divisor == 16
    inferer = DDFMInferer(preset=preset, steps=2)
    pair = uniform(10, 2, 2, *size)
    for inputs in (pair, pair[..., None].expand(2, 2, *size, 2)):
        result = inferer(inputs, network)
        assert result.shape == inputs.shape
        assert result.isfinite().all()
    assert all(side % 16 == 0 for x, _ in network.seen for side in x.shape[-2:])


def test_two_volumes_equal_each_alone(small: RecordingNet) -> None:
    volumes = torch.cat((head(11, 20, 16, 5), head(12, 20, 16, 5) * 0.5))
    volumes[1, :, :8] = -1.0  # another box
    inferer = from_noise(steps=2)
    together = inferer(volumes, small)
    assert torch.equal(together, torch.cat([inferer(v[None], small) for v in volumes]))


def test_metadata_is_handed_on(small: RecordingNet) -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-90.0, -120.0, 30.0])
    meta = {"filename_or_obj": "t1.nii.gz"}
    volume = MetaTensor(head(13, 16, 16, 3), affine=affine, meta=meta)
    before = volume.clone()
    result = from_noise(steps=2)(volume, small)
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, affine)
    assert result.meta["filename_or_obj"] == "t1.nii.gz"
    assert torch.equal(volume, before)
    plain = from_noise(steps=2)(volume.as_tensor(), small)
    assert not isinstance(plain, MetaTensor)
    assert torch.equal(result.as_tensor(), plain)
    double = from_noise(steps=2)(volume.as_tensor().double(), small)
    assert double.dtype == torch.float32
    assert torch.equal(double, plain)


def test_evaluators_may_pass_more(small: RecordingNet) -> None:
    pair = uniform(1, 1, 2, 8, 8)
    inferer = from_noise(steps=1)
    assert torch.equal(inferer(pair, small, 3, mode="x"), inferer(pair, small))
