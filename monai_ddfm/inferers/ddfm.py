"""`DDFMInferer`: MONAI's way to run DDFM over slices and volumes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.acceleration import Acceleration
from monai_ddfm.inferers.background import without_background
from monai_ddfm.inferers.denoising import is_latent, spatial_dims
from monai_ddfm.inferers.keeping import SliceStore, run_name
from monai_ddfm.inferers.layout import Patch, SliceLayout
from monai_ddfm.inferers.means import with_means
from monai_ddfm.inferers.measuring import MeasuredNoise, noise_of_slices, note_noise
from monai_ddfm.inferers.noise import NoiseMode, NoiseSource
from monai_ddfm.inferers.options import (
    check_values,
    checked_start,
    smoothing,
    startable,
    tolerance,
    visits,
)
from monai_ddfm.inferers.planes import (
    PlaneRunner,
    Planes,
    PlanesName,
    checked_planes,
    choose_planes,
    note_planes,
)
from monai_ddfm.inferers.presets import (
    PRESETS,
    Preset,
    at_speed,
    build_solver,
    preset_named,
    without_units,
)
from monai_ddfm.inferers.progress import ProgressCallback
from monai_ddfm.inferers.running import SliceRunner
from monai_ddfm.inferers.sampling import FusionSampler, SliceSampler
from monai_ddfm.inferers.sharing import gather, process_count, share_of
from monai_ddfm.inferers.smoothing import smooth_across_slices
from monai_ddfm.inferers.voxels import spacing_of, voxel_of
from monai_ddfm.inferers.whole import WholeRunner
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import Likelihood, Plan, Rectifier, Run, likelihood_of
from monai_ddfm.likelihoods.scale_space import Spacing
from monai_ddfm.networks.schedulers import PredictionType

__all__ = ["DDFMInferer"]


class DDFMInferer(Inferer):  # type: ignore[misc]
    """Fuses slices, or volumes slice by slice, with an unconditional diffusion prior.

    The result does not depend on `batch_size`: noise belongs to the slice, and every image has its
    own EM state. A prior of volumes (`monai_ddfm.inferers.denoising` tells how it says so) is given
    whole volumes: batches, patches, the store and other processes are then of no use.

    Args:
        timesteps: of the whole process, to visit, beginning with pure noise, as
            `monai_ddfm.networks.schedulers.space_timesteps` takes them (``"ddim25"``,
            ``"10,15,20"``); None is what `steps` or the preset says.
        preset: a `Preset` or the name of one: "reference", "paper" or "default".
        speed: "fast", "balanced" or "best": how many steps the default preset takes, and from
            where.
        steps: number of timesteps to visit; None is the preset's.
        seed: of all noise.
        batch_size: slices per call of the network; "auto" starts large and halves when memory
            runs out.
        axis: spatial axis of a volume along which slices follow each other; 2 is axial in RAS.
        planes: "axial" samples the slices across `axis`; "three" has the prior look at volumes
            along another axis at every step, see `monai_ddfm.inferers.planes`. `noise` is then that
            of the volume, and `store` of no use.
        noise: "shared" gives every slice the same noise, "independent" its own.
        rectifier: instead of the preset's.
        autocast_dtype: "bfloat16" or "float16" for the network's arithmetic, None for float32.
        compile: "default" to compile the network, "graphs" to replay it as CUDA graphs too; see
            `monai_ddfm.inferers.acceleration`.
        start_timestep: start there from the noised average of the sources, instead of as the
            preset says.
        early_stop: a slice is finished when no luminance value changes by more than this in a step,
            on the scale from -1 to 1; None is never.
        prediction_type: what the prior predicts; None is what the network says of itself.
        betas: noise schedule that the prior was trained with.
        num_timesteps: length of that schedule.
        crop_foreground: sample only a patch around what is not background; volumes only.
        smooth_across: standard deviation, in slices, of the Gaussian that smooths the weight of a
            volume from slice to slice; 0 leaves it as it is.
        store: keeps finished slices of volumes, so that a run that was killed goes on where it
            stopped.
        distributed: share the slices of a volume among the processes of `torch.distributed`.
        progress: called after every step.
        spacing: former name of `timesteps`, for one release.

    Attributes:
        sampling_noise: what the seed draws, at the start and in stochastic steps.
        noises: of the sources, where they are known; None has them measured.

    Raises:
        InputError: if an option is unknown or out of range.
    """

    def __init__(
        self,
        timesteps: str | Sequence[int] | None = None,
        preset: str | Preset = "default",
        *,
        speed: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        batch_size: int | Literal["auto"] = "auto",
        axis: int = 2,
        planes: PlanesName = "axial",
        noise: NoiseMode = "shared",
        rectifier: Rectifier[Any] | Likelihood | None = None,
        autocast_dtype: str | None = None,
        compile: str | bool | None = None,  # noqa: A002 - as PyTorch calls it
        start_timestep: int | None = None,
        early_stop: float | None = None,
        prediction_type: PredictionType | None = None,
        betas: Literal["linear", "cosine"] = "linear",
        num_timesteps: int = 1000,
        crop_foreground: bool = True,
        smooth_across: float = 0.0,
        store: SliceStore | None = None,
        distributed: bool = False,
        progress: ProgressCallback | None = None,
        spacing: str | Sequence[int] | None = None,
    ) -> None:
        chosen = preset_named(preset) if isinstance(preset, str) else preset
        if speed is not None:
            chosen = at_speed(chosen, speed)
        if spacing is not None:
            warnings.warn(
                "DDFMInferer(spacing=) is timesteps= now; the former name goes with the next one",
                DeprecationWarning,
                stacklevel=2,
            )
            timesteps = spacing
        if timesteps is not None or steps is not None:
            chosen = replace(chosen, steps=visits(steps if timesteps is None else timesteps))
        if rectifier is not None:
            chosen = replace(chosen, rectifier=rectifier)
        if chosen.start == "sources" and (timesteps is not None or start_timestep is not None):
            chosen = replace(chosen, start="noise")
        chosen = startable(chosen, steps)
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch size {batch_size!r} is unusable; give 1 or more, or 'auto'.")
        if not isinstance(axis, int) or axis not in {0, 1, 2}:
            raise InputError(f"slice axis {axis!r} is unknown; use 0, 1 or 2.")
        start = chosen.start_timestep if start_timestep is None else start_timestep
        self.preset = chosen
        self.sampling_noise = NoiseSource(seed=seed, mode=noise)
        self.batch_size: int | Literal["auto"] = batch_size
        self.axis = axis
        self.planes = checked_planes(planes)
        self.acceleration = Acceleration.named(autocast_dtype, compile)
        self.start_timestep = checked_start(start, num_timesteps)
        self.early_stop = tolerance(chosen.early_stop if early_stop is None else early_stop)
        self.prediction_type = prediction_type
        self.betas: Literal["linear", "cosine"] = betas
        self.num_timesteps = num_timesteps
        self.crop_foreground = crop_foreground
        self.smooth_across = smoothing(smooth_across)
        self.store = store
        self.distributed = distributed
        self.progress = progress
        self.noises: tuple[NoiseModel, ...] | None = None
        # Builds the solver once, so that wrong steps are refused before any work is done.
        noises = (NoiseModel.white(0.1), NoiseModel.white(0.1))
        self._sampler(None, self._plan(noises if self._measures_noise else None))

    def __call__(
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,
        in_units: bool | Sequence[bool] = True,
        **kwargs: Any,
    ) -> Tensor:
        """Fuse a batch of slices or of volumes.

        Args:
            inputs: [B, 2, H, W] or [B, 2, H, W, D] in [-1, 1]; channel 0 fixed, 1 moving. Further
                channels are further moving sources, for the default preset.
            network: the prior, an `ADMUNet` of one or three image channels, or what
                `monai_ddfm.inferers.denoising` allows: a latent prior, a prior of volumes.
            args: not used; MONAI's evaluators may pass some.
            in_units: whether `moving` is in the units in which the preset tells a finding; if not
                (a CT without HU), what is white is one. One for each of several.
            kwargs: not used.

        Returns:
            Float32 of the shape of `inputs`: channel 0 is the fused luminance on the sources'
            scale, channel 1 the share of `moving` in it, 0 to 1, and so on for further moving
            sources; what the shares lack of 1 is that of fixed. The metadata of a single volume
            get the report "noise", where the sources' noise was measured.

        Raises:
            InputError: if `inputs` has another shape, no values, values that are not finite or
                outside [-1, 1], or if memory runs out with the batch size asked for, or with one
                slice.
        """
        known = (in_units,) if isinstance(in_units, bool) else tuple(in_units)
        if not all(known):
            other = copy(self)
            other.preset = without_units(self.preset, known)
            return other(inputs, network, *args, **kwargs)
        images = convert_to_tensor(inputs, track_meta=False).float()
        if images.ndim not in {4, 5} or images.shape[1] < 2 or images.numel() == 0:
            raise InputError(
                f"DDFM fuses [B, 2, H, W] or [B, 2, H, W, D], not {tuple(images.shape)}."
            )
        self._check_number(images.shape[1] - 1)
        check_values(images)
        measured: list[MeasuredNoise | None] = []
        voxel = voxel_of(inputs)
        spacing = spacing_of(voxel, self.axis)
        planes = None
        if self.planes == "three":
            planes = choose_planes(inputs, network, axis=self.axis, voxel=voxel)
        if images.ndim == 4 and self._measures_noise:
            # Unrelated images have each their own noise, and so their own first timestep.
            parts = [
                self._fuse_slices(one, network, volume=False, spacing=spacing)
                for one in images.split(1)
            ]
            fused = torch.cat([part for part, _ in parts])
            measured = [noise for _, noise in parts]
        elif images.ndim == 4:
            fused, _ = self._fuse_slices(images, network, volume=False, spacing=spacing)
        else:
            outcomes = [self._fuse_volume(volume, network, spacing, planes) for volume in images]
            volumes = [volume for volume, _ in outcomes]
            measured = [noise for _, noise in outcomes]
            # A stack of one would be a copy, and a volume may be large.
            fused = volumes[0][None] if len(volumes) == 1 else torch.stack(volumes)
        # Hands the inputs' metadata on, where they have some: the fused volume is on their grid.
        result: Tensor = convert_to_dst_type(fused, inputs, dtype=torch.float32)[0]
        note_noise(result, measured)
        if planes is not None:
            steps = self.preset.steps
            note_planes(result, planes, steps=steps if isinstance(steps, int) else None)
        return result

    def __repr__(self) -> str:
        """Say the settings, as the constructor takes them."""
        preset = self.preset
        said: dict[str, Any] = {
            "preset": preset.name,
            "steps": preset.steps,
            "seed": self.sampling_noise.seed,
            "batch_size": self.batch_size,
            "axis": self.axis,
            "planes": self.planes,
            "noise": self.sampling_noise.mode,
            "autocast_dtype": self.acceleration.dtype_name,
            "compile": self.acceleration.compile,
            "start_timestep": self.start_timestep,
            "early_stop": self.early_stop,
            "prediction_type": self.prediction_type,
            "betas": self.betas,
            "num_timesteps": self.num_timesteps,
            "crop_foreground": self.crop_foreground,
            "smooth_across": self.smooth_across,
            "distributed": self.distributed,
        }
        if preset.name not in PRESETS or preset.rectifier != PRESETS[preset.name].rectifier:
            said["rectifier"] = preset.rectifier
        said |= {
            name: value
            for name, value in (("store", self.store), ("progress", self.progress))
            if value is not None
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in said.items())})"

    def _check_number(self, moving: int) -> None:
        """Refuse more moving sources than the preset, or an option, knows what to do with."""
        if not likelihood_of(self.preset.rectifier).takes(moving):
            raise InputError(
                f"the preset {self.preset.name!r} is not for {moving} moving "
                f"source{'s' * (moving > 1)}; use the default preset, set for as many."
            )
        if moving > 1 and self.smooth_across > 0:
            raise InputError(
                "smoothing across slices is for one moving source; leave it out with several."
            )

    @property
    def _measures_noise(self) -> bool:
        """Whether the way of sampling depends on the noise of the sources."""
        measures = likelihood_of(self.preset.rectifier).measures_noise
        return measures or self.preset.start == "sources"

    def _fuse_volume(
        self,
        volume: Tensor,
        network: nn.Module,
        spacing: Spacing | None,
        planes: Planes | None,
    ) -> tuple[Tensor, MeasuredNoise | None]:
        """Fuse one volume [C, H, W, D] slice by slice; tell its noise, if it was measured."""
        slices = volume.movedim(1 + self.axis, 0)
        fused, measured = self._fuse_slices(
            slices, network, volume=True, spacing=spacing, planes=planes
        )
        return fused.movedim(0, 1 + self.axis), measured

    def _fuse_slices(
        self,
        slices: Tensor,
        network: nn.Module,
        *,
        volume: bool,
        spacing: Spacing | None,
        planes: Planes | None = None,
    ) -> tuple[Tensor, MeasuredNoise | None]:
        """Fuse [N, C, H, W], of one volume or unrelated; background is the sources' average."""
        whole = spatial_dims(network) == 3
        if whole and not volume:
            raise InputError("this prior is one of volumes; give [B, 2, H, W, D].")
        divisor = 1 if whole else getattr(network, "size_divisor", 1)
        crop = volume and self.crop_foreground and not whole and not is_latent(network)
        layout = SliceLayout.of(slices, divisor=divisor, crop=crop, together=volume)
        # In memory like the sources, so that the result is contiguous along their axes.
        result = torch.empty_like(slices, dtype=torch.float32)
        torch.mean(slices, dim=1, out=result[:, 0])
        result[:, 1:] = 1 / slices.shape[1]
        measured = None
        if layout.patches:
            noises = None
            if self._measures_noise:
                noises = self.noises or noise_of_slices(slices, layout)
            plan, every = self._plan(noises, spacing=spacing), layout
            if crop:
                layout = without_background(
                    result, slices, layout, plan.background, divisor=divisor
                )
            if planes is not None:
                plan = planes.with_means_for_all(plan)
            if volume and not whole and not is_latent(network):
                plan = self._with_means(plan, slices, network, layout)
            if noises is not None:
                measured = MeasuredNoise.of(noises, plan, background=layout is every)
            sampler = self._sampler(network, plan)
            if whole:
                result = self._fuse_whole(slices, network, sampler)
            elif planes is not None and len(planes.axes) > 1:
                self._fill_planes(result, slices, network, layout, sampler=sampler, planes=planes)
            else:
                store = self.store if volume else None
                self._fill(
                    result, slices, network, layout, sampler=sampler, store=store, spacing=spacing
                )
        if volume and self.smooth_across > 0:
            result = smooth_across_slices(result, slices, sigma=self.smooth_across)
        return result, measured

    def _fill(
        self,
        result: Tensor,
        slices: Tensor,
        network: nn.Module,
        layout: SliceLayout,
        *,
        sampler: FusionSampler,
        store: SliceStore | None,
        spacing: Spacing | None,
    ) -> None:
        """Put what is sampled, or was before the run was stopped, in its place in `result`."""
        mine = share_of(layout.patches) if self.distributed else list(layout.patches)
        left = list(mine)
        if store is not None:
            means = [run.coarse for run in sampler.plan.runs]
            settings = f"{self._settings()} {layout} {spacing} {means}"
            name = run_name(slices, network, settings=settings)
            finished = store.open(name)
            left = [patch for patch in mine if patch.number not in finished]
            for patch in mine:
                if patch.number in finished:
                    layout.place(finished[patch.number], patch, result)

        def keep(batch: Sequence[Patch], outcome: Tensor) -> None:
            for patch, part in zip(batch, outcome, strict=True):
                layout.place(part, patch, result)
            if store is not None:
                store.keep({p.number: part for p, part in zip(batch, outcome, strict=True)})

        with self.acceleration.prepared(network, slices.device) as called:
            runner = SliceRunner(
                sampler=sampler,
                sampling_noise=self.sampling_noise,
                network=called,
                layout=layout,
                batch_size=self.batch_size,
                progress=self.progress,
                total=len(mine),
            )
            runner(slices, left, on_batch=keep)
        if self.distributed:
            gather(result, layout)

    def _fill_planes(
        self,
        result: Tensor,
        slices: Tensor,
        network: nn.Module,
        layout: SliceLayout,
        *,
        sampler: FusionSampler,
        planes: Planes,
    ) -> None:
        """Put what is sampled in several planes in its place in `result`."""
        if self.distributed and process_count() > 1:
            raise InputError(
                "three planes cannot be shared among processes; use planes axial, or one process."
            )
        background = sampler.plan.background if self.crop_foreground else None
        with self.acceleration.prepared(network, slices.device) as called:
            runner = PlaneRunner(
                sampler=sampler,
                network=called,
                sampling_noise=self.sampling_noise,
                layout=layout,
                planes=planes,
                divisor=getattr(network, "size_divisor", 1),
                crop=self.crop_foreground,
                batch_size=self.batch_size,
                progress=self.progress,
                noise_at_black=None if background is None else background.noise_at_black,
            )
            runner(slices, result)

    def _fuse_whole(self, slices: Tensor, network: nn.Module, sampler: FusionSampler) -> Tensor:
        """Fuse the slices [N, C, H, W] of a volume at once, with a prior of volumes."""
        runner = WholeRunner(
            sampler=sampler,
            network=network,
            acceleration=self.acceleration,
            sampling_noise=self.sampling_noise,
            axis=self.axis,
            progress=self.progress,
        )
        return runner(slices)

    def _plan(
        self, noises: tuple[NoiseModel, ...] | None, *, spacing: Spacing | None = None
    ) -> Plan:
        """Plan the sampling of slices of that noise."""
        likelihood = likelihood_of(self.preset.rectifier)
        if spacing is not None:
            likelihood = likelihood.on_grid(spacing)
        # A seed that is to matter, or steps that are asked for, are of no use without the prior.
        always = self.preset.eta > 0 or self.preset.excess > 1 or self.preset.start == "noise"
        return likelihood.plan(noises, always=always)

    def _with_means(
        self, plan: Plan, slices: Tensor, network: nn.Module, layout: SliceLayout
    ) -> Plan:
        """Decide in which runs the prior is shown means of pixels."""
        with self.acceleration.prepared(network, slices.device) as called:
            return with_means(
                plan,
                slices,
                layout,
                network=called,
                sampler_of=lambda run: self._slice_sampler(network, run),
            )

    def _sampler(self, network: nn.Module | None, plan: Plan) -> FusionSampler:
        """Build what samples a plan."""
        samplers = tuple(
            None if run.rectifier is None else self._slice_sampler(network, run)
            for run in plan.runs
        )
        return FusionSampler(plan=plan, samplers=samplers, axis=self.axis)

    def _slice_sampler(self, network: nn.Module | None, run: Run) -> SliceSampler:
        """Build the loop for one run; it starts at the level of its noise, if that is known."""
        own: PredictionType = getattr(network, "prediction_type", "epsilon")
        excess = max(1.0, self.preset.excess)
        level = None
        if run.noise_model is not None and self.preset.start != "noise":
            level = run.noise_model.level / run.coarse
        solver = build_solver(
            self.preset,
            num_timesteps=self.num_timesteps,
            betas=self.betas,
            prediction_type=self.prediction_type or own,
            learns_variance=getattr(network, "learns_variance", False),
            level=None if level is None else excess * level,
        )
        start = 0 if self.start_timestep is None else solver.schedule.index_at(self.start_timestep)
        return SliceSampler(
            solver=solver,
            channels=getattr(network, "image_channels", 1),
            start_index=start,
            from_average=self.start_timestep is not None,
            mode_noise=level,
            excess=excess,
            even=run.coarse > 1,
            mirror=self.preset.mirror,
            autocast_dtype=self.acceleration.autocast_dtype,
            tolerance=self.early_stop,
            axis=self.axis,
        )

    def _settings(self) -> str:
        """All that the result depends on beside the sources and the network."""
        settings = (
            self.preset,
            self.sampling_noise,
            self.start_timestep,
            self.early_stop,
            self.acceleration,
            self.prediction_type,
            self.betas,
            self.num_timesteps,
        )
        return repr(settings if self.noises is None else (*settings, self.noises))
