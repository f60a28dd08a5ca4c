"""A published state dictionary becomes one of the prior's network: every layout, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_makers import IMAGENET, guided_shapes, random_state
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors import (
    Architecture,
    convert_checkpoint,
    convert_guided_diffusion_state_dict,
    network_from_file,
    prior_info,
)


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
