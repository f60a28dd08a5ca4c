"""Commands that fuse: ``fuse`` and ``demo``."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.cli.options import NOTICE, with_options
from monai_ddfm.cli.telling import plan_lines, stages_told
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.options import options_of
from monai_ddfm.sources import names_of

__all__ = ["demo", "fuse"]


@with_options("fuse", common_first=True)
def fuse(fixed: Path, moving: list[Path], **options: Any) -> None:
    """Fuse an MRI with another volume, or several; the result is on the MRI's grid.

    **Example**: `monai-ddfm fuse --fixed t1.nii.gz --moving pet.nii.gz --modality PET -o out`

    **Several**: `... --moving pet.nii.gz --modality PET --moving ct.nii.gz --modality CT -o out`
    """
    _check(options)
    _fuse(fixed, moving, **options)


@with_options("demo")
def demo(
    output_dir: Path,
    modality: Annotated[
        list[str], typer.Option(help="CT, PET or SPECT, or several of them; IR for pictures.")
    ] = ["PET"],  # noqa: B006 - Typer shows it
    seed: int = 0,
    subject: Annotated[
        str, typer.Option(help="head, pelvis or abdomen; the last two with CT or PET.")
    ] = "head",
    **options: Any,
) -> None:
    """Make the demo subject, fuse it and say where the pictures are.

    The head is computed from the ICBM 152 template; nothing is downloaded. Pelvis and abdomen are
    sums of simple shapes. With IR it is a pair of pictures, visible and infrared.
    """
    kinds = modality if isinstance(modality, list) else [modality]
    if [kind.strip().upper() for kind in kinds] == ["IR"]:
        pictures = options_of("fuse-2d").keys()
        shared = {name: value for name, value in options.items() if name in pictures}
        _demo_pictures(output_dir, seed=seed, **shared)
        return
    parsed = [Modality.parse(kind) for kind in kinds]
    names_of(parsed)  # the simulated subject has been in each scanner once
    typer.echo(f"making an MRI and a {' and a '.join(parsed)} of a simulated {subject}", err=True)
    from monai_ddfm.apps.demo import make_demo  # noqa: PLC0415 - needs the extra

    folder = output_dir / "subject"
    made = [make_demo(folder, modality=kind, seed=seed, subject=subject) for kind in parsed]
    moving: Any = [one.moving for one in made]
    if len(parsed) == 1:
        moving, parsed = moving[0], parsed[0]  # type: ignore[assignment]
    _fuse(made[0].fixed, moving, output_dir=output_dir, modality=parsed, seed=seed, **options)


def _demo_pictures(output_dir: Path, *, seed: int, **options: Any) -> None:
    from monai_ddfm.apps.demo.pictures import make_picture_pair  # noqa: PLC0415
    from monai_ddfm.workflow.pictures import fuse_pictures  # noqa: PLC0415

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


def _check(options: dict[str, Any]) -> None:
    """Refuse options that would silently do nothing."""
    for name, option in options_of("fuse").items():
        if not option.needs_dicom or options[name] == option.default:
            continue
        part = next((f"-{part}" for part in option.parts if part in options[name]), "")
        if options["format"] not in ("dicom", "both"):
            flag = f"{option.flag}{part}".replace("_", "-")
            raise InputError(f"{flag} is for DICOM output; add --format dicom or both.")
    if options["bids"] and "root" not in options["bids"]:
        raise InputError("labels for a BIDS derivative need its folder; add --bids-root.")


def _fuse(fixed: Path, moving: Path | list[Path], **options: Any) -> None:
    from monai_ddfm.workflow.glance import glance  # noqa: PLC0415 - keeps --help fast

    case = {name: options[name] for name in ("modality", "output_dir")}
    found = str(glance(fixed, moving, **case, options=options))  # not kept: it holds the files open
    typer.echo(f"found {found}; loading PyTorch and MONAI", err=True)
    from monai_ddfm.data.writers.formats import VOLUME_NAMES  # noqa: PLC0415 - takes seconds
    from monai_ddfm.workflow import fuse as run  # noqa: PLC0415

    try:
        with nullcontext() if options.get("dry_run") else stages_told():
            result = run(fixed, moving, **options)
    except KeyboardInterrupt:
        if list(options["output_dir"].glob(".ddfm-work-*")):
            typer.echo("Finished slices are kept; the same command goes on from there.", err=True)
        raise
    if options.get("dry_run"):
        plan, unnamed = result.provenance["plan"], bool(options.get("deidentify"))
        for line in plan_lines(plan, folder=result.output_dir, deidentify=unnamed):
            typer.echo(line)
        return
    excess = result.provenance["bound"]["largest"]
    seconds = result.provenance["seconds"]
    volumes = (result.files[name] for name in VOLUME_NAMES if name in result.files)
    volume = next(volumes, result.output_dir / "dicom")
    typer.echo(f"fused volume   {volume}")
    typer.echo(f"pictures       {result.files['preview.png']}")
    typer.echo(f"report         {result.files['report.html']}")
    typer.echo(f"provenance     {result.files['provenance.json']}")
    typer.echo(
        f"{seconds['total']:.0f} s in all, {seconds.get('sampling', 0):.0f} s of it sampling; "
        f"largest excess over the sources {excess:.1e}; {NOTICE}"
    )
