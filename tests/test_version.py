"""What a message says to install is true wherever the package came from."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from bundle_parts import REPOSITORY

from monai_ddfm.version import _command, install_command

ORIGINS = [
    (None, ["monai-ddfm[dicom]"]),
    (
        {"url": "file:///home/me/a%20clone", "dir_info": {"editable": True}},
        ["-e", "/home/me/a clone[dicom]"],
    ),
    ({"url": "file:///home/me/clone", "dir_info": {}}, ["/home/me/clone[dicom]"]),
    (
        {"url": "file:///tmp/monai_ddfm-0.1.0-py3-none-any.whl", "archive_info": {}},
        ["monai-ddfm[dicom] @ file:///tmp/monai_ddfm-0.1.0-py3-none-any.whl"],
    ),
    (
        {"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
        ["monai-ddfm[dicom] @ git+https://example.org/a.git"],
    ),
]


@pytest.mark.parametrize(("origin", "wanted"), ORIGINS)
def test_the_command_names_where_the_package_came_from(
    origin: dict[str, object] | None, wanted: list[str]
) -> None:
    assert shlex.split(_command(origin, "dicom")) == ["pip", "install", *wanted]


def test_the_command_of_this_installation_leads_to_the_project() -> None:
    if distribution("monai-ddfm").read_text("direct_url.json") is None:
        pytest.skip("installed from an index")
    place, bracket, rest = shlex.split(install_command("demo"))[-1].partition("[demo]")
    assert (bracket, rest.partition("file:")[0]) in {("[demo]", ""), ("[demo]", " @ ")}
    assert place == "monai-ddfm" or (Path(place) / "pyproject.toml").is_file()


def test_messages_name_extras_that_exist_and_no_index() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = [p for p in (REPOSITORY / "monai_ddfm").rglob("*.py") if p.name != "version.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"install_command\(['\"](\w+)['\"]\)", text))
    assert {"demo", "dicom", "label", "cohort", "train"} <= named
    assert named <= set(project["optional-dependencies"])
    assert re.findall(r"pip install \S*monai-ddfm", text) == []
