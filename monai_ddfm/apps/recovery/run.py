r"""`benchmark_recovery`: figures of the recovery from partial volumes on simulated heads.

With the true uptake t, a volume x, and b the true mean in a shell of 4 mm around a sphere S,

.. math::

    \text{recovery} = \frac{\bar x_S - b}{\bar t_S - b} , \qquad
    \text{traces} = \frac{\bar x_S - \bar x'_S}{\bar t_S} ,

the latter for spheres that only the MRI has, x' being the recovery with an MRI without them.
Gray matter counts as uniform where t differs little from its own value within the blur h,

.. math::

    \int h(y)\,(t(x - y) - t(x))^2\,dy < (0.1\, t(x))^2 .

That the blur leaves t(x) as it is would not do: it does so on every slope, too, where detail that
no recovery finds has put t(x) between its neighbors. Even this gray matter is not uniform enough to
stay as it is: the blur takes some of it. What has to stay is a brain with the same uptake
everywhere, scanned and recovered with the same MRI: its gray matter is the *even* one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from monai_ddfm.apps.demo.anatomy import build_anatomy
from monai_ddfm.apps.demo.modalities import (
    GRIDS,
    TRACERS,
    Tracer,
    Volume,
    make_moving,
    make_mri,
    rigid_truth,
    scan_emission,
    true_uptake,
)
from monai_ddfm.apps.demo.spheres import Sphere, add_spheres, place_spheres
from monai_ddfm.apps.demo.subject import check_heads
from monai_ddfm.data.transform_files import transform_of
from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.point_spread import FWHM_PER_DEVIATION
from monai_ddfm.transforms.recovery import RecoverMovingd
from monai_ddfm.transforms.registration import RegisterRigid
from monai_ddfm.transforms.simpleitk_bridge import resample
from monai_ddfm.utils.files import NOTICE, prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.utils.reports import add_report, reports_of
from monai_ddfm.version import __version__

__all__ = ["RecoveryResult", "benchmark_recovery"]

Row = Mapping[str, Any]

_FILES: Final = ("recovery.txt", "recovery.json")
_SHELL_MM: Final = 4.0
_UNIFORM: Final = 0.1
_EVEN: Final = 0.02
_BRAIN: Final = ("gray", "white", "csf", "hot", "cold", "seen", "hidden")
_GRAY: Final = 0.8
_COARSEST_MM: Final = 2.0
_GRAY_ALONE: Final = dict.fromkeys(
    ("white", "csf", "compact", "diploe", "fat", "soft", "hot", "cold", "seen", "hidden"), 0.0
) | {"gray": 1.0}


@dataclass(frozen=True, kw_only=True)
class RecoveryResult:
    """What a benchmark of the recovery has found.

    Attributes:
        spheres: a row for each sphere of each head.
        heads: a row for each head.
        settings: what the figures depend on.
    """

    spheres: Sequence[Row]
    heads: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Return the tables."""
        lines = [f"{'spheres':12}{'mm':>4}{'n':>4}{'before':>10}{'recovered':>11}{'lowest':>9}"]
        sizes = sorted({row["diameter_mm"] for row in self.spheres})
        for kind in ("seen", "hidden"):
            for size in sizes:
                rows = [r for r in self.spheres if (r["kind"], r["diameter_mm"]) == (kind, size)]
                before, after = ([r[name] for r in rows] for name in ("before", "recovered"))
                lines.append(
                    f"{kind:12}{size:4g}{len(rows):4}{np.mean(before):10.2f}{np.mean(after):11.2f}"
                    f"{min(after):9.2f}"
                )
        lines += ["", f"{'only in MRI':12}{'mm':>4}{'n':>4}{'trace':>10}{'largest':>11}"]
        for size in sizes:
            traces = [
                r["trace"]
                for r in self.spheres
                if (r["kind"], r["diameter_mm"]) == ("marked", size)
            ]
            largest = max(traces, key=abs)
            lines.append(
                f"{'marked':12}{size:4g}{len(traces):4}{np.mean(traces):10.1%}{largest:11.1%}"
            )
        lines += ["", f"{'head':>4}"]
        for name in ("even gray", "gray", "error"):
            lines[-1] += f"{name + ' before':>18}{'recovered':>11}"
        lines[-1] += f"{'auto, mm':>10}"
        for row in self.heads:
            line = f"{row['seed']:4}"
            for name in ("even", "gray", "error"):
                line += f"{_shown(row[f'{name}_before']):>18}{_shown(row[f'{name}_recovered']):>11}"
            lines.append(line + f"{_shown(row['auto_fwhm_mm'], 1):>10}")
        return "\n".join([*lines, "", NOTICE]) + "\n"

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "spheres": list(self.spheres),
            "heads": list(self.heads),
        }


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def benchmark_recovery(
    *,
    modality: str = "PET",
    seeds: Sequence[int] = (0,),
    scale: float = 1.0,
    diameters: Sequence[float] = (8.0, 12.0, 20.0),
    device: str = "cpu",
    output_dir: str | Path | None = None,
) -> RecoveryResult:
    """Recover simulated heads with spheres, and compare with the truth.

    Args:
        modality: PET or SPECT.
        seeds: of the heads.
        scale: factor on the edges of all voxels, 1 to 4.
        diameters: of the spheres in mm.
        device: where to recover.
        output_dir: gets ``recovery.txt`` and ``recovery.json``; None writes nothing.

    Returns:
        The figures; ``print(result.text)`` shows the tables.

    Raises:
        InputError: if something given cannot be used.
    """
    if modality not in TRACERS:
        raise InputError(f"modality {modality!r} has no recovery; use {' or '.join(TRACERS)}.")
    check_heads([modality], seeds=seeds, scale=scale)
    folder = None if output_dir is None else prepare_output_dir(output_dir, names=_FILES)
    spheres: list[Row] = []
    heads: list[Row] = []
    for seed in tqdm(seeds, desc="recovering", unit="head", disable=None):
        head = _Head.simulated(modality, seed=seed, scale=scale, diameters=diameters)
        found, about = _figures(head, modality, device)
        spheres += found
        heads.append({"seed": seed, **about})
    settings = {
        "version": __version__,
        "modality": modality,
        "fwhm_mm": TRACERS[modality].fwhm,
        "seeds": list(seeds),
        "scale": scale,
        "diameters_mm": list(diameters),
    }
    result = RecoveryResult(spheres=spheres, heads=heads, settings=settings)
    if folder is not None:
        write_documents(folder / "recovery", result.json, txt=result.text)
    return result


@dataclass(frozen=True, kw_only=True)
class _Head:
    """A simulated head: scans with headers as readers leave them, and the truth."""

    seed: int
    spheres: list[Sphere]
    mri: MetaTensor
    mri_without: MetaTensor
    moving: MetaTensor
    even: MetaTensor
    truth: Volume
    even_truth: Volume
    gray: NDArray[np.float32]

    @classmethod
    def simulated(
        cls, modality: str, *, seed: int, scale: float, diameters: Sequence[float]
    ) -> _Head:
        anatomy = build_anatomy(seed, voxel=min(scale, _COARSEST_MM))
        spheres = place_spheres(anatomy, seed=seed, diameters=diameters)
        whole = add_spheres(anatomy, spheres)
        unmarked = add_spheres(anatomy, [s for s in spheres if s.kind != "marked"])
        place = rigid_truth(seed, modality)
        even = _even(TRACERS[modality])
        grid, rng = GRIDS[modality].scaled(scale), np.random.default_rng([seed, 6])
        return cls(
            seed=seed,
            spheres=spheres,
            mri=_loaded(make_mri(whole, seed, scale), "MR"),
            mri_without=_loaded(make_mri(unmarked, seed, scale), "MR"),
            moving=_loaded(make_moving(whole, modality, seed, scale, place), modality),
            even=_loaded(scan_emission(whole, grid, place, rng, even), modality),
            truth=true_uptake(whole, TRACERS[modality].uptake, scale),
            even_truth=true_uptake(whole, even.uptake, scale),
            gray=np.asarray(true_uptake(whole, _GRAY_ALONE, scale).data, dtype=np.float32),
        )


def _even(tracer: Tracer) -> Tracer:
    """Return a tracer that all of the brain takes up as gray matter does."""
    gray = tracer.uptake["gray"]
    return replace(tracer, uptake={**tracer.uptake, **dict.fromkeys(_BRAIN, gray)})


def _loaded(volume: Volume, modality: str) -> MetaTensor:
    """Return a volume as `LoadVolume` would."""
    data = torch.from_numpy(np.asarray(volume.data, dtype=np.float32))[None]
    meta = {"modality": modality, "original_affine": volume.affine.copy()}
    loaded = MetaTensor(data, affine=torch.from_numpy(volume.affine), meta=meta)
    add_report(loaded, "reading", {"shape": list(data.shape), "modality": modality})
    return loaded


def _figures(head: _Head, modality: str, device: str) -> tuple[list[Row], Row]:
    """Return a row for each sphere, and the figures of the head."""
    registered = RegisterRigid(refuse=False)(head.moving, head.mri)
    fwhm = TRACERS[modality].fwhm
    case = {"fixed": head.mri, "moving": registered}
    recover = RecoverMovingd(fwhm, modality=modality, device=device)
    after = _voxels(recover(case)["moving_recovered"])
    without = _voxels(recover({**case, "fixed": head.mri_without})["moving_recovered"])
    before, truth = _voxels(registered), np.asarray(head.truth.data, dtype=np.float64)
    affine = head.truth.affine
    rows: list[Row] = []
    for sphere in head.spheres:
        share = sphere.share(affine, truth.shape)
        distance = sphere.distance(affine, truth.shape) - sphere.diameter / 2
        around = truth[(distance > 1) & (distance < 1 + _SHELL_MM)].mean()
        true = _mean(truth, share)
        row: dict[str, Any] = {
            "seed": head.seed,
            "kind": sphere.kind,
            "diameter_mm": sphere.diameter,
        }
        if sphere.kind == "marked":
            row["trace"] = (_mean(after, share) - _mean(without, share)) / true
        else:
            row["before"] = (_mean(before, share) - around) / (true - around)
            row["recovered"] = (_mean(after, share) - around) / (true - around)
        rows.append(row)
    seen = before > 0
    sigma = fwhm / FWHM_PER_DEVIATION / np.abs(np.diag(affine)[:3])
    uniform = (head.gray > _GRAY) & seen & (_unevenness(truth, sigma) < _UNIFORM)
    brain = (truth > 0.2 * truth.max()) & seen
    return rows, {
        "gray_voxels": int(uniform.sum()),
        "gray_before": _share(before, truth, uniform),
        "gray_recovered": _share(after, truth, uniform),
        **_even_figures(head, registered, recover, sigma),
        "error_before": _error(before, truth, brain),
        "error_recovered": _error(after, truth, brain),
        "auto_fwhm_mm": _estimated(case, modality),
    }


def _even_figures(
    head: _Head, registered: MetaTensor, recover: RecoverMovingd, sigma: NDArray[np.float64]
) -> Row:
    """Return the figures of the brain with one uptake, registered as the head itself is."""
    placed = resample(head.even, head.mri, transform_of(registered))
    moving = MetaTensor(placed.as_tensor(), affine=registered.affine, meta=registered.meta)
    after = _voxels(recover({"fixed": head.mri, "moving": moving})["moving_recovered"])
    before, truth = _voxels(moving), np.asarray(head.even_truth.data, dtype=np.float64)
    even = (head.gray > _GRAY) & (before > 0) & (_unevenness(truth, sigma) < _EVEN)
    return {
        "even_voxels": int(even.sum()),
        "even_before": _share(before, truth, even),
        "even_recovered": _share(after, truth, even),
    }


def _unevenness(truth: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the truth is from each voxel's own value within the blur, relative to it."""
    mean = ndimage.gaussian_filter(truth, sigma)
    squares = ndimage.gaussian_filter(truth**2, sigma) - 2 * truth * mean + truth**2
    return np.asarray(np.sqrt(squares.clip(0)) / truth.clip(1e-3 * truth.max()))


def _share(
    image: NDArray[np.float64], truth: NDArray[np.float64], where: NDArray[np.bool_]
) -> float | None:
    """Return a mean over that of the truth; None where there is nothing."""
    return float(image[where].mean() / truth[where].mean()) if where.any() else None


def _voxels(volume: MetaTensor) -> NDArray[np.float64]:
    return np.asarray(volume.as_tensor()[0].cpu(), dtype=np.float64)


def _mean(image: NDArray[np.float64], share: NDArray[np.floating]) -> float:
    return float((image * share).sum() / share.sum())


def _error(image: NDArray[np.float64], truth: NDArray[np.float64], where: Any) -> float:
    """Root mean square error, relative to the mean of the truth."""
    return float(np.sqrt(np.square(image - truth)[where].mean()) / truth[where].mean())


def _estimated(case: Mapping[str, MetaTensor], modality: str) -> float | None:
    """Return the width that is found where none is given; None if none can be told."""
    found = RecoverMovingd("auto", modality=modality)(case)
    report = reports_of(found.get("moving_recovered", found["moving"]))["recovery"]
    return report.get("fwhm_mm")  # type: ignore[no-any-return]
