"""The site, with a reference page for every room of the package and every package in it.

``python docs/_plugins/api_pages.py build --strict`` or ``serve``: what follows is for Zensical.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "monai_ddfm"
FOLDER = "reference/api"
NOT_ROOMS = {"__init__", "__main__", "cli"}
_ENTRY = "- Python: reference/python.md"
# By use: what scripts call comes first, and in it what they call first.
_USED = ("workflow", "inferers", "transforms", "data", "metrics", "networks", "training", "errors")
_FIRST = {"workflow": "fusion", "inferers": "ddfm", "metrics": "table"}


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
    first = _FIRST.get(room, "")
    for module in sorted(folder.rglob("*.py"), key=lambda path: (path.stem != first, path)):
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


def _is_public(module: Path) -> bool:
    """Whether the module names what it offers."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return True
    return False


def main() -> int:
    """Make the pages and a configuration that has them in its navigation; build or serve it."""
    folder = ROOT / "docs" / FOLDER
    folder.mkdir(exist_ok=True)
    every = rooms()
    for room in every:
        (folder / f"{room}.md").write_text(page(room), encoding="utf-8")
    entries = ["- Python:", "- reference/python.md"]
    entries += [f"- {room}: {FOLDER}/{room}.md" for room in _USED]
    entries += ["- What they are built from:"]
    entries += [f"    - {room}: {FOLDER}/{room}.md" for room in every if room not in _USED]
    said = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    whole = said.replace(_ENTRY, f"\n{' ' * 10}".join(entries))
    assert whole != said
    built = ROOT / "mkdocs.built.yml"
    built.write_text(whole, encoding="utf-8")
    # With -m, so that the extensions in this folder can be imported from the root.
    call = [sys.executable, "-m", "zensical", *sys.argv[1:], "--config-file", str(built)]
    return subprocess.run(call, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
