"""Options are said once: every face of the program has what is declared, and nothing else."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from bundle_parts import read
from cohort_makers import save, volumes
from pairwise import pairwise_rows
from run_cases import one_sentence, saved_prior
from typer.testing import CliRunner

import monai_ddfm
from monai_ddfm import workflow
from monai_ddfm.apps.label.request import read_request
from monai_ddfm.cli import app
from monai_ddfm.data.writers.formats import FORMATS
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, SPEEDS
from monai_ddfm.inferers.acceleration import limit_device_memory
from monai_ddfm.inferers.noise import NoiseMode
from monai_ddfm.modalities import Modality
from monai_ddfm.options import Options, Pictures, all_options, options_of
from monai_ddfm.options.fields import Option
from monai_ddfm.options.resolved import ResolvedOptions
from monai_ddfm.transforms.grid import SliceAlong
from monai_ddfm.transforms.windows import CT_WINDOWS, KNOTS, parse_window
from monai_ddfm.utils.color import COLOR_TABLES
from monai_ddfm.visualize.color_styles import COLOR_STYLES
from monai_ddfm.workflow import check_inference, fuse

PACKAGE = Path(monai_ddfm.__file__).parent
ROOT = Path(__file__).parents[2]
OF_PICTURES = {*Pictures.__annotations__}
ENTRIES = {name: option for name, option in all_options().items() if name not in OF_PICTURES}


def text_of(paths: list[str]) -> str:
    """All modules at these places, one after the other."""
    files = [file for path in paths for file in sorted(PACKAGE.glob(path))]
    assert files
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


# --- the configuration


def test_the_configuration_has_an_entry_for_every_option() -> None:
    config = read("inference.json")
    plain = {k: v for k, v in config.items() if not isinstance(v, dict | list)}
    assert plain.pop("inputs")  # made of the paths
    of_monai = {"bundle_root": ".", "dataset_dir": "$@bundle_root"}
    assert plain == {name: option.entry for name, option in ENTRIES.items()} | of_monai


def test_options_are_read_off_what_is_resolved() -> None:
    entries: dict[str, Any] = {"seed": 3, "network": object(), "device": "cpu"}
    options = ResolvedOptions(entries)
    assert dict(options) == {"seed": 3}  # the device has an entry of its own in the record
    entries |= {"preset": "default", "seed": 4}
    assert list(options.items()) == [("preset", "default"), ("seed", 4)]  # as they are declared
    assert "network" not in options
    sent = pickle.loads(pickle.dumps(options))
    entries["seed"] = 5
    assert (sent["seed"], len(options)) == (4, 2)


# --- what is declared is true


def test_words_are_those_that_are_known() -> None:
    words = {name: set(option.words) for name, option in all_options().items()}
    assert words["preset"] == set(PRESETS)
    assert words["speed"] == set(SPEEDS)
    assert words["noise"] == set(get_args(NoiseMode))
    assert words["slice_along"] == set(get_args(SliceAlong))
    assert words["color_table"] == set(COLOR_TABLES)
    assert words["color_style"] == set(COLOR_STYLES)
    assert words["format"] == set(FORMATS)
    assert words["modality"] == {m.value for m in Modality}
    assert words["window"] == {*CT_WINDOWS, *KNOTS, "maximum", "cerebellum"}
    for word in words["window"]:
        parse_window(word, Modality.PET if word in ("maximum", "cerebellum") else Modality.CT)


NUMBERS = [option for option in ENTRIES.values() if option.is_number]
WORDS = [option for option in ENTRIES.values() if option.only_words]


def refusal(options: dict[str, Any], tmp_path: Path) -> str:
    """The sentence with which options are refused before anything is read; "" if they are not."""
    try:
        check_inference({"modality": "PET", "output_dir": tmp_path / "out", **options})
    except InputError as error:
        return one_sentence(f"error: {error}\n")
    return ""


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_ranges_are_those_that_hold(option: Option, tmp_path: Path) -> None:
    beside: dict[str, Any] = {"samples": 2} if option.name == "eta" else {}
    beside |= {"format": "dicom"} if option.needs_dicom else {}
    kind = option.types[0]
    inside = [kind(end) for end in (option.least, option.most) if end is not None]
    outside = [] if option.least is None else [kind(option.least - 1)]
    outside += [] if option.above is None else [kind(option.above)]
    if option.name == "max_memory":  # the machine decides, when the run begins
        for value in outside:
            with pytest.raises(InputError, match="give a positive number"):
                limit_device_memory("cuda", value)
        return
    if option.most is not None and option.name != "seed":  # clients of a server get 32 bits
        outside.append(kind(option.most + 1))
    for value in inside:
        assert option.holds(value)
        assert refusal({option.name: value} | beside, tmp_path) == ""
    for value in outside:
        assert not option.holds(value)
        assert refusal({option.name: value} | beside, tmp_path)


@pytest.mark.parametrize("option", WORDS, ids=lambda option: option.name)
def test_words_are_all_there_is(option: Option, tmp_path: Path) -> None:
    for word in option.words:
        assert refusal({option.name: word}, tmp_path) == ""
    assert "nonsense" in refusal({option.name: "nonsense"}, tmp_path)


# --- combinations


def values_of(option: Option) -> list[Any]:
    """A few values that an option may have."""
    if option.words:
        return list(option.words[:5]) if option.only_words else [*option.words[:3], option.default]
    if option.types[0] is bool:
        return [False, True]
    if option.is_number:
        low = option.least if option.least is not None else (option.above or 0) + 0.5
        high = option.most if option.most is not None and option.most < 2 else low + 2
        return [option.default, *(option.types[0](end) for end in (low, high))]
    return [option.default]


COMBINED = {
    name: values
    for name, option in ENTRIES.items()
    if name not in {"modality", "device", "window"} and len(values := values_of(option)) > 1
}
ACCEPTED = COMBINED | {
    "preset": ["default", "contrast"],  # the others have no likelihood to choose
    "noise_margin": [None, 0, 2],
    "registration": ["rigid", "none"],
    "invert_transform": [False],  # is for a transform file
    "start_timestep": [None],  # from where the noise is not measured
}


@pytest.mark.parametrize("modality", ["PET", "CT"])
def test_any_two_values_are_accepted_or_refused_in_one_sentence(
    modality: str, tmp_path: Path
) -> None:
    for row in pairwise_rows(COMBINED):
        refusal(row | {"modality": modality}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("modality", "own"),
    [("PET", {"bone_tint": [False]}), ("CT", {"recover_moving": ["off"]})],
)
def test_any_two_values_that_fit_are_accepted(
    modality: str, own: dict[str, list[Any]], tmp_path: Path
) -> None:
    for row in pairwise_rows(ACCEPTED | own):
        assert refusal(row | {"modality": modality}, tmp_path) == "", row


def test_combinations_arrive_as_they_are_typed(tmp_path: Path) -> None:
    shown = options_of("fuse")
    names = {
        n: [v for v in values if v is not None] for n, values in COMBINED.items() if n in shown
    }
    given: dict[str, Any] = {}
    paths = [save(tmp_path / f"{n}.nii.gz", v) for n, v in zip("ab", volumes(1), strict=True)]
    sources = [f"--{role}={path}" for role, path in zip(("fixed", "moving"), paths, strict=True)]

    def run(fixed: Path, moving: Path, **options: Any) -> None:
        given.update(options)
        raise InputError("that will do")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "fuse", run)
        for row in pairwise_rows(names):
            row["format"] = "both"  # some options are for DICOM only
            typed = [f"{shown[n].flag}={v}" for n, v in row.items() if not isinstance(v, bool)]
            typed += [shown[n].flag for n, v in row.items() if v is True]
            case = [*sources, "--modality=PET", f"--output-dir={tmp_path / 'out'}"]
            result = CliRunner().invoke(app, ["fuse", *case, *typed])
            assert str(result.exception) == "that will do", result.output
            assert {name: given[name] for name in row} == row


def test_combinations_reach_the_server(tmp_path: Path) -> None:
    served = options_of("label")
    names = {
        n: [v for v in values if v is not None] for n, values in ACCEPTED.items() if n in served
    }
    for row in pairwise_rows(names):
        options = read_request(json.loads(json.dumps(row))).options
        assert {name: options[name] for name in row} == row
        assert options.keys() == served.keys()


def test_combinations_run(tmp_path: Path) -> None:
    """The first rows for real: nothing that is accepted fails later."""
    prior = saved_prior(tmp_path)
    paths = [save(tmp_path / f"{n}.nii.gz", v) for n, v in zip("ab", volumes(1), strict=True)]
    few = ACCEPTED | {"steps": [1, 2], "samples": [1, 2], "spacing": [None, 12.0]}
    few |= {"early_stop": [None], "max_memory": [None], "compile": [None], "format": ["nifti"]}
    few |= {
        "registration": ["none"],
        "bone_tint": [False],
        "allow_burned_in": [False],
        "batch_size": ["auto", 2],
    }
    del few["dry_run"]  # it records a plan
    for number, (row, _) in enumerate(zip(pairwise_rows(few), range(2), strict=False)):
        out = tmp_path / str(number)
        result = fuse(*paths, modality="PET", output_dir=out, prior=prior, device="cpu", **row)
        recorded = result.provenance["options"]
        assert recorded.keys() == {name for name, option in ENTRIES.items() if option.recorded}
        for name, value in row.items():
            assert recorded[name] == (ENTRIES[name].default if value is None else value), name


# --- two places


@pytest.mark.parametrize(
    "name",
    ["noise_margin", "color_table", "smooth_across", "spacing", "bias_correction", "samples"],
)
def test_an_option_costs_its_field_and_its_use(name: str) -> None:
    """No face of the program names an option: each is made from the declaration."""
    faces = ["cli/fusion.py", "cli/cohort.py", "cli/pictures.py", "cli/options.py"]
    faces += ["apps/label/*.py", "apps/cohort/*.py", "workflow/*.py"]
    faces += [f"options/{name}.py" for name in ("fields", "names", "checks")]
    forms = (f'"{name}"', f"--{name.replace('_', '-')}", f"{name}=", f"{name}:", f".{name}")

    def naming(paths: list[str]) -> list[str]:
        return [line for line in text_of(paths).splitlines() if any(f in line for f in forms)]

    assert len(naming(["options/groups.py"])) == 1
    assert naming(faces) == []


def test_python_takes_what_is_declared() -> None:
    """Mypy checks callers of `fuse` against these; the case itself has parameters of its own."""
    of_the_case = {"fixed", "moving", "modality", "name", "output_dir", "prior"}
    assert Options.__annotations__.keys() == ENTRIES.keys() - of_the_case


@pytest.mark.slow
def test_type_checkers_refuse_what_is_not_declared(tmp_path: Path) -> None:
    call = "monai_ddfm.fuse('a', 'b', modality='PET', output_dir='out', {})\n"
    given = ["preset='default', steps=3", "preset='sharp'", "steps='3'", "nonsense=1"]
    file = tmp_path / "calls.py"
    file.write_text("import monai_ddfm\n" + "".join(call.format(text) for text in given))
    command = [sys.executable, "-m", "mypy", "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = re.findall(r"calls\.py:(\d+): error", done.stdout)
    assert lines == ["3", "4", "5"], done.stdout
