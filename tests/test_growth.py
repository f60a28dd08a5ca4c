"""A prior with more residual blocks begins as the one it grew from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.checkpoints import grown_prior, network_from_file, save_prior
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet

SHAPE: dict[str, Any] = {
    "channels": (32, 64),
    "attention_levels": (False, True),
    "num_head_channels": 32,
    "resblock_updown": False,
    "patch_size": 2,
    "prediction_type": "v_prediction",
}


def network(blocks: tuple[int, ...], **changes: Any) -> ADMUNet:
    """A small network whose convolutions are all different from zero."""
    torch.manual_seed(sum(blocks))
    made = ADMUNet(1, 1, num_res_blocks=blocks, **{**SHAPE, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("priors") / "small.pt"
    save_prior(network((2, 1)), path)
    return path


@settings(max_examples=6, deadline=None)
@given(blocks=st.tuples(st.integers(2, 4), st.integers(1, 3)), timestep=st.floats(0, 999))
def test_a_grown_prior_predicts_the_same(
    small: Path, blocks: tuple[int, ...], timestep: float
) -> None:
    images = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    grown = grown_prior(network(blocks), small)
    with torch.no_grad():
        expected = network_from_file(small)(images, timestep)
        torch.testing.assert_close(grown(images, timestep), expected, rtol=1e-5, atol=1e-5)
        assert float(expected.std()) > 0.01


def test_the_additional_blocks_learn(small: Path) -> None:
    grown = grown_prior(network((3, 2)), small).train()
    before = {name: value.clone() for name, value in grown.named_parameters()}
    optimizer = torch.optim.SGD(grown.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        grown(torch.randn(2, 1, 16, 16), 300).square().mean().backward()
        optimizer.step()
    for name in ("down_blocks.0.resnets.2.conv1", "up_blocks.1.resnets.1.conv1"):
        key = f"{name}.conv.weight"
        assert not torch.equal(before[key], dict(grown.named_parameters())[key]), key


def test_what_cannot_grow_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"small\.pt has num_res_blocks.*cannot shrink"):
        grown_prior(network((1, 1)), small)
    with pytest.raises(InputError, match=r"small\.pt has patch_size 2 where 1 is needed"):
        grown_prior(network((2, 2), patch_size=1), small)
    with pytest.raises(InputError, match=r"nothing\.pt"):
        grown_prior(network((2, 1)), tmp_path / "nothing.pt")


def test_a_prior_without_description_must_fit_as_it_is(small: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.pt"
    alone.write_bytes(small.read_bytes())
    same = grown_prior(network((2, 1)), alone)
    images = torch.zeros(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(same(images, 5), network_from_file(small)(images, 5))
    with pytest.raises(InputError, match="is missing"):
        grown_prior(network((3, 1)), alone)
