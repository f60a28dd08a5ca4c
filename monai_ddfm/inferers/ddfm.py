"""`DDFMInferer`: MONAI's way to run DDFM over slices and volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.layout import SliceLayout, crop_and_pad
from monai_ddfm.inferers.noise import NoiseMode, NoiseSource
from monai_ddfm.inferers.presets import Preset, build_solver, preset_named
from monai_ddfm.inferers.progress import ProgressCallback, SamplingProgress
from monai_ddfm.inferers.sampling import SamplingStep, SliceSampler
from monai_ddfm.rectifiers import Rectifier
from monai_ddfm.schedulers import PredictionType

__all__ = ["DDFMInferer"]

_log = logging.getLogger(__name__)
_AUTO_BATCH = {"cuda": 64, "cpu": 4}


class DDFMInferer(Inferer):  # type: ignore[misc]
    """Fuses slices, or volumes slice by slice, with an unconditional diffusion prior.

    The result does not depend on `batch_size`: noise belongs to the slice, and every image has its
    own EM state.

    Args:
        spacing: timesteps to visit, as `monai_ddfm.schedulers.space_timesteps` takes them
            (``"ddim25"``, ``"10,15,20"``); None is what `steps` or the preset says.
        preset: a `Preset` or the name of one: "reference", "paper" or "default".
        steps: number of timesteps to visit; None is the preset's.
        seed: of all noise.
        batch_size: slices per call of the network; "auto" starts large and halves when memory
            runs out.
        axis: spatial axis of a volume along which slices follow each other; 2 is axial in RAS.
        noise: "shared" gives every slice the same noise, "independent" its own.
        rectifier: instead of the preset's.
        autocast_dtype: "bfloat16" or "float16" for the network's arithmetic, None for float32.
        start_timestep: start there from the noised average of the sources, instead of from pure
            noise at the last timestep.
        prediction_type: what the prior predicts; None is what the network says of itself.
        betas: noise schedule that the prior was trained with.
        num_timesteps: length of that schedule.
        crop_foreground: sample only the box around what is not background; volumes only.
        progress: called after every step.

    Raises:
        InputError: if an option is unknown or out of range.
    """

    def __init__(
        self,
        spacing: str | Sequence[int] | None = None,
        preset: str | Preset = "default",
        *,
        steps: int | None = None,
        seed: int = 0,
        batch_size: int | Literal["auto"] = "auto",
        axis: int = 2,
        noise: NoiseMode = "shared",
        rectifier: Rectifier[Any] | None = None,
        autocast_dtype: str | None = None,
        start_timestep: int | None = None,
        prediction_type: PredictionType | None = None,
        betas: Literal["linear", "cosine"] = "linear",
        num_timesteps: int = 1000,
        crop_foreground: bool = True,
        progress: ProgressCallback | None = None,
    ) -> None:
        chosen = preset_named(preset) if isinstance(preset, str) else preset
        if spacing is not None or steps is not None:
            chosen = replace(chosen, steps=_visits(steps if spacing is None else spacing))
        if rectifier is not None:
            chosen = replace(chosen, rectifier=rectifier)
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch size {batch_size!r} is unusable; give 1 or more, or 'auto'.")
        if not isinstance(axis, int) or axis not in {0, 1, 2}:
            raise InputError(f"slice axis {axis!r} is unknown; use 0, 1 or 2.")
        self.preset = chosen
        self.noise = NoiseSource(seed=seed, mode=noise)
        self.batch_size: int | Literal["auto"] = batch_size
        self.axis = axis
        self.autocast_dtype = _dtype_named(autocast_dtype)
        self.start_timestep = _start_checked(start_timestep, num_timesteps)
        self.prediction_type = prediction_type
        self.betas: Literal["linear", "cosine"] = betas
        self.num_timesteps = num_timesteps
        self.crop_foreground = crop_foreground
        self.progress = progress
        # Builds the solver once, so that wrong steps are refused before any work is done.
        self._sampler(None)

    def __call__(
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> Tensor:
        """Fuse a batch of slice pairs or of volume pairs.

        Args:
            inputs: [B, 2, H, W] or [B, 2, H, W, D] in [-1, 1]; channel 0 fixed, 1 moving.
            network: the prior, an `ADMUNet` of one or three image channels.
            args: not used; MONAI's evaluators may pass some.
            kwargs: not used.

        Returns:
            Float32 of the shape of `inputs`: channel 0 is the fused luminance on the sources'
            scale, channel 1 the share of `moving` in it, 0 to 1.

        Raises:
            InputError: if `inputs` has another shape, no values or values that are not finite, or
                if memory runs out with the batch size asked for, or with one slice.
        """
        images = convert_to_tensor(inputs, track_meta=False).float()
        if images.ndim not in {4, 5} or images.shape[1] != 2 or images.numel() == 0:
            raise InputError(
                f"DDFM fuses [B, 2, H, W] or [B, 2, H, W, D], not {tuple(images.shape)}."
            )
        if not bool(images.isfinite().all()):
            raise InputError("the sources hold NaN or infinite values; replace them first.")
        if images.ndim == 4:
            fused = self._fuse_slices(images, network, volume=False)
        else:
            fused = torch.stack([self._fuse_volume(volume, network) for volume in images])
        # Hands the inputs' metadata on, where they have some: the fused volume is on their grid.
        result: Tensor = convert_to_dst_type(fused, inputs, dtype=torch.float32)[0]
        return result

    def _fuse_volume(self, volume: Tensor, network: nn.Module) -> Tensor:
        """Fuse one volume [2, H, W, D] slice by slice."""
        slices = volume.movedim(1 + self.axis, 0)
        fused = self._fuse_slices(slices, network, volume=True)
        return fused.movedim(0, 1 + self.axis)

    def _fuse_slices(self, slices: Tensor, network: nn.Module, *, volume: bool) -> Tensor:
        """Fuse [N, 2, H, W], of one volume or unrelated; background is the sources' average."""
        layout = SliceLayout.of(
            slices,
            divisor=getattr(network, "size_divisor", 1),
            crop=volume and self.crop_foreground,
            together=volume,
        )
        fused = slices.mean(dim=1, keepdim=True)
        result = torch.cat([fused, torch.full_like(fused, 0.5)], dim=1)
        if not layout.kept:
            return result
        sampler = self._sampler(network)
        rows, columns = layout.window()
        queue = list(layout.kept)
        size = self._first_batch_size(slices.device)
        while queue:
            batch = queue[:size]
            done = len(layout.kept) - len(queue)
            try:
                part = self._sample(sampler, slices, network, layout=layout, batch=batch, done=done)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                size = self._smaller(len(batch), error)
                continue
            result[batch, :, rows, columns] = part
            queue = queue[size:]
        return result

    def _sample(
        self,
        sampler: SliceSampler,
        slices: Tensor,
        network: nn.Module,
        *,
        layout: SliceLayout,
        batch: list[int],
        done: int,
    ) -> Tensor:
        """Sample one batch and crop it back to the layout's box, [n, 2, height, width]."""

        def report(step: SamplingStep) -> None:
            if self.progress is not None:
                position = step.index + 1 - sampler.start_index
                self.progress(
                    SamplingProgress(done, len(batch), len(layout.kept), position, sampler.steps)
                )

        rectified = sampler(
            crop_and_pad(slices[batch], layout), network, slices=batch, on_step=report
        )
        both = torch.cat([rectified.luminance, rectified.weight], dim=1).to(slices)
        return both[..., : layout.height, : layout.width]

    def _sampler(self, network: nn.Module | None) -> SliceSampler:
        own: PredictionType = getattr(network, "prediction_type", "epsilon")
        solver = build_solver(
            self.preset,
            num_timesteps=self.num_timesteps,
            betas=self.betas,
            prediction_type=self.prediction_type or own,
            learns_variance=getattr(network, "learns_variance", False),
        )
        start = 0 if self.start_timestep is None else solver.schedule.index_at(self.start_timestep)
        return SliceSampler(
            solver=solver,
            rectifier=self.preset.rectifier,
            noise=self.noise,
            channels=getattr(network, "image_channels", 1),
            start_index=start,
            from_average=self.start_timestep is not None,
            autocast_dtype=self.autocast_dtype,
        )

    def _first_batch_size(self, device: torch.device) -> int:
        if self.batch_size == "auto":
            return _AUTO_BATCH.get(device.type, 4)
        return self.batch_size

    def _smaller(self, size: int, error: BaseException) -> int:
        """Return half of a batch size that was too large, or give up."""
        if size == 1:
            raise InputError(
                "not enough memory for a single slice; use a smaller prior, amp, or another device."
            ) from error
        if self.batch_size != "auto":
            raise InputError(
                f"not enough memory for {size} slices at a time; use batch size auto."
            ) from error
        _log.warning("out of memory with %d slices at a time; going on with %d", size, size // 2)
        return size // 2


def _visits(given: Any) -> int | str:
    """Bring steps or a spacing to the form a preset has; what is neither is refused later."""
    if isinstance(given, int | str) and not isinstance(given, bool):
        return given
    return ",".join(map(str, given)) if isinstance(given, Sequence) else str(given)


def _start_checked(timestep: Any, num_timesteps: int) -> int | None:
    if timestep is None:
        return None
    if not isinstance(timestep, int) or not 0 <= timestep < num_timesteps:
        raise InputError(
            f"start timestep {timestep!r} is unusable; give one of 0 to {num_timesteps - 1}."
        )
    return timestep


def _dtype_named(name: str | None) -> torch.dtype | None:
    known = {None: None, "float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise InputError(f"autocast type {name!r} is unknown; use bfloat16, float16 or float32.")
    return known[name]


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch ran out of memory; the host and some libraries say so in words only."""
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
