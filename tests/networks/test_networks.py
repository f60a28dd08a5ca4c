from __future__ import annotations

import itertools

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import DiffusionUNetResnetBlock
from torch import Tensor
from torch.nn import functional

from monai_ddfm.networks import ADMUNet, ScaleShiftResnetBlock
from monai_ddfm.networks.priors import convert_guided_diffusion_state_dict


def network(
    in_channels: int = 1, out_channels: int = 1, *, seed: int = 3, **options: object
) -> ADMUNet:
    """A small network whose zero-initialized convolutions are random too."""
    torch.manual_seed(seed)
    arguments = {
        "channels": (32, 64),
        "attention_levels": (False, True),
        "num_res_blocks": 1,
        "num_head_channels": 16,
    }
    built = ADMUNet(in_channels, out_channels, **{**arguments, **options})
    for parameter in built.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return built.eval()


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(*shape, generator=generator)
    return x, torch.randint(0, 1000, shape[:1], generator=generator)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("resblock_updown", [False, True])
def test_prediction_has_the_shape_of_the_image(
    learned: bool, channels: int, patch_size: int, resblock_updown: bool
) -> None:
    out_channels = channels * (2 if learned else 1)
    net = network(channels, out_channels, patch_size=patch_size, resblock_updown=resblock_updown)
    assert net.learns_variance is learned
    assert net.size_divisor == 2 * patch_size
    with torch.no_grad():
        y = net(*inputs(2, channels, 12, 8))
    assert y.shape == (2, out_channels, 12, 8)
    assert y.isfinite().all()
    assert y.std() > 0


def test_volumes_are_predicted_too() -> None:
    net = network(spatial_dims=3)
    with torch.no_grad():
        assert net(*inputs(1, 1, 4, 6, 8)).shape == (1, 1, 4, 6, 8)


@pytest.mark.parametrize(
    ("levels", "patch_size", "divisor"), [(1, 1, 1), (2, 1, 2), (3, 1, 4), (3, 2, 8), (2, 4, 8)]
)
def test_sizes_that_do_not_fit_are_refused(levels: int, patch_size: int, divisor: int) -> None:
    net = network(
        channels=(32,) * levels, attention_levels=(False,) * levels, patch_size=patch_size
    )
    assert net.size_divisor == divisor
    with torch.no_grad():
        net(*inputs(1, 1, divisor, 2 * divisor))
    for shape in itertools.product((2 * divisor, 2 * divisor + 1), repeat=2):
        if divisor > 1 and shape != (2 * divisor, 2 * divisor):
            with pytest.raises(ValueError, match=f"multiples of {divisor}"):
                net(*inputs(1, 1, *shape))


@pytest.mark.parametrize(
    "options",
    [
        {"channels": (32, 64, 64)},
        {"channels": (33, 64)},
        {"num_res_blocks": (1, 1, 1)},
        {"num_head_channels": 48},
        {"patch_size": 0},
        {"patch_size": 2, "spatial_dims": 3},
    ],
)
def test_impossible_networks_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        network(**options)


def test_space_to_depth_entrance_is_only_a_rearrangement() -> None:
    patched = network(2, 4, patch_size=2)
    plain = network(8, 16)
    plain.load_state_dict(patched.state_dict(), strict=True)
    x, t = inputs(2, 2, 16, 8)
    # Channel c, row 2i + a, column 2j + b goes to channel 4c + 2a + b, row i, column j.
    folded = torch.stack(
        [x[:, c, a::2, b::2] for c in range(2) for a in range(2) for b in range(2)], dim=1
    )
    with torch.no_grad():
        y, wanted = patched(x, t), plain(folded, t)
    for c, a, b in itertools.product(range(4), range(2), range(2)):
        assert torch.equal(y[:, c, a::2, b::2], wanted[:, 4 * c + 2 * a + b])


def test_block_modulates_its_second_norm() -> None:
    plain = DiffusionUNetResnetBlock(
        spatial_dims=2, in_channels=32, out_channels=64, temb_channels=24, norm_eps=1e-5
    )
    block = ScaleShiftResnetBlock(plain).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 32, 6, 4, dtype=torch.float64)
    emb = torch.randn(2, 24, dtype=torch.float64)

    def normalized(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        groups = h.reshape(2, 32, -1)
        mean = groups.mean(dim=2, keepdim=True)
        variance = ((groups - mean) ** 2).mean(dim=2, keepdim=True)
        unit = ((groups - mean) / torch.sqrt(variance + 1e-5)).reshape(h.shape)
        return unit * weight[:, None, None] + bias[:, None, None]

    def silu(v: Tensor) -> Tensor:
        return v / (1 + torch.exp(-v))

    p = dict(block.named_parameters())
    h = silu(normalized(x, p["norm1.weight"], p["norm1.bias"]))
    h = functional.conv2d(h, p["conv1.conv.weight"], p["conv1.conv.bias"], padding=1)
    modulation = silu(emb) @ p["time_emb_proj.weight"].T + p["time_emb_proj.bias"]
    scale, shift = modulation[:, :64, None, None], modulation[:, 64:, None, None]
    h = silu(normalized(h, p["norm2.weight"], p["norm2.bias"]) * (1 + scale) + shift)
    h = functional.conv2d(h, p["conv2.conv.weight"], p["conv2.conv.bias"], padding=1)
    skipped = functional.conv2d(x, p["skip_connection.conv.weight"], p["skip_connection.conv.bias"])
    torch.testing.assert_close(block(x, emb), skipped + h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("resblock_updown", [False, True])
def test_every_parameter_learns(resblock_updown: bool) -> None:
    net = network(1, 2, resblock_updown=resblock_updown).train()
    net(*inputs(2, 1, 8, 8)).square().sum().backward()
    modulating = [name for name, _ in net.named_parameters() if "time_emb_proj" in name]
    residual = [m for m in net.modules() if isinstance(m, DiffusionUNetResnetBlock)]
    assert all(isinstance(m, ScaleShiftResnetBlock) for m in residual)
    assert len(modulating) == 2 * len(residual)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("qkv.bias"):
            # A constant added to all keys does not change a softmax: that third is exactly free.
            query, _, value = parameter.grad.chunk(3)
            assert query.any(), name
            assert value.any(), name
        else:
            assert parameter.grad.any(), name


def test_timesteps_matter_and_may_be_fractional() -> None:
    net = network()
    x, _ = inputs(1, 1, 8, 8)
    with torch.no_grad():
        low, middle, high, whole = (net(x, torch.tensor([t])) for t in (500.0, 500.5, 501.0, 501))
    assert torch.equal(high, whole)
    assert 0 < (low - middle).abs().max() < (low - high).abs().max()


def test_images_of_a_batch_do_not_meet() -> None:
    net = network(1, 2).double()
    x, t = inputs(3, 1, 8, 8)
    with torch.no_grad():
        together = net(x.double(), t)
        alone = [net(x[i : i + 1].double(), t[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_fused_attention_equals_plain_attention() -> None:
    fused, plain = network().double(), network(use_flash_attention=False).double()
    x, t = inputs(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fused(x.double(), t), plain(x.double(), t), rtol=0, atol=1e-12)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_autocast_to_bfloat16(patch_size: int) -> None:
    net = network(1, 2, patch_size=patch_size)
    x, t = inputs(2, 1, 16, 16)
    with torch.no_grad():
        exact = net(x, t)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = net(x, t)
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).square().mean().sqrt() / exact.std()
    assert 0 < error < 0.05


@pytest.mark.parametrize("new_order", [False, True])
@pytest.mark.parametrize("resblock_updown", [False, True])
def test_equals_an_independent_implementation(new_order: bool, resblock_updown: bool) -> None:
    unet = pytest.importorskip("azula.plugins.adm._src.unet")
    torch.manual_seed(5)
    published = unet.UNetModel(
        image_size=32,
        in_channels=3,
        model_channels=32,
        out_channels=6,
        num_res_blocks=1,
        attention_resolutions={2, 4},
        channel_mult=(1, 2, 2),
        num_head_channels=16,
        use_scale_shift_norm=True,
        resblock_updown=resblock_updown,
        use_new_attention_order=new_order,
    ).eval()
    for parameter in published.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    state, architecture = convert_guided_diffusion_state_dict(
        published.state_dict(), num_head_channels=16
    )
    net = architecture.build()
    net.load_state_dict(state, strict=True, assign=True)
    x, t = inputs(2, 3, 16, 8)
    with torch.no_grad():
        difference = (net(x, t) - published(x, t)).abs().max()
    # Only the order of rows that the published networks have is the one that is converted.
    assert bool(difference < 2e-5) is not new_order


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_takes_other_sizes_and_timesteps() -> None:
    net = network(patch_size=2, channels=(8, 16), num_head_channels=8, norm_num_groups=4)
    example = (torch.zeros(1, 1, 16, 16), torch.tensor([500]))
    with torch.no_grad():
        traced = torch.jit.trace(net, example, check_trace=False)
        x, timesteps = inputs(2, 1, 24, 8)
        torch.testing.assert_close(traced(x, timesteps), net(x, timesteps))
