"""A prior with other blocks or more channels begins as the one it grew from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import Architecture, grown_prior, network_from_file, save_prior
from monai_ddfm.networks.priors.widening import widened_state
from monai_ddfm.networks.schedulers import NoiseSchedule
from monai_ddfm.training.denoising import denoise
from monai_ddfm.workflow.bundle_files import bundle_root

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


@settings(max_examples=6, deadline=None)
@given(factor=st.integers(1, 3), seed=st.integers(0, 99), timestep=st.floats(0, 999))
def test_a_prior_as_much_wider_everywhere_predicts_the_same(
    factor: int, seed: int, timestep: float
) -> None:
    narrow = network((2, 1), attention_levels=(False, False))
    # The bottleneck attends; its heads are the only place where copies are no neighbors.
    with torch.no_grad():
        for parameter in narrow.middle_block.attention.attn.out_proj.parameters():
            parameter.zero_()
    shape = Architecture.of(narrow)
    wide = replace(shape, channels=tuple(factor * width for width in shape.channels))
    torch.manual_seed(seed)
    grown = network((2, 1), attention_levels=(False, False), channels=wide.channels)
    grown.load_state_dict(widened_state(narrow.state_dict(), narrow=shape, wide=wide))
    images = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = narrow(images, timestep)
        torch.testing.assert_close(grown(images, timestep), expected, rtol=1e-4, atol=1e-4)
        assert float(expected.std()) > 0.01


@pytest.mark.parametrize("before", [(32, 32, 64), (32, 64, 64), (32, 32, 32)])
@pytest.mark.parametrize("after", [(64, 64, 64), (128, 64, 64), (64, 128, 64)])
def test_a_widened_prior_leaves_no_weight_to_chance(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """Levels of one width have no projection between them, levels of two widths have one."""
    changes: dict[str, Any] = {"attention_levels": (False, False, False)}
    narrow = network((1, 1, 1), channels=before, **changes)
    shape = Architecture.of(narrow)
    wide = replace(shape, channels=after)
    widened = widened_state(narrow.state_dict(), narrow=shape, wide=wide)
    assert {key: value.shape for key, value in widened.items()} == {
        key: value.shape for key, value in wide.build().state_dict().items()
    }


def test_a_new_projection_passes_on_what_it_reads() -> None:
    narrow = network((1, 1), channels=(32, 32), attention_levels=(False, False))
    shape = Architecture.of(narrow)
    wide = replace(shape, channels=(96, 32))
    widened = widened_state(narrow.state_dict(), narrow=shape, wide=wide)
    projection = widened["down_blocks.1.resnets.0.skip_connection.conv.weight"][..., 0, 0]
    features = torch.randn(32, 5)
    copies = features.repeat_interleave(3, dim=0)
    torch.testing.assert_close(projection @ copies, features)


def test_copies_of_a_feature_learn_different_things(tmp_path: Path) -> None:
    save_prior(network((1, 1)), tmp_path / "narrow.pt")
    grown = grown_prior(network((1, 1), channels=(64, 64)), tmp_path / "narrow.pt").train()
    optimizer = torch.optim.SGD(grown.parameters(), lr=0.1)
    grown(torch.randn(2, 1, 16, 16), 300).square().mean().backward()
    optimizer.step()
    weight = grown.conv_in.conv.weight
    assert not torch.equal(weight[0::2], weight[1::2])


def test_the_bundles_prior_widened_still_denoises() -> None:
    torch.manual_seed(0)
    path = bundle_root() / "models" / "model.pt"
    prior = network_from_file(path)
    shape = Architecture.of(prior)
    channels = (2 * shape.channels[0], *shape.channels[1:])
    blocks = (*shape.num_res_blocks[:-1], 1)
    wide = replace(shape, channels=channels, num_res_blocks=blocks).build().to_empty(device="cpu")
    grown = grown_prior(wide, path)
    clean = torch.zeros(1, 1, 64, 64) - 0.4
    clean[..., 16:48, 16:48] = 0.3
    noisy = clean + 0.2 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    power = NoiseSchedule.spaced(1000).train_alphas_cumprod
    errors = [
        float((denoise(net, noisy, sigma=0.2, alphas_cumprod=torch.as_tensor(power)) - clean).std())
        for net in (prior, grown)
    ]
    assert errors[0] < 0.06
    assert errors[1] < 1.5 * errors[0]


def test_a_smaller_prior_leaves_blocks_out(tmp_path: Path) -> None:
    """What grew without learning anything is left out without loss."""
    save_prior(network((1, 1)), tmp_path / "small.pt")
    save_prior(grown_prior(network((3, 2)), tmp_path / "small.pt"), tmp_path / "grown.pt")
    again = grown_prior(network((1, 1)), tmp_path / "grown.pt")
    images = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network_from_file(tmp_path / "small.pt")(images, 40.0)
        torch.testing.assert_close(again(images, 40.0), expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_grow_is_refused(small: Path, tmp_path: Path) -> None:
    for channels in [(32, 128), (96, 32)]:
        with pytest.raises(InputError, match=r"small\.pt has channels.*give whole multiples"):
            grown_prior(network((2, 1), channels=channels), small)
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
