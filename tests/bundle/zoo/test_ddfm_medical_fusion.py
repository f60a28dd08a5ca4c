"""The bundle's unit test in the form of MONAI's model zoo, for its folder ``ci/unit_tests``.

It wants the zoo's working directory, with the bundle in ``models``, and makes its data itself.
Here `conftest` lays such a directory.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

BUNDLE_ROOT = Path("models/ddfm_medical_fusion")
CONFIGS = BUNDLE_ROOT / "configs"
SHAPE = (44, 48, 10)  # VIF, one of the figures, wants 41 x 41 pixels


def head(inside: float, spot: float) -> np.ndarray:
    """An ellipsoid with a skull-like shell, and a warm spot off its center."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes)) / 0.85
    near = np.exp(-sum((axis - 0.2) ** 2 for axis in axes) / 0.02)
    shells = np.where(radius < 0.8, inside, np.where(radius < 1, 0.4 * inside, 0))
    return np.asarray(shells + spot * near, dtype=np.float32)


def run(workflow: ConfigWorkflow, *, check: bool = False) -> None:
    workflow.initialize()
    if check:
        assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()


class TestDDFMMedicalFusion(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        affine = np.diag([4.0, 4.0, 14.0, 1.0])
        for name, inside, spot in (("fixed", 100.0, 0.0), ("moving", 20.0, 80.0)):
            nib.save(nib.Nifti1Image(head(inside, spot), affine), self.folder / f"{name}.nii.gz")

    def tearDown(self) -> None:
        shutil.rmtree(self.folder)

    def fuse(self) -> Path:
        out = self.folder / "out"
        run(
            ConfigWorkflow(
                workflow_type="infer",
                config_file=str(CONFIGS / "inference.json"),
                logging_file=str(CONFIGS / "logging.conf"),
                meta_file=str(CONFIGS / "metadata.json"),
                bundle_root=str(BUNDLE_ROOT),
                fixed=str(self.folder / "fixed.nii.gz"),
                moving=str(self.folder / "moving.nii.gz"),
                modality="PET",
                output_dir=str(out),
                registration="none",
                preset="gain",
                steps=2,
                device="cpu",
            ),
            check=True,
        )
        return out

    def test_infer_and_evaluate_config(self) -> None:
        out = self.fuse()
        fused, weight = (
            nib.load(out / name).get_fdata() for name in ("fused.nii.gz", "weight.nii.gz")
        )
        for volume in (fused, weight):
            assert volume.shape == SHAPE
            assert 0 <= volume.min() < volume.max() <= 1

        run(
            ConfigWorkflow(
                config_file=str(CONFIGS / "evaluate.json"),
                logging_file=False,
                meta_file=str(CONFIGS / "metadata.json"),
                bundle_root=str(BUNDLE_ROOT),
                output_dir=str(out),
            )
        )
        figures = json.loads((out / "figures.json").read_text())["figures"]
        assert "SSIM" in figures
        assert np.isfinite(list(figures.values())).all()


if __name__ == "__main__":
    unittest.main()
