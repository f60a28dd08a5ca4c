"""Three planes: which are looked at when, what is told, and what it is worth."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from inferer_makers import head, uniform
from monai.data import MetaTensor
from run_cases import RecordingNet
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, EnsembleInferer, SamplingProgress, configure
from monai_ddfm.inferers.planes import choose_planes
from monai_ddfm.inferers.presets import PRESETS
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import IdentityRectifier
from monai_ddfm.metrics import flicker
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import load_prior
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.workflow import bundle_root

SHAPE = (40, 32, 20)


def three(steps: int | None = 3, **options: object) -> DDFMInferer:
    return DDFMInferer(**{"steps": steps, "planes": "three", **options})  # type: ignore[arg-type]


def placed(volume: Tensor, *edges: float) -> MetaTensor:
    return MetaTensor(volume, affine=torch.diag(torch.tensor([*edges, 1.0])))


def told(result: Tensor) -> dict[str, list[str]]:
    assert isinstance(result, MetaTensor)
    report: dict[str, list[str]] = reports_of(result)["planes"]
    return report


def test_every_step_looks_along_another_axis() -> None:
    network = RecordingNet()
    three(crop_foreground=False, preset="contrast")(uniform(1, 1, 2, *SHAPE), network)
    assert [tuple(x.shape[2:]) for x, _ in network.seen] == (
        [(40, 32)] * 20 + [(40, 20)] * 32 + [(32, 20)] * 40
    )
    assert len({float(t) for _, t in network.seen}) == 3


@pytest.mark.parametrize("preset", ["default", "gain", "paper"])
def test_neither_batches_nor_repetition_nor_threads_change_a_byte(preset: str) -> None:
    volume, network = head(2, *SHAPE), RecordingNet()
    threads = torch.get_num_threads()
    first = three(preset=preset, batch_size=1)(volume, network)
    torch.set_num_threads(3)
    try:
        second = three(preset=preset, batch_size=7)(volume, network)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, second)
    assert not torch.equal(first, DDFMInferer(preset=preset, steps=3)(volume, network))


def test_planes_across_slices_twice_as_thick_are_seen_in_all_their_pixels() -> None:
    network, volume = RecordingNet(), uniform(1, 1, 2, 40, 32, 18)
    result = three(crop_foreground=False, preset="contrast")(placed(volume, 1, 1, 2), network)
    assert [tuple(x.shape[2:]) for x, _ in network.seen] == (
        [(40, 32)] * 18 + [(40, 18)] * 32 + [(32, 18)] * 40
    )
    assert told(result)["warnings"] == []


class LevelNet(nn.Module):
    """A prior that sees one gray level in each plane of `SHAPE`."""

    prediction_type = "sample"

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        levels = {(40, 32): 0.1, (40, 20): 0.4, (32, 20): -0.2}
        return torch.full_like(x, levels[x.shape[2], x.shape[3]])


@pytest.mark.parametrize("thickness", [1, 2])
def test_the_estimate_is_the_mean_of_all_planes_by_the_area_of_their_pixels(thickness: int) -> None:
    volume, model = uniform(5, 1, 2, *SHAPE), NoiseModel.white(0.2)

    def fused(steps: int) -> Tensor:
        preset = configure("default", prior_share=1.0, noise_margin=50.0)
        inferer = three(steps, preset=preset, crop_foreground=False)
        inferer.noises = (model, model)
        return inferer(placed(volume, 1, 1, thickness), LevelNet())[0, 0].as_subclass(Tensor)

    axial, lit = thickness, (volume > -0.9).all(1)[0]
    expected = {
        1: 0.1,
        2: (axial * 0.1 + 0.4) / (axial + 1),
        3: (axial * 0.1 + 0.4 - 0.2) / (axial + 2),
        4: (axial * 0.1 + 0.4 - 0.2) / (axial + 2),
    }
    for steps, level in expected.items():
        signal = model.unclip(torch.tensor([level]))
        torch.testing.assert_close(fused(steps)[lit], signal.expand(int(lit.sum())))


def test_an_estimate_from_much_more_noise_is_left_out() -> None:
    """From pure noise: at the last of three steps, those before know next to nothing."""
    preset = replace(PRESETS["paper"], steps=3, rectifier=IdentityRectifier())
    inferer = three(None, preset=preset, crop_foreground=False)
    result = inferer(placed(uniform(5, 1, 2, *SHAPE), 1, 1, 1), LevelNet())
    assert float((result[0, 0] + 0.2).abs().max()) < 1e-6


def test_without_the_prior_there_is_nothing_to_look_at() -> None:
    preset, volume, network = configure("default", prior_share=0.0), head(9, *SHAPE), RecordingNet()
    result = three(preset=preset)(volume, network)
    assert network.seen == []
    assert torch.equal(result, DDFMInferer(preset=preset, steps=3)(volume, network))


def test_the_bound_and_an_empty_background_hold() -> None:
    volume = head(3, *SHAPE)
    result = three(preset=configure("default", noise_margin=0.0))(volume, RecordingNet())
    lower, upper = volume.amin(1), volume.amax(1)
    assert bool((result[:, 0] >= lower - 1e-6).all())
    assert bool((result[:, 0] <= upper + 1e-6).all())
    assert 0 <= float(result[:, 1].min()) <= float(result[:, 1].max()) <= 1


@pytest.mark.parametrize(
    ("shape", "edges", "words"),
    [
        ((40, 32, 20), (1, 1, 3), "pixels are 3.0 times as long as wide"),
        ((40, 32, 9), (1, 1, 1), "only 9 pixels wide"),
        ((40, 32, 1), (1, 1, 1), "a single slice has one plane"),
    ],
)
def test_where_no_other_plane_is_of_use_it_is_axial_and_says_so(
    shape: tuple[int, ...], edges: tuple[float, ...], words: str
) -> None:
    volume, network = placed(head(4, *shape), *edges), RecordingNet()
    result = three()(volume, network)
    assert torch.equal(result, DDFMInferer(steps=3)(volume, network))
    assert told(result)["used"] == ["axial"]
    assert words in told(result)["warnings"][0]


def test_one_plane_may_be_left_out() -> None:
    planes = choose_planes(torch.zeros(1, 2, *SHAPE), RecordingNet(), axis=2, voxel=(1.0, 1.5, 3.0))
    assert planes.axes == (2, 0)
    assert planes.weights == (3.0, 1.0)
    assert planes.names == ("axial", "sagittal")
    assert len(planes.warnings) == 1
    assert planes.warnings[0].startswith("the coronal plane is left out")


def test_planes_are_called_what_the_affine_says() -> None:
    affine = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).double()
    volume = MetaTensor(torch.zeros(1, 2, *SHAPE), affine=affine)
    planes = choose_planes(volume, RecordingNet(), axis=2, voxel=None)
    assert planes.names == ("sagittal", "axial", "coronal")


def test_too_few_steps_are_told() -> None:
    result = three(1)(placed(head(5, *SHAPE), 1, 1, 1), RecordingNet())
    assert told(result)["used"] == ["axial"]
    assert told(result)["warnings"] == [
        "too few steps for the planes coronal and sagittal; give 3 or more"
    ]


def test_several_samples_hand_the_report_on() -> None:
    result = EnsembleInferer(three(), samples=2)(placed(head(5, *SHAPE), 1, 1, 1), RecordingNet())
    assert told(result) == {"used": ["axial", "coronal", "sagittal"], "warnings": []}


def test_pictures_have_one_plane() -> None:
    pictures, network = head(6, *SHAPE)[..., 10], RecordingNet()
    assert torch.equal(three()(pictures, network), DDFMInferer(steps=3)(pictures, network))


def test_progress_goes_from_nothing_to_all() -> None:
    seen: list[SamplingProgress] = []
    three(progress=seen.append)(head(7, *SHAPE), RecordingNet())
    done = [one.slices_done + one.slices_in_batch for one in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].slices


def test_unknown_planes_are_refused() -> None:
    with pytest.raises(InputError, match="use axial or three"):
        DDFMInferer(planes="four")  # type: ignore[arg-type]


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_ddfm.inferers.ddfm.process_count", lambda: 2)
    with pytest.raises(InputError, match="cannot be shared among processes"):
        three(distributed=True)(head(8, *SHAPE), RecordingNet())


@pytest.mark.slow
def test_a_noisy_volume_is_freed_of_more_noise_at_equal_steps() -> None:
    """With the bundle's prior, ellipsoids of several gray levels, noise of 15 of 255."""
    config = json.loads((bundle_root() / "configs" / "inference.json").read_text())
    options = {k: v for k, v in config["network_def"].items() if k != "_target_"}
    prior = load_prior(ADMUNet(**options), bundle_root() / "models" / "model.pt")
    axes = [torch.linspace(-1.2, 1.2, 48)] * 3
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    clean = torch.full((1, 2, 48, 48, 48), -1.0)
    for level, other, size in ((0.0, -0.4, 1.0), (0.6, 0.2, 0.8), (0.2, 0.5, 0.4)):
        inside = (x - 0.1).square() + (1.2 * y).square() + (1.1 * z).square() < size**2
        clean[:, 0, inside], clean[:, 1, inside] = level, other
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noisy = (clean + 2 * 15 / 255 * noise).clamp(-1, 1)
    head_mask = clean[0, 0] > -1

    def fused(sources: Tensor, planes: str) -> Tensor:
        preset = configure("default", modality="PET", noise_margin=2.0)
        inferer = DDFMInferer(preset=preset, steps=3, planes=planes)  # type: ignore[arg-type]
        return (inferer(sources, prior)[:, :1] + 1) / 2

    truth = fused(clean, "axial")
    results = {planes: fused(noisy, planes) for planes in ("axial", "three")}
    psnr = {
        planes: float(-10 * (result - truth)[0, 0][head_mask].square().mean().log10())
        for planes, result in results.items()
    }
    between = {
        planes: float(flicker(result, (clean + 1) / 2, mask=head_mask))
        for planes, result in results.items()
    }
    print(psnr, between)
    assert psnr["three"] > psnr["axial"] + 0.8
    assert between["three"] < 0.88 * between["axial"]
