"""What is installed: the wheel holds the bundle, and a run needs nothing of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from run_cases import NOTICE

import monai_ddfm
from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.data.writers.outputs import MARKER, ON_REQUEST_NAMES, OUTPUT_NAMES

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLE = "bundles/ddfm_medical_fusion"
FOLDERS = ("configs", "docs")
FILES = ("LICENSE", "models/model.json", "models/model.pt")


def call(*command: str | Path, cwd: Path, timeout: int = 300, **environment: str) -> str:
    return said(*command, cwd=cwd, timeout=timeout, **environment)[0]


def said(
    *command: str | Path, cwd: Path, timeout: int = 300, **environment: str
) -> tuple[str, str]:
    """Standard output and error of a command that ends well."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def bundle_files() -> set[str]:
    root = REPOSITORY / BUNDLE
    listed = [path for name in FOLDERS for path in (root / name).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix() for path in listed} | set(FILES)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the source archive and the wheel, which is built from that archive."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".", cwd=REPOSITORY)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_the_bundle(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        prefix = f"monai_ddfm/{BUNDLE}/"
        inside = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        assert inside == bundle_files()
        for name in inside:
            assert archive.read(prefix + name) == (REPOSITORY / BUNDLE / name).read_bytes(), name
        files = [p.relative_to(REPOSITORY) for p in (REPOSITORY / "monai_ddfm").rglob("*.*")]
        assert {p.as_posix() for p in files if "__pycache__" not in p.parts} <= names
        assert {name.split("/")[0].split("-")[0] for name in names} == {"monai_ddfm"}
        info = f"monai_ddfm-{monai_ddfm.__version__}.dist-info"
        assert f"{info}/licenses/LICENSE" in names
        assert f"{info}/licenses/monai_ddfm/visualize/report/niivue/THIRD_PARTY.txt" in names
        scripts = ConfigParser()
        scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert dict(scripts["console_scripts"]) == {"monai-ddfm": "monai_ddfm.cli:main"}


def test_the_source_archive_holds_what_a_build_needs(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "tests/conftest.py"}
    assert needed | {f"{BUNDLE}/{name}" for name in bundle_files()} <= names
    assert not any(name.startswith(("shared", ".git/", ".hypothesis")) for name in names)


def test_an_editable_installation_has_no_copy_of_the_bundle(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    call(sys.executable, "-c", build, tmp_path, cwd=REPOSITORY)
    [path] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert len(names) == 1
        assert Path(archive.read(names[0]).decode().strip()) == REPOSITORY
    assert (REPOSITORY / BUNDLE / "configs" / "inference.json").is_file()


def check_run(folder: Path, *, prior_within: Path) -> None:
    assert {path.name for path in folder.iterdir() if path.is_file()} == {*OUTPUT_NAMES, MARKER} - {
        *ON_REQUEST_NAMES
    }
    record = json.loads((folder / MARKER).read_text())
    weights = Path(record["prior"]["path"])
    assert weights.is_relative_to(prior_within)
    assert weights.parts[-3:] == ("ddfm_medical_fusion", "models", "model.pt")


def test_the_wheel_runs_from_another_folder_as_a_user_starts_it(
    wheel: Path, pet: DemoSubject, tmp_path: Path
) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "-q"]
    call(*pip, "--target", site, wheel, cwd=work)
    command = [sys.executable, "-m", "monai_ddfm", "fuse", "--modality", "PET", "--steps", "2"]
    command += ["--registration", "none"]
    command += ["--fixed", str(pet.fixed), "--moving", str(pet.moving), "--device", "cpu"]
    out, err = said(*command, "--output-dir", "out", cwd=work, PYTHONPATH=str(site))
    check_run(work / "out", prior_within=site)
    beside = ("would still move the head", " % of the sampling")  # the latter if it takes long
    told = [line for line in err.splitlines() if not any(words in line for words in beside)]
    assert told[0].startswith(f"found {pet.fixed.name} (MRI, ")
    assert told[0].endswith("; loading PyTorch and MONAI")
    assert told[1:] == ["registering", "fusing", "writing"]
    for name in ("fused.nii.gz", "preview.png", "report.html", "provenance.json"):
        assert str(work / "out" / name) in out
        assert (work / "out" / name).stat().st_size > 0
    assert NOTICE in out
    assert len(out.splitlines()) == 5
    assert [path.name for path in work.iterdir()] == ["out"]


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    call(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    constraints = REPOSITORY / "constraints.txt"
    call(
        *(programs / "python", "-m", "pip", "install", "-q", "-c", constraints, f"{wheel}[demo]"),
        cwd=tmp_path,
        timeout=1800,
    )
    work = tmp_path / "work"
    work.mkdir()
    demo = [programs / "monai-ddfm", "demo", "--output-dir", "out", "--device", "cpu"]
    call(*demo, "--steps", "2", cwd=work, timeout=900)
    check_run(work / "out", prior_within=tmp_path / "venv")
