"""The group: tables of all figures, and a page to look through all cases."""

from __future__ import annotations

from monai_ddfm.apps.cohort.group.gathering import read_problems, write_group, write_problems

__all__ = ["read_problems", "write_group", "write_problems"]
