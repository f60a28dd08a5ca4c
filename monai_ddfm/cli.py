"""The command ``monai-ddfm``."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality
from monai_ddfm.version import __version__

__all__ = ["app", "main"]

NOTICE = "research use only - not for diagnosis"

app = typer.Typer(
    name="monai-ddfm",
    help="Fuse an MRI with a CT, PET or SPECT of the same patient, training-free, with a "
    f"diffusion prior (DDFM). {NOTICE.capitalize()}.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
prior_app = typer.Typer(help="Convert and describe priors.", no_args_is_help=True)
app.add_typer(prior_app, name="prior")


def _path(text: str) -> Path:
    """Read a path; an empty one would silently be the present folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty, give a path")
    return Path(text)


OutputDir = Annotated[
    Path,
    typer.Option(
        "--output-dir",
        "-o",
        parser=_path,
        metavar="PATH",
        help="Folder for the results; made if need be.",
    ),
]
Preset = Annotated[
    str | None, typer.Option(help="default, reference (as published) or paper (as printed).")
]
Steps = Annotated[int | None, typer.Option(help="Sampling steps; the preset's if not given.")]
Seed = Annotated[int, typer.Option(help="Of all noise: same seed, same bytes.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1; the best there is if not given.")
]
BatchSize = Annotated[str, typer.Option(help="Slices at a time, or auto; changes no result.")]
Amp = Annotated[bool, typer.Option("--amp", help="Run the prior in bfloat16: faster, less exact.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:
        # MONAI and ignite repeat what this program says in one sentence.
        warnings.filterwarnings("ignore")
        logging.getLogger("ignite").setLevel(logging.CRITICAL)
        logging.getLogger("monai").setLevel(logging.ERROR)


@app.command()
def fuse(
    fixed: Annotated[
        Path,
        typer.Option(
            parser=_path, metavar="PATH", help="The MRI: NIfTI, NRRD, MHA or a DICOM folder."
        ),
    ],
    moving: Annotated[
        Path,
        typer.Option(
            parser=_path, metavar="PATH", help="The CT, PET or SPECT of the same patient."
        ),
    ],
    modality: Annotated[str, typer.Option(help="What --moving is: CT, PET or SPECT.")],
    output_dir: OutputDir,
    preset: Preset = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = "auto",
    amp: Amp = False,
    registration: Annotated[
        str | None, typer.Option(help="rigid, affine, deformable, none, or an ITK transform file.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="Grey scale of --moving: a CT window (brain, bone, 40/80) or 0..10."),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(parser=_path, metavar="PATH", help="Another prior, with its .json beside it."),
    ] = None,
    allow_patient_mismatch: Annotated[
        bool, typer.Option("--allow-patient-mismatch", help="Fuse although patient IDs differ.")
    ] = False,
    output_format: Annotated[str, typer.Option("--format", help="nifti, dicom or both.")] = "nifti",
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="DICOM output without what identifies the patient.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="Send the DICOM output: AET@host:port or a DICOMweb URL.")
    ] = None,
) -> None:
    """Fuse two volumes; the result is on the MRI's grid.

    **Example**: `monai-ddfm fuse --fixed t1.nii.gz --moving pet.nii.gz --modality PET -o out`
    """
    if output_format == "nifti" and (push or deidentify):
        raise InputError("--push and --deidentify are about DICOM; add --format dicom or both.")
    _fuse(
        fixed,
        moving,
        modality=modality,
        output_dir=output_dir,
        prior=prior,
        preset=preset,
        steps=steps,
        seed=seed,
        device=device,
        batch_size=_batch_size(batch_size),
        amp=amp,
        registration=registration,
        window=window,
        allow_patient_mismatch=allow_patient_mismatch,
        format=output_format,
        deidentify=deidentify,
        push=push,
    )


@app.command()
def demo(
    output_dir: OutputDir,
    modality: Annotated[str, typer.Option(help="CT, PET or SPECT.")] = "PET",
    preset: Preset = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = "auto",
    amp: Amp = False,
) -> None:
    """Make the demo subject, fuse it and say where the pictures are.

    The subject is computed from the ICBM 152 head; nothing is downloaded.
    """
    from monai_ddfm.demo import make_demo  # noqa: PLC0415 - needs the extra

    parsed = Modality.parse_moving(modality)
    subject = make_demo(output_dir / "subject", modality=parsed, seed=seed)
    _fuse(
        subject.fixed,
        subject.moving,
        modality=parsed,
        output_dir=output_dir,
        preset=preset,
        steps=steps,
        seed=seed,
        device=device,
        batch_size=_batch_size(batch_size),
        amp=amp,
    )


@prior_app.command("convert")
def prior_convert(
    checkpoint: Annotated[Path, typer.Argument(help="A guided-diffusion checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The prior to write; its .json comes beside it.")],
    num_head_channels: Annotated[
        int, typer.Option(help="Channels of an attention head; files do not tell.")
    ] = 64,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float16; the checkpoint's if not given.")
    ] = None,
) -> None:
    """Convert a guided-diffusion checkpoint to a prior that `fuse --prior` takes."""
    import torch  # noqa: PLC0415 - keeps --help fast

    from monai_ddfm.checkpoints import convert_checkpoint  # noqa: PLC0415

    known = {None: None, "float32": torch.float32, "float16": torch.float16}
    if dtype not in known:
        raise InputError(f"weights of type {dtype!r} are not supported; use float32 or float16.")
    convert_checkpoint(checkpoint, out, num_head_channels=num_head_channels, dtype=known[dtype])
    prior_show(out)


@prior_app.command("info")
def prior_show(
    file: Annotated[Path, typer.Argument(help="A prior or a guided-diffusion checkpoint.")],
) -> None:
    """Say what a checkpoint holds."""
    from dataclasses import asdict  # noqa: PLC0415

    from monai_ddfm.checkpoints import prior_info  # noqa: PLC0415

    for name, value in asdict(prior_info(file)).items():
        values = value.items() if isinstance(value, dict) else [("", value)]
        for part, text in values:
            label = f"{name} {part}".strip().replace("_", " ")
            typer.echo(f"{label:34}{'not known' if text is None else text}")


def main() -> None:
    """Run the command; a mistake of the user ends in one sentence and exit status 2."""
    try:
        status = app(prog_name="monai-ddfm", standalone_mode=False)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        status = 2
    except typer.Abort:
        status = 130
    except Exception as error:
        status = _refused_by_parser(error)
        if status is None:
            raise
    if status == 130:
        typer.echo("error: stopped by the user; results of this run were not written.", err=True)
    sys.exit(status)


def _refused_by_parser(error: Exception) -> int | None:
    """Put what the parser of the command line refuses in one sentence, as every other mistake.

    Typer's own classes for these errors have moved from one package to another.

    Returns:
        The exit status; None if the error is none of the parser's.
    """
    if not hasattr(error, "format_message"):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "monai-ddfm"
    if message := " ".join(error.format_message().split()):
        message = f"{message[0].lower()}{message[1:].rstrip('.')}"
        typer.echo(f"error: {message}; see `{command} --help`.", err=True)
    return int(getattr(error, "exit_code", 2))


def _fuse(fixed: Path, moving: Path, **options: Any) -> None:
    from monai_ddfm.workflow import fuse as run  # noqa: PLC0415 - keeps --help fast

    result = run(fixed, moving, **options)
    excess = result.provenance["bound"]["largest"]
    seconds = result.provenance["seconds"]
    volume = result.files.get("fused.nii.gz", result.output_dir / "dicom")
    typer.echo(f"fused volume   {volume}")
    typer.echo(f"pictures       {result.files['preview.png']}")
    typer.echo(f"provenance     {result.files['provenance.json']}")
    typer.echo(
        f"{seconds['total']:.0f} s in all, {seconds.get('sampling', 0):.0f} s of it sampling; "
        f"largest excess over the sources {excess:.1e}; {NOTICE}"
    )


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"batch size {text!r} is unusable; give a number or auto.") from None
