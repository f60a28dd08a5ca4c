"""The command that fuses whole studies: ``cohort``, in the manner of a BIDS App."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.cli.options import NOTICE, parse_path, with_options
from monai_ddfm.errors import InputError, StoppedError
from monai_ddfm.version import install_command

__all__ = ["FAILED", "LOST", "cohort"]

LOST = 3
"""Exit status where the scheduler was lost: run the same command again."""
FAILED = 100
"""Exit status beyond this one: so many have failed, 25 and more in 125."""
_MOST_TOLD = 25
_MOST_HOURS = 10_000.0
_GOING_ON = "what is finished stays: run the same command again"

_WHICH = "What is fused"
_WHERE = "Where it runs"


class Level(StrEnum):
    """Levels of analysis of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


def _option(text: str, *names: str, panel: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


def _path(text: str, *names: str, panel: str) -> Any:
    return typer.Option(*names, parser=parse_path, metavar="PATH", help=text, rich_help_panel=panel)


@with_options("cohort", common_first=True)
def cohort(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A BIDS data set, a tree of DICOM studies, or a CSV file of pairs.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    level: Annotated[Level, typer.Argument(help="participant fuses; group only puts together.")],
    participant_label: Annotated[
        list[str] | None,
        _option("Subjects to fuse, without sub-; may be repeated.", panel=_WHICH),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        _option("Sessions of the moving volumes, without ses-; may be repeated.", panel=_WHICH),
    ] = None,
    modality: Annotated[
        list[str] | None,
        _option(
            "CT, PET or SPECT; all if not given. Several are fused together: may be repeated.",
            panel=_WHICH,
        ),
    ] = None,
    tracer: Annotated[str | None, _option("BIDS label of the tracer.", panel=_WHICH)] = None,
    mri: Annotated[
        list[str] | None,
        _option("T1w, T2w or FLAIR, the preferred first; may be repeated.", panel=_WHICH),
    ] = None,
    entity: Annotated[
        list[str] | None,
        _option("BIDS: of several of a kind, the one with run-1, rec-AC, ...", panel=_WHICH),
    ] = None,
    dry_run: Annotated[
        bool, _option("Print the plan and compute nothing.", "--dry-run", panel=_WHERE)
    ] = False,
    work_dir: Annotated[
        Path | None,
        _path(
            "Folder for work in progress; OUT_work if not given.", "--work-dir", "-w", panel=_WHERE
        ),
    ] = None,
    nprocs: Annotated[
        int | None,
        _option("Fusions at a time; as many as make sense if not given.", panel=_WHERE),
    ] = None,
    profile: Annotated[
        Path | None,
        _path("YAML file that says how to submit to SLURM, PBS, SGE or LSF.", panel=_WHERE),
    ] = None,
    scheduler: Annotated[
        str | None, _option("Address of a running Dask scheduler.", panel=_WHERE)
    ] = None,
    retries: Annotated[
        int, _option("How often a case is tried again whose worker was lost.", panel=_WHERE)
    ] = 3,
    time_limit: Annotated[
        float, _option("Hours that a case may take; 0 for any time.", panel=_WHERE)
    ] = 6.0,
    progress: Annotated[
        str, _option("auto, live, plain lines, or json lines.", panel=_WHERE)
    ] = "auto",
    **options: Any,
) -> None:
    """Fuse a whole study, on this machine or on a cluster; the same command continues it.

    **Example**: `monai-ddfm cohort bids out participant --nprocs 2`

    Exit status: 0 all is fused; 2 nothing was begun; 3 the scheduler was lost; 130 Ctrl-C;
    100 + n: n could not be fused (125: 25 or more).
    """
    study = _study()
    if level is Level.GROUP:
        _end(study.gather_group(out))
    request = study.CohortRequest(
        source=source,
        out=out,
        work=work_dir,
        selection=_selection(
            participant_label,
            session_label,
            modality,
            tracer,
            mri,
            options.pop("fixed_series"),
            options.pop("moving_series"),
            entity,
        ),
        prior=options.pop("prior"),
        device=options.pop("device"),
        options=options,
        workers=nprocs,
        profile=profile,
        address=scheduler or "",
        retries=retries,
        time_limit=_seconds(time_limit),
    )
    if dry_run:
        _print_plan(study.prepare(request))
    else:
        _fuse(study, request, progress)


def _seconds(hours: float) -> float:
    if not 0 <= hours <= _MOST_HOURS:
        raise InputError(f"--time-limit {hours:g} makes no sense; give hours, or 0 for any time.")
    return hours * 3600.0


def _study() -> Any:
    try:
        from monai_ddfm.apps.cohort import study  # noqa: PLC0415 - keeps --help fast
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("monai_ddfm"):
            raise
        raise InputError(
            f"the command cohort needs {error.name}; install it with `{install_command('cohort')}`."
        ) from error
    return study


def _selection(
    participants: list[str] | None,
    sessions: list[str] | None,
    modality: list[str] | None,
    tracer: str | None,
    mri: list[str] | None,
    fixed_series: str | None,
    moving_series: str | None,
    entities: list[str] | None,
) -> Any:
    from monai_ddfm.apps.cohort.cases import MRI_SUFFIXES, Selection  # noqa: PLC0415
    from monai_ddfm.modalities import Modality  # noqa: PLC0415

    if unknown := [name for name in mri or () if name not in MRI_SUFFIXES]:
        raise InputError(f"--mri {unknown[0]} is unknown; use {', '.join(MRI_SUFFIXES)}.")
    kinds = [Modality.parse(one) for one in modality or ()]
    if twice := [kind for kind in kinds if kinds.count(kind) > 1]:
        raise InputError(f"--modality {twice[0]} is given twice; give each modality once.")
    return Selection(
        participants=tuple(label.removeprefix("sub-") for label in participants or ()),
        sessions=tuple(label.removeprefix("ses-") for label in sessions or ()),
        modalities=tuple(kinds),
        tracer=(tracer or "").removeprefix("trc-"),
        mri=tuple(mri) if mri else MRI_SUFFIXES,
        fixed_series=fixed_series or "",
        moving_series=moving_series or "",
        entities=tuple(_entity(text) for text in entities or ()),
    )


def _entity(text: str) -> tuple[str, str]:
    from monai_ddfm.apps.cohort.bids_input import CHOOSABLE  # noqa: PLC0415

    name, _, label = text.partition("-")
    if name not in CHOOSABLE or not label.isalnum():
        known = ", ".join(f"{entity}-" for entity in CHOOSABLE)
        raise InputError(f"--entity {text!r} is unusable; give one of {known} with its label.")
    return name, label


def _print_plan(prepared: Any) -> None:
    from monai_ddfm.apps.cohort.planning import lines_of  # noqa: PLC0415

    plan = prepared.plan()
    for line in lines_of(plan, workers=prepared.site.workers or 1):
        typer.echo(line)
    typer.echo(f"place    {prepared.site}")
    _end(len(plan.problems))


def _fuse(study: Any, request: Any, progress: str) -> None:
    from monai_ddfm.apps.cohort.engine import EngineLostError  # noqa: PLC0415
    from monai_ddfm.apps.cohort.progress import make_display  # noqa: PLC0415

    display = make_display(progress)
    try:
        outcome = study.fuse_participants(request, display)
    except EngineLostError as error:
        typer.echo(f"error: {error}; {_GOING_ON}.", err=True)
        raise typer.Exit(LOST) from error
    except KeyboardInterrupt as error:
        raise StoppedError(f"stopped by the user; {_GOING_ON}.") from error
    display.say(f"page     {request.out / 'group.html'}")
    display.say(f"tables   {request.out / 'cohort.csv'}, {request.out / 'cohort.json'}")
    display.say(NOTICE)
    _end(outcome.failed)


def _end(failed: int) -> None:
    raise typer.Exit(FAILED + min(failed, _MOST_TOLD) if failed else 0)
