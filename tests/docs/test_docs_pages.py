"""Pages of the documentation: examples that import, links that lead on, what each must say."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from doc_pages import DOCS, FENCE, PAGES, ROOT, WRITTEN, blocks, page_name
from PIL import Image

from monai_ddfm import __version__


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
            room = ROOT.joinpath("monai_ddfm", *place.stem.split("."))
            assert room.is_dir() or room.with_suffix(".py").is_file(), target
            continue
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M))
    assert listed == {path.relative_to(DOCS).as_posix() for path in WRITTEN}


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
