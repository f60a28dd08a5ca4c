"""Commands that measure: ``benchmark`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_ddfm.cli import options as cli
from monai_ddfm.cli.options import NOTICE, parse_path
from monai_ddfm.errors import InputError
from monai_ddfm.places import check_apart

__all__ = ["benchmark", "evaluate"]


def benchmark(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="FOLDER",
            help="Pairs: folders such as MRI and PET with pictures of the same names, or volumes.",
        ),
    ],
    output_dir: cli.OutputDir,
    methods: Annotated[
        str, typer.Option(help="Methods, each with options: average,default:prior_share=0.6.")
    ] = "average,max,pyramid,guided,default",
    stretch: Annotated[
        str, typer.Option(help="Stretch results to full contrast: no, yes or both.")
    ] = "no",
    noise: Annotated[
        str, typer.Option(help="Fuse noisy sources too: gaussian:15,rician:15,poisson:15.")
    ] = "",
    metrics: Annotated[
        str | None,
        typer.Option(help="Names with commas; the eight that papers print if not given."),
    ] = None,
    convention: Annotated[
        str, typer.Option(help="evaluator, as papers compute their figures, or mean.")
    ] = "evaluator",
    limit: Annotated[
        int | None, typer.Option(help="At most so many pairs of each modality.")
    ] = None,
    steps: cli.Steps = None,
    prior: cli.Prior = None,
    registration: Annotated[
        str, typer.Option(help="Of volumes: rigid, affine, deformable, none, or a transform file.")
    ] = "rigid",
    seed: cli.Seed = 0,
    device: cli.Device = None,
    pictures: Annotated[bool, typer.Option(help="Draw a picture of each pair.")] = True,
) -> None:
    """Compare methods on a folder of pairs: tables, and a picture of each pair.

    What is finished is kept in the output folder and not done again.

    **Example**: `monai-ddfm benchmark pairs --methods max,default --noise gaussian:15 -o out`
    """
    from monai_ddfm.benchmarks import benchmark as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.metrics import PUBLISHED_METRICS  # noqa: PLC0415

    check_apart({"FOLDER": folder}, written=[], mixed=[output_dir])
    names = PUBLISHED_METRICS if metrics is None else [m for m in metrics.split(",") if m]
    result = run(
        folder,
        methods=methods,
        stretch=stretch,  # type: ignore[arg-type]  # checked there
        noise=noise,
        metrics=names,
        convention=convention,  # type: ignore[arg-type]
        limit=limit,
        steps=steps,
        prior=prior,
        device=device,
        seed=seed,
        output_dir=output_dir,
        pictures=pictures,
        registration=registration,
    )
    typer.echo(result.text, nl=False)
    typer.echo(f"tables         {output_dir / 'benchmark.txt'}, .csv and .json")
    if pictures:
        typer.echo(f"pictures       {output_dir / 'pictures'}")


def evaluate(
    fused: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="FUSED",
            help="A fused picture or volume, or the folder of results of fuse.",
        ),
    ],
    fixed: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="PATH", help="The MRI or the visible image."),
    ] = None,
    moving: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="PATH", help="The other source, on one grid."),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="What --moving is, for volumes: CT, PET or SPECT.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Gray scale of --moving, for volumes, as for fuse.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Names with commas; the eight that papers print if not given."),
    ] = None,
    convention: Annotated[
        str, typer.Option(help="evaluator, as papers compute their figures, or mean.")
    ] = "evaluator",
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Stretch the result to full contrast first.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", parser=parse_path, metavar="PATH", help="Write the figures there."),
    ] = None,
) -> None:
    """Measure a fusion against its sources.

    **Example**: `monai-ddfm evaluate fused.png --fixed mri.png --moving pet.png`
    """
    from monai_ddfm.benchmarks import evaluate as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.metrics import PUBLISHED_METRICS  # noqa: PLC0415
    from monai_ddfm.writers import write_json  # noqa: PLC0415

    if json_file is not None:
        if json_file.suffix.lower() != ".json":
            raise InputError(f"{json_file} is no name for figures; end it in .json.")
        read = {"FUSED": fused, "--fixed": fixed, "--moving": moving}
        check_apart({**read, "its record": fused / "provenance.json"}, written=[json_file])
    names = PUBLISHED_METRICS if metrics is None else [m for m in metrics.split(",") if m]
    figures = run(
        fused,
        fixed=fixed,
        moving=moving,
        modality=modality,
        window=window,
        metrics=names,
        convention=convention,  # type: ignore[arg-type]  # checked there
        stretch=stretch,
    )
    if json_file is not None:
        write_json(json_file, {"notice": NOTICE, "convention": convention, "figures": figures})
    for name, value in figures.items():
        typer.echo(f"{name:10}{value:12.5g}")
    typer.echo(NOTICE)
