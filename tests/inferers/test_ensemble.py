"""Several samples: mean, spread and stability against numpy, and as volumes of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from cohort_makers import anatomy, save
from monai.data import MetaTensor
from run_cases import SMALL, command, one_sentence, randomize
from scipy import ndimage, special

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.apps.demo.modalities import make_moving, rigid_truth
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, EnsembleInferer
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.networks import ADMUNet
from monai_ddfm.transforms.ensemble import SplitEnsembled
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.workflow import fuse


@pytest.fixture(scope="module")
def network() -> ADMUNet:
    return randomize(ADMUNet(**SMALL))


def sources(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("channels", [2, 3])
def test_one_sample_is_the_inferer_itself(network: ADMUNet, channels: int) -> None:
    image = sources(2, channels, 16, 16)
    alone = DDFMInferer(steps=3, seed=5)
    assert torch.equal(EnsembleInferer(alone)(image, network), alone(image, network))


@pytest.mark.parametrize(
    ("shape", "preset", "solver"),
    [
        ((2, 2, 32, 32), "default", "ddim"),
        ((2, 2, 32, 32), "paper", "ddpm"),
        ((1, 2, 24, 24, 3), "default", "ddim"),
        ((1, 2, 24, 24, 3), "paper", "ddpm"),
        ((1, 3, 24, 24, 1), "default", "ddim"),
    ],
)
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
    told = shape[1]  # luminance and a share for each moving source
    assert result.shape == (shape[0], 2 * told, *shape[2:])
    np.testing.assert_allclose(result[:, :told], samples.mean(0), atol=1e-6)
    np.testing.assert_allclose(result[:, told], samples[:, :, 0].std(0, ddof=1), atol=1e-6)
    stability = 1 - 2 * samples[:, :, 1:].std(0)
    np.testing.assert_allclose(result[:, told + 1 :], stability.clip(0, 1), atol=1e-6)
    assert float(result[:, told].max()) > 1e-4


class Shaken:
    """Draws sources by adding noise of a seed; remembers what it was asked for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __call__(self, number: int, drawn_from: torch.Tensor) -> torch.Tensor:
        self.numbers.append(number)
        noise = torch.randn(drawn_from.shape, generator=torch.Generator().manual_seed(number))
        return (drawn_from + 0.1 * noise).clamp(-1, 1)


@pytest.mark.parametrize("moving", [1, 2])
def test_sources_drawn_again_against_numpy(network: ADMUNet, moving: int) -> None:
    told = 1 + moving  # luminance and a share for each moving source
    image = MetaTensor(0.8 * sources(1, told, 32, 32, 3), affine=torch.eye(4)[None])
    draws, inferer = Shaken(), DDFMInferer(seed=3)
    result = EnsembleInferer(inferer, samples=5)(image, network, draws=draws).as_tensor()
    assert draws.numbers == [1, 2, 3, 4, 5]
    assert result.shape == (1, 2 * told + 2, 32, 32, 3)
    found = inferer(image, network)
    measured, fusion = reports_of(found)["noise"], found.as_tensor().double().numpy()
    np.testing.assert_array_equal(result[:, :told], fusion.astype(np.float32))
    roles = ["fixed", "moving"] if moving == 1 else ["fixed", "moving_1", "moving_2"]
    squares = np.zeros_like(fusion)
    for number in range(1, 6):
        one = DDFMInferer(seed=3 + number)
        one.noises = tuple(NoiseModel.of(measured[role]) for role in roles)
        squares += (one(Shaken()(number, image), network).as_tensor().numpy() - fusion) ** 2 / 5
    around, count = (
        ndimage.uniform_filter(x, (1, 1, 3, 3, 1), mode="constant") for x in (squares, squares**0)
    )
    deviation, *aside = np.moveaxis(np.sqrt((squares + around / count) / 2), 1, 0)
    np.testing.assert_allclose(result[:, told], deviation, atol=1e-5)
    reach = 1.753050 * deviation  # Student's t of 15 degrees of freedom, 95 %
    np.testing.assert_allclose(result[:, -2], (fusion[:, 0] - reach).clip(-1), atol=1e-4)
    np.testing.assert_allclose(result[:, -1], (fusion[:, 0] + reach).clip(None, 1), atol=1e-4)
    for stability, off in zip(result[0, told + 1 : -2], aside, strict=True):
        np.testing.assert_allclose(stability[None], special.erf(0.2 / off / 2**0.5), atol=1e-4)
        assert 0 <= float(stability.min()) < float(stability.max()) <= 1


@pytest.mark.parametrize("again", [False, True], ids=["seeds", "draws"])
def test_the_shares_of_several_sources_leave_one_to_fixed(network: ADMUNet, again: bool) -> None:
    image = 0.8 * sources(1, 4, 32, 32)
    result = EnsembleInferer(DDFMInferer(steps=2), samples=2)(
        image, network, draws=Shaken() if again else None
    )
    shares = result[:, 1:4]
    assert float(shares.min()) >= 0
    assert float(shares.sum(1).max()) <= 1 + 1e-5
    assert float(result[:, 4].max()) > 1e-4  # the samples differ
    if again:  # and each share has a stability of its own
        assert float((result[:, 5] - result[:, 6]).abs().max()) > 1e-3


def test_a_source_given_twice_and_drawn_alike_has_one_stability(network: ADMUNet) -> None:
    pair, shaken = 0.8 * sources(1, 2, 32, 32, 2), Shaken()
    twice = MetaTensor(pair[:, [0, 1, 1]], affine=torch.eye(4)[None])
    result = EnsembleInferer(DDFMInferer(), samples=2)(
        twice, network, draws=lambda number, drawn: shaken(number, drawn[:, :2])[:, [0, 1, 1]]
    ).as_tensor()
    torch.testing.assert_close(result[:, 1], result[:, 2])
    torch.testing.assert_close(result[:, 4], result[:, 5])


def test_noise_that_is_known_is_not_measured_again(network: ADMUNet) -> None:
    image = MetaTensor(0.8 * sources(1, 2, 32, 32, 3), affine=torch.eye(4)[None])
    inferer = DDFMInferer()
    before = inferer(image, network)
    inferer.noises = (NoiseModel.white(0.0), NoiseModel.white(0.0))
    assert reports_of(inferer(image, network))["noise"]["prior"] == "not run"
    measured = reports_of(before)["noise"]
    inferer.noises = tuple(NoiseModel.of(measured[role]) for role in ("fixed", "moving"))
    torch.testing.assert_close(inferer(image, network), before)


class Kept:
    """Keeps finished slices in memory, by run."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[int, torch.Tensor]] = {}

    def open(self, name: str) -> dict[int, torch.Tensor]:
        self.own = self.runs.setdefault(name, {})
        return dict(self.own)

    def keep(self, finished: Mapping[int, torch.Tensor]) -> None:
        self.own.update({number: part.clone() for number, part in finished.items()})


def test_draws_go_on_where_they_were_and_batches_change_nothing(network: ADMUNet) -> None:
    image, kept = MetaTensor(0.8 * sources(1, 2, 32, 32, 3), affine=torch.eye(4)[None]), Kept()
    one = EnsembleInferer(DDFMInferer(batch_size=1, store=kept), samples=2)
    whole = one(image, network, draws=Shaken())
    assert [len(run) for run in kept.runs.values()] == [3, 3, 3]
    for run in kept.runs.values():
        del run[2]
    assert torch.equal(one(image, network, draws=Shaken()), whole)
    assert len(kept.runs) == 3
    batch = EnsembleInferer(DDFMInferer(batch_size=3), samples=2)
    torch.testing.assert_close(batch(image, network, draws=Shaken()), whole, atol=1e-5, rtol=0)


def test_the_fusion_is_in_its_interval(network: ADMUNet) -> None:
    image = sources(1, 2, 24, 16)
    result = EnsembleInferer(DDFMInferer(), samples=2)(image, network, draws=Shaken())
    assert bool((result[:, 4] <= result[:, 0]).all())
    assert bool((result[:, 0] <= result[:, 5]).all())


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
    with pytest.raises(ValueError, match="2, 4 or 6 channels"):
        SplitEnsembled()({"pred": four[:3]})
    six = torch.linspace(-1, 1, 6).reshape(6, 1, 1)
    case = SplitEnsembled()({"pred": six})
    assert case["pred"].shape == (2, 1, 1)
    assert float(case["fused_low"]) == pytest.approx(0.8)
    assert float(case["fused_high"]) == pytest.approx(1)


def test_splitting_the_result_of_several_sources() -> None:
    split = SplitEnsembled(stability_key=["weight_stability_pet", "weight_stability_ct"])
    eight = torch.arange(8.0).reshape(8, 1, 1)
    for count in (6, 8):
        case = split({"pred": eight[:count]})
        assert case["pred"].flatten().tolist() == [0, 1, 2]
        assert float(case["fused_std"]) == 1.5
        assert float(case["weight_stability_pet"]) == 4
        assert float(case["weight_stability_ct"]) == 5
    assert (float(case["fused_low"]), float(case["fused_high"])) == (3.5, 4)
    assert split({"pred": eight[:3]}).keys() == {"pred"}
    with pytest.raises(ValueError, match="3, 6 or 8 channels"):
        split({"pred": eight[:4]})


def read(folder: Path, name: str) -> Any:
    image = nib.load(folder / name)
    return np.asarray(image.dataobj), image.affine


def test_a_run_writes_intervals_on_the_grid_of_the_mri(
    pet: DemoSubject, prior: Path, tmp_path: Path
) -> None:
    # Finer, for in a few voxels no noise is measured.
    finer = make_moving(anatomy(), "PET", pet.seed, 4.0, rigid_truth(pet.seed, "PET"))
    moving = save(tmp_path / "pet.nii.gz", finer)
    options: dict[str, Any] = {"modality": "PET", "steps": 1, "prior": prior}
    still = options | {"registration": "none", "output_dir": tmp_path / "a"}
    several = fuse(pet.fixed, moving, samples=2, **still)
    assert several.provenance["options"]["samples"] == 2
    drawn = several.provenance["reports"]["samples"]["moving"]
    assert drawn["registration"] == "not drawn: the volumes are said to be aligned"
    assert drawn["noise"]["moving"]["at_white"] > 0
    fused, affine = read(tmp_path / "a", "fused.nii.gz")
    deviation, low, high, stability = (
        read(tmp_path / "a", f"{name}.nii.gz")[0]
        for name in ("fused_std", "fused_low", "fused_high", "weight_stability")
    )
    np.testing.assert_allclose(read(tmp_path / "a", "fused_low.nii.gz")[1], affine)
    assert 1e-4 < deviation.max() < 0.5
    assert (low <= fused + 1e-6).all()
    assert (fused <= high + 1e-6).all()
    assert stability.min() >= 0
    assert stability.max() <= 1
    same = ("fused.nii.gz", "weight.nii.gz", "moving_registered.nii.gz")
    written = [several.files[name].read_bytes() for name in same]
    one = fuse(pet.fixed, moving, **still)
    assert [one.files[name].read_bytes() for name in same] == written
    assert one.provenance["bound"] == several.provenance["bound"]
    assert "samples" not in one.provenance["reports"]
    assert not (tmp_path / "a" / "fused_low.nii.gz").exists()
    moved = fuse(pet.fixed, moving, output_dir=tmp_path / "b", samples=2, **options)
    drawn = moved.provenance["reports"]["samples"]["moving"]
    assert drawn["registration"] == "drawn"
    assert 0.1 < drawn["registration_mm"] < 3


def test_the_command_refuses_no_samples(
    pet: DemoSubject, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET"]
    status, _, err = command(capfd, "fuse", *given, "-o", tmp_path / "out", "--samples", 0)
    assert status == 2
    assert "samples 0 is unusable" in one_sentence(err)
    assert not (tmp_path / "out").exists()
