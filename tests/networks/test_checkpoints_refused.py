"""Files that are no sound prior are refused in one sentence, and no code in them is run."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_makers import (
    small_network,
)

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import (
    KNOWN_SHA256,
    convert_checkpoint,
    load_prior,
    network_from_file,
    prior_info,
    sidecar_path,
)


class _Harmful:
    """Pickles to a call that makes a file: the way code hides in a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def _spoil(kind: str, good: Path, path: Path) -> None:
    """Write the file `path` that is wrong in the way `kind` says."""
    content = good.read_bytes()
    state = torch.load(good, weights_only=True)
    first = "down_blocks.0.resnets.0.norm1.weight"
    harmful = _Harmful(path.with_name("code-has-run"))
    written = {
        "empty": b"",
        "cut": content[:-100],
        "cut hard": content[: len(content) // 2],
        "html": b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>",
        "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "pickle": pickle.dumps(harmful, protocol=2),
    }
    saved = {
        "code": {**state, "x": harmful},
        "not tensors": {**state, "epoch": 3},
        "integers": {key: value.int() for key, value in state.items()},
        "no state dict": list(state.values()),
        "nothing in it": {},
        "classifier": {"fc.weight": torch.ones(2, 2)},
        "missing key": {key: value for key, value in state.items() if key != first},
        "extra key": {**state, "up_blocks.7.x": torch.ones(1)},
        "shape": {**state, first: torch.ones(31)},
        "nan": {**state, first: torch.full((32,), torch.nan)},
        "inf": {**state, first: -torch.full((32,), torch.inf)},
    }
    if kind in written:
        path.write_bytes(written[kind])
    elif kind == "folder":
        path.mkdir()
    elif kind == "other archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
    elif kind != "absent":
        old = kind.startswith("old ")
        torch.save(saved[kind.removeprefix("old ")], path, _use_new_zipfile_serialization=not old)


BROKEN = {
    "absent": "is not a file",
    "folder": "is not a file",
    "empty": "is not a PyTorch checkpoint|damaged",
    "cut": "cut short",
    "cut hard": "cut short",
    "html": "web page",
    "text": "not a PyTorch checkpoint",
    "other archive": "not a PyTorch checkpoint",
    "pickle": "could run code|not a PyTorch checkpoint",
    "code": "could run code",
    "old code": "could run code",
    "not tensors": "epoch is not a tensor",
    "integers": "is not a tensor of floating",
    "no state dict": "holds no state dict",
    "nothing in it": "holds no state dict",
    "classifier": "conv_in.conv.weight is missing",
}
WRONG = {
    "missing key": "down_blocks.0.resnets.0.norm1.weight is missing",
    "shape": r"down_blocks.0.resnets.0.norm1.weight has the shape \(31,\) where \(32,\)",
    "extra key": "up_blocks.7.x is not part",
    "nan": "down_blocks.0.resnets.0.norm1.weight has weights that are NaN or infinite",
    "inf": "down_blocks.0.resnets.0.norm1.weight has weights that are NaN or infinite",
}


@pytest.mark.parametrize("kind", [*BROKEN, *WRONG])
def test_unusable_files_are_refused_when_loading(prior: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad file.pt"
    _spoil(kind, prior, path)
    with pytest.raises(InputError, match={**BROKEN, **WRONG}[kind]) as caught:
        load_prior(small_network(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "code-has-run").exists()


@pytest.mark.parametrize("kind", BROKEN)
def test_unusable_files_are_refused_when_converting(prior: Path, tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "bad file.pt", tmp_path / "out.pt"
    _spoil(kind, prior, path)
    for use in (prior_info, lambda source: convert_checkpoint(source, target)):
        with pytest.raises(InputError, match=BROKEN[kind]):
            use(path)
    assert not (tmp_path / "code-has-run").exists()
    assert not target.exists()
    assert not sidecar_path(target).exists()


def test_refused_values_leave_no_usable_network(prior: Path, tmp_path: Path) -> None:
    network = small_network()
    _spoil("nan", prior, tmp_path / "nan.pt")
    with pytest.raises(InputError):
        load_prior(network, tmp_path / "nan.pt")
    assert {p.device.type for p in network.parameters()} == {"meta"}


def test_values_too_large_for_the_type_are_refused(small: dict, tmp_path: Path) -> None:
    torch.save({**small, "out.2.bias": torch.tensor([1e6, 0.0])}, tmp_path / "wide.pt")
    with pytest.raises(InputError, match=r"out\.2\.conv\.bias has weights .* as torch\.float16"):
        convert_checkpoint(
            tmp_path / "wide.pt", tmp_path / "o.pt", num_head_channels=16, dtype=torch.float16
        )
    assert not (tmp_path / "o.pt").exists()


def test_hashes_are_verified(prior: Path) -> None:
    good = prior_info(prior).sha256
    load_prior(small_network(), prior, sha256=good.upper())
    load_prior(small_network(), prior, sha256="")
    with pytest.raises(InputError, match=f"SHA-256 {good} instead of {'0' * 64}"):
        load_prior(small_network(), prior, sha256="0" * 64)


def test_a_published_name_must_be_the_published_file(checkpoint: Path, tmp_path: Path) -> None:
    [name] = KNOWN_SHA256
    impostor = checkpoint.rename(tmp_path / name)
    with pytest.raises(InputError, match=r"instead of a37c32ff.* rename it if it is your own"):
        convert_checkpoint(impostor, tmp_path / "o.pt", num_head_channels=16)


def test_key_layouts_are_not_mixed_up(prior: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prior convert"):
        load_prior(small_network(), checkpoint)
    with pytest.raises(InputError, match="already"):
        convert_checkpoint(prior, tmp_path / "o.pt")
    other = ADMUNet(1, 2, channels=(32, 32), attention_levels=(False, True), num_head_channels=16)
    with pytest.raises(InputError, match=r"model\.pt: \S+resnets.1.norm1.weight is missing"):
        load_prior(other, prior)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no model.json"),
        ("{", "not the description"),
        ("[]", "not the description"),
        ('{"sha256": "0"}', "not the description"),
        ('{"sha256": "0", "architecture": {"colour": 1}}', "does not describe"),
        ('{"sha256": "0", "architecture": {"in_channels": 1}}', "does not describe"),
    ],
)
def test_unusable_sidecars_are_refused(prior: Path, text: str | None, message: str) -> None:
    sidecar_path(prior).unlink()
    if text is not None:
        sidecar_path(prior).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        network_from_file(prior)
    assert str(prior.parent) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"channels": [33, 64]}, {"in_channels": -1}, {"num_head_channels": [16, 0]},
     {"channels": "wide"}, {"num_res_blocks": [1]}, {"patch_size": 0}, {"in_channels": "one"}],
)  # fmt: skip
def test_impossible_architectures_are_refused(prior: Path, change: dict) -> None:
    sidecar = sidecar_path(prior)
    content = json.loads(sidecar.read_text())
    content["architecture"].update(change)
    sidecar.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.json"):
        network_from_file(prior)


def test_a_sidecar_belongs_to_one_file(prior: Path) -> None:
    state = torch.load(prior, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, prior)
    with pytest.raises(InputError, match="instead of"):
        network_from_file(prior)
    with pytest.raises(InputError, match="describes other weights"):
        prior_info(prior)


def test_targets_that_cannot_be_written_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    before = checkpoint.read_bytes()
    (tmp_path / "a.pt").mkdir()
    for target, message in (
        (checkpoint, "the checkpoint itself"),
        (tmp_path / "no such" / "m.pt", "is not a folder"),
        (tmp_path / "m.json", "no name for weights"),
        (tmp_path / next(iter(KNOWN_SHA256)), "name of a published checkpoint"),
        (tmp_path / "a.pt", "no name for weights"),
    ):
        with pytest.raises(InputError, match=message):
            convert_checkpoint(checkpoint, target, num_head_channels=16)
    assert checkpoint.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "guided.pt"]


def test_a_failed_write_leaves_the_old_file(prior: Path, checkpoint: Path) -> None:
    resource = pytest.importorskip("resource")
    before = {p.name: p.read_bytes() for p in prior.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            convert_checkpoint(checkpoint, prior, num_head_channels=16, dtype=torch.float64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name: p.read_bytes() for p in prior.parent.iterdir()} == before
