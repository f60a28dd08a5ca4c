"""The command ``monai-ddfm``: one module for each group of commands, put together in `program`."""

from __future__ import annotations

from monai_ddfm.cli.program import app, main

__all__ = ["app", "main"]
