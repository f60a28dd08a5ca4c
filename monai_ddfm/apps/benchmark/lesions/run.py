"""`benchmark_lesions`: methods side by side, judged by what a model observer finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from tqdm import tqdm

from monai_ddfm.apps.benchmark.bundle import Prior
from monai_ddfm.apps.benchmark.cases import Case, check_distinct, load_case
from monai_ddfm.apps.benchmark.lesions.plots import draw_detection
from monai_ddfm.apps.benchmark.lesions.rows import Row, parse_rows, views_of
from monai_ddfm.apps.benchmark.lesions.running import SOURCES, Seen, run_rows
from monai_ddfm.apps.benchmark.lesions.scenes import Scene, make_scenes
from monai_ddfm.apps.benchmark.lesions.tables import LesionResult, LesionRow
from monai_ddfm.apps.benchmark.methods import Fusion, Method, described
from monai_ddfm.apps.benchmark.noise import Noise, parse_noises
from monai_ddfm.apps.benchmark.pairs import Pair, find_pairs
from monai_ddfm.apps.benchmark.runner import Runner
from monai_ddfm.apps.benchmark.store import code_hash, slug
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import Preset
from monai_ddfm.metrics.observer import INTERNAL_NOISE, Lesion, Outputs, detect, induced_noise
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.version import __version__
from monai_ddfm.workflow import check_device

__all__ = ["LESION_METHODS", "benchmark_lesions"]

LESION_METHODS: Final = (
    "average,max,pyramid,guided,default,overlay:alpha=0.3,overlay:alpha=0.5,overlay:alpha=0.7,"
    "mri-luminance,both"
)
"""The rows of the tables, if none are named."""

_MARKER: Final = "lesions.json"
# More than twice the channels of two images side by side, one of them in color.
_FEWEST: Final = 25
_SCALES: Final = (0.5, 1.0, 2.0)


def benchmark_lesions(
    pairs: str | Path | Iterable[Pair | Case],
    *,
    methods: str | Iterable[str | Method] | Mapping[str, Preset | Fusion | str] = LESION_METHODS,
    lesions: Lesion | Sequence[Lesion] = Lesion(),  # noqa: B008 - immutable
    count: int = 500,
    internal_noise: float = INTERNAL_NOISE,
    noise: str | Noise | Iterable[str | Noise] = (),
    slices: int = 6,
    bootstrap: int = 200,
    limit: int | None = None,
    steps: int | None = None,
    prior: str | Path | Prior | None = None,
    device: str | None = None,
    seed: int = 0,
    output_dir: str | Path | None = None,
    **options: Any,
) -> LesionResult:
    """Put lesions into the sources, fuse them by several methods, and see what is found.

    Args:
        pairs: a folder as `find_pairs` reads it, or pairs, or cases in memory.
        methods: see `monai_ddfm.apps.benchmark.methods` and
            `monai_ddfm.apps.benchmark.lesions.rows`.
        lesions: what is put into the sources, one kind at a time.
        count: lesions in each modality, at least 25; their places do not depend on the lesion.
        internal_noise: of the observer, more than 0; half and double of it are measured as well.
        noise: noises such as "gaussian:15"; each method also fuses the sources with that noise,
            which is added after the lesions.
        slices: of each volume.
        bootstrap: number of samples for the intervals.
        limit: at most so many pairs of each modality of a folder.
        steps: sampling steps of presets that name none themselves.
        prior: another prior than the bundle's.
        device: of the network; None is the best there is.
        seed: of places, added noise and intervals.
        output_dir: where tables, plots and outputs are kept; what is finished there is not done
            again. None keeps nothing.
        options: of the bundle's configuration for volumes, for example ``registration="none"``.

    Returns:
        All figures; ``print(result.text)`` shows them.

    Raises:
        InputError: if something given cannot be used.

    Examples:
        >>> from monai_ddfm.apps.benchmark import benchmark_lesions
        >>> print(benchmark_lesions("pairs", methods="average,max", count=100).text)
        ... # doctest: +SKIP
    """
    begin, rows = datetime.now(UTC), parse_rows(methods, steps=steps)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kinds = [lesions] if isinstance(lesions, Lesion) else list(dict.fromkeys(lesions))
    noises: list[Noise | None] = [None, *parse_noises(noise)]
    _check(count=count, internal_noise=internal_noise, slices=slices, kinds=kinds, device=device)
    folder = None if output_dir is None else prepare_output_dir(output_dir, names=(_MARKER,))
    if isinstance(pairs, str | Path):
        pairs = find_pairs(pairs, limit=limit)
    cases = [pair if isinstance(pair, Case) else load_case(pair, **options) for pair in pairs]
    check_distinct(cases)
    scenes = make_scenes(cases, count=count, slices=slices, seed=seed)
    _check_shown(rows, cases)
    runner = Runner(folder, prior=prior, device=device)
    seen = run_rows(
        rows,
        scenes,
        lesions=kinds,
        noises=noises,
        runner=runner,
        folder=None if folder is None else folder / "runs" / "lesions",
    )
    result = LesionResult(
        methods=[row.label for row in rows],
        rows=_measured(rows, seen, internal_noise=internal_noise, bootstrap=bootstrap, seed=seed),
        internal_noise=internal_noise,
        settings={
            "version": __version__,
            "code": {rooms: code_hash(rooms) for rooms in ("fusion", "observer")},
            "lesions_of_a_modality": count,
            "slices": _listed(scenes),
            "induced_noise": _induced(seen),
            "noise": [str(one) for one in noises if one is not None],
            "seed": seed,
            "bootstrap": bootstrap,
            "device": device,
            "priors": runner.prior_keys(),
            "started_utc": begin.isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "methods": {row.label: _about(row) for row in rows},
        },
    )
    if folder is not None:
        _write(folder, result, kinds=kinds, noises=noises)
    return result


def _measured(
    rows: Sequence[Row],
    seen: Mapping[Seen, Outputs],
    *,
    internal_noise: float,
    bootstrap: int,
    seed: int,
) -> list[LesionRow]:
    """Return a row for each method and internal noise, table after table."""
    places = dict.fromkeys((s.modality, s.lesion, s.noise) for s in seen)
    measured = []
    for modality, lesion, noise in tqdm(places, desc="measuring", unit="table", disable=None):
        fixed, moving = (seen[Seen(modality, row.label, "gray", lesion, noise)] for row in SOURCES)
        for view in views_of(modality):
            shown = [row for row in rows if view in row.views]
            for scale in _SCALES:
                level = internal_noise * scale
                for row in shown:
                    found = detect(
                        seen[Seen(modality, row.label, view, lesion, noise)],
                        fixed=fixed,
                        moving=moving,
                        internal_noise=level,
                        bootstrap=bootstrap if scale == 1 else 0,
                        seed=seed,
                    )
                    measured.append(
                        LesionRow(
                            modality=modality,
                            view=view,
                            noise="" if noise is None else str(noise),
                            lesion=lesion,
                            internal_noise=level,
                            method=row.label,
                            detection=found,
                        )
                    )
    return measured


def _write(
    folder: Path, result: LesionResult, *, kinds: Sequence[Lesion], noises: Sequence[Noise | None]
) -> None:
    write_documents(folder / "lesions", result.json, txt=result.text, csv=result.csv)
    for lesion in kinds:
        for noise in noises:
            words = "" if noise is None else f" {noise}"
            name = slug(f"{lesion.shape} {lesion.width:g} {lesion.contrast:g}{words}")
            drawn = "" if noise is None else str(noise)
            draw_detection(folder / f"lesions-{name}.png", result, lesion=lesion, noise=drawn)


def _listed(scenes: Sequence[Scene]) -> dict[str, int]:
    return {scene.case.title: len(scene.places) for scene in scenes}


def _induced(seen: Mapping[Seen, Outputs]) -> dict[str, dict[str, float]]:
    """Return the internal noise that clean sources would induce in a human reader, by modality."""
    induced: dict[str, dict[str, float]] = {}
    for one, outputs in seen.items():
        if one.noise is None and one.label in {row.label for row in SOURCES}:
            noise = round(induced_noise(outputs.absent), 4)
            induced.setdefault(one.modality, {})[one.label] = noise
    return induced


def _about(row: Row) -> dict[str, Any]:
    if row.method is not None:
        return described(row.method)
    return {"name": row.kind} | ({"alpha": row.alpha} if row.kind == "overlay" else {})


def _check_shown(rows: Sequence[Row], cases: Sequence[Case]) -> None:
    """Refuse rows of which none can be shown."""
    modalities = dict.fromkeys(case.modality for case in cases)
    views = {view for modality in modalities for view in views_of(modality)}
    if not any(views & set(row.views) for row in rows):
        raise InputError(
            f"{rows[0].label} needs color, which {', '.join(modalities)} has not; name a method."
        )


def _check(
    *, count: int, internal_noise: float, slices: int, kinds: Sequence[Lesion], device: str
) -> None:
    if count < _FEWEST:
        raise InputError(
            f"{count} lesions are too few for an observer; give {_FEWEST} or more, 500 for figures "
            "that can be trusted."
        )
    if not 0 < internal_noise <= 1:
        raise InputError(
            f"internal noise of {internal_noise:g} is unusable; give more than 0 and at most 1."
        )
    if slices < 1:
        raise InputError(f"{slices} slices of a volume are unusable; give 1 or more.")
    if not kinds:
        raise InputError("there is no lesion to look for; give at least one.")
    check_device(device)
