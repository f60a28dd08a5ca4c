"""`benchmark_samples`: figures of the calibration of samples on simulated heads.

The truth is the fusion of the scans without noise, the moving one interpolated once with the true
transform, on the gray scale of the run, without the prior, which has nothing to do there. Head
voxels are those of the MRI's grid that are more than half tissue and that the moving scan shows.
Volumes are registered and drawn as a whole; of the slices, each fused by itself, some are enough.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from monai_ddfm.apps.benchmark.bundle import bundle_prior, preprocess_volumes
from monai_ddfm.apps.demo.anatomy import Anatomy, build_anatomy
from monai_ddfm.apps.demo.modalities import (
    MOVING,
    Volume,
    make_moving,
    make_mri,
    rigid_truth,
    true_uptake,
)
from monai_ddfm.apps.demo.subject import check_heads, write_volume
from monai_ddfm.apps.samples.figures import (
    LEVELS,
    area_under_curve,
    by_width,
    covered,
    share_right,
)
from monai_ddfm.apps.samples.plots import draw_reliability
from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, EnsembleInferer, Preset, SourceDraws, configure
from monai_ddfm.inferers.ensemble import RIGHT_WITHIN
from monai_ddfm.transforms.histogram import IntensityMap
from monai_ddfm.transforms.simpleitk_bridge import resample
from monai_ddfm.transforms.windows import finding_level
from monai_ddfm.utils.files import NOTICE, prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.version import __version__

__all__ = ["SamplesResult", "benchmark_samples"]

Row = Mapping[str, Any]
Array = NDArray[np.float64]

_FILES: Final = ("samples.txt", "samples.json", "samples.png")
_COARSEST_MM: Final = 2.0
_SCALED: Final = ("fixed_scaled", "moving_scaled")
_EDGES: Final = np.array([0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])


@dataclass(frozen=True, kw_only=True)
class SamplesResult:
    """What a benchmark of samples has found.

    Attributes:
        rows: one for each head and modality.
        settings: what the figures depend on.
    """

    rows: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Return the table."""
        lines = [
            f"{'modality':9}{'seed':>5}{'covered':>9}{'by width':>10}{'said':>8}{'error':>8}"
            f"{'off, mm':>9}{'said, mm':>10}{'wrong':>8}{'AUC':>7}"
        ]
        for modality in dict.fromkeys(row["modality"] for row in self.rows):
            rows = [row for row in self.rows if row["modality"] == modality]
            lines += [_line(row["modality"], str(row["seed"]), row) for row in rows]
            if len(rows) > 1:
                lines.append(_line(modality, "all", _mean_row(rows)))
        return "\n".join([*lines, "", NOTICE]) + "\n"

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "levels": list(LEVELS),
            "rows": [dict(row) for row in self.rows],
        }


def benchmark_samples(
    *,
    modalities: Sequence[str] = MOVING,
    seeds: Sequence[int] = (3,),
    scale: float = 1.0,
    samples: int = 8,
    slices: int = 6,
    device: str = "cpu",
    output_dir: str | Path | None = None,
) -> SamplesResult:
    """Fuse simulated heads with samples, and compare with the truth.

    Args:
        modalities: of PET, CT and SPECT.
        seeds: of the heads; the registration's uncertainty was fitted on those up to 2.
        scale: factor on the edges of all voxels, 1 to 4.
        samples: as in a run, at least 2.
        slices: of each head, evenly spaced, that are fused.
        device: where to fuse.
        output_dir: gets ``samples.txt``, ``.json`` and ``.png``; None writes nothing.

    Returns:
        The figures; ``print(result.text)`` shows the table.

    Raises:
        InputError: if something given cannot be used.
    """
    check_heads(modalities, seeds=seeds, scale=scale)
    if slices < 1:
        raise InputError(f"slices {slices} are unusable; give 1 or more.")
    if samples < 2:
        raise InputError(f"{samples} samples have no spread; give 2 or more.")
    folder = None if output_dir is None else prepare_output_dir(output_dir, names=_FILES)
    network = bundle_prior(device=device).network
    rows: list[Row] = []
    with tqdm(total=len(seeds) * len(modalities), unit="pair", disable=None) as bar:
        for seed in seeds:
            anatomy = build_anatomy(seed, voxel=min(scale, _COARSEST_MM))
            for modality in modalities:
                pair = _Pair.simulated(anatomy, modality, seed=seed, scale=scale, samples=samples)
                rows.append(_row(pair, network, samples=samples, slices=slices, device=device))
                bar.update()
    settings = {
        "version": __version__,
        "seeds": list(seeds),
        "scale": scale,
        "samples": samples,
        "slices": slices,
    }
    result = SamplesResult(rows=rows, settings=settings)
    if folder is not None:
        write_documents(folder / "samples", result.json, txt=result.text)
        draw_reliability(folder / _FILES[2], rows)
    return result


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A simulated head in two scanners, as a run is given it, and its truth.

    Attributes:
        image: sources of the run, [1, 2, H, W, D].
        draws: of them.
        report: of the registration.
        truth: both sources clean and in place, [1, 2, H, W, D].
        head: where the MRI's grid shows the head, [H, W, D].
        transform: the true one, fixed to moving, [4, 4].
    """

    modality: str
    seed: int
    image: MetaTensor
    draws: SourceDraws
    report: Mapping[str, Any]
    truth: MetaTensor
    head: NDArray[np.bool_]
    transform: Array

    @classmethod
    def simulated(
        cls, anatomy: Anatomy, modality: str, *, seed: int, scale: float, samples: int
    ) -> _Pair:
        motion = rigid_truth(seed, modality)
        options: dict[str, Any] = {"samples": samples, "seed": seed, "registration": "rigid"}
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.nii.gz" for name in ("fixed", "moving")]
            write_volume(make_mri(anatomy, seed, scale), paths[0])
            write_volume(make_moving(anatomy, modality, seed, scale, motion), paths[1])
            case = preprocess_volumes(*paths, modality=modality, options=options)
        grid: MetaTensor = case["moving"]
        gray = [
            IntensityMap(tuple(report["knots"]), tuple(report["values"]))
            for report in (reports_of(case[k])["intensity"] for k in _SCALED)
        ]
        still, true = sitk.Transform(3, sitk.sitkIdentity), motion.GetInverse()
        outside = reports_of(grid)["registration"]["outside"]
        clean = make_moving(anatomy, modality, seed, scale, motion, noise=False)
        fixed = resample(_tensor(make_mri(anatomy, seed, scale, noise=False)), grid, still)
        moving = resample(_tensor(clean), grid, true, outside=outside)
        seen = resample(_tensor(clean, 1.0), grid, true, outside=0.0, interpolation="nearest")
        tissue = true_uptake(anatomy, dict.fromkeys((*anatomy.tissues, *anatomy.lesions), 1), scale)
        head = resample(_tensor(tissue), grid, still)
        clear = [m.forward(v.as_tensor()[0]) for m, v in zip(gray, (fixed, moving), strict=True)]
        affine = grid.affine[None]
        return cls(
            modality=modality,
            seed=seed,
            image=MetaTensor(case["image"].as_tensor()[None], affine=affine),
            draws=case["draws"],
            report=reports_of(grid)["registration"],
            truth=MetaTensor(torch.stack(clear)[None], affine=affine),
            head=np.asarray((head.as_tensor()[0] > 0.5) & (seen.as_tensor()[0] > 0.5)),
            transform=transform_matrix(true),
        )

    def thinned(self, count: int) -> _Pair:
        """Return the pair with some slices only."""
        depth = self.head.shape[-1]
        kept = np.unique(np.linspace(0, depth - 1, count + 2)[1:-1].round().astype(int))

        def some(volume: Tensor) -> MetaTensor:
            plain = volume.as_subclass(Tensor)[..., torch.from_numpy(kept)]
            return MetaTensor(plain, affine=self.truth.affine)

        return replace(
            self,
            image=some(self.image),
            draws=lambda number, _: some(self.draws(number, self.image)),
            truth=some(self.truth),
            head=self.head[..., kept],
        )


def _tensor(volume: Volume, value: float | None = None) -> MetaTensor:
    data = np.asarray(volume.data, dtype=np.float32)
    data = data if value is None else np.full_like(data, value)
    return MetaTensor(torch.from_numpy(data)[None], affine=torch.from_numpy(volume.affine))


def _row(pair: _Pair, network: nn.Module, *, samples: int, slices: int, device: str) -> Row:
    """Fuse some slices with samples, and compare; the registration is judged in the whole head."""
    placed, pair = _misplaced(pair), pair.thinned(slices)
    preset, clean = (_preset(pair.modality, share) for share in (None, 0.0))
    with torch.no_grad():
        result = EnsembleInferer(DDFMInferer(preset=preset), samples=samples)(
            pair.image.to(device), network, draws=pair.draws
        )
        truth = DDFMInferer(preset=clean)(pair.truth.to(device), network)
    fused, weight, deviation, stability, low, high = _of_head(result, pair.head)
    true = _of_head(truth, pair.head)
    inside = (low <= true[0]) & (true[0] <= high)
    wrong = np.abs(weight - true[1]) > RIGHT_WITHIN
    return {
        "modality": pair.modality,
        "seed": pair.seed,
        "voxels": int(pair.head.sum()),
        "covered": float(inside.mean()),
        "by_level": covered(fused, true[0], deviation, count=samples),
        "by_width": by_width(inside, deviation),
        # Luminance is written from 0 to 1.
        "deviation": float(np.sqrt(np.square(deviation).mean())) / 2,
        "error": float(np.sqrt(np.square(fused - true[0]).mean())) / 2,
        **placed,
        "wrong": float(wrong.mean()),
        "auc": area_under_curve(1 - stability, wrong),
        "by_stability": share_right(stability, wrong, _EDGES),
    }


def _of_head(result: Tensor, head: NDArray[np.bool_]) -> list[Array]:
    """Return every channel [n] of a result [1, C, H, W, D] in the head."""
    return [np.asarray(c.cpu(), dtype=np.float64)[head] for c in result.as_subclass(Tensor)[0]]


def _preset(modality: str, prior_share: float | None) -> Preset:
    finding = finding_level(modality)
    return configure("default", modality=modality, finding=finding, prior_share=prior_share)


def _misplaced(pair: _Pair) -> dict[str, Any]:
    """Return how far the registration is off, and how far it says it may be, mm over the head."""
    affine = np.asarray(pair.truth.affine[0], dtype=np.float64)
    points = np.argwhere(pair.head)[::50]
    places = points @ affine[:3, :3].T + affine[:3, 3]
    places = np.concatenate([places * [-1, -1, 1], np.ones((len(places), 1))], axis=1)
    apart = places @ (np.array(pair.report["transform"]) - pair.transform).T
    return {
        "off_mm": float(np.sqrt(np.square(apart[:, :3]).sum(axis=1).mean())),
        "said_mm": pair.report["uncertainty"]["mm"],
    }


def _mean_row(rows: Sequence[Row]) -> Row:
    mean: dict[str, Any] = {
        key: float(np.mean([row[key] for row in rows])) for key in ("covered", "wrong")
    }
    mean["by_width"] = np.mean([row["by_width"] for row in rows], axis=0).tolist()
    for key in ("deviation", "error", "off_mm", "said_mm"):
        mean[key] = float(np.sqrt(np.mean([row[key] ** 2 for row in rows])))
    areas = [row["auc"] for row in rows if row["auc"] is not None]
    return mean | {"auc": float(np.mean(areas)) if areas else None}


def _line(modality: str, seed: str, row: Row) -> str:
    area = "-" if row["auc"] is None else f"{row['auc']:.3f}"
    tenths = f"{min(row['by_width']):.0%}-{max(row['by_width']):.0%}"
    return (
        f"{modality:9}{seed:>5}{row['covered']:9.1%}{tenths:>10}"
        f"{row['deviation']:8.4f}{row['error']:8.4f}"
        f"{row['off_mm']:9.2f}{row['said_mm']:10.2f}{row['wrong']:8.1%}{area:>7}"
    )
