"""The command that measures speed: ``bench``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from monai_ddfm.cli import options as cli
from monai_ddfm.cli.options import parse_batch_size
from monai_ddfm.errors import InputError

__all__ = ["bench"]

_PARTS = ("sizes", "run")


def bench(
    output_dir: cli.OutputDir,
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
    prior: cli.Prior = None,
    random_prior: Annotated[
        str | None, typer.Option(help="imagenet-256: that architecture with random weights.")
    ] = None,
    device: cli.Device = None,
    batch_size: cli.BatchSize = "auto",
    compile: cli.Compile = None,  # noqa: A002 - as PyTorch calls it
    bfloat16: Annotated[
        bool | None, typer.Option(help="Measure bfloat16 too; where the device has it.")
    ] = None,
) -> None:
    """Measure what this machine does, against a plain loop written from the paper.

    Writes `bench.md`, `bench.json` and `bench.png`.

    **Example**: `monai-ddfm bench --slices 8 -o bench`
    """
    import torch  # noqa: PLC0415 - keeps --help fast

    from monai_ddfm.inferers import SPEEDS  # noqa: PLC0415
    from monai_ddfm.speed import BenchOptions, write_bench  # noqa: PLC0415
    from monai_ddfm.speed import bench as run  # noqa: PLC0415
    from monai_ddfm.speed.report import bench_text  # noqa: PLC0415
    from monai_ddfm.speed.scan import scan_sizes, time_stages  # noqa: PLC0415
    from monai_ddfm.speed.subjects import (  # noqa: PLC0415
        demo_pair,
        loaded_pair,
        network_named,
        synthetic_volume,
    )
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
    options = BenchOptions(
        steps=steps,
        batch_size=parse_batch_size(batch_size),
        compile=compile,
        bfloat16=bfloat16,
        speeds=names,
    )
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
    write_bench(result, output_dir)
    typer.echo(bench_text(result), nl=False)
