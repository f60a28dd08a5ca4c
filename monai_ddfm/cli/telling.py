"""What a fusion tells while it runs, and what it would do: lines for people who wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from monai_ddfm.cli.options import NOTICE
from monai_ddfm.utils.warnings_log import STAGES_LOG
from monai_ddfm.utils.words import duration_words, grid_words

__all__ = ["plan_lines", "stages_told"]

_NEXT = {"loading": "registering", "intensity": "fusing", "color": "writing"}
"""What is done after a stage, where it takes a while."""


class _Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if doing := _NEXT.get(record.getMessage()):
            typer.echo(doing, err=True)


@contextmanager
def stages_told() -> Iterator[None]:
    """Say what is being done within a block, each stage in a line."""
    logger, handler = logging.getLogger(STAGES_LOG), _Telling()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def plan_lines(plan: Mapping[str, Any], *, folder: Path, deidentify: bool = False) -> Iterator[str]:
    """Yield a plan (`monai_ddfm.workflow.dry.plan_only`) as text.

    Args:
        plan: what a run would do.
        folder: where its results would be.
        deidentify: leave out what the headers call the series: people write names there.
    """
    for role, report in plan["reading"].items():
        grid = grid_words(tuple(report["shape"][-3:]), tuple(report["spacing_mm"]))
        series = None if deidentify else report.get("series", {}).get("description")
        units = report["units"] or "units not stated"
        yield f"{role:12} {report['path']}: {report['modality']}, " + ", ".join(
            filter(None, (f"series '{series}'" if series else "", grid, units))
        )
    yield f"patient      {_patient(plan['patient'])}"
    yield f"registration {plan['registration']}, not tried yet"
    shape = tuple(plan["grid"]["shape"])
    yield f"grid         {grid_words(shape, tuple(plan['grid']['spacing_mm']))}, {shape[-1]} slices"
    often = f", {plan['fusions']} times" if plan["fusions"] > 1 else ""
    yield f"method       preset {plan['preset']}{often}, on {plan['device']}"
    yield f"results      {folder}; nothing is written now"
    clean = plan["seconds_if_clean"]
    less = "" if clean is None else f", {duration_words(clean)} if neither source is noisy"
    yield f"time         about {duration_words(plan['seconds'])}{less}; {NOTICE}"


def _patient(report: Mapping[str, Any]) -> str:
    if report["same"] is None:
        return "not compared: a volume has no patient ID"
    return "the same patient ID" if report["same"] else "different patient IDs, which is allowed"
