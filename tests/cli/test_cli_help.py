"""The command's help teaches and is quick; every usage error is one sentence that leads to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from run_cases import NOTICE, command, one_sentence
from typer.testing import CliRunner

from monai_ddfm import __version__
from monai_ddfm.cli import app
from monai_ddfm.options import options_of

HELP = ("--help", "--help-all")
REQUIRED = {"--fixed", "--moving", "--modality", "--output-dir"}
COMMANDS = [
    ["fuse"],
    ["demo"],
    ["fuse-2d"],
    ["evaluate"],
    ["benchmark"],
    ["benchmark-demo"],
    ["prior", "convert"],
    ["prior", "info"],
]


def helped(*arguments: str, how: str = "--help") -> str:
    """What ``--help`` shows on a wide terminal, on one line."""
    wide = {"COLUMNS": "400", "TERMINAL_WIDTH": "400", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*arguments, how], env=wide)
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_explains_every_option(path: list[str]) -> None:
    shown = helped(*path, how="--help-all" if path == ["fuse"] else "--help")
    found = typer.main.get_command(app)
    for name in path:
        found = found.commands[name]  # type: ignore[attr-defined]
    assert found.params
    for parameter in found.params:
        about = getattr(parameter, "help", None)
        assert about, f"{parameter.name} is not explained"
        assert " ".join(about.split()) in shown
        shown_as = [parameter.metavar] if parameter.param_type_name == "argument" else []
        for option in shown_as if any(shown_as) else parameter.opts:
            assert option in shown
    assert found.help
    assert found.help.split("\n")[0].replace("`", "").rstrip(".") in shown


def test_help_teaches() -> None:
    shown = helped()
    assert NOTICE in shown.lower()
    for name in ("fuse", "demo", "prior", "--version", "--verbose"):
        assert name in shown
    fuse = helped("fuse")
    assert "monai-ddfm fuse --fixed t1.nii.gz --moving pet.nii.gz --modality PET" in fuse
    assert "CT, PET, SPECT, ultrasound or other MRI" in fuse
    for word in ("reference", "paper", "default", "rigid", "cuda"):
        assert word in fuse
    assert "convert" in helped("prior")


@pytest.mark.parametrize("name", ["fuse", "cohort"])
def test_the_short_help_has_what_is_common_and_leads_to_the_rest(name: str) -> None:
    parameters = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
    flags = {p.opts[0] for p in parameters if p.opts[0].startswith("--")}
    in_short, in_all = (flags & {*helped(name, how=how).split()} for how in HELP)
    assert in_all == flags
    assert {"--preset", "--registration", "--help-all"} <= in_short
    common = {option.flag for option in options_of(name).values() if option.common}
    assert in_short & {option.flag for option in options_of(name).values()} - common <= REQUIRED
    assert 8 <= len(common) <= 12


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["fuse", "--preset", ""], {"default", "reference", "paper", "gain", "contrast"}),
        (["cohort", "--registration", "r"], {"rigid"}),
        (["fuse-2d", "--color-style", "o"], {"overlay"}),
        (["fuse", "--noise-m"], {"--noise-margin"}),
    ],
)
def test_the_shell_completes_words_and_rare_options(
    typed: list[str], offered: set[str], tmp_path: Path
) -> None:
    words = " ".join(["monai-ddfm", *typed])
    about = {"_MONAI_DDFM_COMPLETE": "complete_bash", "COMP_WORDS": words}
    done = subprocess.run(
        [sys.executable, "-c", "from monai_ddfm.cli import main; main()"],
        cwd=tmp_path,
        env=os.environ | about | {"COMP_CWORD": str(len(typed))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


def test_help_and_version_are_quick_and_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from monai_ddfm.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    for arguments, first in ((["--version"], __version__), (["--help"], "")):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().startswith(first)
        assert done.stdout.strip().endswith("0 False")
        assert done.stderr == ""


def test_programs_get_what_is_declared(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = command(capfd, "fuse", "--help-json")
    assert status == 0
    told = {option["name"]: option for option in json.loads(out)}
    declared = [one for option in options_of("fuse").values() for one in option.flat()]
    assert list(told) == [option.name for option in declared]
    assert told["color_style"]["words"] == ["mixed", "ycbcr", "perceptual", "overlay"]
    assert (told["steps"]["kind"], told["steps"]["most"]) == ("whole number", 1000)
    assert (told["deidentify"]["kind"], told["deidentify"]["default"]) == ("switch", False)


@pytest.mark.parametrize("arguments", [[], ["prior"]])
def test_without_arguments_it_helps(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = command(capfd, *arguments)
    assert status == 2
    assert "Usage: monai-ddfm" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["melt"], "no such command 'melt'; see `monai-ddfm --help`"),
        (["fuse"], "missing option '--fixed'; see `monai-ddfm fuse --help`"),
        (["fuse", "--stepz", "3"], "--stepz"),
        (["fuse", "--steps", "abc"], "'--steps'"),
        (["fuse", "--steps"], "--steps"),
        (["fuse", "stray"], ""),
        (["prior", "convert", "a.pt"], "'out'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_usage_errors_are_one_sentence(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = command(capfd, *arguments)
    assert status == 2
    assert out == ""
    assert words.lower() in one_sentence(err).lower()
    assert "--help`" in err
