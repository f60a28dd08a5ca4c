"""Where the warnings of a run are logged when it ends, so that every interface can show them.

They stand in the record of the run as well. The command line collects what is logged here and
prints it last; elsewhere Python's own logging decides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

__all__ = ["WARNINGS_LOG", "log_warnings"]

WARNINGS_LOG = "monai_ddfm.warnings"
"""Name of the logger that gets them."""


def log_warnings(warnings: Iterable[str]) -> None:
    """Log the warnings of a run, one by one.

    Args:
        warnings: clauses, as they stand in the record of the run.
    """
    logger = logging.getLogger(WARNINGS_LOG)
    for text in warnings:
        logger.warning("%s", text)
