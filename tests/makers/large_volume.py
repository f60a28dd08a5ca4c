"""Fuses a pair through the bundle's configuration and prints the peak of the memory.

Run as a program: ``python large_volume.py FOLDER MODALITY FORMAT SIDExSLICES [OPTIONS]``, the
options as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from run_cases import RecordingNet

from monai_ddfm import fuse
from monai_ddfm.networks.priors import save_prior


class QuietNet(RecordingNet):
    """A small prior that notes nothing."""

    def forward(self, x, timesteps, context=None):  # type: ignore[no-untyped-def]
        self.seen.clear()
        return super().forward(x, timesteps, context)


def write_pair(folder: Path, side: int, slices: int) -> None:
    """Write two 16-bit volumes of a head-like ellipsoid."""
    x, y = (np.linspace(-1, 1, side, dtype=np.float32) for _ in range(2))
    disc = x[:, None] ** 2 + y[None] ** 2
    # Left, posterior, superior: the pipeline has to turn it, and to turn everything back.
    affine = np.diag([-0.5, -0.5, 0.5, 1.0])
    for name, frequency in (("fixed", 9.0), ("moving", 4.0)):
        volume = np.zeros((side, side, slices), np.int16)
        for number, z in enumerate(np.linspace(-0.7, 0.7, slices)):
            texture = 600 + 300 * np.sin(frequency * x)[:, None] * np.cos(frequency * y + z)[None]
            volume[..., number] = np.where(disc + z * z < 0.9, texture, 0)
        nib.save(nib.Nifti1Image(volume, affine), folder / f"{name}.nii")


def main(folder: Path, modality: str, output_format: str, size: str, options: str = "{}") -> None:
    """Fuse; one step, because memory does not grow with them, and a prior of large patches."""
    save_prior(QuietNet(patch_size=8), folder / "prior.pt")
    side, slices = map(int, size.split("x"))
    write_pair(folder, side, slices)
    fuse(
        folder / "fixed.nii",
        folder / "moving.nii",
        modality=modality,
        output_dir=folder / "out",
        format=output_format,
        prior=folder / "prior.pt",
        registration="none",
        steps=1,
        device="cpu",
        **json.loads(options),
    )
    print("peak bytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
