"""The bundle as MONAI sees it: metadata, configurations, documents, and MONAI's own command."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import jsonschema
import monai.bundle
import numpy as np
import pytest
import typer
from monai.bundle import ConfigComponent, ConfigParser, ConfigWorkflow, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import monai_ddfm
from monai_ddfm.checkpoints import KNOWN_SHA256, network_from_file, prior_info
from monai_ddfm.cli import app
from monai_ddfm.demo import DemoSubject, make_demo
from monai_ddfm.errors import InputError
from monai_ddfm.workflow import bundle_root, check_command_line
from monai_ddfm.writers.outputs import MARKER, OUTPUT_NAMES, SPREAD_NAMES

NOTICE = "research use only - not for diagnosis"
REPOSITORY = Path(__file__).resolve().parents[1]
SCHEMA = Path(__file__).with_name("schemas") / "meta_schema_20240725.json"
BUNDLE = bundle_root()
CONFIGS = BUNDLE / "configs"
INFERENCE = CONFIGS / "inference.json"
WHOLE = ("inference.json", "train.json", "evaluate_prior.json")  # the others amend one of these
ENTRY_POINTS = {"imports", "initialize", "run", "finalize"}
DOCUMENTS = [
    BUNDLE / "docs" / "README.md",
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    return content


def parts_of(value: Any) -> Iterator[Any]:
    """Yield a value and everything within it."""
    yield value
    if isinstance(value, Mapping):
        for part in value.values():
            yield from parts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from parts_of(part)


def without(content: dict[str, Any], *path: str) -> dict[str, Any]:
    """A copy that lacks one entry."""
    copy: dict[str, Any] = json.loads(json.dumps(content))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


# Metadata


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft201909Validator:
    content = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator.check_schema(content)
    return jsonschema.Draft201909Validator(content)


def test_metadata_follows_the_schema_of_the_zoo(schema: jsonschema.Draft201909Validator) -> None:
    metadata = read("metadata.json")
    schema.validate(metadata)
    assert metadata["schema"].endswith("/" + SCHEMA.name)


@pytest.mark.parametrize(
    "path",
    [
        ("version",),
        ("network_data_format",),
        ("network_data_format", "outputs"),
        ("network_data_format", "inputs", "image", "dtype"),
        ("fusion_data_format", "inputs"),
        ("fusion_data_format", "outputs", "weight", "value_range"),
    ],
)
def test_the_schema_refuses_what_lacks_something(
    schema: jsonschema.Draft201909Validator, path: tuple[str, ...]
) -> None:
    assert not schema.is_valid(without(read("metadata.json"), *path))


def test_metadata_says_what_the_bundle_is() -> None:
    metadata = read("metadata.json")
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["monai-ddfm"] == monai_ddfm.__version__
    assert NOTICE in metadata["intended_use"].lower()
    assert NOTICE in metadata["description"].lower()
    fusion = metadata["fusion_data_format"]
    assert set(fusion["inputs"]) == {"fixed", "moving"}
    assert set(fusion["outputs"]) == {"fused", "weight"}


def test_versions_are_those_that_the_package_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    metadata = read("metadata.json")
    given = metadata["required_packages_version"] | {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    del given["monai-ddfm"]
    assert asked.keys() - given.keys() == {"typer", "rich"}, "only the command line may be missing"
    for name, version in given.items():
        assert version in asked[name].specifier, name
    assert f"torch=={given['torch']}" in (REPOSITORY / "constraints.txt").read_text()


# The network


@pytest.mark.parametrize("n", [1, 3])
def test_the_network_takes_and_gives_what_the_metadata_say(n: int) -> None:
    verify = {
        "net_id": "network_def",
        "meta_file": str(CONFIGS / "metadata.json"),
        "config_file": str(INFERENCE),
        "device": "cpu",
        "n": n,
        "extra_forward_args": {"timesteps": 500},
    }
    verify_net_in_out(**verify)
    with pytest.raises(ValueError, match="channel number"):
        verify_net_in_out(**verify, **{"_meta_#network_data_format#outputs#pred#num_channels": 2})


def test_the_prior_is_the_network_of_every_configuration() -> None:
    weights = BUNDLE / "models" / "model.pt"
    assert weights.stat().st_size < 16e6
    described = network_from_file(weights)
    for name in WHOLE:
        parser = ConfigParser({"network_def": read(name)["network_def"]})
        network = parser.get_parsed_content("network_def")
        assert {k: v.shape for k, v in network.state_dict().items()} == {
            k: v.shape for k, v in described.state_dict().items()
        }, name
        assert network.prediction_type == described.prediction_type
        assert network.patch_size == described.patch_size
    assert prior_info(weights).dtype == "float16"
    image = read("metadata.json")["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [f"{described.size_divisor}*n"] * 2
    assert image["num_channels"] == described.image_channels


def test_the_optional_prior_is_the_published_one() -> None:
    [file] = ConfigParser.load_config_file(BUNDLE / "large_files.yml")["large_files"]
    name = Path(file["path"]).name
    assert file["url"].startswith("https://openaipublic.blob.core.windows.net/diffusion/")
    assert file["url"].endswith("/" + name)
    assert (file["hash_type"], file["hash_val"]) == ("sha256", KNOWN_SHA256[name])
    assert name not in "".join(path.read_text() for path in CONFIGS.glob("*.json"))


# The configurations


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> DemoSubject:
    pytest.importorskip("nilearn")
    return make_demo(tmp_path_factory.mktemp("subject"), modality="PET", scale=4)


def test_inference_has_the_properties_of_a_bundle(subject: DemoSubject, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(INFERENCE),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(BUNDLE),
        fixed=str(subject.fixed),
        moving=str(subject.moving),
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert InferProperties.keys() - {"key_metric"} <= set(read("inference.json")) | {"dataset_data"}
    assert workflow.version == read("metadata.json")["version"]
    assert list(tmp_path.iterdir()) == []


def test_training_has_the_properties_of_a_bundle(tmp_path: Path) -> None:
    slices = tmp_path / "slices"
    slices.mkdir()
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    for seed in range(4):
        head = 90 + 60 * np.sin(9 * rows + seed) * np.cos(7 * columns)
        picture = np.where(rows**2 + columns**2 < 0.7, head, 0)
        Image.fromarray(picture.astype(np.uint8)).save(slices / f"{seed}.png")
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "train.json"),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        train_dir=str(slices),
        val_dir=str(slices),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        tensorboard=False,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.trainer.state.max_epochs == workflow.max_epochs
    assert len(workflow.train_dataset) == len(list(slices.iterdir()))


@pytest.mark.parametrize("name", WHOLE)
def test_every_entry_is_used_and_every_reference_leads_somewhere(name: str) -> None:
    config = read(name)
    texts = [part for part in parts_of(config) if isinstance(part, str)]
    used = {match for text in texts for match in re.findall(r"@([\w#]+)", text)}
    wanted = {
        str(p["id"]).split("#")[0] for p in (*InferProperties.values(), *TrainProperties.values())
    }
    entries = {reference.split("#")[0] for reference in used}
    assert set(config) - entries - wanted - ENTRY_POINTS == set()
    parser = ConfigParser(config)
    assert [reference for reference in sorted(used) if reference not in parser] == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_target_exists_and_takes_its_arguments(path: Path) -> None:
    for part in parts_of(read(path.name)):
        if isinstance(part, Mapping) and "_target_" in part:
            target = locate(ConfigComponent(part).resolve_module_name())
            assert callable(target), part["_target_"]
            inspect.signature(target).bind(**{k: v for k, v in part.items() if k[0] != "_"})


def test_options_of_a_run_are_in_the_record() -> None:
    config = read("inference.json")
    plain = {k for k, v in config.items() if not isinstance(v, Mapping | list)}
    elsewhere = {"bundle_root", "dataset_dir", "fixed", "moving", "output_dir", "device"}
    elsewhere |= {"prior", "prior_sha256"}
    assert set(config["run_record"]["options"]) == plain - elsewhere


# The documents


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the commands in a document's shell blocks."""
    for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def options_of(words: list[str]) -> dict[str, str]:
    given = {}
    for position, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            given[name] = value if equals else "".join(words[position + 1 : position + 2])
    return given


def unknown_to_monai(words: list[str]) -> set[str]:
    own = set(inspect.signature(getattr(monai.bundle, words[0])).parameters)
    given = {name.removeprefix("--"): value for name, value in options_of(words).items()}
    for file in re.findall(r"[\w-]+\.json", given.get("config_file", "")):
        own |= set(read(file))
    return {name for name in given if re.split("#|::", name)[0] not in own}


def unknown_to_us(words: list[str]) -> set[str]:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = set(options_of(words)) - known
    return unknown | ({words[0]} if words and hasattr(command, "commands") else set())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(path.parents[1])))
def test_documented_commands_have_existing_options(path: Path) -> None:
    unknown = []
    for words in commands(path):
        if words[:3] == ["python", "-m", "monai.bundle"]:
            unknown += [(*words, name) for name in unknown_to_monai(words[3:])]
        elif words[0] == "monai-ddfm":
            unknown += [(*words, name) for name in unknown_to_us(words[1:])]
    assert unknown == []


def test_the_check_of_documented_commands_finds_faults(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\ntrue && monai-ddfm fuse --fixd a \\\n  --moving b\n```\n")
    assert list(commands(page))[1] == ["monai-ddfm", "fuse", "--fixd", "a", "--moving", "b"]
    assert unknown_to_us(["fuse", "--fixd", "a", "--moving", "b"]) == {"--fixd"}
    assert unknown_to_us(["fuze", "--moving", "b"]) >= {"fuze"}
    assert unknown_to_us(["prior", "convert", "a", "b", "--dtype", "float16"]) == set()
    run = ["run", "--config_file", "configs/inference.json", "--fixd", "a", "--seed", "1"]
    assert unknown_to_monai(run) == {"fixd"}


def test_the_card_and_the_licenses() -> None:
    card = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    data = (BUNDLE / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert NOTICE in card.lower()
    for text in (card, data):
        for needed in ("CC BY-SA 3.0", "CC BY 4.0", "GR/S21533/02", "Jun Cheng", "1512427"):
            assert needed in text
    assert all(name in card for name in (*OUTPUT_NAMES, MARKER))
    assert (BUNDLE / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


# MONAI's command

TRAP = '$__import__("os").system("touch trap")'
REFUSED = {
    "code": (["--fixed", TRAP], "begins with '$'"),
    "missing file": (["--fixed", "absent.nii.gz"], "absent.nii.gz does not exist"),
    "reference": (["--fixed=@moving"], "begins with '@'"),
    "unknown option": (["--fixed", "t1.nii.gz", "--nonsense", "3"], "option 'nonsense' is unknown"),
}
QUICK = ("code", "missing file")


def start(folder: Path, subject: DemoSubject, *arguments: str) -> subprocess.Popen[str]:
    """Call MONAI's command in a new folder, with paths relative to that."""
    folder.mkdir()
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(INFERENCE)]
    command += ["--bundle_root", str(BUNDLE), "--moving", os.path.relpath(subject.moving, folder)]
    command += ["--modality", "PET", "--output_dir", "out", "--registration", "none"]
    return subprocess.Popen(
        [*command, "--steps", "2", "--device", "cpu", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def runs(subject: DemoSubject, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """MONAI's command as it should be called and with two mistakes, side by side."""
    base = tmp_path_factory.mktemp("runs")
    told = {name: REFUSED[name][0] for name in QUICK}
    fixed = os.path.relpath(subject.fixed, base / "right")
    told["right"] = ["--fixed", fixed, "--preset", "reference", "--amp", "true"]
    started = {name: start(base / name, subject, *arguments) for name, arguments in told.items()}
    return {
        name: (base / name, *process.communicate(timeout=300), process.returncode)
        for name, process in started.items()
    }


def test_the_command_of_monai_fuses_from_another_folder(runs: Mapping[str, Any]) -> None:
    folder, _, stderr, status = runs["right"]
    assert status == 0, stderr
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert {path.name for path in (folder / "out").iterdir()} == {*OUTPUT_NAMES, MARKER} - {
        *SPREAD_NAMES
    }
    record = json.loads((folder / "out" / MARKER).read_text())
    assert record["notice"] == NOTICE
    assert record["options"]["preset"] == "reference"
    assert record["options"]["steps"] == 2
    assert Path(record["prior"]["path"]) == BUNDLE / "models" / "model.pt"


def check_refusal(name: str, folder: Path, stdout: str, stderr: str, status: int) -> None:
    # MONAI warns of every configuration that it reads.
    own = [line for line in stderr.splitlines() if not line.startswith("parsing config_file")]
    assert status == 1
    assert len(own) == 1, own
    assert own[0].startswith("error: ")
    assert own[0].endswith(".")
    assert REFUSED[name][1] in own[0]
    assert "Traceback" not in stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", QUICK)
def test_the_command_of_monai_refuses_in_one_sentence(name: str, runs: Mapping[str, Any]) -> None:
    check_refusal(name, *runs[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REFUSED if name not in QUICK])
def test_the_command_of_monai_refuses_further_mistakes(
    name: str, subject: DemoSubject, tmp_path: Path
) -> None:
    process = start(tmp_path / "run", subject, *REFUSED[name][0])
    stdout, stderr = process.communicate(timeout=300)
    check_refusal(name, tmp_path / "run", stdout, stderr, process.returncode)


@pytest.mark.parametrize("given", [{"fixed": TRAP}, {"window": [TRAP]}, {"nonsense": 1}])
def test_files_of_arguments_are_checked_too(given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps({"config_file": str(INFERENCE), "modality": "CT"} | given))
    with pytest.raises(InputError, match=next(iter(given))):
        check_command_line(["run", "--args_file", str(file)])
    file.write_text(json.dumps({"config_file": str(INFERENCE), "modality": "CT"}))
    check_command_line(["run", "--args_file", str(file), "--steps", "3"])
