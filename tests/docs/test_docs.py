"""The reference says what the programs have: options, commands, entries, fields and tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from doc_pages import DOCS, ROOT, command_at, page_text
from monai.data import MetaTensor

from monai_ddfm.apps.label.request import CHOICES, offered_options
from monai_ddfm.cli import app
from monai_ddfm.data.writers.bound import excess_over_sources
from monai_ddfm.data.writers.outputs import MARKER, OUTPUT_NAMES
from monai_ddfm.data.writers.provenance import RunRecord, collect_provenance
from monai_ddfm.inferers import PRESETS
from monai_ddfm.transforms.windows import CT_WINDOWS, DEFAULT_WINDOWS, KNOTS, parse_window
from monai_ddfm.utils.color import COLOR_TABLES

BUNDLE = ROOT / "bundles" / "ddfm_medical_fusion"


def table(path: Path, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column has this heading, by their first cell."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in page_text(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith(f"| {heading} |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|--"):
            rows[cells[0]] = cells[1:]
    return rows


def names(rows: dict[str, list[str]]) -> set[str]:
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def options_of(command: Any) -> set[str]:
    found = {
        name
        for p in command.params
        for name in (*p.opts, *p.secondary_opts)
        if name.startswith("-")
    }
    return found - {"--help", "--help-all", "--help-json"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fuse"],
        ["demo"],
        ["prior", "convert"],
        ["prior", "info"],
        ["fuse-2d"],
        ["evaluate"],
        ["benchmark"],
        ["benchmark-demo"],
        ["label"],
        ["cohort"],
    ],
    ids=lambda words: " ".join(words) or "monai-ddfm",
)
def test_command_line_reference_lists_every_option(words: list[str]) -> None:
    text = page_text(DOCS / "reference" / "command-line.md")
    section = re.search(
        rf"^## {' '.join(['monai-ddfm', *words])}\n(.*?)(?=^## |\Z)", text, re.M | re.S
    )
    assert section is not None
    listed = re.findall(r"^\| (`-.*?) \|", section[1], re.M)
    documented = {name for cell in listed for name in re.findall(r"`([^`]+)`", cell)}
    assert documented == options_of(command_at(words)[0])


def test_command_line_reference_lists_every_command() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")

    def leaves(command: Any, path: str) -> Iterator[str]:
        for name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                yield from leaves(child, f"{path} {name}")
        if not getattr(command, "commands", {}):
            yield path

    for path in leaves(typer.main.get_command(app), "monai-ddfm"):
        assert f"\n## {path}\n" in text


def test_configuration_reference_lists_every_entry() -> None:
    config = json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8"))
    entries = list(config)
    settable = set(entries[: entries.index("run_record")])
    settable -= {"imports", "bundle_root", "dataset_dir"}
    rows = table(DOCS / "reference" / "configuration.md", "entry")
    assert names(rows) == settable
    for cell, rest in rows.items():
        default = config[cell.strip("`")]
        if isinstance(default, str) and not default.startswith("$"):
            assert rest[-1] == f"`{default}`"
        elif isinstance(default, bool):
            assert rest[-1] == ("`on`" if default else "`off`")
        elif isinstance(default, int | float):
            assert rest[-1] == f"`{default:g}`"


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "reference" / "outputs.md"])
def test_output_tables_are_complete(page: Path) -> None:
    assert names(table(page, "file")) == {*OUTPUT_NAMES, MARKER}


def test_parameters_of_label_requests_are_described_as_they_are() -> None:
    rows = table(DOCS / "how-to" / "label.md", "parameter")
    assert names(rows) == offered_options(archive=True).keys()
    for name, (default, *others) in CHOICES.items():
        cells = " ".join(rows[f"`{name}`"][-2:])
        assert {default, *others} - {"as the preset"} <= set(re.findall(r"`([^`]+)`", cells))


def test_provenance_reference_lists_every_field() -> None:
    case = {"fixed": MetaTensor(torch.zeros(1, 2, 2, 2))}
    bound = excess_over_sources(torch.zeros(1, 2, 2, 2), torch.zeros(2, 2, 2, 2))
    details = {"bound": bound, "fused": {}}
    written = collect_provenance(RunRecord(), case, details=details)
    assert names(table(DOCS / "reference" / "provenance.md", "field")) == written.keys()
    assert names(table(DOCS / "concepts" / "trust.md", "field")) == bound.keys()


def test_registration_report_is_described() -> None:
    from monai_ddfm.transforms.registration_quality import RegistrationQuality  # noqa: PLC0415

    described = names(table(DOCS / "concepts" / "registration.md", "field"))
    assert described >= set(RegistrationQuality.__dataclass_fields__)


def test_presets_are_described_as_they_are() -> None:
    rows = table(DOCS / "concepts" / "presets.md", "preset")
    described = {name.strip("`"): [cell.strip("`") for cell in row] for name, row in rows.items()}
    actual = {
        name: [
            str(preset.steps),
            preset.solver,
            type(preset.rectifier).__name__,
            {"noise": "noise", "sources": "the sources"}[preset.start],
        ]
        for name, preset in PRESETS.items()
    }
    assert described == actual


def test_windows_are_described_as_they_are() -> None:
    page = DOCS / "how-to" / "window.md"
    defaults = {name: row[0].strip("`") for name, row in table(page, "modality").items()}
    assert defaults == {k.value: v for k, v in DEFAULT_WINDOWS.items() if k.value != "MR"}
    listed = names(table(page, "you write"))
    assert listed >= {*CT_WINDOWS, *KNOTS, "maximum", "cerebellum"}
    for modality in DEFAULT_WINDOWS:
        for window in listed:
            of_ct_only = window in {*CT_WINDOWS, *KNOTS}
            if of_ct_only == (modality.value == "CT") and window not in ("maximum", "cerebellum"):
                parse_window(window, modality)


def test_color_table_of_the_documentation_exists() -> None:
    row = table(DOCS / "reference" / "configuration.md", "entry")["`color_table`"]
    assert row[-1].strip("`") in COLOR_TABLES
