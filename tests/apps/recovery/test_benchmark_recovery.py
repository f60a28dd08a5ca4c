"""`benchmark-recovery`: what is refused, the table, and the figures that are promised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.spheres import add_spheres, place_spheres
from monai_ddfm.apps.recovery import RecoveryResult, benchmark_recovery
from monai_ddfm.apps.recovery.run import _unevenness
from monai_ddfm.cli import app
from monai_ddfm.errors import InputError


def ball(radius: float = 60.0) -> Anatomy:
    """A head that is one ball of white matter, of voxels of 2 mm."""
    axes = [np.arange(-70.0, 90.0, 2.0)] * 3
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -70.0
    distance = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")))
    white = (distance < radius).astype(np.float32)
    nothing = np.zeros_like(white)
    lesions = {"hot": nothing}
    return Anatomy(affine, {"white": white, "gray": nothing}, lesions, white, 2.0)


def test_spheres_lie_apart_in_the_brain_and_have_their_volume() -> None:
    anatomy = ball()
    spheres = place_spheres(anatomy, seed=1)
    assert [s.diameter for s in spheres] == [20.0] * 3 + [12.0] * 3 + [8.0] * 3
    assert spheres == place_spheres(anatomy, seed=1) != place_spheres(anatomy, seed=2)
    for number, one in enumerate(spheres):
        assert np.linalg.norm(one.center) + one.diameter / 2 < 60
        share = one.share(anatomy.affine, anatomy.template.shape)
        volume = share.sum() * 8
        assert volume == pytest.approx(np.pi / 6 * one.diameter**3, rel=0.12)
        for other in spheres[:number]:
            apart = np.linalg.norm(np.subtract(one.center, other.center))
            assert apart > (one.diameter + other.diameter) / 2 + 10
    whole = add_spheres(anatomy, spheres)
    values = {"white": 1.0, "gray": 2.0, "hot": 9.0, "seen": 5.0, "hidden": 5.0}
    image = whole.mix(values)
    for sphere in spheres:
        at = np.round((np.array(sphere.center) + 70) / 2).astype(int)
        assert image[tuple(at)] == (1.0 if sphere.kind == "marked" else 5.0)


def test_a_brain_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="has no room for spheres of 20 mm"):
        place_spheres(ball(12.0), seed=0)


def test_the_table_has_means_and_the_worst() -> None:
    rows = [
        {"seed": s, "kind": k, "diameter_mm": 12.0, "before": 0.5, "recovered": 0.8 + s / 10}
        for k in ("seen", "hidden")
        for s in (0, 1)
    ]
    marked = {"kind": "marked", "diameter_mm": 12.0}
    rows += [{"seed": 0, **marked, "trace": 0.01}, {"seed": 1, **marked, "trace": -0.03}]
    head = {"seed": 0, "gray_before": 0.98, "gray_recovered": 1.0, "auto_fwhm_mm": None}
    head |= {"even_before": 1.001, "even_recovered": None}
    head |= {"error_before": 0.3, "error_recovered": 0.2}
    text = RecoveryResult(spheres=rows, heads=[head]).text
    assert "seen          12   2      0.50       0.85     0.80\n" in text
    assert "marked        12   2     -1.0%      -3.0%\n" in text
    figures = ["0", "1.001", "-", "0.980", "1.000", "0.300", "0.200", "-"]
    assert figures in [line.split() for line in text.splitlines()]
    assert text.endswith("research use only - not for diagnosis\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "a"], "seeds 'a' are unusable"),
        (["--seeds", "0,-1"], "seeds '0,-1' are unusable"),
        (["--scale", "0.5"], "scale 0.5 is unusable"),
        (["--modality", "CT"], "modality 'CT' has no recovery; use PET or SPECT"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["benchmark-recovery", "-o", str(tmp_path / "out"), *arguments]
    )
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_gray_matter_on_a_slope_is_not_uniform() -> None:
    """The blur keeps a slope as it is, which uniform gray matter is not told by."""
    slope = np.broadcast_to(np.linspace(1.0, 3.0, 40)[:, None, None], (40, 40, 40))
    assert ndimage.gaussian_filter(slope, 2.0)[20, 20, 20] == pytest.approx(slope[20, 20, 20])
    uneven = _unevenness(np.asarray(slope), np.full(3, 2.0))
    # Along a slope the deviation is that of the blur times the step of a voxel.
    expected = 2.0 * (2.0 / 39) / slope[20, 20, 20]
    assert uneven[20, 20, 20] == pytest.approx(expected, rel=0.01)
    assert _unevenness(np.full((9, 9, 9), 7.0), np.full(3, 2.0)).max() == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_figures_on_a_simulated_head(tmp_path: Path) -> None:
    result = benchmark_recovery(seeds=[0], output_dir=tmp_path)
    for row in result.spheres:
        if row["kind"] == "marked":
            assert abs(row["trace"]) < 0.05
        elif row["diameter_mm"] == 12:
            assert row["before"] < 0.7
            assert row["recovered"] > (0.8 if row["kind"] == "seen" else 1.3 * row["before"])
    (head,) = result.heads
    assert head["gray_recovered"] == pytest.approx(1, abs=0.02)
    assert head["even_voxels"] > 50_000
    assert head["even_recovered"] == pytest.approx(1, abs=0.005)
    assert head["even_recovered"] == pytest.approx(head["even_before"], abs=0.005)
    assert head["error_recovered"] < 0.75 * head["error_before"]
    assert head["auto_fwhm_mm"] == pytest.approx(6, abs=1)
    written = json.loads((tmp_path / "recovery.json").read_text(encoding="utf-8"))
    assert written["settings"]["seeds"] == [0]
    assert (tmp_path / "recovery.txt").read_text(encoding="utf-8") == result.text
