"""The documentation says what the programs do: commands, options, tables, links and examples."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from monai.data import MetaTensor
from PIL import Image

from monai_ddfm import __version__
from monai_ddfm.cli import app
from monai_ddfm.color import COLOR_TABLES
from monai_ddfm.inferers import PRESETS
from monai_ddfm.label.wishes import CHOICES, offered_options
from monai_ddfm.transforms.windows import CT_WINDOWS, DEFAULT_WINDOWS, parse_window
from monai_ddfm.writers.bound import excess_over_sources
from monai_ddfm.writers.outputs import MARKER, OUTPUT_NAMES
from monai_ddfm.writers.provenance import RunRecord, collect_provenance

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BUNDLE = ROOT / "bundles" / "ddfm_medical_fusion"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```", re.M | re.S
)
MONAI_OPTIONS = {"config_file", "bundle_root"}


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> Iterator[str]:
    for found in FENCE.finditer(path.read_text(encoding="utf-8")):
        if found["language"] == language:
            yield "\n".join(
                line.removeprefix(found["indent"]) for line in found["body"].splitlines()
            )


def commands(path: Path, program: str) -> list[list[str]]:
    """Return the calls of a program in the bash blocks of a page, without its name."""
    calls = []
    for block in blocks(path, "bash"):
        for line in re.split(r"\n| && ", block):
            if line.startswith(program):
                calls.append(shlex.split(line.removeprefix(program)))
    return calls


def table(path: Path, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column has this heading, by their first cell."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
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


def readme_command(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^<!-- ci:{name} -->\n```bash\n(.*?)\n```$", text, re.M | re.S)
    assert len(found) == 1
    return str(found[0])


def command_at(words: list[str]) -> tuple[Any, list[str]]:
    """Walk down the command line's tree of commands; return the command and what is left."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    found = {
        name
        for p in command.params
        for name in (*p.opts, *p.secondary_opts)
        if name.startswith("-")
    }
    return found - {"--help"}


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_readme_commands_are_one_line_and_their_extras_exist(name: str) -> None:
    command = readme_command(name)
    assert "\n" not in command
    assert command.startswith("pip install -c constraints.txt ")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.search(r'"\.\[([a-z,]+)\]"', command)
    assert extras is not None
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()


def test_readme_demo_writes_where_the_readme_says() -> None:
    call = shlex.split(readme_command("demo").split(" && ")[1])
    assert call[:2] == ["monai-ddfm", "demo"]
    folder = call[call.index("--output-dir") + 1]
    assert f"`{folder}/preview.png`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "readme_command demo" in text
    assert "readme_command tests" in text


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_of_the_program_parse(page: Path) -> None:
    for words in commands(page, "monai-ddfm"):
        command, rest = command_at(words)
        if rest != ["--help"]:
            command.make_context("monai-ddfm", rest)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_bundle_commands_name_entries_of_the_configuration(page: Path) -> None:
    for words in commands(page, "python -m monai.bundle run"):
        given = dict(zip(words[::2], words[1::2], strict=True))
        files = [ROOT / name for name in re.findall(r"[\w/.-]+\.json", given["--config_file"])]
        entries = [json.loads(file.read_text(encoding="utf-8")).keys() for file in files]
        known = MONAI_OPTIONS.union(*entries)
        assert entries
        assert (ROOT / given["--bundle_root"]).is_dir()
        assert {name.removeprefix("--").split("#")[0] for name in given} <= known


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
        ["label"],
        ["cohort"],
    ],
    ids=lambda words: " ".join(words) or "monai-ddfm",
)
def test_command_line_reference_lists_every_option(words: list[str]) -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
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
        elif isinstance(default, bool | int):
            assert rest[-1] == json.dumps(default)


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "reference" / "outputs.md"])
def test_output_tables_are_complete(page: Path) -> None:
    assert names(table(page, "file")) == {*OUTPUT_NAMES, MARKER}


def test_parameters_of_label_requests_are_described_as_they_are() -> None:
    rows = table(DOCS / "how-to" / "label.md", "parameter")
    assert names(rows) == offered_options(archive=True).keys()
    for name, (default, *others) in CHOICES.items():
        if name != "color_table":
            assert set(re.findall(r"`([^`]+)`", rows[f"`{name}`"][0])) == {default, *others}


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
    assert listed >= {*CT_WINDOWS, "fusion", "maximum", "cerebellum"}
    for modality in DEFAULT_WINDOWS:
        for window in listed:
            of_ct_only = window in {*CT_WINDOWS, "fusion"}
            if of_ct_only == (modality.value == "CT") and window not in ("maximum", "cerebellum"):
                parse_window(window, modality)


def test_color_table_of_the_documentation_exists() -> None:
    row = table(DOCS / "reference" / "configuration.md", "entry")["`color_table`"]
    assert row[-1].strip("`") in COLOR_TABLES


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_examples_compile_and_import_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        compile(tree, page_name(page), "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("monai_ddfm"):
                module = importlib.import_module(str(node.module))
                assert [n.name for n in node.names if not hasattr(module, n.name)] == []


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {
        re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles
    }


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if place.parent == DOCS / "reference" / "api":
            # Made from the package while the site is built.
            room = ROOT / "monai_ddfm" / place.stem
            assert room.is_dir() or room.with_suffix(".py").is_file(), target
            continue
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M))
    assert listed == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_picture_is_small_enough_for_a_readme() -> None:
    picture = DOCS / "images" / "demo_pet.jpg"
    assert picture.stat().st_size < 500_000
    with Image.open(picture) as image:
        assert image.width <= 1400


def test_every_face_says_research_use_only() -> None:
    for page in (ROOT / "README.md", DOCS / "index.md", ROOT / "CITATION.cff", ROOT / "mkdocs.yml"):
        text = " ".join(page.read_text(encoding="utf-8").split())
        assert "research use only - not for diagnosis" in text.lower()


def test_citation_and_license_are_those_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.M) == [__version__]
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in license_text[:200]
    assert "END OF TERMS AND CONDITIONS" in license_text


def test_docstrings_become_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("griffe", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(DOCS / "_plugins"))
    as_markdown = importlib.import_module("docstrings").as_markdown
    assert as_markdown("a :math:`x_{n+1} -\n    x_n` b") == "a \\(x_{n+1} - x_n\\) b"
    assert as_markdown("a\n\n.. math::\n    x = 1\n\nb") == "a\n\n\n$$\nx = 1\n$$\n\nb"
    assert "\\begin{align*}" in as_markdown(".. math:: \n    x &= 1 \\\\\n    y &= 2\n")
    table_text = "===  ===\na    b\n===  ===\n1    2\n===  ===\n"
    assert as_markdown(f"{table_text}\nend") == f"```text\n{table_text}```\n\nend"


def test_examples_of_docstrings_become_code() -> None:
    # Under "Example:" the reference would quote them: griffe reads code below "Examples:" only.
    for path in sorted((ROOT / "monai_ddfm").rglob("*.py")):
        assert not re.search(r"^ *Example:$", path.read_text(encoding="utf-8"), re.M), path
