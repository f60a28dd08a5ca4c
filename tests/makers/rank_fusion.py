"""One of several processes that share a volume; run by `test_sharing.py`.

``python rank_fusion.py RANK WORLD RENDEZVOUS_FILE RESULT``
"""

from __future__ import annotations

import sys

import torch
from run_cases import RecordingNet
from torch import Tensor, distributed

from monai_ddfm.inferers import DDFMInferer


def volume() -> Tensor:
    generator = torch.Generator().manual_seed(6)
    one = torch.rand(1, 2, 52, 44, 7, generator=generator) * 2 - 1
    one[..., :9, :, :] = -1.0
    one[..., 30:, :, 5:] = -1.0  # slices of several sizes
    one[..., 3] = -1.0
    return one


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world
    )
    network = RecordingNet()
    fused = DDFMInferer(steps=2, noise="independent", distributed=True)(volume(), network)
    torch.save({"fused": fused, "evaluations": len(network.seen)}, sys.argv[4])
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
