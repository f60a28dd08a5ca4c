"""Commands that fuse: ``fuse`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from monai_ddfm.cli import options as cli
from monai_ddfm.cli.options import NOTICE, parse_batch_size
from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality

__all__ = ["demo", "fuse"]


def fuse(
    fixed: cli.Fixed,
    moving: cli.Moving,
    modality: cli.Modality,
    output_dir: cli.OutputDir,
    preset: cli.Preset = None,
    speed: cli.Speed = None,
    steps: cli.Steps = None,
    seed: cli.Seed = 0,
    samples: cli.Samples = 1,
    device: cli.Device = None,
    batch_size: cli.BatchSize = "auto",
    amp: cli.Amp = False,
    compile: cli.Compile = None,  # noqa: A002 - as PyTorch calls it
    max_memory: cli.MaxMemory = None,
    prior: cli.Prior = None,
    prior_share: cli.PriorShare = None,
    fidelity: cli.Fidelity = None,
    noise_margin: cli.NoiseMargin = None,
    favor_moving: cli.FavorMoving = None,
    smooth_across: cli.SmoothAcross = None,
    fixed_series: cli.FixedSeries = None,
    moving_series: cli.MovingSeries = None,
    fixed_frames: cli.FixedFrames = None,
    moving_frames: cli.MovingFrames = None,
    allow_patient_mismatch: cli.AllowPatientMismatch = False,
    spacing: cli.Spacing = None,
    slice_along: cli.SliceAlong = None,
    registration: cli.Registration = None,
    registration_start: cli.RegistrationStart = None,
    invert_transform: cli.InvertTransform = False,
    window: cli.Window = None,
    reference_mask: cli.ReferenceMask = None,
    bias_correction: cli.BiasCorrection = False,
    landmarks: cli.Landmarks = None,
    color_table: cli.ColorTable = None,
    color_style: cli.ColorStyle = None,
    bone_tint: cli.BoneTint = False,
    output_format: cli.Format = "nifti",
    deidentify: cli.Deidentify = False,
    allow_burned_in: cli.AllowBurnedIn = False,
    deterministic_uids: cli.DeterministicUids = False,
    patient_name: cli.PatientName = None,
    patient_id: cli.PatientId = None,
    patient_birth_date: cli.PatientBirthDate = None,
    patient_sex: cli.PatientSex = None,
    series_number: cli.SeriesNumber = None,
    push: cli.Push = None,
    bids_root: cli.BidsRoot = None,
    bids_subject: cli.BidsSubject = None,
    bids_session: cli.BidsSession = None,
    bids_tracer: cli.BidsTracer = None,
    bids_space: cli.BidsSpace = None,
) -> None:
    """Fuse two volumes; the result is on the MRI's grid.

    **Example**: `monai-ddfm fuse --fixed t1.nii.gz --moving pet.nii.gz --modality PET -o out`
    """
    # The parameters are the entries of the configuration, but for the groups taken out below.
    options = dict(locals())
    options["batch_size"] = parse_batch_size(batch_size)
    options["format"] = options.pop("output_format")
    options["patient"] = _group(options, "patient_", "name", "id", "birth_date", "sex")
    options["bids"] = _group(options, "bids_", "root", "subject", "session", "tracer", "space")
    _check(options)
    _fuse(**options)


def demo(
    output_dir: cli.OutputDir,
    modality: cli.DemoModality = "PET",
    preset: cli.Preset = None,
    speed: cli.Speed = None,
    steps: cli.Steps = None,
    seed: cli.Seed = 0,
    device: cli.Device = None,
    batch_size: cli.BatchSize = "auto",
    amp: cli.Amp = False,
    compile: cli.Compile = None,  # noqa: A002 - as PyTorch calls it
    max_memory: cli.MaxMemory = None,
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
        speed=speed,
        steps=steps,
        seed=seed,
        device=device,
        batch_size=parse_batch_size(batch_size),
        amp=amp,
        compile=compile,
        max_memory=max_memory,
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


def _group(options: dict[str, Any], prefix: str, *names: str) -> dict[str, Any] | None:
    """Take options with a common prefix out, and return those that were given."""
    taken = {name: options.pop(prefix + name) for name in names}
    return {name: value for name, value in taken.items() if value is not None} or None


def _check(options: dict[str, Any]) -> None:
    """Refuse options that would silently do nothing."""
    without_dicom = options["format"] == "nifti"
    patient = [f"patient_{name}" for name in options["patient"] or {}]
    asked = (name for name in ("push", "series_number", "deterministic_uids") if options[name])
    for name in (*asked, *patient):
        if without_dicom:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is for DICOM output; add --format dicom or both.")
    if options["bids"] and "root" not in options["bids"]:
        raise InputError("labels for a BIDS derivative need its folder; add --bids-root.")


def _fuse(fixed: Path, moving: Path, **options: Any) -> None:
    from monai_ddfm.workflow import fuse as run  # noqa: PLC0415 - keeps --help fast

    try:
        result = run(fixed, moving, **options)
    except KeyboardInterrupt:
        if list(options["output_dir"].glob(".ddfm-work-*")):
            typer.echo("Finished slices are kept; the same command goes on from there.", err=True)
        raise
    excess = result.provenance["bound"]["largest"]
    seconds = result.provenance["seconds"]
    volume = result.files.get("fused.nii.gz", result.output_dir / "dicom")
    typer.echo(f"fused volume   {volume}")
    typer.echo(f"pictures       {result.files['preview.png']}")
    typer.echo(f"report         {result.files['report.html']}")
    typer.echo(f"provenance     {result.files['provenance.json']}")
    typer.echo(
        f"{seconds['total']:.0f} s in all, {seconds.get('sampling', 0):.0f} s of it sampling; "
        f"largest excess over the sources {excess:.1e}; {NOTICE}"
    )
