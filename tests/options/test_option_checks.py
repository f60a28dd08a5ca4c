"""Which options a configuration takes, and that none of them is ever evaluated."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.transforms import Compose, Lambda

from monai_ddfm.errors import InputError
from monai_ddfm.options.checks import check_command_line
from monai_ddfm.workflow import bundle_root, check_inference, run_inference

CONFIG = str(bundle_root() / "configs" / "inference.json")


@pytest.mark.parametrize(
    "hide",
    [
        lambda text: text,
        lambda text: [text],
        lambda text: {"a": [1, text]},
        lambda text: {text: 1},
        lambda text: ("x", (text,)),
        Path,
    ],
)
@pytest.mark.parametrize("sign", ["$", "@", "%"])
def test_no_value_is_evaluated(hide: Callable[[str], Any], sign: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(InputError, match=r"begins with .* evaluate"):
        run_inference({"window": hide(f"{sign}open({str(trap)!r}, 'w')")})
    assert not trap.exists()


def test_no_plain_option_becomes_an_object(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    value = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_": str(trap)}}
    for hidden in (value, [value], {"a": value}):
        with pytest.raises(InputError, match="plain value"):
            run_inference({"window": hidden})
    assert not trap.exists()


@pytest.mark.parametrize("name", ["nonsense", "Preset", "nonsense#x", "nonsense::x", ""])
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown"):
        run_inference({name: 1})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"preset": "sharp"}, "preset 'sharp'"),
        ({"speed": "turbo"}, "speed 'turbo'"),
        ({"preset": "reference", "speed": "fast"}, "speed"),
        ({"steps": 0}, "steps 0"),
        ({"seed": -5}, "seed -5"),
        ({"prior_share": 2.0}, "prior share 2.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"compile": "all"}, "compilation 'all'"),
        ({"spacing": -1.0}, "spacing -1.0"),
        ({"registration": "elastic"}, "registration 'elastic'"),
        ({"window": "brain"}, "window 'brain' is unknown for PET"),
        ({"color_table": "mud"}, "color table 'mud'"),
        ({"landmarks": Path("gone.json")}, "gone.json"),
        ({"format": "png"}, "format 'png'"),
        ({"nonsense": 1}, "unknown"),
    ],
)
def test_options_are_checked_before_anything_is_read(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    given = {"modality": "PET", "output_dir": tmp_path / "out", **options}
    with pytest.raises(InputError, match=told):
        check_inference(given)
    assert not (tmp_path / "out").exists()


def test_what_another_machine_may_have_is_not_checked(tmp_path: Path) -> None:
    given = {"modality": "CT", "window": "brain", "device": "cuda:7", "prior": Path("gone.pt")}
    check_inference(given | {"output_dir": tmp_path / "out"})
    assert not (tmp_path / "out").exists()


# --- MONAI's own command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fixed", "$1"],
        ["--fixed=$1"],
        ["-fixed", "$1"],
        ["-fixed=@output_dir"],
        ["--fixed", "'$1'"],
        ["--fixed", '"$1"'],
        ["--fixed", "['$1']"],
        ["--fixed", "{'a': '%x'}"],
        ["--fixed", "[($1)]", "--moving", "%b.json::x"],
        ["--seed", "1", "--output-dir", "@bundle_root"],
        ["--inferer#preset", "$1"],
        ["--preset", "{_target_: 'os.system', command: ls}"],
        ["--preset", "[{'_target_': 'os.system'}]"],
    ],
)
def test_the_command_of_monai_evaluates_nothing_either(arguments: list[str]) -> None:
    for rest in (["--config_file", CONFIG], ["--config_file", f"['{CONFIG}']"], []):
        with pytest.raises(InputError, match=r"would evaluate|plain value"):
            check_command_line(["run", *arguments, *rest])


def test_what_fire_leaves_a_text_is_one() -> None:
    check_command_line(["run", "--config_file", CONFIG, "--preset", "{_target_: os.system}"])


@pytest.mark.parametrize("name", ["nonsense", "fixd", "no-such#x"])
def test_the_command_of_monai_knows_its_options(name: str) -> None:
    with pytest.raises(InputError, match="unknown"):
        check_command_line(["run", "--config_file", CONFIG, f"--{name}", "1"])


def test_the_command_of_monai_takes_what_is_right() -> None:
    arguments = ["run", "--config_file", CONFIG, "--fixed", "a.nii.gz", "--modality=CT", "--amp"]
    arguments += ["--inferer#progress", "{_target_: monai_ddfm.inferers.TqdmProgress}"]
    arguments += ["--meta_file", "x.json", "--seed", "-3", "--device", "cuda:0"]
    check_command_line(arguments)
    check_command_line(["run", "--anything", "goes"])


def test_only_the_command_of_monai_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/other.py", "--nonsense", "$1"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    check_command_line()
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", "--fixed", "$1"])
    with pytest.raises(InputError):
        check_command_line()


def photograph(_: int) -> None:
    raise InputError("t1.nii.gz is a photograph; give a volume.")


def test_an_uncaught_mistake_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    check_command_line()
    try:
        Compose([Lambda(photograph)])(1)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    assert capsys.readouterr().err == "error: t1.nii.gz is a photograph; give a volume.\n"
    try:
        int("a bug")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output_dir", "2024_01_02"], "reads 2024_01_02 as 20240102; write ./2024_01_02"),
        (["--fixed=7e1"], "reads 7e1 as 70.0; write ./7e1"),
        (["--moving", "[1,2]"], "option 'moving' is no path"),
        (["--fixed_series", "1_2"], "reads 1_2 as 12; write"),
        (["--window", "1e1"], "reads 1e1 as 10.0; write"),
    ],
)
def test_text_that_fire_takes_for_a_number_is_told(arguments: list[str], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        check_command_line(["run", "--config_file", CONFIG, *arguments])


@pytest.mark.parametrize(
    "arguments",
    [["--output_dir", "./2024_01_02"], ["--fixed_series", "5"], ["--fixed_frames", "1,2"]],
)
def test_text_that_stays_what_it_is_passes(arguments: list[str]) -> None:
    check_command_line(["run", "--config_file", CONFIG, *arguments])


def test_a_path_that_is_a_number_is_refused_from_python_too() -> None:
    with pytest.raises(InputError, match="the value 20240102 of option 'output_dir' is no path"):
        run_inference({"output_dir": 20240102})
