from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from monai.handlers import CheckpointLoader
from torch import Tensor

from monai_ddfm.checkpoints import (
    KNOWN_SHA256,
    Architecture,
    convert_checkpoint,
    convert_guided_diffusion_state_dict,
    load_prior,
    network_from_file,
    prior_info,
    save_prior,
    sidecar_path,
)
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet

SMALL = {"channels": (32, 64), "attention": (False, True), "res_blocks": 1}
IMAGENET = {
    "in_channels": 3,
    "channels": (256, 256, 512, 512, 1024, 1024),
    "attention": (False, False, False, True, True, True),
    "res_blocks": 2,
}


def guided_shapes(  # noqa: PLR0915 - it follows the published constructor from top to bottom
    *,
    channels: tuple[int, ...],
    attention: tuple[bool, ...],
    res_blocks: int,
    in_channels: int = 1,
    learned: bool = True,
    resblock_updown: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published network, in the order in which it is assembled."""
    shapes: dict[str, tuple[int, ...]] = {}
    embedding = 4 * channels[0]

    def both(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    def residual(name: str, inputs: int, outputs: int) -> None:
        both(f"{name}.in_layers.0", inputs)
        both(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        both(f"{name}.emb_layers.1", 2 * outputs, embedding)
        both(f"{name}.out_layers.0", outputs)
        both(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            both(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attend(name: str, width: int) -> None:
        both(f"{name}.norm", width)
        both(f"{name}.qkv", 3 * width, width, 1)
        both(f"{name}.proj_out", width, width, 1)

    both("time_embed.0", embedding, channels[0])
    both("time_embed.2", embedding, embedding)
    both("input_blocks.0.0", channels[0], in_channels, 3, 3)
    skips, width, block = [channels[0]], channels[0], 1
    for level, outputs in enumerate(channels):
        for _ in range(res_blocks):
            residual(f"input_blocks.{block}.0", width, outputs)
            if attention[level]:
                attend(f"input_blocks.{block}.1", outputs)
            width, block = outputs, block + 1
            skips.append(width)
        if level < len(channels) - 1:
            if resblock_updown:
                residual(f"input_blocks.{block}.0", width, width)
            else:
                both(f"input_blocks.{block}.0.op", width, width, 3, 3)
            block += 1
            skips.append(width)
    residual("middle_block.0", width, width)
    attend("middle_block.1", width)
    residual("middle_block.2", width, width)
    block = 0
    for level in reversed(range(len(channels))):
        for i in range(res_blocks + 1):
            residual(f"output_blocks.{block}.0", width + skips.pop(), channels[level])
            width, slot = channels[level], 1
            if attention[level]:
                attend(f"output_blocks.{block}.1", width)
                slot = 2
            if level and i == res_blocks:
                if resblock_updown:
                    residual(f"output_blocks.{block}.{slot}", width, width)
                else:
                    both(f"output_blocks.{block}.{slot}.conv", width, width, 3, 3)
            block += 1
    both("out.0", width)
    both("out.2", in_channels * (2 if learned else 1), width, 3, 3)
    return shapes


def random_state(
    shapes: dict[str, tuple[int, ...]], *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Weights that keep a signal's size, so that every one of them moves the output."""
    generator = torch.Generator().manual_seed(7)
    state = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        fan_in = max(1, int(np.prod(shape[1:])))
        gain = 0.1 if len(shape) == 1 else fan_in**-0.5
        offset = 1.0 if len(shape) == 1 and key.endswith("weight") else 0.0
        state[key] = noise.mul_(gain).add_(offset).to(dtype)
    return state


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    return random_state(guided_shapes(**SMALL))


@pytest.fixture(scope="module")
def originals(small: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    torch.save(small, folder / "guided.pt")
    convert_checkpoint(folder / "guided.pt", folder / "model.pt", num_head_channels=16)
    return folder


@pytest.fixture
def checkpoint(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(originals / "guided.pt", tmp_path))


@pytest.fixture
def prior(originals: Path, tmp_path: Path) -> Path:
    shutil.copy(originals / "model.json", tmp_path)
    return Path(shutil.copy(originals / "model.pt", tmp_path))


def small_network() -> ADMUNet:
    return ADMUNet(
        1, 2, channels=(32, 64), attention_levels=(False, True), num_res_blocks=1,
        num_head_channels=16,
    )  # fmt: skip


def test_published_forward_is_reproduced(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden"
    told = json.loads((golden / "adm_tiny.json").read_text())
    convert_checkpoint(
        golden / "adm_tiny.pt", tmp_path / "m.pt", num_head_channels=told["num_head_channels"]
    )
    network = network_from_file(tmp_path / "m.pt")
    vectors = np.load(golden / "adm_tiny_forward.npz")
    with torch.no_grad():
        y = network(torch.from_numpy(vectors["x"]), torch.from_numpy(vectors["t"]))
    assert y.dtype == torch.float32
    np.testing.assert_allclose(y.numpy(), vectors["y"], rtol=0, atol=2e-5)


def test_published_architecture_is_inferred(shared: Path) -> None:
    told = json.loads((shared / "golden" / "adm_tiny.json").read_text())
    info = prior_info(shared / "golden" / "adm_tiny.pt", num_head_channels=16)
    assert info.kind == "guided-diffusion"
    assert info.learned_variance
    assert info.dtype == "float16"
    assert info.architecture == Architecture(
        in_channels=told["in_channels"],
        out_channels=told["out_channels"],
        channels=tuple(told["model_channels"] * m for m in told["channel_mult"]),
        attention_levels=tuple(2**i in told["attention_resolutions"] for i in range(3)),
        num_res_blocks=(told["num_res_blocks"],) * 3,
        num_head_channels=(16,) * 3,
    )


def test_imagenet_network_is_inferred_from_shapes() -> None:
    shapes = guided_shapes(**IMAGENET)
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert sum(value.numel() for value in state.values()) == 552_814_086
    converted, architecture = convert_guided_diffusion_state_dict(state)
    assert architecture == Architecture(
        in_channels=3,
        out_channels=6,
        channels=IMAGENET["channels"],
        attention_levels=IMAGENET["attention"],
        num_res_blocks=(2,) * 6,
        num_head_channels=(64,) * 6,
    )
    network = architecture.build()
    network.load_state_dict(converted, strict=True, assign=True)
    assert network.size_divisor == 32


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, object]:
    levels = draw(st.integers(1, 3))
    widths = st.sampled_from([32, 64])
    return {
        "channels": tuple(draw(st.lists(widths, min_size=levels, max_size=levels))),
        "attention": tuple(draw(st.lists(st.booleans(), min_size=levels, max_size=levels))),
        "res_blocks": draw(st.integers(1, 2)),
        "in_channels": draw(st.integers(1, 3)),
        "learned": draw(st.booleans()),
        "resblock_updown": draw(st.booleans()) if levels > 1 else True,
    }


@settings(max_examples=15, deadline=None)
@given(layout=layouts())
def test_any_layout_converts_and_nothing_is_lost(layout: dict) -> None:
    # Every tensor carries its own number, so a swap of equal shapes would show.
    shapes = guided_shapes(**layout)
    state = {key: torch.full(shape, float(i)) for i, (key, shape) in enumerate(shapes.items())}
    converted, architecture = convert_guided_diffusion_state_dict(state, num_head_channels=16)
    levels = len(layout["channels"])
    assert architecture.channels == layout["channels"]
    assert architecture.attention_levels == layout["attention"]
    assert architecture.num_res_blocks == (layout["res_blocks"],) * levels
    assert architecture.in_channels == layout["in_channels"]
    assert architecture.learns_variance is layout["learned"]
    assert architecture.resblock_updown is layout["resblock_updown"]
    network = architecture.build()
    network.load_state_dict(converted, strict=True, assign=True)
    assert Architecture.of(network) == architecture
    values = [float(value.flatten()[0]) for value in converted.values()]
    assert sorted(values) == list(range(len(shapes)))


@settings(max_examples=6, deadline=None)
@given(layout=layouts())
def test_any_layout_predicts_what_the_published_network_does(layout: dict) -> None:
    unet = pytest.importorskip("azula.plugins.adm._src.unet")
    base = layout["channels"][0]
    published = unet.UNetModel(
        image_size=16,
        in_channels=layout["in_channels"],
        model_channels=base,
        out_channels=layout["in_channels"] * (2 if layout["learned"] else 1),
        num_res_blocks=layout["res_blocks"],
        attention_resolutions={2**i for i, a in enumerate(layout["attention"]) if a},
        channel_mult=tuple(width / base for width in layout["channels"]),
        num_head_channels=16,
        use_scale_shift_norm=True,
        resblock_updown=layout["resblock_updown"],
    )
    state = random_state(guided_shapes(**layout), dtype=torch.float64)
    published.double().load_state_dict(state, strict=True)
    # Both embed the timestep in float32; MONAI then casts. The published softmax is float32 too,
    # which is what the tolerance is for.
    published.time_embed.register_forward_pre_hook(lambda _, inputs: inputs[0].double())
    converted, architecture = convert_guided_diffusion_state_dict(state, num_head_channels=16)
    network = architecture.build()
    network.load_state_dict(converted, strict=True, assign=True)
    x = torch.randn(2, layout["in_channels"], 8, 4, dtype=torch.float64)
    t = torch.tensor([3, 907])
    with torch.no_grad():
        torch.testing.assert_close(network(x, t), published.eval()(x, t), rtol=0, atol=1e-6)


def test_legacy_attention_rows_are_reordered(small: dict[str, Tensor]) -> None:
    state = dict(small)
    rows = [(h, s, d) for h in range(4) for s in range(3) for d in range(16)]
    number = {row: float(i) for i, row in enumerate(rows)}
    state["middle_block.1.qkv.bias"] = torch.tensor([number[row] for row in rows])
    state["middle_block.1.qkv.weight"] = torch.tensor([number[row] for row in rows])[
        :, None, None
    ].repeat(1, 64, 1)
    converted, _ = convert_guided_diffusion_state_dict(state, num_head_channels=16)
    wanted = torch.tensor([number[h, s, d] for s in range(3) for h in range(4) for d in range(16)])
    assert torch.equal(converted["middle_block.attention.attn.qkv.bias"], wanted)
    weight = converted["middle_block.attention.attn.qkv.weight"]
    assert torch.equal(weight, wanted[:, None].repeat(1, 64))


def test_head_channels_matter(small: dict[str, Tensor]) -> None:
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([5])
    outputs = []
    for heads in (16, 32):
        converted, architecture = convert_guided_diffusion_state_dict(
            small, num_head_channels=heads
        )
        network = architecture.build()
        network.load_state_dict(converted, assign=True)
        outputs.append(network(x, t))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("heads", [0, 48, 128])
def test_head_channels_that_do_not_fit_are_refused(small: dict[str, Tensor], heads: int) -> None:
    with pytest.raises(InputError, match="num_head_channels"):
        convert_guided_diffusion_state_dict(small, num_head_channels=heads)


def test_every_missing_key_is_named(small: dict[str, Tensor]) -> None:
    for key in small:
        state = {name: value for name, value in small.items() if name != key}
        with pytest.raises(InputError, match=rf"^f\.pt: {key} is missing") as caught:
            convert_guided_diffusion_state_dict(state, num_head_channels=16, name="f.pt")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"output_blocks.9.0.in_layers.0.weight": torch.ones(32)}, "output_blocks.9.0"),
        ({"middle_block.1.qkv.weight": torch.ones(192, 32, 1)}, "middle_block.1.qkv.weight"),
        ({"middle_block.1.qkv.weight": torch.ones(192, 64)}, "middle_block.1.qkv.weight"),
        # Without scale-shift norm the embedding gives one number per channel, not two.
        ({"input_blocks.1.0.emb_layers.1.weight": torch.ones(32, 128)}, "emb_layers.1.weight"),
        ({"label_emb.weight": torch.ones(1000, 128)}, "class-conditional"),
        ({"input_blocks.0.0.weight": torch.ones(())}, "input_blocks.0.0.weight"),
        ({"input_blocks.1.0.out_layers.0.weight": torch.ones(33)}, "no network"),
    ],
)
def test_other_architectures_are_refused(
    small: dict[str, Tensor], change: dict[str, Tensor], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        convert_guided_diffusion_state_dict({**small, **change}, num_head_channels=16)


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


def test_requested_types(prior: Path, checkpoint: Path, tmp_path: Path) -> None:
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
