r"""The noise-prediction network of guided diffusion, built from MONAI's own U-Net.

`ADMUNet` is the "ablated diffusion model" of Dhariwal and Nichol (2021, arXiv 2105.05233): MONAI's
`DiffusionModelUNet` in which every residual block modulates its second group norm by the timestep
embedding ("scale-shift norm", eq. 9 of that paper's section 3, AdaGN):

.. math::

    h \leftarrow (1 + s)\,\mathrm{GroupNorm}(h) + b, \qquad (s, b) = W\,\mathrm{SiLU}(e_t) + c

instead of adding one vector per channel. With ``resblock_updown`` the resampling sits inside a
residual block, after the first norm and activation, on both paths.

An optional space-to-depth entrance (``patch_size = p``) folds p x p pixels into channels before the
first convolution and unfolds them after the last. It costs little detail in a denoiser and makes
the network about :math:`p^2` times cheaper, which is what a prior for laptops needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet, DiffusionUNetResnetBlock
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ADMUNet", "ScaleShiftResnetBlock"]


class ScaleShiftResnetBlock(DiffusionUNetResnetBlock):  # type: ignore[misc]
    """Residual block whose second norm is scaled and shifted by the timestep embedding (AdaGN)."""

    def __init__(self, plain: DiffusionUNetResnetBlock) -> None:
        """Build the block with the shape of `plain`, an already constructed MONAI block.

        Args:
            plain: the block to replace; its norms, convolutions and resampling are taken over.
        """
        nn.Module.__init__(self)
        self.spatial_dims = plain.spatial_dims
        self.channels = plain.channels
        self.emb_channels = plain.emb_channels
        self.out_channels = plain.out_channels
        self.up, self.down = plain.up, plain.down
        self.upsample, self.downsample = plain.upsample, plain.downsample
        self.norm1, self.norm2 = plain.norm1, plain.norm2
        self.conv1, self.conv2 = plain.conv1, plain.conv2
        self.nonlinearity = plain.nonlinearity
        self.skip_connection = plain.skip_connection
        self.time_emb_proj = nn.Linear(plain.emb_channels, 2 * plain.out_channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: features [B, C, H, W] (or [B, C, H, W, D]).
            emb: timestep embedding [B, E].

        Returns:
            Features [B, C', H', W'].
        """
        h = self.nonlinearity(self.norm1(x))
        for resample in (self.upsample, self.downsample):
            if resample is not None:
                x, h = resample(x), resample(h)
        h = self.conv1(h)
        modulation = self.time_emb_proj(self.nonlinearity(emb))
        modulation = modulation.reshape(*modulation.shape, *[1] * self.spatial_dims)
        scale, shift = modulation.chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        h = self.conv2(self.nonlinearity(h))
        output: Tensor = self.skip_connection(x) + h
        return output


class ADMUNet(DiffusionModelUNet):  # type: ignore[misc]
    """Unconditional denoiser of guided diffusion; loads the published weights exactly.

    Args:
        in_channels: channels of the image, 1 for the bundle's prior, 3 for ImageNet's.
        out_channels: the image's channels, or twice as many when the variance is learned.
        channels: features per level, each a multiple of `norm_num_groups`.
        attention_levels: which levels have self-attention.
        num_res_blocks: residual blocks per level.
        num_head_channels: channels of an attention head.
        norm_num_groups: groups of every group norm.
        resblock_updown: resample inside residual blocks, as the published networks do.
        patch_size: side of the space-to-depth entrance; 1 is none.
        prediction_type: what the network was trained to predict, "epsilon", "v_prediction" or
            "sample"; it does not change the computation, samplers ask for it.
        spatial_dims: 2 for slices.
        use_flash_attention: attend through PyTorch's fused kernel (same numbers to rounding).

    Raises:
        ValueError: if `channels`, `attention_levels` and `num_res_blocks` disagree in length, or
            if `patch_size` is over 1 outside of two dimensions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        attention_levels: Sequence[bool],
        num_res_blocks: Sequence[int] | int = 2,
        num_head_channels: Sequence[int] | int = 64,
        norm_num_groups: int = 32,
        resblock_updown: bool = True,
        patch_size: int = 1,
        prediction_type: str = "epsilon",
        spatial_dims: int = 2,
        use_flash_attention: bool = True,
    ) -> None:
        if patch_size < 1 or (patch_size > 1 and spatial_dims != 2):
            raise ValueError(f"patch_size {patch_size} in {spatial_dims} dimensions: use 1")
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=in_channels * patch_size**spatial_dims,
            out_channels=out_channels * patch_size**spatial_dims,
            num_res_blocks=num_res_blocks,
            channels=tuple(channels),
            attention_levels=tuple(attention_levels),
            norm_num_groups=norm_num_groups,
            norm_eps=1e-5,
            resblock_updown=resblock_updown,
            num_head_channels=num_head_channels,
            use_combined_linear=True,
            use_flash_attention=use_flash_attention,
        )
        self.image_channels = in_channels
        self.prediction_channels = out_channels
        self.patch_size = patch_size
        self.prediction_type = prediction_type
        _replace_resnet_blocks(self)

    @property
    def learns_variance(self) -> bool:
        """Whether the output carries a variance beside the noise."""
        return self.prediction_channels == 2 * self.image_channels

    @property
    def size_divisor(self) -> int:
        """Both sides of an input must be multiples of this; pad to it."""
        return int(self.patch_size * 2 ** (len(self.block_out_channels) - 1))

    def forward(
        self, x: Tensor, timesteps: Tensor | float = 0.0, context: Tensor | None = None
    ) -> Tensor:
        """Predict the noise in `x`.

        Args:
            x: noisy images [B, C, H, W] of unit signal range [-1, 1]; H and W multiples of
                `size_divisor`.
            timesteps: [B], or one number for all, on the scale of the training schedule (0 .. 999),
                also fractional. Give them: the default, the least noise, is there for MONAI's
                `verify_net_in_out`, which calls a network with an image alone.
            context: must be None; kept for MONAI's inferers, which pass it.

        Returns:
            Predicted noise [B, C, H, W], or [B, 2C, H, W] with the variance's interpolation value.

        Raises:
            ValueError: if H or W is not a multiple of `size_divisor`.
        """
        if any(side % self.size_divisor for side in x.shape[2:]):
            raise ValueError(
                f"image sides {tuple(x.shape[2:])} must be multiples of {self.size_divisor}"
            )
        if not isinstance(timesteps, Tensor):
            timesteps = x.new_full((len(x),), timesteps)
        if self.patch_size == 1:
            output: Tensor = super().forward(x, timesteps, context)
            return output
        folded = functional.pixel_unshuffle(x, self.patch_size)
        return functional.pixel_shuffle(
            super().forward(folded, timesteps, context), self.patch_size
        )


def _replace_resnet_blocks(module: nn.Module) -> None:
    """Exchange every plain residual block below `module` for its scale-shift form, in place."""
    for name, child in module.named_children():
        if isinstance(child, DiffusionUNetResnetBlock):
            setattr(module, name, ScaleShiftResnetBlock(child))
        else:
            _replace_resnet_blocks(child)
