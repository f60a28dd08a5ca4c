"""A prior as a file and its sidecar: written, described, loaded again with every value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_makers import (
    IMAGENET,
    guided_shapes,
    random_state,
    small_network,
)
from ignite.engine import Engine
from monai.handlers import CheckpointLoader
from torch import Tensor

from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import (
    Architecture,
    convert_checkpoint,
    convert_guided_diffusion_state_dict,
    load_prior,
    network_from_file,
    prior_info,
    save_prior,
)


def test_conversion_round_trip(checkpoint: Path, small: dict[str, Tensor], tmp_path: Path) -> None:
    target = tmp_path / "model.pt"
    info = convert_checkpoint(checkpoint, target, num_head_channels=16)
    converted, architecture = convert_guided_diffusion_state_dict(small, num_head_channels=16)
    assert info == prior_info(target)
    assert (info.kind, info.dtype, info.architecture) == ("ADMUNet", "float32", architecture)
    assert info.parameters == sum(value.numel() for value in small.values())
    assert info.size == target.stat().st_size < 1.1 * 4 * info.parameters
    network = network_from_file(target)
    assert Architecture.of(network) == architecture
    assert not network.training
    assert all(torch.equal(network.state_dict()[key], value) for key, value in converted.items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["guided.pt", "model.json", "model.pt"]

    save_prior(network, tmp_path / "again.pt")
    again = network_from_file(tmp_path / "again.pt").state_dict()
    assert all(torch.equal(again[key], value) for key, value in converted.items())


def test_patched_network_round_trip(tmp_path: Path) -> None:
    network = ADMUNet(
        1, 1, channels=(32, 64, 64), attention_levels=(False, False, True),
        num_res_blocks=(1, 2, 1), num_head_channels=32, patch_size=2, norm_num_groups=16,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(network.out[2].conv.weight, std=0.1)
    save_prior(network, tmp_path / "p.pt")
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([7.5])
    with torch.no_grad():
        assert torch.equal(network_from_file(tmp_path / "p.pt")(x, t), network(x, t))
    info = prior_info(tmp_path / "p.pt")
    assert info.architecture is not None
    assert info.architecture.patch_size == 2
    assert not info.learned_variance


def test_written_prior_is_a_plain_state_dict(prior: Path) -> None:
    network = small_network()
    engine = Engine(lambda _engine, _batch: None)
    CheckpointLoader(str(prior), {"model": network}).attach(engine)
    engine.run([0], max_epochs=1)
    loaded = network_from_file(prior).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("stored", "wrapper", "meta"),
    [
        (torch.float32, None, False),
        (torch.float16, "state_dict", False),
        (torch.float64, "model", True),
    ],
)
def test_every_parameter_comes_from_the_file(
    tmp_path: Path, meta: bool, wrapper: str | None, stored: torch.dtype
) -> None:
    state = {k: torch.randn_like(v).to(stored) for k, v in small_network().state_dict().items()}
    path = tmp_path / "m.pt"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    network = small_network()
    given_network = network.to("meta") if meta else network
    loaded = load_prior(given_network, path)
    assert loaded is given_network
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, state[key].float()), key
    assert loaded(torch.randn(1, 1, 8, 8), torch.tensor([1])).isfinite().all()


def test_a_small_prior_does_not_depend_on_its_file_any_more(prior: Path) -> None:
    network = network_from_file(prior)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    prior.write_bytes(b"\xff" * prior.stat().st_size)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_a_prior_is_loaded_and_written_in_the_type_asked_for(
    prior: Path, checkpoint: Path, tmp_path: Path
) -> None:
    network = network_from_file(prior, dtype=torch.float64)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float64}
    half = convert_checkpoint(
        checkpoint, tmp_path / "half.pt", num_head_channels=16, dtype=torch.float16
    )
    assert half.dtype == "float16"
    assert half.size < 0.6 * prior.stat().st_size


def test_files_from_before_the_archive_format_load(prior: Path, tmp_path: Path) -> None:
    state = torch.load(prior, weights_only=True)
    old = tmp_path / "old.pt"
    torch.save(state, old, _use_new_zipfile_serialization=False)
    network = load_prior(small_network(), old)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


MEASURED = """
import resource, sys, time
from monai_ddfm import checkpoints
start = time.perf_counter()
if sys.argv[1] == "convert":
    checkpoints.convert_checkpoint(sys.argv[2], sys.argv[3])
else:
    network = checkpoints.network_from_file(sys.argv[3])
    assert sum(p.numel() for p in network.parameters()) == 552_814_086
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak, time.perf_counter() - start)
"""


@pytest.mark.slow
def test_full_size_network_converts_loads_and_predicts(tmp_path: Path) -> None:
    unet = pytest.importorskip("azula.plugins.adm._src.unet")
    source, target = tmp_path / "guided.pt", tmp_path / "model.pt"
    torch.save(random_state(guided_shapes(**IMAGENET)), source)
    size = source.stat().st_size
    assert size > 4 * 552_814_086
    for step in ("convert", "load"):
        command = [sys.executable, "-c", MEASURED, step, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, seconds = map(float, done.stdout.split())
        print(f"{step}: file {size / 1e9:.3f} GB, peak {peak / 1e9:.3f} GB, {seconds:.1f} s")
        assert peak < 1.3 * size + 1e9

    network = network_from_file(target)
    with torch.device("meta"):
        published = unet.UNetModel(
            image_size=256,
            in_channels=3,
            model_channels=256,
            out_channels=6,
            num_res_blocks=2,
            attention_resolutions={8, 16, 32},
            channel_mult=(1, 1, 2, 2, 4, 4),
            num_head_channels=64,
            use_scale_shift_norm=True,
            resblock_updown=True,
        )
    state = torch.load(source, weights_only=True, mmap=True)
    published.load_state_dict(state, strict=True, assign=True)
    x, t = torch.randn(1, 3, 64, 64), torch.tensor([417])
    with torch.no_grad():
        ours, theirs = network(x, t), published.eval()(x, t)
    difference = float((ours - theirs).abs().max())
    print(f"forward: largest difference {difference:.2e} of {float(theirs.abs().max()):.2f}")
    source.unlink()
    target.unlink()
    assert theirs.std() > 0.05
    assert difference < 1e-4
