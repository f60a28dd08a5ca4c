"""Commands that measure the program itself: speed, cohorts, recovery, samples, appearance."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from monai_ddfm.cli.options import with_options
from monai_ddfm.errors import InputError

__all__ = [
    "benchmark_cohort",
    "benchmark_demo",
    "benchmark_recovery",
    "benchmark_samples",
    "benchmark_speed",
]

_PARTS = ("sizes", "run")


@with_options()
def benchmark_speed(
    output_dir: Path,
    steps: Annotated[
        int, typer.Option(help="Of the plain loop and of what it is compared to.")
    ] = 16,
    slices: Annotated[
        int | None,
        typer.Option(help="So many slices of the volume, evenly spaced; all if not given."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of synthetic slices, instead of the demo subject.")
    ] = None,
    speeds: Annotated[str, typer.Option(help="Speeds to measure.")] = "fast,balanced,best",
    parts: Annotated[
        str,
        typer.Option(
            help="Beside the plain loop: sizes (sizes, types and batches), run (the whole command "
            "on the demo subject by stages); empty for neither."
        ),
    ] = "sizes,run",
    prior: Path | None = None,
    random_prior: Annotated[
        str | None, typer.Option(help="imagenet-256: that architecture with random weights.")
    ] = None,
    device: str | None = None,
    batch_size: int | str = "auto",
    compile: str | None = None,  # noqa: A002 - as PyTorch calls it
    bfloat16: Annotated[
        bool | None, typer.Option(help="Measure bfloat16 too; where the device has it.")
    ] = None,
) -> None:
    """Measure what this machine does, against a plain loop written from the paper.

    Writes `benchmark-speed.md`, `benchmark-speed.json` and `benchmark-speed.png`.

    **Example**: `monai-ddfm benchmark-speed --slices 8 -o speed`
    """
    import torch  # noqa: PLC0415 - keeps --help fast

    from monai_ddfm.apps.speed import SpeedBenchmarkOptions, write_speed_benchmark  # noqa: PLC0415
    from monai_ddfm.apps.speed import benchmark_speed as run  # noqa: PLC0415
    from monai_ddfm.apps.speed.report import speed_text  # noqa: PLC0415
    from monai_ddfm.apps.speed.scan import scan_sizes, time_stages  # noqa: PLC0415
    from monai_ddfm.apps.speed.subjects import (  # noqa: PLC0415
        demo_pair,
        loaded_pair,
        network_named,
        synthetic_volume,
    )
    from monai_ddfm.inferers import SPEEDS  # noqa: PLC0415
    from monai_ddfm.utils.files import prepare_output_dir  # noqa: PLC0415
    from monai_ddfm.workflow import check_device  # noqa: PLC0415

    names = tuple(name for name in speeds.split(",") if name)
    if unknown := [name for name in names if name not in SPEEDS]:
        raise InputError(f"speed {unknown[0]!r} is unknown; use {', '.join(SPEEDS)}.")
    wanted = [part for part in parts.split(",") if part]
    if unknown := [part for part in wanted if part not in _PARTS]:
        raise InputError(f"part {unknown[0]!r} is unknown; use {', '.join(_PARTS)}.")
    for name, value, least in (("slices", slices, 1), ("size", size, 32), ("steps", steps, 2)):
        if value is not None and value < least:
            raise InputError(f"{name} {value} is unusable; give {least} or more.")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    check_device(str(where))
    options = SpeedBenchmarkOptions(
        steps=steps,
        batch_size=batch_size,
        compile=compile,
        bfloat16=bfloat16,
        speeds=names,
    )
    prepare_output_dir(output_dir)
    network = network_named(prior, random_prior, where)
    with TemporaryDirectory() as folder:
        pair = demo_pair(Path(folder)) if size is None else None
        volume = synthetic_volume(size or 0, slices or 16) if pair is None else loaded_pair(*pair)
        if slices is not None and slices < volume.shape[-1]:
            places = torch.linspace(0, volume.shape[-1] - 1, slices + 2)[1:-1].round().long()
            volume = volume[..., places]
        result = run(volume.to(where), network, options)
        if "sizes" in wanted:
            result["sizes"] = scan_sizes(network, where, bfloat16=bfloat16)
        if "run" in wanted and pair is not None and random_prior is None:
            result["stages"] = time_stages(*pair, device=where, prior=prior)
    write_speed_benchmark(result, output_dir)
    typer.echo(speed_text(result), nl=False)


@with_options()
def benchmark_cohort(
    output_dir: Path,
    subjects: Annotated[int, typer.Option(help="Simulated subjects.")] = 40,
    workers: Annotated[str, typer.Option(help="Numbers of workers to compare.")] = "1,2",
    scale: Annotated[
        float, typer.Option(help="Factor on the edges of the voxels of the demo subject, 1 to 4.")
    ] = 4.0,
    prior: Path | None = None,
    device: str | None = None,
) -> None:
    """Measure what a cohort costs beside its fusions, and what more workers bring.

    Writes `benchmark-cohort.md` and `benchmark-cohort.json`.

    **Example**: `monai-ddfm benchmark-cohort -o cohort`
    """
    from monai_ddfm.apps.speed.cohorts import (  # noqa: PLC0415 - keeps --help fast
        CohortBenchmarkOptions,
        cohort_table,
        write_cohort_benchmark,
    )
    from monai_ddfm.apps.speed.cohorts import benchmark_cohort as run  # noqa: PLC0415
    from monai_ddfm.utils.files import prepare_output_dir  # noqa: PLC0415
    from monai_ddfm.workflow import check_device  # noqa: PLC0415

    counts = [int(text) if text.strip().isdigit() else 0 for text in workers.split(",")]
    if not all(counts):
        raise InputError(f"workers {workers!r} are unusable; give numbers, as in 1,2.")
    if subjects < max(counts):
        raise InputError(f"subjects {subjects} are too few; give at least one for each worker.")
    where = device or "cpu"
    check_device(where)
    options = CohortBenchmarkOptions(
        subjects=subjects, workers=counts, scale=scale, device=where, prior=prior
    )
    prepare_output_dir(output_dir)
    result = run(options)
    write_cohort_benchmark(result, output_dir)
    typer.echo(cohort_table(result), nl=False)


@with_options()
def benchmark_recovery(
    output_dir: Path,
    modality: Annotated[str, typer.Option(help="PET or SPECT.")] = "PET",
    seeds: Annotated[str, typer.Option(help="Of the simulated heads, with commas.")] = "0,1,2",
    scale: Annotated[
        float, typer.Option(help="Factor on the edges of the voxels of the heads, 1 to 4.")
    ] = 1.0,
    device: str | None = None,
) -> None:
    """Measure the recovery from partial volumes on simulated heads with spheres.

    Writes `recovery.txt` and `recovery.json`.

    **Example**: `monai-ddfm benchmark-recovery --seeds 0 -o recovery`
    """
    from monai_ddfm.apps.recovery import benchmark_recovery as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.workflow import check_device  # noqa: PLC0415

    numbers = _seeds(seeds)
    where = device or "cpu"
    check_device(where)
    result = run(modality=modality, seeds=numbers, scale=scale, device=where, output_dir=output_dir)
    typer.echo(result.text, nl=False)


@with_options()
def benchmark_samples(
    output_dir: Path,
    modalities: Annotated[
        str, typer.Option(help="PET, CT and SPECT, with commas.")
    ] = "PET,CT,SPECT",
    seeds: Annotated[str, typer.Option(help="Of the simulated heads, with commas.")] = "3,4,5",
    scale: Annotated[
        float, typer.Option(help="Factor on the edges of the voxels of the heads, 1 to 4.")
    ] = 1.0,
    samples: Annotated[int, typer.Option(help="As for fuse, 2 or more.")] = 8,
    slices: Annotated[int, typer.Option(help="Of each head, evenly spaced.")] = 6,
    device: str | None = None,
) -> None:
    """Measure how often the intervals of `fuse --samples` hold the truth of simulated heads.

    Writes `samples.txt`, `samples.json` and `samples.png`.

    **Example**: `monai-ddfm benchmark-samples --seeds 3 -o samples`
    """
    from monai_ddfm.apps.samples import benchmark_samples as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.workflow import check_device  # noqa: PLC0415

    numbers = _seeds(seeds)
    where = device or "cpu"
    check_device(where)
    result = run(
        modalities=[name.strip().upper() for name in modalities.split(",")],
        seeds=numbers,
        scale=scale,
        samples=samples,
        slices=slices,
        device=where,
        output_dir=output_dir,
    )
    typer.echo(result.text, nl=False)


@with_options()
def benchmark_demo(
    output_dir: Path,
    methods: Annotated[
        str,
        typer.Option(help="As for benchmark, each with options: average,default:steps=3."),
    ] = "average,max,default",
    modalities: Annotated[
        str, typer.Option(help="PET, CT and SPECT, with commas.")
    ] = "PET,CT,SPECT",
    seeds: Annotated[str, typer.Option(help="Of the simulated heads, with commas.")] = "0",
    planes: Annotated[
        str, typer.Option(help="axial, three, or both with a comma: each preset is run in each.")
    ] = "axial",
    noise: Annotated[
        str, typer.Option(help="Fuse noisy sources too: gaussian:15,rician:15,poisson:15.")
    ] = "",
    scale: Annotated[
        float, typer.Option(help="Factor on the edges of the voxels of the heads, 1 to 4.")
    ] = 1.0,
    device: str | None = None,
) -> None:
    """Measure how fusions read: contrast of tissues, bone and lesions of simulated heads.

    Writes `appearance.txt`, `appearance.csv`, `appearance.json` and a picture of each head. What is
    finished is kept in the output folder and not done again.

    **Example**: `monai-ddfm benchmark-demo --seeds 0,1,2 -o demo`
    """
    from monai_ddfm.apps.appearance import benchmark_demo as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.workflow import check_device  # noqa: PLC0415

    numbers = _seeds(seeds)
    where = device or "cpu"
    check_device(where)
    result = run(
        methods=methods,
        modalities=[name.strip().upper() for name in modalities.split(",")],
        seeds=numbers,
        planes=[name.strip() for name in planes.split(",")],
        noise=noise,
        scale=scale,
        device=where,
        output_dir=output_dir,
    )
    typer.echo(result.text, nl=False)


def _seeds(text: str) -> list[int]:
    """Read seeds with commas between."""
    numbers = [int(part) if part.strip().isdigit() else -1 for part in text.split(",")]
    if min(numbers) < 0:
        raise InputError(f"seeds {text!r} are unusable; give numbers from 0, as in 0,1,2.")
    return numbers
