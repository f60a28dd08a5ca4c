"""The warnings of a run on the terminal: one line each, when the command has done everything else.

Whatever a command reads, fuses or measures logs its warnings under one name
(`monai_ddfm.utils.warnings_log`). They are kept while the command runs and printed at its end,
after the paths of the results, where they are seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from monai_ddfm.errors import printable
from monai_ddfm.utils.warnings_log import WARNINGS_LOG

__all__ = ["warnings_at_the_end"]

_LONGEST = 300
_ALSO_TOLD = "monai_ddfm.transforms.registration_array"
"""Logs in the middle of a run what the record of the run tells at its end."""


class _Kept(logging.Handler):
    """Keeps what is logged, each text once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.texts[printable(" ".join(record.getMessage().split()))] = None


@contextmanager
def warnings_at_the_end() -> Iterator[None]:
    """Print the warnings that are logged meanwhile, when all is done or has failed."""
    logger, other = logging.getLogger(WARNINGS_LOG), logging.getLogger(_ALSO_TOLD)
    kept, propagates, level = _Kept(), logger.propagate, other.level
    logger.addHandler(kept)
    logger.propagate = False
    other.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(kept)
        logger.propagate = propagates
        other.setLevel(level)
        for text in kept.texts:
            shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
            typer.echo(f"warning: {shown}", err=True)
