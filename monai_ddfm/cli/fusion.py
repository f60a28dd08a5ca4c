"""Commands that fuse: ``fuse`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.cli.options import (
    NOTICE,
    Amp,
    BatchSize,
    Device,
    OutputDir,
    Preset,
    Samples,
    Seed,
    Steps,
    parse_batch_size,
    parse_path,
)
from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality

__all__ = ["demo", "fuse"]


def fuse(
    fixed: Annotated[
        Path,
        typer.Option(
            parser=parse_path, metavar="PATH", help="The MRI: NIfTI, NRRD, MHA or a DICOM folder."
        ),
    ],
    moving: Annotated[
        Path,
        typer.Option(
            parser=parse_path, metavar="PATH", help="The CT, PET or SPECT of the same patient."
        ),
    ],
    modality: Annotated[str, typer.Option(help="What --moving is: CT, PET or SPECT.")],
    output_dir: OutputDir,
    preset: Preset = None,
    steps: Steps = None,
    seed: Seed = 0,
    samples: Samples = 1,
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
        typer.Option(
            parser=parse_path, metavar="PATH", help="Another prior, with its .json beside it."
        ),
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
        samples=samples,
        device=device,
        batch_size=parse_batch_size(batch_size),
        amp=amp,
        registration=registration,
        window=window,
        allow_patient_mismatch=allow_patient_mismatch,
        format=output_format,
        deidentify=deidentify,
        push=push,
    )


def demo(
    output_dir: OutputDir,
    modality: Annotated[str, typer.Option(help="CT, PET or SPECT; IR for pictures.")] = "PET",
    preset: Preset = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = "auto",
    amp: Amp = False,
) -> None:
    """Make the demo subject, fuse it and say where the pictures are.

    The subject is computed from the ICBM 152 head; nothing is downloaded. With IR it is a pair of
    pictures, visible and infrared.
    """
    if modality.strip().upper() == "IR":
        _demo_pictures(output_dir, preset=preset, steps=steps, seed=seed, device=device, amp=amp)
        return
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
        batch_size=parse_batch_size(batch_size),
        amp=amp,
    )


def _demo_pictures(output_dir: Path, *, seed: int, **options: Any) -> None:
    from monai_ddfm.demo.pictures import make_picture_pair  # noqa: PLC0415
    from monai_ddfm.pictures import fuse_pictures  # noqa: PLC0415

    pair = make_picture_pair(output_dir / "subject", seed=seed)
    results = fuse_pictures(
        pair.visible,
        pair.infrared,
        modality="IR",
        output=output_dir / "fused.png",
        seed=seed,
        **options,
    )
    typer.echo(f"sources        {pair.visible} and {pair.infrared}")
    typer.echo(f"fused picture  {results[0].picture}")
    typer.echo(f"record         {results[0].record}; {NOTICE}")


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
