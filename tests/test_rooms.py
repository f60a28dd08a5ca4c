"""The rooms of the package: names that can be imported flat, and names of before."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from monai_ddfm.cli import app
from monai_ddfm.utils.former_names import FORMER_NAMES


@pytest.mark.parametrize("room", ["data", "transforms", "visualize"])
def test_a_room_has_what_it_offers(room: str) -> None:
    package = importlib.import_module(f"monai_ddfm.{room}")
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_every_transform_can_be_imported_flat() -> None:
    offered = set(importlib.import_module("monai_ddfm.transforms").__all__)
    folder = Path(str(importlib.import_module("monai_ddfm.transforms").__file__)).parent
    for path in folder.glob("[!_]*.py"):
        names = set(importlib.import_module(f"monai_ddfm.transforms.{path.stem}").__all__)
        forms = {name for name in names if f"{name[:-1]}D" in names and name.endswith("d")}
        assert forms <= offered, path.name


@pytest.mark.parametrize(
    "former", sorted(name for name in FORMER_NAMES if not name.startswith(("label", "cohort")))
)
def test_a_former_name_is_the_module_of_today(former: str) -> None:
    today = importlib.import_module(f"monai_ddfm.{FORMER_NAMES[former]}")
    sys.modules.pop(f"monai_ddfm.{former}", None)
    spec = today.__spec__
    with pytest.warns(DeprecationWarning, match=f"monai_ddfm.{former} is {today.__name__} now"):
        assert importlib.import_module(f"monai_ddfm.{former}") is today
    assert today.__spec__ is spec


@pytest.mark.parametrize(
    ("module", "former", "today"),
    [
        ("apps.recovery", "bench_recovery", "benchmark_recovery"),
        ("apps.speed", "BenchOptions", "SpeedBenchmarkOptions"),
        ("inferers", "tailored", "configure"),
        ("likelihoods.saliency", "Choice", "SaliencyParameters"),
        ("transforms", "SplitSpreadd", "SplitEnsembled"),
        ("workflow.cached_prior", "kept_prior", "cached_prior"),
    ],
)
def test_a_former_name_in_a_module_is_that_of_today(module: str, former: str, today: str) -> None:
    home = importlib.import_module(f"monai_ddfm.{module}")
    with pytest.warns(DeprecationWarning, match=f"{former} is {today} now"):
        assert getattr(home, former) is getattr(home, today)
    with pytest.raises(AttributeError, match="'nothing'"):
        home.nothing  # noqa: B018


@pytest.mark.parametrize("former", ["bench", "bench-cohort", "bench-recovery"])
def test_a_former_command_is_that_of_today(former: str) -> None:
    commands = typer.main.get_command(app).commands
    today = commands[former.replace("bench", "benchmark") if "-" in former else "benchmark-speed"]
    assert commands[former].callback.__wrapped__ is today.callback.__wrapped__
    assert commands[former].hidden
    assert commands[former].deprecated


def test_a_former_name_in_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from monai_ddfm.readers.clock import __all__ as former\n"
        "from monai_ddfm.data.readers.clock import __all__ as today\n"
        "assert former is today\n"
        "try:\n    import monai_ddfm.kitchen\n"
        "except ModuleNotFoundError as error:\n    print(error)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "No module named 'monai_ddfm.kitchen'\n"
    assert f"{script}:1: DeprecationWarning: monai_ddfm.readers is" in done.stderr
