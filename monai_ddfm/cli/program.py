"""The program: its commands put together, and how a run of it ends."""

from __future__ import annotations

import logging
import sys
import warnings
from functools import cache
from typing import Annotated, Any

import typer

from monai_ddfm.cli.cohort import cohort
from monai_ddfm.cli.endings import explanation, noting_interrupts, was_interrupted
from monai_ddfm.cli.fusion import demo, fuse
from monai_ddfm.cli.label import label
from monai_ddfm.cli.measuring import benchmark, evaluate
from monai_ddfm.cli.options import NOTICE, CommandWithMore
from monai_ddfm.cli.pictures import fuse_2d
from monai_ddfm.cli.prior import prior_app
from monai_ddfm.cli.speed import (
    benchmark_cohort,
    benchmark_demo,
    benchmark_recovery,
    benchmark_samples,
    benchmark_speed,
)
from monai_ddfm.cli.warnings import warnings_at_the_end
from monai_ddfm.errors import InputError, StoppedError
from monai_ddfm.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="monai-ddfm",
    help="Fuse an MRI with a CT, PET or SPECT of the same patient, training-free, with a "
    f"diffusion prior (DDFM). {NOTICE.capitalize()}.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command(cls=CommandWithMore)(fuse)
app.command()(demo)
app.command("fuse-2d")(fuse_2d)
app.command()(evaluate)
app.command()(benchmark)
app.command()(benchmark_speed)
app.command("benchmark-cohort")(benchmark_cohort)
app.command("benchmark-demo")(benchmark_demo)
app.command("benchmark-recovery")(benchmark_recovery)
app.command("benchmark-samples")(benchmark_samples)
app.command()(label)
app.command(cls=CommandWithMore)(cohort)
app.add_typer(prior_app, name="prior")
# For one release, under the names that they had before.
app.command("bench", hidden=True, deprecated=True)(benchmark_speed)
app.command("bench-cohort", hidden=True, deprecated=True)(benchmark_cohort)
app.command("bench-recovery", hidden=True, deprecated=True)(benchmark_recovery)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    context.with_resource(warnings_at_the_end())
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:
        # MONAI and ignite repeat what this program says in one sentence.
        warnings.filterwarnings("ignore")
        logging.getLogger("ignite").setLevel(logging.CRITICAL)
        logging.getLogger("monai").setLevel(logging.ERROR)
        # It quotes what stands in a header, names among it, once for each image.
        logging.getLogger("pydicom").setLevel(logging.ERROR)


def main() -> None:
    """Run the command; a mistake of the user ends in one sentence and exit status 2."""
    stopped = "stopped by the user; results of this run were not written."
    interrupts: list[int] = []
    try:
        with noting_interrupts(interrupts):
            status = _command()(prog_name="monai-ddfm", standalone_mode=False)
    except InputError as error:
        typer.echo(f"error: {_in_words_of_the_command_line(error)}", err=True)
        status = 2
    except StoppedError as error:
        stopped, status = str(error), 130
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except Exception as error:
        status = 130 if interrupts else _ended(error)
        if status is None:
            raise
    if status == 130:
        typer.echo(f"error: {stopped}", err=True)
    sys.exit(status)


@cache
def _command() -> Any:
    """Return the command with all its options, put together once in a process."""
    return typer.main.get_command(app)


def _in_words_of_the_command_line(error: InputError) -> str:
    from monai_ddfm.options.names import in_words_of  # noqa: PLC0415 - keeps --help fast

    return in_words_of("command line", str(error))


def _ended(error: Exception) -> int | None:
    """Say why a run has ended, if it is no fault of the program.

    Returns:
        The exit status; None if the error is a fault of the program.
    """
    status = _refused_by_parser(error)
    if status is None and was_interrupted(error):
        return 130
    if status is None and (told := explanation(error)):
        typer.echo(f"error: {told}", err=True)
        return 2
    return status


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
