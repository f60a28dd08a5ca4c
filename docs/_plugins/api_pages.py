"""MkDocs hook: a reference page for every room of the package and every package in it."""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parents[2] / "monai_ddfm"
FOLDER = "reference/api"
NOT_ROOMS = {"__init__", "__main__", "cli"}
NAV_TITLE = "Python"


def rooms() -> list[str]:
    """Return the modules and packages directly below the package, and the packages in these."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    inner = {
        ".".join(path.parent.relative_to(PACKAGE).parts) for path in PACKAGE.glob("*/*/__init__.py")
    }
    return sorted((modules | packages | inner) - NOT_ROOMS)


def page(room: str) -> str:
    """Return the Markdown of a room's page."""
    folder = PACKAGE.joinpath(*room.split("."))
    lines = [f"# `monai_ddfm.{room}`", ""]
    if not folder.is_dir():
        lines += [f"::: monai_ddfm.{room}", ""]
        return "\n".join(lines)
    lines += [f"::: monai_ddfm.{room}", "    options:", "      members: false", ""]
    every = rooms()
    for module in sorted(folder.rglob("*.py")):
        parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        if (module.parent == folder and is_package) or not _is_public(module):
            continue
        # A package in a room has a page of its own.
        if "." not in room and ".".join(parts[1:3]) in every:
            continue
        name = ".".join(parts[:-1] if is_package else parts)
        lines += [f"## `{name}` {{ #{name} }}", ""]
        lines += [f"::: {name}", "    options:", "      heading_level: 3"]
        # What a package offers is described where it is defined.
        lines += ["      members: false", ""] if is_package else [""]
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation, in place of the entry that stands for them."""
    pages = [{room: f"{FOLDER}/{room}.md"} for room in rooms()]
    for section in config.nav or []:
        for entry in section.get("Reference", []) if isinstance(section, dict) else []:
            if isinstance(entry, dict) and NAV_TITLE in entry:
                entry[NAV_TITLE] = [entry[NAV_TITLE], *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages."""
    for room in rooms():
        files.append(File.generated(config, f"{FOLDER}/{room}.md", content=page(room)))
    return files


def _is_public(module: Path) -> bool:
    """Whether the module names what it offers."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return True
    return False
