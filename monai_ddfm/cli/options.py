"""Options that several commands share, and how their text is read.

An option is an annotated type; a command takes it by naming the type. Nothing here may import
PyTorch: ``--help`` must stay quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_ddfm.errors import InputError

__all__ = [
    "NOTICE",
    "Amp",
    "BatchSize",
    "Device",
    "OutputDir",
    "Preset",
    "Samples",
    "Seed",
    "Steps",
    "parse_batch_size",
    "parse_path",
]

NOTICE = "research use only - not for diagnosis"


def parse_path(text: str) -> Path:
    """Read a path; an empty one would silently be the present folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty, give a path")
    return Path(text)


def parse_batch_size(text: str) -> int | str:
    """Read a number of slices, or the word auto.

    Raises:
        InputError: if it is neither.
    """
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"batch size {text!r} is unusable; give a number or auto.") from None


OutputDir = Annotated[
    Path,
    typer.Option(
        "--output-dir",
        "-o",
        parser=parse_path,
        metavar="PATH",
        help="Folder for the results; made if need be.",
    ),
]
Preset = Annotated[
    str | None, typer.Option(help="default, reference (as published) or paper (as printed).")
]
Steps = Annotated[int | None, typer.Option(help="Sampling steps; the preset's if not given.")]
Seed = Annotated[int, typer.Option(help="Of all noise: same seed, same bytes.")]
Samples = Annotated[
    int, typer.Option(help="Fuse so often with other noise; writes how much the results differ.")
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1; the best there is if not given.")
]
BatchSize = Annotated[str, typer.Option(help="Slices at a time, or auto; changes no result.")]
Amp = Annotated[bool, typer.Option("--amp", help="Run the prior in bfloat16: faster, less exact.")]
