"""Priors of another kind through the inferer: latent ones, and ones of volumes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from inferer_makers import FROM_NOISE, uniform
from monai.data import MetaTensor
from monai.networks.nets import DiffusionModelUNet
from run_cases import RecordingNet
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, EnsembleInferer, SamplingProgress
from monai_ddfm.likelihoods.rectifiers import EMRectifier
from monai_ddfm.networks.schedulers import NoiseSchedule

PROCESS = NoiseSchedule.spaced(1000).train_alphas_cumprod
HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1.0]]) / 2


class Gaussian(nn.Module):
    """The exact denoiser of images of independent voxels, N(mean, deviation^2)."""

    prediction_type = "sample"
    size_divisor = 1

    def __init__(self, spatial_dims: int = 2, *, mean: float = -0.2, deviation: float = 0.4):
        super().__init__()
        self.spatial_dims = spatial_dims
        self.mean, self.deviation = mean, deviation
        self.seen: list[tuple[int, ...]] = []

    def expected(self, like: Tensor) -> Tensor:
        return torch.full_like(like, self.mean)

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        power, variance = PROCESS[int(timesteps[0])], self.deviation**2
        gain = variance * math.sqrt(power) / (power * variance + 1 - power)
        mean = self.expected(x)
        return mean + gain * (x - math.sqrt(power) * mean)


class Haar(Gaussian):
    """The same prior, on the coefficients of an orthonormal Haar transform."""

    size_divisor = 2

    def encode(self, image: Tensor) -> Tensor:
        return torch.einsum("kc,bchw->bkhw", HAAR, functional.pixel_unshuffle(image, 2))

    def decode(self, x0: Tensor) -> Tensor:
        return functional.pixel_shuffle(torch.einsum("kc,bkhw->bchw", HAAR, x0), 2)

    def expected(self, like: Tensor) -> Tensor:
        coarse = torch.zeros_like(like)
        coarse[:, 0] = 2 * self.mean
        return coarse


class Coarse(Gaussian):
    """A latent prior that knows but means over blocks."""

    size_divisor = 2

    def encode(self, image: Tensor) -> Tensor:
        pool: Any = functional.avg_pool3d if self.spatial_dims == 3 else functional.avg_pool2d
        pooled: Tensor = pool(image, 2)
        return pooled

    def decode(self, x0: Tensor) -> Tensor:
        return functional.interpolate(x0, scale_factor=2, mode="nearest")


def noisy(*shape: int) -> Tensor:
    """Sources [1, 2, ...] that never end at black or white, with noise."""
    generator = torch.Generator().manual_seed(5)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in shape), indexing="ij")
    clean = torch.stack([0.5 * torch.cos(3 * sum(axes)), 0.5 * torch.sin(2 * axes[0])])  # type: ignore[call-overload]
    noise = 0.1 * torch.randn(2, *shape, generator=generator)
    return (clean + noise).clamp(-0.95, 0.95)[None]


def lies_between(fused: Tensor, sources: Tensor) -> bool:
    lower, upper = sources.amin(1, keepdim=True), sources.amax(1, keepdim=True)
    return bool(((fused >= lower - 1e-6) & (fused <= upper + 1e-6)).all())


@pytest.mark.parametrize("preset", ["default", "contrast"])
def test_a_prior_of_orthonormal_coefficients_fuses_as_that_of_the_image(preset: str) -> None:
    pair = noisy(33, 41)  # odd: padded to blocks
    haar = Haar()
    latent = DDFMInferer(preset=preset, steps=3)(pair, haar)
    of_images = Gaussian()
    of_images.size_divisor = haar.size_divisor  # padded likewise
    image = DDFMInferer(preset=preset, steps=3)(pair, of_images)
    torch.testing.assert_close(latent, image, rtol=0, atol=1e-4)
    assert set(haar.seen) == {(1, 4, 17, 21)}
    assert not torch.allclose(latent[:, :1], pair.mean(1, keepdim=True), atol=0.05)


@pytest.mark.parametrize("prior", [Coarse(), Haar()])
def test_latent_priors_sample_from_noise(prior: Gaussian) -> None:
    volume = noisy(24, 20, 3)
    inferer = DDFMInferer(preset="reference", rectifier=EMRectifier(tv=False), steps=3, seed=1)
    fused = inferer(volume, prior)[:, :1]
    assert lies_between(fused, volume)
    assert prior.seen[0][1:] == prior.encode(torch.zeros(1, 1, 24, 20)).shape[1:]
    # From a step in between, and with noise in every step.
    fused = DDFMInferer(preset=FROM_NOISE, start_timestep=300)(volume, prior)[:, :1]
    assert lies_between(fused, volume)
    ensemble = EnsembleInferer(DDFMInferer(preset=FROM_NOISE, steps=3), samples=2)(volume, prior)
    assert bool((ensemble[:, 2] > 0).any())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("preset", ["default", "contrast"])
def test_a_prior_of_independent_voxels_needs_no_neighbors(preset: str, axis: int) -> None:
    affine = torch.diag(torch.tensor([0.8, 1.3, 2.5, 1.0]))
    volume = MetaTensor(noisy(16, 18, 20), affine=affine)
    whole, slices = Gaussian(spatial_dims=3), Gaussian()
    inferer = DDFMInferer(preset=preset, steps=2, axis=axis, crop_foreground=False)
    fused = inferer(volume, whole)
    torch.testing.assert_close(fused, inferer(volume, slices), rtol=0, atol=1e-5)
    assert isinstance(fused, MetaTensor)
    assert torch.equal(fused.affine, affine.double())
    assert set(whole.seen) == {(1, 1, 16, 18, 20)}
    assert all(len(shape) == 4 for shape in slices.seen)


def monai_network() -> DiffusionModelUNet:
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=(8, 8),
        attention_levels=(False, False),
        num_res_blocks=1,
        norm_num_groups=4,
    )
    for parameter in network.parameters():  # its last convolution begins with zeros
        nn.init.normal_(parameter, std=0.05)
    return network.eval()


def test_networks_of_volumes_see_the_volume() -> None:
    volume, seen = noisy(16, 12, 8), []
    inferer = DDFMInferer(preset="contrast", steps=2, progress=seen.append)
    network = monai_network()  # says nothing of itself
    fused = inferer(volume, network)
    assert lies_between(fused[:, :1], volume)
    assert seen == [SamplingProgress(0, 1, 1, step, 2) for step in (1, 2)]
    own = RecordingNet(spatial_dims=3, num_head_channels=8)
    odd = noisy(15, 13, 9)
    fused = DDFMInferer(preset=FROM_NOISE, steps=3)(odd, own)
    assert lies_between(fused[:, :1], odd)
    assert own.seen[0][0].shape == (1, 1, 16, 14, 10)
    changed = odd.clone()  # what lies in one slice matters in another
    changed[..., 8] *= 0.5
    again = DDFMInferer(preset=FROM_NOISE, steps=3)(changed, own)
    assert not torch.equal(again[..., :4], fused[..., :4])


def test_latent_volumes() -> None:
    volume, prior = noisy(12, 9, 8), Coarse(spatial_dims=3)
    fused = DDFMInferer(rectifier=EMRectifier(tv=False), steps=3)(volume, prior)
    assert lies_between(fused[:, :1], volume)
    assert set(prior.seen) == {(1, 1, 6, 5, 4)}


def test_a_prior_of_volumes_refuses_slices() -> None:
    with pytest.raises(InputError, match=r"prior is one of volumes; give \[B, 2, H, W, D\]"):
        DDFMInferer()(uniform(1, 1, 2, 8, 8), Gaussian(spatial_dims=3))


def test_a_volume_too_large_for_the_memory_is_an_input_error() -> None:
    class Hungry(Gaussian):
        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(InputError, match="not enough memory for a whole volume"):
        DDFMInferer(preset=FROM_NOISE)(noisy(8, 8, 8), Hungry(spatial_dims=3))


def test_empty_volumes_are_left_alone() -> None:
    volume, prior = torch.full((1, 2, 8, 8, 8), -1.0), Gaussian(spatial_dims=3)
    assert bool((DDFMInferer()(volume, prior)[:, :1] == -1).all())
    assert prior.seen == []
