"""Other priors and options of the bundle run from Python: what reaches it, what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from run_cases import SMALL, randomize
from workflow_runs import run

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import convert_checkpoint, save_prior
from monai_ddfm.workflow import check_device
from monai_ddfm.workflow.bundle_files import prior_overrides

# --- other priors


def test_a_prior_of_three_channels(shared: Path, pet: DemoSubject, tmp_path: Path) -> None:
    source, file = shared / "golden" / "adm_tiny.pt", tmp_path / "prior.pt"
    with pytest.raises(InputError, match=r"convert it first with `monai-ddfm prior convert"):
        run(pet, tmp_path / "out", prior=source)
    convert_checkpoint(source, file, num_head_channels=16)
    result = run(pet, tmp_path / "out", prior=file, steps=1, noise_margin=0)
    assert result.provenance["bound"]["voxels_outside"] == 0
    assert not (tmp_path / "out" / "prior.pt").exists()


def test_a_prior_brings_its_network_and_hash_and_needs_its_sidecar(tmp_path: Path) -> None:
    file = tmp_path / "prior.pt"
    save_prior(randomize(ADMUNet(**SMALL)), file)
    overrides = prior_overrides(file)
    assert overrides["network_def"]["channels"] == (8, 16)
    assert overrides["prior_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "prior.json").unlink()
    with pytest.raises(InputError, match="sidecar"):
        prior_overrides(file)


def test_a_sidecar_is_not_run_as_code(pet: DemoSubject, tmp_path: Path) -> None:
    file, trap = tmp_path / "prior.pt", tmp_path / "trap"
    save_prior(randomize(ADMUNet(**SMALL)), file)
    sidecar = json.loads((tmp_path / "prior.json").read_text())
    sidecar["architecture"]["prediction_type"] = f"$open({str(trap)!r}, 'w')"
    (tmp_path / "prior.json").write_text(json.dumps(sidecar))
    with pytest.raises(InputError):
        run(pet, tmp_path / "out", prior=file)
    assert not trap.exists()
    assert not (tmp_path / "out").exists()


# --- options


def test_nested_options_reach_the_configuration(pet: DemoSubject, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="axis 7"):
        run(pet, tmp_path / "out", **{"inferer#axis": 7})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["meta", "cuda:9", "abacus", "", 1.5])
def test_devices_that_are_not_there(name: Any) -> None:
    with pytest.raises(InputError, match="not on this machine; use --device cpu"):
        check_device(name)
    check_device("cpu")
