"""`benchmark`: methods side by side on pairs of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from tqdm import tqdm

from monai_ddfm.apps.benchmark.bundle import Prior
from monai_ddfm.apps.benchmark.cases import Case, check_distinct, load_case
from monai_ddfm.apps.benchmark.curves import draw_curves
from monai_ddfm.apps.benchmark.figures import measure_case, measure_robustness
from monai_ddfm.apps.benchmark.grids import draw_grid
from monai_ddfm.apps.benchmark.methods import Fusion, Method, described, parse_methods
from monai_ddfm.apps.benchmark.noise import Noise, parse_noises
from monai_ddfm.apps.benchmark.pairs import Pair, find_pairs
from monai_ddfm.apps.benchmark.plots import draw_tradeoff
from monai_ddfm.apps.benchmark.runner import Runner
from monai_ddfm.apps.benchmark.store import Run, code_hash, hash_of, slug
from monai_ddfm.apps.benchmark.tables import BenchmarkResult, MethodRow, RobustnessRow
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import Preset
from monai_ddfm.metrics import METRICS, PUBLISHED_METRICS, Convention, evaluate_fusion
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.version import __version__
from monai_ddfm.workflow import check_device

__all__ = ["DEFAULT_METHODS", "Stretch", "benchmark"]

DEFAULT_METHODS: Final = "average,max,pyramid,guided,default"
Stretch = Literal["no", "yes", "both"]

_MARKER: Final = "benchmark.json"
_CAPTION: Final = ("Qabf", "VIF", "SF")


def benchmark(
    pairs: str | Path | Iterable[Pair | Case],
    *,
    methods: str | Iterable[str | Method] | Mapping[str, Preset | Fusion | str] = DEFAULT_METHODS,
    stretch: Stretch = "no",
    noise: str | Noise | Iterable[str | Noise] = (),
    metrics: Sequence[str] = PUBLISHED_METRICS,
    convention: Convention = "evaluator",
    limit: int | None = None,
    steps: int | None = None,
    prior: str | Path | Prior | None = None,
    device: str | None = None,
    seed: int = 0,
    output_dir: str | Path | None = None,
    pictures: bool = True,
    **options: Any,
) -> BenchmarkResult:
    """Fuse pairs by several methods and measure all results.

    Args:
        pairs: a folder as `find_pairs` reads it, or pairs, or cases in memory.
        methods: see `monai_ddfm.apps.benchmark.methods`; from Python also a mapping from labels to
            presets or to functions [B, 2, H, W] -> [B, 1, H, W] on [0, 1].
        stretch: measure results as they are ("no"), stretched to full contrast ("yes"), or both.
        noise: noises such as "gaussian:15"; each method also fuses the sources with that noise.
        metrics: names from `monai_ddfm.metrics.METRICS`.
        convention: of the metrics.
        limit: at most so many pairs of each modality of a folder.
        steps: sampling steps of presets that name none themselves.
        prior: another prior than the bundle's.
        device: of the network; None is the best there is.
        seed: of the added noise.
        output_dir: where tables, pictures and results are kept; what is finished there is not done
            again. None keeps nothing.
        pictures: draw a picture of each pair, with `output_dir`.
        options: of the bundle's configuration for volumes, for example ``registration="none"``.

    Returns:
        All figures; ``print(result.text)`` shows them.

    Raises:
        InputError: if something given cannot be used.

    Examples:
        >>> from monai_ddfm.apps.benchmark import benchmark
        >>> print(benchmark("pairs", methods="average,max,default").text)  # doctest: +SKIP
    """
    begin, chosen = datetime.now(UTC), parse_methods(methods, steps=steps)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    noises = parse_noises(noise)
    _check(stretch=stretch, metrics=metrics, device=device)
    folder = None if output_dir is None else prepare_output_dir(output_dir, names=(_MARKER,))
    if isinstance(pairs, str | Path):
        pairs = find_pairs(pairs, limit=limit)
    cases = [pair if isinstance(pair, Case) else load_case(pair, **options) for pair in pairs]
    _check_cases(cases, metrics=metrics, convention=convention)
    work = cases + [case.noisy(one, seed=seed) for one in noises for case in cases]
    runner = Runner(folder, prior=prior, device=device)
    runs = runner.run(chosen, work)
    stretches = {"no": [False], "yes": [True], "both": [False, True]}[stretch]
    result = BenchmarkResult(
        metrics=tuple(metrics),
        methods=[method.label for method in chosen],
        baselines=[method.label for method in chosen if method.is_baseline],
        rows=_rows(cases, runs, metrics=metrics, convention=convention, stretches=stretches),
        robustness=_robustness(cases, runs, noises),
        settings={
            "version": __version__,
            "code": code_hash("fusion"),
            "convention": convention,
            "noise": [str(one) for one in noises],
            "seed": seed,
            "device": device,
            "priors": runner.prior_keys(),
            "started_utc": begin.isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "methods": {method.label: described(method) for method in chosen},
        },
    )
    if folder is not None:
        write_documents(folder / "benchmark", result.json, txt=result.text, csv=result.csv)
        for one in noises:
            draw_tradeoff(folder / f"tradeoff-{slug(str(one))}.png", result, noise=str(one))
        if any(row.evaluations for row in result.rows):
            draw_curves(folder / "evaluations.png", result)
        if pictures:
            _draw(folder, work, runs, result)
    return result


def _rows(
    cases: Sequence[Case],
    runs: Mapping[tuple[str, str, str], Run],
    *,
    metrics: Sequence[str],
    convention: Convention,
    stretches: Sequence[bool],
) -> list[MethodRow]:
    rows = []
    labels = dict.fromkeys(label for label, _, _ in runs)
    for case in tqdm(cases, desc="measuring", unit="pair", disable=None):
        for label in labels:
            run = runs[label, case.title, str(None)]
            for stretched in stretches:
                key = hash_of(code_hash("figures"), *metrics, convention, stretched)
                figures = run.figures(key)
                if figures is None:
                    figures = measure_case(
                        case, run.fused, metrics=metrics, convention=convention, stretch=stretched
                    )
                    run.keep_figures(key, figures)
                rows.append(
                    MethodRow(
                        modality=case.modality,
                        pair=case.name,
                        method=label,
                        stretch=stretched,
                        figures=figures,
                        seconds=run.seconds,
                        evaluations=run.evaluations,
                    )
                )
    return rows


def _robustness(
    cases: Sequence[Case], runs: Mapping[tuple[str, str, str], Run], noises: Sequence[Noise]
) -> list[RobustnessRow]:
    labels = dict.fromkeys(label for label, _, _ in runs)
    return [
        RobustnessRow(
            modality=case.modality,
            pair=case.name,
            method=label,
            noise=str(noise),
            figures=measure_robustness(
                case,
                runs[label, case.title, str(None)].fused,
                runs[label, case.title, str(noise)].fused,
            ),
        )
        for noise in noises
        for case in cases
        for label in labels
    ]


def _draw(
    folder: Path,
    cases: Sequence[Case],
    runs: Mapping[tuple[str, str, str], Run],
    result: BenchmarkResult,
) -> None:
    figures = {
        (row.modality, row.pair, row.method): row.figures for row in result.rows if not row.stretch
    }
    (folder / "pictures").mkdir(exist_ok=True)
    for case in tqdm(cases, desc="drawing", unit="picture", disable=None):
        shown = {m: runs[m, case.title, str(case.noise)].fused for m in result.methods}
        captions = {}
        if case.noise is None:
            for label in result.methods:
                found = figures.get((case.modality, case.name, label), {})
                known = [f"{name} {found[name]:.3g}" for name in _CAPTION if name in found]
                captions[label] = "  ".join(known)
        words = case.title if case.noise is None else f"{case.title} {case.noise}"
        draw_grid(folder / "pictures" / f"{slug(words)}.png", case, shown, captions=captions)


def _check(*, stretch: str, metrics: Sequence[str], device: str) -> None:
    if stretch not in get_args(Stretch):
        raise InputError(f"stretch {stretch!r} is unknown; use no, yes or both.")
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        wrong = unknown[0] if unknown else ""
        raise InputError(f"metric {wrong!r} is unknown; use {', '.join(METRICS)}.")
    check_device(device)


def _check_cases(cases: Sequence[Case], *, metrics: Sequence[str], convention: Convention) -> None:
    """Refuse what could not be measured or told apart, before a network runs."""
    check_distinct(cases)
    for case in {case.image.shape: case for case in cases}.values():
        image = case.image[..., :1].squeeze(-1) if case.image.ndim == 5 else case.image
        try:
            evaluate_fusion(image[:, :1], image, metrics=metrics, convention=convention)
        except InputError as error:
            raise InputError(f"{case.title} cannot be measured: {error}") from error
