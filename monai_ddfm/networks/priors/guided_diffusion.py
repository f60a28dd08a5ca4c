r"""The key layout of guided diffusion, translated to `ADMUNet`'s.

The networks published with Dhariwal and Nichol (2021, arXiv 2105.05233) name their modules by
position, `ADMUNet` by role. With n residual blocks per level, level l counted from the finest on
the way down and u from the coarsest on the way up:

.. code-block:: text

    down_blocks.l.resnets.r, attentions.r    input_blocks.{1 + l(n+1) + r}.0, .1      r < n
    down_blocks.l.downsampler                input_blocks.{1 + l(n+1) + n}.0
    up_blocks.u.resnets.r, attentions.r      output_blocks.{u(n+1) + r}.0, .1         r <= n
    up_blocks.u.upsampler                    output_blocks.{u(n+1) + n}.1 (.2 after attention)

Every tensor is taken over as it is, except the joint query-key-value projection: the published
("legacy") rows are ordered [head, (q, k, v), head channel], MONAI's `SABlock` wants them as
[(q, k, v), head, head channel]:

.. math:: W'_{(s,\,h,\,d)} = W_{(h,\,s,\,d)}, \qquad s \in \{q, k, v\}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors.architecture import Architecture, check_keys

__all__ = ["convert_guided_diffusion_state_dict", "infer_architecture", "is_guided_diffusion"]

_LEAVES = {
    "norm1": "in_layers.0",
    "conv1.conv": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2.conv": "out_layers.3",
    "skip_connection.conv": "skip_connection",
    "norm": "norm",
    "attn.qkv": "qkv",
    "attn.out_proj": "proj_out",
    "op.conv": "op",
    "postconv.conv": "conv",
}
_MIDDLE = {"resnet_1": 0, "attention": 1, "resnet_2": 2}
_ENDS = {"conv_in.conv": "input_blocks.0.0", "out.2.conv": "out.2"}
_SIDE = re.compile(
    r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsampler|upsampler)(?:\.(\d+))?\.(\D.*)"
)
_PROJECTION = re.compile(r"attn\.(qkv|out_proj)\.weight$")


def is_guided_diffusion(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the keys are those of a guided-diffusion U-Net."""
    return any(key.startswith("input_blocks.") for key in state)


def convert_guided_diffusion_state_dict(
    state: Mapping[str, Tensor], *, num_head_channels: int = 64, name: str = "the state dict"
) -> tuple[dict[str, Tensor], Architecture]:
    """Convert the state dict of an unconditional guided-diffusion U-Net to `ADMUNet`'s keys.

    Shapes do not tell how the attention's channels are split. A wrong `num_head_channels` makes a
    network that runs and predicts nonsense, and so does a network that was trained with
    ``use_new_attention_order`` (none of the published unconditional ones was).

    Args:
        state: tensors by their published names; only the attention's are copied.
        num_head_channels: channels per attention head, 64 in the published ImageNet networks.
        name: what to call `state` in errors, usually its file.

    Returns:
        The state dict that the network of the architecture takes strictly, and the architecture.

    Raises:
        InputError: if `num_head_channels` does not fit, or at the first key that is missing, left
            over or of another shape.
    """
    architecture = infer_architecture(state, num_head_channels=num_head_channels, name=name)
    levels = zip(architecture.channels, architecture.attention_levels, strict=True)
    attended = {width for width, attends in levels if attends} | {architecture.channels[-1]}
    if num_head_channels < 1 or any(width % num_head_channels for width in attended):
        raise InputError(
            f"{name}: attention on {sorted(attended)} channels cannot have heads of "
            f"{num_head_channels}; give the num_head_channels that the network was trained with"
        )
    shapes = {k: tuple(v.shape) for k, v in architecture.build(name=name).state_dict().items()}
    sources = {key: _source_key(key, architecture) for key in shapes}
    # The published projections are one-dimensional convolutions, MONAI's are linear layers.
    expected = {
        sources[key]: (*shape, 1) if _PROJECTION.search(key) else shape
        for key, shape in shapes.items()
    }
    check_keys(expected, state, name=name)
    converted = {}
    for key, source in sources.items():
        tensor = state[source].squeeze(-1) if _PROJECTION.search(key) else state[source]
        if ".attn.qkv." in key:
            heads_first = tensor.reshape(-1, 3, num_head_channels, *tensor.shape[1:])
            tensor = heads_first.transpose(0, 1).reshape(tensor.shape)
        converted[key] = tensor
    return converted, architecture


def infer_architecture(
    state: Mapping[str, Tensor], *, num_head_channels: int = 64, name: str = "the state dict"
) -> Architecture:
    """Read the architecture off the keys and shapes of a guided-diffusion U-Net.

    Args:
        state: tensors by their published names.
        num_head_channels: channels per attention head, which shapes do not tell.
        name: what to call `state` in errors.

    Returns:
        The architecture that the upsampling blocks, first convolutions and first blocks of every
        level speak of; the other keys are not looked at.

    Raises:
        InputError: if one of those keys is missing or the network is class-conditional.
    """
    if any(key.startswith("label_emb.") for key in state):
        raise InputError(
            f"{name}: label_emb.weight makes this network class-conditional; "
            "a prior must be unconditional"
        )

    def size(key: str, axis: int) -> int:
        if key not in state or state[key].ndim <= axis:
            raise InputError(f"{name}: {key} is missing; the file is incomplete")
        return state[key].shape[axis]

    modules = {key[: dot.start()] for key in state for dot in re.finditer(r"\.", key)}
    blocks = 0
    while f"output_blocks.{blocks}" in modules:
        blocks += 1
    resamplers = [
        (block, kind)
        for block in range(blocks)
        for slot in (1, 2)
        for kind in ("in_layers", "conv")
        if f"output_blocks.{block}.{slot}.{kind}" in modules
    ]
    # The first upsampling closes the coarsest level, which has one block more than on the way down.
    num_res_blocks = resamplers[0][0] if resamplers else blocks - 1
    firsts = [1 + level * (num_res_blocks + 1) for level in range(len(resamplers) + 1)]
    return Architecture(
        in_channels=size("input_blocks.0.0.weight", 1),
        out_channels=size("out.2.weight", 0),
        channels=tuple(size(f"input_blocks.{i}.0.out_layers.0.weight", 0) for i in firsts),
        attention_levels=tuple(f"input_blocks.{i}.1" in modules for i in firsts),
        num_res_blocks=(num_res_blocks,) * len(firsts),
        num_head_channels=(num_head_channels,) * len(firsts),
        resblock_updown=not resamplers or resamplers[0][1] == "in_layers",
    )


def _source_key(key: str, architecture: Architecture) -> str:
    """Return the published name of an `ADMUNet` key."""
    module, _, kind = key.rpartition(".")
    if module.startswith("middle_block."):
        _, role, leaf = module.split(".", 2)
        return f"middle_block.{_MIDDLE[role]}.{_LEAVES[leaf]}.{kind}"
    match = _SIDE.fullmatch(module)
    if match is None:
        return f"{_ENDS.get(module, module)}.{kind}"
    side, level, role, index, leaf = match.groups()
    per_level = architecture.num_res_blocks[0] + 1
    block = int(level) * per_level + (int(index) if index else per_level - 1)
    slot = int(role == "attentions")
    if role == "upsampler":
        slot = 1 + architecture.attention_levels[-1 - int(level)]
    path = f"input_blocks.{block + 1}" if side == "down" else f"output_blocks.{block}"
    return f"{path}.{slot}.{_LEAVES[leaf]}.{kind}"
