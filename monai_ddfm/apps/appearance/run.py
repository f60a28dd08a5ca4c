"""`benchmark_demo`: how the fusions of several methods read, on simulated heads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from tqdm import tqdm

from monai_ddfm.apps.appearance.figures import measure_appearance, measure_noise
from monai_ddfm.apps.appearance.heads import Head, simulate_head
from monai_ddfm.apps.appearance.tables import AppearanceResult, AppearanceRow, NoiseRow
from monai_ddfm.apps.benchmark.bundle import Prior
from monai_ddfm.apps.benchmark.grids import draw_grid
from monai_ddfm.apps.benchmark.methods import Fusion, Method, described, parse_methods
from monai_ddfm.apps.benchmark.noise import Noise, parse_noises
from monai_ddfm.apps.benchmark.runner import Runner
from monai_ddfm.apps.benchmark.store import Run, code_hash, slug
from monai_ddfm.apps.demo.anatomy import build_anatomy
from monai_ddfm.apps.demo.modalities import MOVING
from monai_ddfm.apps.demo.subject import check_heads
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import Preset
from monai_ddfm.inferers.planes import checked_planes
from monai_ddfm.inferers.presets import at_speed, preset_named
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.version import __version__

__all__ = ["DEMO_METHODS", "benchmark_demo"]

DEMO_METHODS: Final = "average,max,default"

_FILES: Final = ("appearance.txt", "appearance.csv", "appearance.json")
_AXIAL, _THREE = "axial", "three"
_COARSEST_MM: Final = 2.0

Runs = Mapping[tuple[str, str, str], Run]


def benchmark_demo(
    *,
    methods: str | Iterable[str | Method] | Mapping[str, Preset | Fusion | str] = DEMO_METHODS,
    modalities: Sequence[str] = MOVING,
    seeds: Sequence[int] = (0,),
    planes: Sequence[str] = (_AXIAL,),
    noise: str | Noise | Iterable[str | Noise] = (),
    scale: float = 1.0,
    prior: str | Path | Prior | None = None,
    device: str = "cpu",
    output_dir: str | Path | None = None,
    **options: Any,
) -> AppearanceResult:
    """Fuse simulated heads by several methods, and measure how the results read.

    Args:
        methods: see `monai_ddfm.apps.benchmark.methods`; from Python also a mapping from labels to
            presets or to functions [B, 2, H, W, D] -> [B, 1, H, W, D] on [0, 1].
        modalities: of PET, CT and SPECT.
        seeds: of the heads, their movement, their noise and what is added to it.
        planes: "axial", "three" or both: each preset is run in each, at the same steps.
        noise: noises such as "gaussian:15"; each method also fuses the sources with that noise.
        scale: factor on the edges of all voxels, 1 to 4.
        prior: another prior than the bundle's.
        device: of the network.
        output_dir: gets ``appearance.txt``, ``.csv`` and ``.json``, a picture of each head, and
            results, so that what is finished is not done again; None writes nothing.
        options: of the bundle's configuration, for example ``registration="affine"``.

    Returns:
        The figures; ``print(result.text)`` shows the tables.

    Raises:
        InputError: if something given cannot be used.
    """
    begin, noises = datetime.now(UTC), parse_noises(noise)
    check_heads(modalities, seeds=seeds, scale=scale)
    chosen = _in_planes(parse_methods(methods), planes, modalities)
    folder = None if output_dir is None else prepare_output_dir(output_dir, names=_FILES)
    runner = Runner(folder, prior=prior, device=device)
    rows: list[AppearanceRow] = []
    noisy: list[NoiseRow] = []
    for head in _heads(modalities, seeds, scale, options):
        work = [head.case, *(head.case.noisy(one, seed=head.seed) for one in noises)]
        runs = runner.run(chosen, work)
        rows += _appearance(head, chosen, runs)
        noisy += [row for one in noises for row in _noise(head, chosen, runs, one)]
        if folder is not None:
            _draw(folder, head, chosen, runs)
    result = AppearanceResult(
        methods=[method.label for method in chosen],
        rows=sorted(rows, key=lambda row: list(modalities).index(row.modality)),
        noisy=noisy,
        settings={
            "version": __version__,
            "code": code_hash("fusion"),
            "seeds": list(seeds),
            "scale": scale,
            "planes": list(planes),
            "noise": [str(one) for one in noises],
            "device": device,
            "priors": runner.prior_keys(),
            "started_utc": begin.isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "methods": {method.label: described(method) for method in chosen},
            "options": {name: str(value) for name, value in options.items()},
        },
    )
    if folder is not None:
        write_documents(folder / "appearance", result.json, txt=result.text, csv=result.csv)
    return result


def _heads(
    modalities: Sequence[str], seeds: Sequence[int], scale: float, options: Mapping[str, Any]
) -> Iterator[Head]:
    """Simulate one head after the other, each once for all modalities."""
    with tqdm(total=len(seeds) * len(modalities), unit="pair", disable=None) as bar:
        for seed in seeds:
            anatomy = build_anatomy(seed, voxel=min(scale, _COARSEST_MM))
            for modality in modalities:
                yield simulate_head(anatomy, modality, seed=seed, scale=scale, options=options)
                bar.update()


def _in_planes(
    methods: Sequence[Method], planes: Sequence[str], modalities: Sequence[str]
) -> list[Method]:
    """Return each preset in each of the planes, under a label of its own if there are several."""
    wanted = [checked_planes(one) for one in dict.fromkeys(planes)]
    if not wanted:
        raise InputError("no planes are named; give axial, three or both.")
    found: list[Method] = []
    for method in methods:
        if method.is_baseline or method.fuse is not None or "planes" in method.options:
            found.append(method)
            continue
        if _THREE in wanted:
            _check_steps(method, modalities)
        for one in wanted:
            label = f"{method.label} {one}" if len(wanted) > 1 else method.label
            found.append(replace(method, label=label, options={**method.options, "planes": one}))
    return found


def _check_steps(method: Method, modalities: Sequence[str]) -> None:
    """Refuse a preset that ends before it has looked along three axes."""
    preset = method.preset or preset_named(method.name)
    for modality in modalities:
        options = method.options_for(modality)
        speed = options.get("speed")
        steps = options.get("steps", (at_speed(preset, speed) if speed else preset).steps)
        if isinstance(steps, int) and steps < 3:
            raise InputError(
                f"three planes need 3 steps or more, and method {method.label!r} takes {steps}; "
                "give it the option steps with 3 or more."
            )


def _appearance(head: Head, methods: Sequence[Method], runs: Runs) -> list[AppearanceRow]:
    return [
        AppearanceRow(
            modality=head.case.modality,
            seed=head.seed,
            method=method.label,
            figures=measure_appearance(head, runs[method.label, head.case.title, "None"].fused),
        )
        for method in methods
    ]


def _noise(head: Head, methods: Sequence[Method], runs: Runs, noise: Noise) -> list[NoiseRow]:
    """Return the rows of a noise; times are over those of the same method in axial planes."""
    title, rows = head.case.title, []
    axial = {
        _whatever_planes(method): runs[method.label, title, str(noise)].processor_seconds
        for method in methods
        if method.options.get("planes") == _AXIAL
    }
    for method in methods:
        run = runs[method.label, title, str(noise)]
        clean = runs[method.label, title, "None"].fused
        figures = measure_noise(head.case, clean, run.fused)
        figures["processor_seconds"] = run.processor_seconds
        figures["time"] = run.processor_seconds / axial.get(_whatever_planes(method), math.nan)
        rows.append(
            NoiseRow(
                modality=head.case.modality,
                seed=head.seed,
                method=method.label,
                noise=str(noise),
                figures=figures,
            )
        )
    return rows


def _whatever_planes(method: Method) -> str:
    """Return what methods have in common that differ in planes only."""
    about = described(method).items()
    return str(sorted((name, str(value)) for name, value in about if name != "planes"))


def _draw(folder: Path, head: Head, methods: Sequence[Method], runs: Runs) -> None:
    shown = {m.label: runs[m.label, head.case.title, "None"].fused for m in methods}
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    draw_grid(folder / "pictures" / f"{slug(head.case.title)}.png", head.case, shown, captions={})
