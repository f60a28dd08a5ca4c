"""Commands in the documentation can be called as they stand, and CI runs those of the README."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks, command_at, page_name

MONAI_OPTIONS = {"config_file", "bundle_root"}


def readme_command(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^<!-- ci:{name} -->\n```bash\n(.*?)\n```$", text, re.M | re.S)
    assert len(found) == 1
    return str(found[0])


def commands(path: Path, program: str) -> list[list[str]]:
    """Return the calls of a program in the bash blocks of a page, without its name."""
    calls = []
    for block in blocks(path, "bash"):
        for line in re.split(r"\n| && ", block):
            if line.startswith(program):
                calls.append(shlex.split(line.removeprefix(program)))
    return calls


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
