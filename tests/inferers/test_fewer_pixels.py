"""In noise the prior is asked for what it can tell: not of the background, and of fewer pixels."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from run_cases import RecordingNet
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.apps.benchmark.bundle import preprocess_volumes
from monai_ddfm.apps.benchmark.noise import parse_noises
from monai_ddfm.apps.speed.subjects import demo_pair, network_named
from monai_ddfm.inferers import DDFMInferer, configure, means
from monai_ddfm.inferers.layout import SliceLayout
from monai_ddfm.inferers.means import value_of_details
from monai_ddfm.inferers.measuring import noise_of_slices
from monai_ddfm.inferers.planes import Planes, PlanesName
from monai_ddfm.inferers.sampling import coarse_sources, refined
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import BalanceRectifier, Run
from monai_ddfm.networks import ADMUNet
from monai_ddfm.utils.reports import reports_of

SIGMA = 0.12
PRESET = configure("default", modality="PET", noise_margin=0.0)
NOISY, CLEAN = NoiseModel.white(SIGMA), NoiseModel.white(0.01)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ball(depth: int = 6) -> Tensor:
    """Two smooth sources in a ball amid a wide background, [1, 2, 96, 80, depth]."""
    axes = [torch.linspace(-2, 2, side) for side in (96, 80)] + [torch.linspace(-0.5, 0.5, depth)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    inside = x**2 + y**2 + z**2 < 1
    pair = (0.3 * x - 0.1, 0.2 + 0.3 * y)
    return torch.stack([torch.where(inside, part, -1.0) for part in pair])[None]


def soft(depth: int = 8) -> Tensor:
    """As above, but the moving source fades away."""
    rows, columns = (torch.linspace(-2, 2, side) for side in (96, 80))
    blob = torch.outer(torch.exp(-3 * rows**2), torch.exp(-3 * columns**2))
    volume = ball(depth)
    volume[:, 1] = 1.4 * blob[:, :, None] - 1
    return volume


def noisy(volume: Tensor) -> Tensor:
    return (volume + SIGMA * normal(1, *volume.shape)).clamp(-1, 1)


def placed(volume: Tensor, edge: float = 1.0) -> MetaTensor:
    return MetaTensor(volume, affine=torch.diag(torch.tensor([edge, edge, 2.0, 1.0])))


def seen(volume: Tensor, **options: Any) -> tuple[Tensor, list[tuple[int, ...]]]:
    network = RecordingNet()
    fused = DDFMInferer(**{"preset": PRESET, **options})(volume, network)
    return fused, [tuple(x.shape[2:]) for x, _ in network.seen]


@pytest.mark.parametrize(
    ("modality", "edge", "sides"),
    [
        ("PET", 1.0, (2,)),
        ("SPECT", 1.0, (2, 4)),
        ("PET", 2.0, ()),
        ("SPECT", 2.0, (2,)),
        ("CT", 1.0, ()),
    ],
)
def test_means_that_are_asked_for_are_at_most_half_as_wide_as_a_point(
    modality: str, edge: float, sides: tuple[int, ...]
) -> None:
    rectifier = configure("default", modality=modality).rectifier
    assert isinstance(rectifier, BalanceRectifier)
    plan = rectifier.on_grid((edge, edge / 2)).plan((NOISY, NOISY))
    assert [run.coarse for run in plan.runs] == [1, 1]  # until the prior has been asked
    assert plan.runs[0].means is None
    assert (plan.runs[1].means.sides if plan.runs[1].means else ()) == sides
    never = replace(rectifier, means_of_pixels=False).plan((NOISY, NOISY))
    assert never.runs[1].means is None
    assert plan.background is not None
    assert plan.background.noise_at_black == (NOISY.at_black, NOISY.at_black)
    spared = rectifier.on_grid((edge, edge)).plan((CLEAN, CLEAN))
    assert [run.means for run in spared.runs] == [None, None]
    assert spared.background is None


def test_details_are_worth_the_squared_error_that_they_spare() -> None:
    clean, shape = normal(11, 2, 1, 240, 200).double() * 0.1, (2, 1, 240, 200)
    estimate = 0.6 * clean + 0.05 * normal(12, *shape).double()
    noisy = clean + 0.3 * normal(13, *shape).double()
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[..., 20:220, 8:192] = True

    def details(image: Tensor) -> Tensor:
        rows, columns = (torch.kron(torch.eye(n // 2), torch.full((2, 1), 0.5)) for n in shape[2:])
        means = (rows.T.double() @ image @ columns.double()).float()
        return image - functional.interpolate(means, size=shape[2:], mode="bicubic").double()

    power = details(clean)[inside].square().mean()
    spared = float(power - (details(clean) - details(estimate))[inside].square().mean())
    found = value_of_details(noisy.float(), estimate.float(), 2, inside=inside)
    assert spared > 0
    assert found == pytest.approx(spared, rel=0.1)
    assert value_of_details(noisy, estimate, 2, inside=inside & False) == math.inf


def test_means_have_the_noise_of_means_in_black_places_too() -> None:
    source = torch.full((1, 1, 256, 256), -1.0)
    source[..., 128:] = 0.2
    pair = noisy(source).expand(-1, 2, -1, -1)
    run = Run(rectifier=None, source=1, noise_model=NOISY, coarse=4)
    means = coarse_sources(pair, run, drawn=normal(2, 1, 1, 256, 256), divisor=16)
    assert means.shape == (1, 2, 64, 64)
    assert float(means[..., 34:].mean()) == pytest.approx(0.2, abs=2e-3)
    for half in (means[0, 0, :, :30], means[0, 0, :, 34:]):
        assert float(half.std()) == pytest.approx(SIGMA / 4, rel=0.15)


def test_smooth_images_come_back_from_their_means() -> None:
    places = torch.arange(64.0)
    width = 6 / math.sqrt(8 * math.log(2))
    points = [torch.exp(-0.5 * ((places - at) / width) ** 2) for at in (20.0, 37.3)]
    image = torch.stack([torch.outer(a, b) for a in points for b in points]).sum(0)[None, None]
    back = refined(functional.avg_pool2d(image, 2), 2, (64, 64))
    # The mean over two pixels lowers a point that is six wide by that much.
    assert float((back - image).abs().max()) < 0.035
    assert torch.equal(
        refined(torch.full((2, 1, 3, 5), 0.25), 4, (11, 18)), torch.full((2, 1, 11, 18), 0.25)
    )


@pytest.mark.parametrize("magnitudes", [False, True])
def test_noise_at_black_has_the_mean_and_the_deviation_that_are_known(magnitudes: bool) -> None:
    one, other = SIGMA * normal(5, 100_000).double(), SIGMA * normal(6, 100_000).double()
    values = torch.hypot(one, other) if magnitudes else one.clamp_min(0)
    mean, deviation = replace(NOISY, magnitudes=magnitudes).at_black
    assert mean == pytest.approx(float(values.mean()), rel=0.02)
    assert deviation == pytest.approx(float(values.std()), rel=0.02)


def test_a_background_of_magnitudes_is_left_out() -> None:
    both = [ball() + 1 + SIGMA * normal(7, *ball().shape), SIGMA * normal(8, *ball().shape)]
    slices = (torch.hypot(both[0], both[1]) - 1).clamp(-1, 1)[0].movedim(3, 0)
    at_black = replace(NOISY, magnitudes=True).at_black
    options: dict[str, Any] = {"divisor": 16, "crop": True, "together": True}
    layout = SliceLayout.of(slices, noise_at_black=(at_black, at_black), **options)
    assert len(layout.patches) == 6
    assert max(patch.height for patch in layout.patches) <= 80


def test_a_noisy_background_is_left_out() -> None:
    slices = noisy(ball())[0].movedim(3, 0)
    options: dict[str, Any] = {"divisor": 16, "crop": True, "together": True}
    whole = SliceLayout.of(slices, **options)
    tight = SliceLayout.of(slices, noise_at_black=(NOISY.at_black,) * 2, **options)
    clean = SliceLayout.of(ball()[0].movedim(3, 0), **options)
    assert {patch.size for patch in whole.patches} == {(96, 80)}
    assert [patch.number for patch in tight.patches] == [patch.number for patch in clean.patches]
    for patch, of_clean in zip(tight.patches, clean.patches, strict=True):
        assert patch.height <= of_clean.height
        assert patch.width <= of_clean.width
        # 24 of 96 rows lie within the ball of the first and last slices, 20 of 80 columns.
        assert patch.top <= 27
        assert patch.top + patch.height >= 69
    nothing = noisy(torch.full((6, 2, 96, 80), -1.0))
    assert SliceLayout.of(nothing, noise_at_black=(NOISY.at_black,) * 2, **options).patches == ()


def test_the_network_sees_a_smooth_source_in_fewer_pixels_and_no_background() -> None:
    fused, sizes = seen(placed(noisy(soft())), batch_size=1)
    (asked, *full), half = sizes[:1] + sizes[1::2], sizes[2::2]
    assert len(full) == len(half) == 8
    assert asked in full
    assert max(full) < (96, 80)
    assert half == [tuple(math.ceil(side / 2 / 2) * 2 for side in size) for size in full]
    said = reports_of(fused)["noise"]
    assert said["background"] == "not sampled"
    assert [said[role]["pixels_of_a_mean"] for role in ("fixed", "moving")] == [1, 4]


class TrustingNet(nn.Module):
    """A prior that finds no noise in what it sees, and notes how large that is."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        return torch.zeros_like(x)


def in_planes(planes: PlanesName, *, crop: bool) -> tuple[MetaTensor, list[tuple[int, ...]]]:
    network = TrustingNet()
    inferer = DDFMInferer(preset=PRESET, steps=3, planes=planes, crop_foreground=crop)
    fused = inferer(placed(noisy(soft(16))), network)
    assert isinstance(fused, MetaTensor)
    return fused, network.sizes


def test_three_planes_see_the_means_that_one_sees() -> None:
    (axial, _), (three, sizes) = (in_planes(planes, crop=False) for planes in ("axial", "three"))
    assert set(sizes) == {(96, 80), (96, 16), (80, 16), (48, 40), (48, 16), (40, 16)}
    assert reports_of(three)["noise"] == reports_of(axial)["noise"]
    assert reports_of(three)["noise"]["moving"]["pixels_of_a_mean"] == 4
    assert reports_of(three)["planes"]["used"] == ["axial", "coronal", "sagittal"]
    # Where nothing near is black no noise is drawn; the fusion looks a little farther.
    near = -functional.max_pool3d(-noisy(soft(16)).amin(1), (11, 11, 1), 1, (5, 5, 0))
    lit = near > -0.98
    assert int(lit.sum()) > 500
    one, other = (fused[:, 0].as_tensor()[lit] for fused in (axial, three))
    torch.testing.assert_close(other, one, rtol=0, atol=SIGMA / 12)


def test_three_planes_leave_a_noisy_background_out() -> None:
    (_, axial), (_, three) = (in_planes(planes, crop=True) for planes in ("axial", "three"))
    of_one, of_three = (sum(map(math.prod, sizes)) for sizes in (axial, three))
    assert of_three < 1.25 * of_one
    assert max(three) < (96, 80)


def test_means_too_long_for_a_plane_are_not_shown_in_three_planes() -> None:
    rectifier = configure("default", modality="SPECT").rectifier
    assert isinstance(rectifier, BalanceRectifier)
    plan = rectifier.on_grid((1.0, 1.0)).plan((NOISY, NOISY))

    def sides(*axes: int, thickness: float) -> tuple[int, ...] | None:
        planes = Planes(axes=axes, names=(), edges=(1.0, 1.0, thickness))
        of_moving = planes.with_means_for_all(plan).runs[1].means
        return None if of_moving is None else of_moving.sides

    assert sides(2, 1, 0, thickness=2.0) == (2, 4)
    assert sides(2, 1, 0, thickness=1.0) == (2,)
    assert sides(2, 1, 0, thickness=0.5) is None
    assert sides(2, thickness=0.5) == (2, 4)


@pytest.mark.parametrize("why", ["details", "few slices", "not asked for"])
def test_a_source_with_finer_details_is_seen_in_all_pixels(why: str) -> None:
    clean, preset = soft(7 if why == "few slices" else 8), PRESET
    if why == "details":
        stripes = 0.2 * (-1.0) ** torch.arange(80)
        clean = torch.where(clean > -0.6, clean + stripes[:, None], clean)
    elif why == "not asked for":
        preset = replace(PRESET, rectifier=replace(PRESET.rectifier, means_of_pixels=False))
    fused, sizes = seen(placed(noisy(clean)), preset=preset)
    assert len(sizes) == 2 * clean.shape[-1] + (why == "details")
    assert reports_of(fused)["noise"]["moving"]["pixels_of_a_mean"] == 1


def test_what_is_fused_lies_between_the_sources_and_is_black_where_nothing_is() -> None:
    clean, volume = ball(), noisy(ball())
    fused = seen(placed(volume))[0][:, 0].as_tensor()
    lower, upper = volume.amin(1), volume.amax(1)
    assert bool(((fused >= lower) & (fused <= upper)).all())
    outside = clean.amax(1) == -1
    assert torch.equal(fused[:, :8], lower[:, :8])
    assert float(fused[outside].mean()) < float(volume.mean(1)[outside].mean()) - 0.02


@pytest.mark.parametrize("steps", [1, 3])
def test_neither_batches_nor_threads_change_a_byte(steps: int) -> None:
    volume = placed(noisy(soft()))
    one, _ = seen(volume, batch_size=1, steps=steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        several, _ = seen(volume, batch_size=5, steps=steps)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, several)


def test_the_lowered_fidelity_goes_on_in_the_background() -> None:
    preset = configure("default", modality="PET", fidelity=0.25, noise_margin=0.0)
    volume = noisy(ball())
    fused = seen(placed(volume), preset=preset)[0][0, 0].as_tensor()
    lower = volume[0].amin(0)
    torch.testing.assert_close(fused[:8], (-1 + 0.25 * (lower + 1))[:8])


def test_a_preset_that_samples_the_fused_image_sees_all_pixels() -> None:
    _, sizes = seen(placed(noisy(ball())), preset=replace(configure("contrast"), steps=1))
    assert set(sizes) == {(96, 80)}


def pair_of(subject: str, folder: Path, shared: Path) -> tuple[Path, Path]:
    if subject == "demo":
        return demo_pair(folder)
    data = shared / "data" / "mr_pet_subject"
    return data / "t1.nii.gz", data / "pet_moved.nii.gz"


def psnr(one: Tensor, other: Tensor) -> float:
    return float(-10 * (((one - other) / 2).square().mean()).log10())


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["demo", "mr_pet"])
def test_what_details_are_worth(
    subject: str, request: pytest.FixtureRequest, tmp_path: Path, one_thread: None
) -> None:
    """Prints by how much the details of 2 by 2 pixels lower the squared error of the PET."""
    shared = tmp_path if subject == "demo" else request.getfixturevalue("shared")
    files = pair_of(subject, tmp_path, shared)
    image = preprocess_volumes(*files, modality="PET", options={})["image"]
    clean = (image.as_tensor().float() + 1) / 2
    inside, network = clean.amax(0) > 0.05, network_named(None, None, torch.device("cpu"))
    inferer, pixel = DDFMInferer(preset=PRESET), float(image.affine[0, 0].abs())
    for noise in parse_noises("gaussian:8,rician:8,poisson:8,gaussian:15"):
        volume = [noise.add(one, mask=inside, seed=(n,)) for n, one in enumerate(clean)]
        slices = (2 * torch.stack(volume) - 1).movedim(3, 0)
        layout = SliceLayout.of(slices, divisor=16, crop=True, together=True)
        plan = inferer._plan(noise_of_slices(slices, layout), spacing=(pixel, pixel))
        assert plan.background is not None
        tight = plan.background.noise_at_black
        layout = SliceLayout.of(slices, divisor=16, crop=True, together=True, noise_at_black=tight)
        worth: list[float] = []

        def noted(*arguments: Any, worth: list[float] = worth, **options: Any) -> float:
            worth.append(value_of_details(*arguments, **options))
            return worth[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(means, "value_of_details", noted)
            decided = inferer._with_means(plan, slices, network, layout)
        coarse = decided.runs[1].coarse
        print(f"{subject} {noise}: details worth {worth[0]:.1e}, means of {coarse} pixels a side")
        assert (coarse == 2) == (worth[0] <= (0.025 / 4) ** 2)


class Counting(torch.nn.Module):
    """A prior that counts the pixels it is shown."""

    def __init__(self, network: ADMUNet) -> None:
        super().__init__()
        self.network, self.pixels = network, 0
        self.size_divisor, self.prediction_type = network.size_divisor, network.prediction_type

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        self.pixels += x.numel()
        output: Tensor = self.network(x, timesteps)
        return output


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["demo", "mr_pet"])
def test_what_fewer_pixels_are_worth(
    subject: str, request: pytest.FixtureRequest, tmp_path: Path, one_thread: None
) -> None:
    """Prints, for some slices, PSNR against the fusion of the clean ones, whole and in the head."""
    shared = tmp_path if subject == "demo" else request.getfixturevalue("shared")
    files = pair_of(subject, tmp_path, shared)
    image = preprocess_volumes(*files, modality="PET", options={})["image"]
    some = slice(6, 60, 6) if subject == "demo" else slice(9, 81, 8)
    clean = image.as_tensor().float()[..., some].contiguous()
    inside = clean.amax(0) > -0.9
    network = network_named(None, None, torch.device("cpu"))

    def fuse(volume: Tensor, *, fewer: bool) -> tuple[Tensor, int, float]:
        prior = Counting(network)
        preset = configure("default", modality="PET")
        own = replace(preset.rectifier, skip_background=fewer, means_of_pixels=fewer)
        preset = replace(preset, rectifier=own)
        begin = time.process_time()
        fused = DDFMInferer(preset=preset)(MetaTensor(volume[None], affine=image.affine), prior)
        return fused[0, 0].as_tensor(), prior.pixels, time.process_time() - begin

    expected, _, _ = fuse(clean, fewer=False)
    assert torch.equal(expected, fuse(clean, fewer=True)[0])
    one, other = (15 / 127.5 * normal(seed, *clean.shape) for seed in (1, 2))
    noisy_ones = {"gaussian": clean + one, "rician": torch.hypot(clean + 1 + one, other) - 1}
    for name, volume in noisy_ones.items():
        before, after = (fuse(volume.clamp(-1, 1), fewer=fewer) for fewer in (False, True))
        figures = [
            (psnr(f[0], expected), psnr(f[0][inside], expected[inside])) for f in (before, after)
        ]
        pixels, seconds = after[1] / before[1], after[2] / before[2]
        print(f"{subject} {name}: pixels {pixels:.2f}, seconds {seconds:.2f}, PSNR {figures}")
        assert pixels < 0.85
        assert figures[1][1] > figures[0][1] - 0.1
