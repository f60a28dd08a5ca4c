"""``report.html``: one self-contained page by which a person can judge a run."""

from __future__ import annotations

from monai_ddfm.visualize.report.page import write_report

__all__ = ["write_report"]
