"""The noise that the benchmark adds: its strength, its kind, its seed, and the head it is on."""

from __future__ import annotations

import math

import pytest
import torch
from benchmark_makers import heads

from monai_ddfm.apps.benchmark import Noise
from monai_ddfm.errors import InputError


def test_noise_has_the_strength_that_it_says() -> None:
    source = torch.full((200, 200), 0.5)
    mask = torch.ones(200, 200, dtype=torch.bool)
    for kind in ("gaussian", "rician", "poisson"):
        noisy = Noise(kind, 15).add(source, mask=mask, seed=(0, kind)) * 255
        assert float((noisy - 127.5).square().mean().sqrt()) == pytest.approx(15, rel=0.03)
        expected = math.sqrt(127.5**2 + 15**2) if kind == "rician" else 127.5
        assert float(noisy.mean()) == pytest.approx(expected, abs=0.35)


def test_noise_on_black_is_that_of_its_kind() -> None:
    black, mask = torch.zeros(100, 100), torch.zeros(100, 100, dtype=torch.bool)
    assert float(Noise("poisson", 15).add(black, mask=mask, seed=(0,)).max()) == 0
    rician = Noise("rician", 15).add(black, mask=mask, seed=(0,)) * 255
    assert float(rician.mean()) == pytest.approx(15 * math.sqrt(math.pi / 2), rel=0.03)


def test_noise_belongs_to_the_seed_the_pair_and_the_source() -> None:
    noise = Noise.parse("gaussian:10")
    case = heads("a", "CT")
    again, other = case.noisy(noise), heads("b", "CT").noisy(noise)
    assert torch.equal(case.noisy(noise).image, again.image)
    assert not torch.equal(case.noisy(noise, seed=1).image, again.image)
    assert not torch.equal(other.image - heads("b", "CT").image, again.image - case.image)
    added = (again.image - case.image)[0]
    assert float(torch.corrcoef(added.flatten(1))[0, 1]) < 0.5
    assert again.key != case.key
    assert str(again.noise) == "gaussian:10"


@pytest.mark.parametrize(
    "text", ["salt:3", "gaussian:many", "gaussian:0", "rician:-1", "poisson:nan"]
)
def test_unusable_noise_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="noise"):
        Noise.parse(text)


def test_the_head_is_the_bright_object_with_its_holes() -> None:
    case = heads("a", "CT", size=(48, 40, 3))
    case.image[0, :, 20:26, 18:22] = 0
    case.image[..., 0] = 0
    head = case.head()
    assert not bool(head[..., 0].any())
    assert bool(head[20:26, 18:22, 1].all())
    assert not bool(head[:3, :3].any())
