"""Warnings about cases that no record is written of: those of the commands that only measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_ddfm.utils.remarks import warnings
from monai_ddfm.utils.reports import collect_reports
from monai_ddfm.utils.warnings_log import log_warnings

__all__ = ["log_case_warnings"]


def log_case_warnings(case: Mapping[Any, Any], *, name: str = "") -> None:
    """Log the warnings about a case that no record will be written of.

    Args:
        case: volumes or pictures with the reports of what was done to them.
        name: of the case, where there are several.
    """
    found = warnings({"reports": collect_reports(case)})
    log_warnings(f"{name}: {text}" if name else text for text in found)
