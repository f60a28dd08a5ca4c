"""Commands that measure: ``benchmark`` and ``evaluate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from monai_ddfm.cli.options import NOTICE, parse_path, with_options
from monai_ddfm.errors import InputError
from monai_ddfm.utils.places import check_apart

__all__ = ["benchmark", "evaluate"]

_LESIONS: Final = "Detection of lesions"
_ALIGNMENT: Final = "Registration of moved heads"
_Metrics = Annotated[
    str | None, typer.Option(help="Names with commas; the eight that papers print if not given.")
]
_Convention = Annotated[
    str, typer.Option(help="evaluator, as papers compute their figures, or mean.")
]


@with_options()
def benchmark(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="FOLDER",
            help="Pairs: folders such as MRI and PET with pictures of the same names, or volumes.",
        ),
    ],
    output_dir: Path,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods, each with options: average,default:prior_share=0.6; "
            "average,max,pyramid,guided,default if not given, with --lesions also overlays."
        ),
    ] = None,
    stretch: Annotated[
        str, typer.Option(help="Stretch results to full contrast: no, yes or both.")
    ] = "no",
    noise: Annotated[
        str, typer.Option(help="Fuse noisy sources too: gaussian:15,rician:15,poisson:15.")
    ] = "",
    metrics: _Metrics = None,
    convention: _Convention = "evaluator",
    limit: Annotated[
        int | None, typer.Option(help="At most so many pairs of each modality.")
    ] = None,
    steps: int | None = None,
    prior: Path | None = None,
    registration: Annotated[
        str, typer.Option(help="Of volumes: rigid, affine, deformable, none, or a transform file.")
    ] = "rigid",
    seed: int = 0,
    device: str | None = None,
    pictures: Annotated[bool, typer.Option(help="Draw a picture of each pair.")] = True,
    lesions: Annotated[
        bool,
        typer.Option(
            "--lesions",
            help="Judge by what a model observer finds of lesions put into the sources.",
            rich_help_panel=_LESIONS,
        ),
    ] = False,
    lesion_count: Annotated[
        int | None,
        typer.Option(help="Lesions in each modality; 500 if not given.", rich_help_panel=_LESIONS),
    ] = None,
    lesion_sizes: Annotated[
        str | None,
        typer.Option(
            help="Widths in mm, with commas: 4,7,12,25; 7 if not given.", rich_help_panel=_LESIONS
        ),
    ] = None,
    lesion_contrasts: Annotated[
        str | None,
        typer.Option(
            help="Contrasts, with commas: 0.05,0.1,0.2; 0.2 if not given.",
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    lesion_lines: Annotated[
        str | None,
        typer.Option(
            help="Thin lines too: vessel,fracture,bar; none if not given.",
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    internal_noise: Annotated[
        float | None,
        typer.Option(
            help="Of the observer, images being 0 to 1; 0.05 if not given.",
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    lesion_slices: Annotated[
        int | None,
        typer.Option(help="Slices of each volume; 6 if not given.", rich_help_panel=_LESIONS),
    ] = None,
    perturbations: Annotated[
        int | None,
        typer.Option(
            help="Judge the registration by so many moved heads; true transforms lie beside them.",
            rich_help_panel=_ALIGNMENT,
        ),
    ] = None,
) -> None:
    """Compare methods on a folder of pairs: tables, and a picture of each pair.

    What is finished is kept in the output folder and not done again.

    **Example**: `monai-ddfm benchmark pairs --methods max,default --noise gaussian:15 -o out`
    """
    from monai_ddfm.apps.benchmark import benchmark as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.apps.benchmark.run import DEFAULT_METHODS  # noqa: PLC0415
    from monai_ddfm.metrics import PUBLISHED_METRICS  # noqa: PLC0415

    check_apart({"FOLDER": folder}, written=[], mixed=[output_dir])
    of_lesions: dict[str, Any] = {
        "count": lesion_count,
        "internal_noise": internal_noise,
        "slices": lesion_slices,
        "sizes": lesion_sizes,
        "contrasts": lesion_contrasts,
        "lines": lesion_lines,
    }
    if perturbations is not None:
        others = {
            "--lesions": lesions,
            "--methods": methods is not None,
            "--noise": bool(noise),
            "--stretch": stretch != "no",
            "--metrics": metrics is not None,
            "--limit": limit is not None,
            "--registration": registration != "rigid",
        }
        _check_kind(False, of_lesions, {})
        _refuse_given(others, "--perturbations")
        _benchmark_alignment(folder, output_dir, count=perturbations, seed=seed)
        return
    _check_kind(
        lesions, of_lesions, {"--stretch": stretch != "no", "--metrics": metrics is not None}
    )
    if lesions:
        _benchmark_lesions(
            folder,
            output_dir,
            methods=methods,
            noise=noise,
            limit=limit,
            steps=steps,
            prior=prior,
            registration=registration,
            seed=seed,
            device=device,
            **of_lesions,
        )
        return
    names = PUBLISHED_METRICS if metrics is None else [m for m in metrics.split(",") if m]
    result = run(
        folder,
        methods=DEFAULT_METHODS if methods is None else methods,
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


def _check_kind(
    lesions: bool, of_lesions: Mapping[str, object], of_figures: Mapping[str, bool]
) -> None:
    """Refuse options that the chosen kind of benchmark would pass over in silence."""
    if lesions:
        _refuse_given(of_figures, "--lesions")
    elif any(value is not None for value in of_lesions.values()):
        raise InputError("options of lesions have no meaning without --lesions; add it.")


def _refuse_given(options: Mapping[str, bool], kind: str) -> None:
    given = [name for name, is_given in options.items() if is_given]
    if given:
        raise InputError(f"{given[0]} has no meaning with {kind}; leave one of them out.")


def _benchmark_alignment(folder: Path, output_dir: Path, *, count: int, seed: int) -> None:
    from monai_ddfm.apps.benchmark import benchmark_alignment  # noqa: PLC0415 - keeps --help fast

    result = benchmark_alignment(folder, count=count, seed=seed, output_dir=output_dir)
    typer.echo(result.text, nl=False)
    typer.echo(f"tables         {output_dir / 'alignment.txt'} and .json")


def _benchmark_lesions(
    folder: Path,
    output_dir: Path,
    *,
    methods: str | None,
    sizes: str | None,
    contrasts: str | None,
    lines: str | None,
    **options: Any,
) -> None:
    """Run `benchmark_lesions` with every size and line in every contrast."""
    from monai_ddfm.apps.benchmark import benchmark_lesions  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.apps.benchmark.lesions import LESION_METHODS  # noqa: PLC0415
    from monai_ddfm.metrics.observer import Lesion  # noqa: PLC0415

    shades = _numbers("0.2" if contrasts is None else contrasts, "lesion contrasts")
    kinds = [
        Lesion(width=width, contrast=shade)
        for width in _numbers("7" if sizes is None else sizes, "lesion sizes")
        for shade in shades
    ]
    for shape in filter(None, (lines or "").split(",")):
        kinds += [Lesion.typical(shape, contrast=shade) for shade in shades]  # type: ignore[arg-type]
    known = {name: value for name, value in options.items() if value is not None}
    result = benchmark_lesions(
        folder,
        methods=LESION_METHODS if methods is None else methods,
        lesions=kinds,
        output_dir=output_dir,
        **known,
    )
    typer.echo(result.text, nl=False)
    typer.echo(f"tables         {output_dir / 'lesions.txt'}, .csv and .json")


def _numbers(text: str, name: str) -> list[float]:
    """Read numbers with commas between."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text!r} are unusable; give numbers with commas.") from None


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
        list[Path] | None,
        typer.Option(
            parser=parse_path, metavar="PATH", help="The other source, on one grid; or several."
        ),
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="What --moving is, for volumes: CT, PET or SPECT.")
    ] = None,
    window: Annotated[
        list[str] | None, typer.Option(help="Gray scale of --moving, for volumes, as for fuse.")
    ] = None,
    metrics: _Metrics = None,
    convention: _Convention = "evaluator",
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
    from monai_ddfm.apps.benchmark import evaluate as run  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.metrics import PUBLISHED_METRICS  # noqa: PLC0415
    from monai_ddfm.utils.json_files import write_json  # noqa: PLC0415

    if json_file is not None:
        if json_file.suffix.lower() != ".json":
            raise InputError(f"{json_file} is no name for figures; end it in .json.")
        read: dict[str, Path | None] = {"FUSED": fused, "--fixed": fixed}
        paths = moving or []
        read |= {f"--moving {n}" if len(paths) > 1 else "--moving": p for n, p in enumerate(paths)}
        check_apart({**read, "its record": fused / "provenance.json"}, written=[json_file])
    names = PUBLISHED_METRICS if metrics is None else [m for m in metrics.split(",") if m]
    figures = run(
        fused,
        fixed=fixed,
        moving=moving or None,
        modality=modality or None,
        window=_one_or_all(window),
        metrics=names,
        convention=convention,  # type: ignore[arg-type]  # checked there
        stretch=stretch,
    )
    if json_file is not None:
        write_json(json_file, {"notice": NOTICE, "convention": convention, "figures": figures})
    for name, value in figures.items():
        typer.echo(f"{name:10}{value:12.5g}")
    typer.echo(NOTICE)


def _one_or_all(given: list[str] | None) -> str | list[str] | None:
    """Return what is given once as it is, and None for nothing."""
    return given[0] if given and len(given) == 1 else given or None
