"""Small heads, networks and options for the tests of training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.bundle import ConfigWorkflow
from monai.networks.schedulers import DDPMScheduler
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from monai_ddfm.networks import ADMUNet

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "ddfm_medical_fusion"
TRAIN = BUNDLE / "configs" / "train.json"
MULTI_GPU = BUNDLE / "configs" / "multi_gpu_train.json"
EVALUATE = BUNDLE / "configs" / "evaluate_prior.json"

NETWORK: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "channels": [8, 16],
    "attention_levels": [False, True],
    "num_res_blocks": 1,
    "num_head_channels": 8,
    "norm_num_groups": 8,
    "resblock_updown": False,
    "patch_size": 2,
    "prediction_type": "v_prediction",
}


def head(size: int = 64, *, seed: int = 0) -> NDArray[np.float32]:
    """Draw an ellipse with a rim and a few blobs on black, values in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(x / rng.uniform(0.6, 0.8), y / rng.uniform(0.7, 0.9))
    image = np.where(radius < 1, 0.7, 0.0)
    image[(radius > 0.8) & (radius < 0.9)] = 0.15
    for _ in range(6):
        (cx, cy), width = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.05, 0.2)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / width**2)
        image = image + np.where(radius < 0.75, rng.uniform(-0.5, 0.3) * blob, 0)
    return np.clip(image, 0, 1).astype(np.float32)


def save_picture(image: NDArray[np.float32], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255).round().astype(np.uint8)).save(path)
    return path


def save_heads(folder: Path, *, count: int = 12, size: int = 64) -> Path:
    """Write one picture per subject."""
    for number in range(count):
        save_picture(head(size, seed=number), folder / f"subject{number:02d}" / "slice.png")
    return folder


def tiny_network(seed: int = 0) -> ADMUNet:
    torch.manual_seed(seed)
    return ADMUNet(**NETWORK)


def tiny_options(data: Path, output: Path, **more: Any) -> dict[str, Any]:
    """Options of ``train.json`` for a run of seconds on one core."""
    return {
        "bundle_root": str(BUNDLE),
        "train_dir": str(data),
        "output_dir": str(output),
        "device": torch.device("cpu"),
        "batch_size": 4,
        "canvas": 64,
        "picture_sizes": [32],
        "learning_rate": 2e-3,
        "warmup_iterations": 5,
        "max_iterations": 60,
        "max_minutes": None,
        "val_interval": 20,
        "val_slices": 2,
        "sample_interval": 0,
        "sample_size": 32,
        "sample_count": 4,
        "amp_dtype": "float32",
        "tensorboard": False,
        "network_def": {"_target_": "monai_ddfm.networks.ADMUNet", **NETWORK},
        **more,
    }


def training(data: Path, output: Path, **more: Any) -> ConfigWorkflow:
    """Prepare a tiny run of the bundle's own ``train.json``."""
    workflow = ConfigWorkflow(
        config_file=str(TRAIN),
        workflow_type="train",
        logging_file=False,
        **tiny_options(data, output, **more),
    )
    workflow.initialize()
    return workflow


def dummy_engine() -> Engine:
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    return engine


SCHEDULER = DDPMScheduler(
    num_train_timesteps=1000,
    schedule="linear_beta",
    beta_start=1e-4,
    beta_end=2e-2,
    prediction_type="v_prediction",
)


class Oracle(nn.Module):
    """Knows the clean images, and predicts as if it did not."""

    def __init__(self, clean: Tensor, prediction_type: str, *, error: float = 0.0) -> None:
        super().__init__()
        self.clean = clean + error
        self.prediction_type = prediction_type
        self.image_channels = 1
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        lower = timesteps.floor().long().clamp(max=998)
        table = SCHEDULER.alphas_cumprod.double()
        ratios = 0.5 * ((1 - table) / table).log()
        part = timesteps.double() - lower
        ratio = (ratios[lower] * (1 - part) + ratios[lower + 1] * part).exp()
        power = (1 / (1 + ratio**2)).reshape(-1, 1, 1, 1)
        clean, noisy = self.clean.double(), x.double()
        noise = (noisy - power.sqrt() * clean) / (1 - power).sqrt()
        velocity = power.sqrt() * noise - (1 - power).sqrt() * clean
        return {"epsilon": noise, "v_prediction": velocity, "sample": clean}[
            self.prediction_type
        ].float()


def images(count: int = 4, size: int = 32) -> Tensor:
    stack = np.stack([head(size, seed=n) for n in range(count)])
    return torch.from_numpy(stack)[:, None] * 2 - 1


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def state_of(output: Path) -> dict[str, Any]:
    return torch.load(output / "last.pt", weights_only=True)
