"""Several samples: mean, spread and stability against numpy, and as volumes of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from run_cases import SMALL, command, one_sentence, randomize

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, EnsembleInferer
from monai_ddfm.networks import ADMUNet
from monai_ddfm.transforms.ensemble import SplitEnsembled
from monai_ddfm.workflow import fuse


@pytest.fixture(scope="module")
def network() -> ADMUNet:
    return randomize(ADMUNet(**SMALL))


def sources(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_one_sample_is_the_inferer_itself(network: ADMUNet) -> None:
    image = sources(2, 2, 16, 16)
    alone = DDFMInferer(steps=3, seed=5)
    assert torch.equal(EnsembleInferer(alone)(image, network), alone(image, network))


@pytest.mark.parametrize("shape", [(2, 2, 48, 48), (1, 2, 32, 32, 3)])
@pytest.mark.parametrize(("preset", "solver"), [("default", "ddim"), ("paper", "ddpm")])
def test_several_samples_against_numpy(
    network: ADMUNet, shape: tuple[int, ...], preset: str, solver: Any
) -> None:
    image = 0.8 * sources(*shape)
    result = EnsembleInferer(DDFMInferer(preset=preset, steps=4, seed=3), samples=4, eta=0.7)(
        image, network
    )
    noisy = replace(PRESETS[preset], solver=solver, eta=0.7 if solver == "ddim" else 0.0)
    if noisy.start == "sources":
        noisy = replace(noisy, excess=1.7)
    samples = np.stack(
        [DDFMInferer(preset=noisy, steps=4, seed=3 + n)(image, network).numpy() for n in range(4)]
    ).astype(np.float64)
    assert result.shape == (shape[0], 4, *shape[2:])
    np.testing.assert_allclose(result[:, :2], samples.mean(0), atol=1e-6)
    np.testing.assert_allclose(result[:, 2], samples[:, :, 0].std(0, ddof=1), atol=1e-6)
    stability = 1 - 2 * samples[:, :, 1].std(0)
    np.testing.assert_allclose(result[:, 3], stability.clip(0, 1), atol=1e-6)
    assert float(result[:, 2].max()) > 1e-4


def test_the_mean_lies_between_the_sources(network: ADMUNet) -> None:
    image = sources(1, 2, 24, 16)
    mean = EnsembleInferer(DDFMInferer(steps=3), samples=3)(image, network)[:, :1]
    assert bool((mean >= image.amin(1, keepdim=True) - 1e-6).all())
    assert bool((mean <= image.amax(1, keepdim=True) + 1e-6).all())


def test_where_sources_agree_nothing_is_uncertain(network: ADMUNet) -> None:
    image = sources(1, 1, 16, 16).expand(1, 2, 16, 16)
    result = EnsembleInferer(DDFMInferer(steps=3), samples=3)(image, network)
    assert float(result[:, 2].abs().max()) < 1e-7


def test_samples_are_reproducible_and_leave_the_inferer_alone(network: ADMUNet) -> None:
    image = sources(1, 2, 16, 16)
    inferer = DDFMInferer(steps=3, seed=1)
    before = inferer(image, network)
    ensemble = EnsembleInferer(inferer, samples=2)
    assert torch.equal(ensemble(image, network), ensemble(image, network))
    assert torch.equal(inferer(image, network), before)


def test_metadata_go_on(network: ADMUNet) -> None:
    image = MetaTensor(sources(1, 2, 16, 16, 2), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    result = EnsembleInferer(DDFMInferer(steps=2), samples=2)(image, network)
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, image.affine)


@pytest.mark.parametrize(
    "options",
    [{"samples": 0}, {"samples": 2.5}, {"samples": True}, {"eta": 0}, {"eta": 1.5}, {"eta": "a"}],
)
def test_unusable_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} .* is unusable"):
        EnsembleInferer(DDFMInferer(), **options)


def test_splitting_the_result() -> None:
    four = torch.arange(4.0).reshape(4, 1, 1)
    case = SplitEnsembled()({"pred": four, "other": 1})
    assert case["pred"].flatten().tolist() == [0, 1]
    assert float(case["fused_std"]) == 1.0
    assert float(case["weight_stability"]) == 3.0
    assert SplitEnsembled()({"pred": four[:2]}).keys() == {"pred"}
    with pytest.raises(ValueError, match="2 or 4 channels"):
        SplitEnsembled()({"pred": four[:3]})


def read(folder: Path, name: str) -> Any:
    image = nib.load(folder / name)
    return np.asarray(image.dataobj), image.affine


def test_a_run_writes_the_spread_on_the_grid_of_the_mri(
    pet: DemoSubject, prior: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"modality": "PET", "steps": 2, "registration": "none"}
    options["noise_margin"] = 0
    several = fuse(pet.fixed, pet.moving, output_dir=tmp_path / "a", samples=2, **options)
    assert several.provenance["options"]["samples"] == 2
    assert several.provenance["bound"]["largest"] <= 1e-6
    fused, affine = read(tmp_path / "a", "fused.nii.gz")
    deviation, grid = read(tmp_path / "a", "fused_std.nii.gz")
    stability, _ = read(tmp_path / "a", "weight_stability.nii.gz")
    assert deviation.shape == stability.shape == fused.shape
    np.testing.assert_allclose(grid, affine)
    assert deviation.min() >= 0
    assert 1e-4 < deviation.max() < 0.5
    assert stability.min() >= 0
    assert stability.max() <= 1
    options |= {"steps": 1, "prior": prior}
    one = fuse(pet.fixed, pet.moving, output_dir=tmp_path / "a", **options)
    assert "fused_std.nii.gz" not in one.files
    assert not (tmp_path / "a" / "weight_stability.nii.gz").exists()


def test_the_command_refuses_no_samples(
    pet: DemoSubject, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET"]
    status, _, err = command(capfd, "fuse", *given, "-o", tmp_path / "out", "--samples", 0)
    assert status == 2
    assert "samples 0 is unusable" in one_sentence(err)
    assert not (tmp_path / "out").exists()
