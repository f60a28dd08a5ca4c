"""Where a run logs its warnings and its stages, so that every interface can show them.

They stand in the record of the run as well. The command line collects the warnings and prints them
last, and tells the stages as they come; elsewhere Python's own logging decides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

__all__ = ["STAGES_LOG", "WARNINGS_LOG", "log_warnings"]

WARNINGS_LOG = "monai_ddfm.warnings"
"""Name of the logger that gets the warnings."""
STAGES_LOG = "monai_ddfm.stages"
"""Name of the logger that gets the name of every stage that has ended, as information."""


def log_warnings(warnings: Iterable[str]) -> None:
    """Log the warnings of a run, one by one.

    Args:
        warnings: clauses, as they stand in the record of the run.
    """
    logger = logging.getLogger(WARNINGS_LOG)
    for text in warnings:
        logger.warning("%s", text)
