"""Networks and subjects that several tests share."""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import SimpleITK as sitk
import torch
from cohort_makers import SCALE, volumes
from torch import Tensor

from monai_ddfm.apps.demo import DemoSubject, write_demo_dicom
from monai_ddfm.apps.demo.modalities import rigid_truth
from monai_ddfm.apps.demo.subject import write_volume
from monai_ddfm.cli import main
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import save_prior
from monai_ddfm.workflow import bundle_root

NOTICE = "research use only - not for diagnosis"
SMALL: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "channels": (8, 16),
    "attention_levels": (False, True),
    "num_res_blocks": 1,
    "num_head_channels": 8,
    "norm_num_groups": 4,
}


class RecordingNet(ADMUNet):
    """A small prior that notes what it is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(SMALL | options))
        self.seen: list[tuple[Tensor, Tensor]] = []
        randomize(self)

    def forward(
        self, x: Tensor, timesteps: Tensor | float, context: Tensor | None = None
    ) -> Tensor:
        self.seen.append((x.clone(), torch.as_tensor(timesteps).clone()))
        return super().forward(x, timesteps, context)


def randomize(network: ADMUNet, *, seed: int = 0) -> ADMUNet:
    """Give every weight a value, also those that start at zero, so that the output depends on x."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        spread = 0.3 / max(1.0, parameter[0].numel() ** 0.5)
        torch.nn.init.normal_(parameter, std=spread, generator=generator)
    network.eval()
    return network


def saved_prior(folder: Path) -> Path:
    """The file of a small prior with random weights, in a folder."""
    path = folder / "prior.pt"
    save_prior(randomize(ADMUNet(**SMALL)), path)
    return path


def bundle_network() -> ADMUNet:
    """The network of the bundle's prior, with random weights."""
    config = json.loads((bundle_root() / "configs" / "inference.json").read_text())
    options = {k: v for k, v in config["network_def"].items() if k != "_target_"}
    return randomize(ADMUNet(**options))


@functools.cache
def scratch() -> Path:
    """A folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def demo(modality: str) -> DemoSubject:
    """A demo subject, coarser than any user's, as NIfTI and DICOM; made once, for reading only."""
    folder, name = scratch() / f"demo-{modality}", modality.lower()
    made = DemoSubject(
        fixed=folder / "t1.nii.gz",
        moving=folder / f"{name}.nii.gz",
        modality=modality,
        truth=folder / f"{name}_to_t1_truth.tfm",
        seed=0,
        scale=SCALE,
    )
    folder.mkdir()
    for path, volume in zip((made.fixed, made.moving), volumes(0, modality), strict=True):
        write_volume(volume, path)
    sitk.WriteTransform(rigid_truth(0, modality), str(made.truth))
    fixed, moving = write_demo_dicom(made, folder)
    return replace(made, fixed_dicom=fixed, moving_dicom=moving)


def demo_subject(base: Path, modality: str = "PET", *, dicom: bool = False) -> DemoSubject:
    """A copy of a coarse demo subject below `base`; modalities share the MRI."""
    made, folder = demo(modality), base / "demo-subject"
    names = ["fixed", "moving", "truth", *(("fixed_dicom", "moving_dicom") if dicom else ())]
    places = {name: folder / getattr(made, name).name for name in names}
    folder.mkdir(exist_ok=True)
    for name, place in places.items():
        source = getattr(made, name)
        if not place.exists():
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
    return replace(made, **({"fixed_dicom": None, "moving_dicom": None} | places))


def command(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Call ``monai-ddfm`` in this process; returns exit status, standard output and error."""
    capfd.readouterr()
    status = _status(*arguments)
    out, err = capfd.readouterr()
    return status, out, err


class Ending(NamedTuple):
    """How a call of the program has ended."""

    status: int
    out: str
    err: str


def ending(*arguments: object) -> Ending:
    """Call ``monai-ddfm`` in this process, for a fixture of a module, which has no `capfd`."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = _status(*arguments)
    return Ending(status, out.getvalue(), err.getvalue())


def _status(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai-ddfm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Start child processes that end on Ctrl-C, though this one may have been told to ignore it.

    A shell that starts the tests in the background has them ignore it, and children inherit that;
    a signal with a handler is back to normal in a child.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_TOLD = re.compile(r"\A(?:(?:found|making|registering|fusing|writing)\b[^\n]*\n)*")
"""What a fusion tells on the way."""


def untold(err: str) -> str:
    """What was said beside what a fusion tells on the way."""
    return _TOLD.sub("", err)


def one_sentence(err: str) -> str:
    """Assert that nothing but one sentence has been said, and return it."""
    err = untold(err)
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n"), err
    assert ". " not in err, err
    return err.strip()
