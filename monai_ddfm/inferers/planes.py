r"""Three planes: a prior of slices that looks at a volume along another axis at every step.

A prior of slices knows nothing of what lies above and below, so what it leaves of the noise, and
what it gets wrong, is another in every slice. Two perpendicular priors tell more of a volume than
one, and need not be asked at once [1]: with the noisy volume :math:`x_t` and the denoiser D of
slices across axis a, step n of the sampling takes

.. math::

    \hat x_0 = D_{a_n}(x_t, t), \qquad a_n = a_{n \bmod P},

the P planes in turn. So a step costs what it costs in one plane. The whole volume goes through the
steps together; the network still gets batches of patches, and the rectifier a few slices at a time.
Where a plane has only background, the estimate of the step before stays.

A plane across thick slices has pixels that are far from square, and heads in it are no heads to the
prior. To interpolate would be of no use, for interpolated noise is not white, and the prior takes
it for texture. Where pixels are about twice as long as wide, every second one along their short
side makes an image of nearly square pixels, and two such images are the whole plane: nothing is
interpolated, and they cost what the plane costs. Planes with longer pixels are left out.

References:
    [1] S. Lee et al., Improving 3D imaging with pre-trained perpendicular 2D diffusion models
        (TPDM), ICCV 2023, arXiv 2303.08440.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import nibabel as nib
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.denoising import NetworkDenoiser, is_latent, spatial_dims
from monai_ddfm.inferers.layout import Patch, SliceLayout, chosen, cut, pad_to_frame
from monai_ddfm.inferers.noise import SamplingNoise
from monai_ddfm.inferers.progress import ProgressCallback, SamplingProgress
from monai_ddfm.inferers.running import Batches, Workers
from monai_ddfm.inferers.sampling import FusionSampler, SliceSampler
from monai_ddfm.likelihoods.guidance import Denoised
from monai_ddfm.likelihoods.rectifiers import Run
from monai_ddfm.utils.reports import add_report

__all__ = ["PlaneRunner", "Planes", "PlanesName", "checked_planes", "choose_planes", "note_planes"]

PlanesName = Literal["axial", "three"]

# The prior has learned from volumes whose voxels are that far from cubes, and no farther.
_SQUARE: Final = 1.6
_LONGEST: Final = 2.5
_NARROWEST: Final = 16
_NAMES: Final = {"L": "sagittal", "P": "coronal", "I": "axial"}
_NAMES_OF_RAS: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The planes that are looked at.

    Attributes:
        axes: across which their slices lie, in the order of the steps.
        names: of the planes, in the same order.
        thinning: of each plane along H, W, D: every so many voxels make an image.
        warnings: what was asked for and is not done, a clause each.
    """

    axes: tuple[int, ...]
    names: tuple[str, ...]
    thinning: tuple[tuple[int, int, int], ...] = ()
    warnings: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return what goes into the record."""
        return {"used": list(self.names), "warnings": list(self.warnings)}


def choose_planes(
    inputs: Tensor, network: nn.Module, *, axis: int, voxel: Sequence[float] | None
) -> Planes:
    """Choose the planes of a volume that the prior can look at.

    Args:
        inputs: [B, 2, H, W, D], or pictures [B, 2, H, W].
        network: the prior.
        axis: across which the slices lie that are fused; this plane is always one of them.
        voxel: edges in mm; None takes cubes for granted.
    """
    names = _names(inputs)
    reason = None
    if inputs.ndim == 4:
        return Planes(axes=(), names=(), warnings=("pictures have one plane",))
    if spatial_dims(network) == 3:
        reason = "this prior looks at the whole volume"
    elif is_latent(network):
        reason = "a latent prior keeps to one plane"
    elif inputs.shape[2 + axis] == 1:
        reason = "a single slice has one plane"
    if reason is not None:
        words = f"{reason}, so three planes are not used"
        return Planes(axes=(axis,), names=(names[axis],), warnings=(words,))
    edges = [1.0] * 3 if voxel is None else list(voxel)
    used, warnings, thinning = [axis], [], [(1, 1, 1)]
    for other in sorted({0, 1, 2} - {axis}, reverse=True):
        within = [side for side in range(3) if side != other]
        longest = max(edges[side] for side in within)
        ratio = longest / min(edges[side] for side in within)
        every = [1, 1, 1]
        for side in within:
            every[side] = 2 if longest / edges[side] > _SQUARE else 1
        sides = [inputs.shape[2 + side] // every[side] for side in within]
        if ratio > _LONGEST:
            warnings.append(
                f"the {names[other]} plane is left out, its pixels are {ratio:.1f} times as long "
                f"as wide (at most {_LONGEST:g}); a spacing resamples the volume"
            )
        elif min(sides) < _NARROWEST:
            warnings.append(
                f"the {names[other]} plane is left out, it is only {min(sides)} pixels wide "
                f"(at least {_NARROWEST})"
            )
        else:
            used.append(other)
            thinning.append((every[0], every[1], every[2]))
    return Planes(
        axes=tuple(used),
        names=tuple(names[one] for one in used),
        thinning=tuple(thinning),
        warnings=tuple(warnings),
    )


def note_planes(result: Tensor, planes: Planes, *, steps: int | None) -> None:
    """Attach the report "planes" to a fused volume that has metadata.

    Args:
        result: [B, C, H, W, D].
        planes: that were looked at.
        steps: evaluations of the prior for each slice, where they are known.
    """
    if not isinstance(result, MetaTensor):
        return
    if steps is not None and steps < len(planes.axes):
        left = " and ".join(planes.names[steps:])
        words = f"too few steps for the planes {left}; give {len(planes.axes)} or more"
        planes = replace(planes, names=planes.names[:steps], warnings=(*planes.warnings, words))
    add_report(result, "planes", planes.described())


@dataclass(frozen=True, kw_only=True)
class PlaneRunner:
    """Samples a volume in several planes, and fuses it slice by slice.

    Attributes:
        sampler: of the runs, as for slices.
        network: the prior.
        sampling_noise: drawn for the volume as a whole.
        layout: of the slices that are fused.
        planes: to look at; the first one is that of the slices.
        divisor: sides of a patch are multiples of this.
        crop: give the network patches around what is not background.
        batch_size: patches at a time.
        progress: called after every batch.
    """

    sampler: FusionSampler
    network: nn.Module
    sampling_noise: SamplingNoise
    layout: SliceLayout
    planes: Planes
    divisor: int
    crop: bool
    batch_size: int | Literal["auto"]
    progress: ProgressCallback | None = None

    @torch.no_grad()
    def __call__(self, slices: Tensor, result: Tensor) -> None:
        """Fuse a volume.

        Args:
            slices: the sources, [N, 2, H, W].
            result: [N, 2, H, W]; luminance and weight are put in where `layout` has patches.

        Raises:
            InputError: as `Batches`.
        """
        axis = self.planes.axes[0]
        box = _box(self.layout, slices.shape, self.divisor)
        volume = slices[box[0], :, box[1], box[2]].movedim(0, 1 + axis)[None]
        inner = tuple(volume.shape[2:])
        # Even sides, for images of every second voxel.
        framed = pad_to_frame(volume, [side + -side % max(2, self.divisor) for side in inner])
        views = [_View(*one) for one in zip(self.planes.axes, self.planes.thinning, strict=True)]
        layouts = [
            SliceLayout.of(view.images(framed), divisor=self.divisor, crop=self.crop, together=True)
            for view in views
        ]
        batches = Batches(self.batch_size, slices.device)
        with Workers.on(slices.device) as workers:
            told = _Told(self.progress, sum(self._visits(layouts)))
            estimates = []
            for run, sampler in zip(self.sampler.plan.runs, self.sampler.samplers, strict=True):
                if run.rectifier is None or sampler is None:
                    estimates.append(run.sources(slices)[:, :1])
                    continue

                def as_volumes(denoiser: NetworkDenoiser) -> _PlaneDenoiser:
                    return _PlaneDenoiser(denoiser, views, layouts, batches, workers, told)

                found = self._sample(framed, run, replace(sampler, as_volumes=as_volumes))
                found = found[0, :, : inner[0], : inner[1], : inner[2]].movedim(1 + axis, 0)
                whole = slices.new_zeros((len(slices), found.shape[1], *slices.shape[2:]))
                whole[box[0], :, box[1], box[2]] = found
                estimates.append(whole)
            told.finish()
            self._fuse(slices, estimates, result, batches, workers)

    def _visits(self, layouts: Sequence[SliceLayout]) -> list[int]:
        """Number of patches that the network is given at each step of each run."""
        return [
            len(layouts[step % len(layouts)].patches)
            for sampler in self.sampler.samplers
            if sampler is not None
            for step in range(sampler.steps)
        ]

    def _sample(self, sources: Tensor, run: Run, sampler: SliceSampler) -> Tensor:
        """Sample a run: its luminance, and the weight where the fused image is sampled."""
        assert run.rectifier is not None
        outcome = sampler(
            run.sources(sources),
            self.network,
            run.rectifier,
            noise=self.sampling_noise,
            slices=[0],
        )
        if self.sampler.plan.fuse is not None:
            return outcome.luminance
        return torch.cat([outcome.luminance, outcome.weight], dim=1).float()

    def _fuse(
        self,
        slices: Tensor,
        estimates: Sequence[Tensor],
        result: Tensor,
        batches: Batches,
        workers: Workers,
    ) -> None:
        """Put the fusion of the sampled volumes into `result`, patch by patch."""
        fuse, frame = self.sampler.plan.fuse, self.layout.frame

        def work(batch: list[Patch]) -> Tensor:
            parts = workers.divide(batch, alone=False)

            def one(number: int) -> Tensor:
                part = parts[number]
                numbers = [patch.number for patch in part]
                shown = [
                    cut(pad_to_frame(chosen(v, numbers), frame), part) for v in (slices, *estimates)
                ]
                if fuse is None:
                    return shown[1]
                fused = fuse(shown[0], shown[1:])
                return torch.cat([fused.luminance, fused.weight], dim=1).float()

            return torch.cat(workers.map(one, len(parts), stop=_nothing))

        def keep(batch: list[Patch], outcome: Tensor) -> None:
            for patch, part in zip(batch, outcome, strict=True):
                self.layout.place(part, patch, result)

        batches(self.layout.patches, work, keep=keep)


@dataclass(frozen=True)
class _View:
    """A volume as images of a plane: slices, or parts of slices of every second voxel."""

    axis: int
    thinning: tuple[int, int, int]

    def images(self, volume: Tensor) -> Tensor:
        """Return the images [N, C, h, w] of [1, C, H, W, D]."""
        slices = volume[0].movedim(1 + self.axis, 0)
        down, right = self._within()
        if down == right == 1:
            return slices
        count, channels, height, width = slices.shape
        parts = slices.reshape(count, channels, height // down, down, width // right, right)
        return parts.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)

    def volume(self, images: Tensor) -> Tensor:
        """Return the volume of images."""
        down, right = self._within()
        _, channels, height, width = images.shape
        parts = images.reshape(-1, down, right, channels, height, width).permute(0, 3, 4, 1, 5, 2)
        slices = parts.reshape(-1, channels, height * down, width * right)
        return slices.movedim(0, 1 + self.axis)[None]

    def _within(self) -> tuple[int, int]:
        down, right = (f for side, f in enumerate(self.thinning) if side != self.axis)
        return down, right


@dataclass
class _PlaneDenoiser:
    """A denoiser of slices as one of volumes, which looks along another axis at every step."""

    denoiser: NetworkDenoiser
    views: Sequence[_View]
    layouts: Sequence[SliceLayout]
    batches: Batches
    workers: Workers
    told: _Told
    before: Tensor | None = field(default=None, init=False)

    def __call__(self, x_t: Tensor, index: int) -> Denoised:
        """Estimate the clean volume behind [1, C, H, W, D]."""
        turn = (index - self.denoiser.start_index) % len(self.views)
        view, layout = self.views[turn], self.layouts[turn]
        if self.before is None:
            signal = self.denoiser.solver.schedule.alphas_cumprod[index] ** 0.5
            self.before = (x_t / signal).clamp(-1, 1)
        channels = x_t.shape[1]
        found = self.before
        if getattr(self.denoiser.network, "learns_variance", False):
            found = torch.cat([found, found.new_zeros((1, 2 * channels, *found.shape[2:]))], dim=1)
        noisy, images = pad_to_frame(view.images(x_t), layout.frame), view.images(found).clone()

        def work(batch: list[Patch]) -> Tensor:
            parts = self.workers.divide(batch, alone=False)

            def one(number: int) -> Tensor:
                part = parts[number]
                told = self.denoiser(cut(chosen(noisy, (p.number for p in part)), part), index)
                if images.shape[1] == channels or told.output is None:
                    return told.x0
                return torch.cat([told.x0, told.output], dim=1)

            return torch.cat(self.workers.map(one, len(parts), stop=_nothing))

        def keep(batch: list[Patch], outcome: Tensor) -> None:
            for patch, part in zip(batch, outcome, strict=True):
                layout.place(part, patch, images)
            self.told(len(batch))

        self.batches(layout.patches, work, keep=keep)
        found = view.volume(images)
        self.before = found[:, :channels]
        return Denoised(self.before, found[:, channels:] if found.shape[1] > channels else None)

    def encode(self, image: Tensor) -> Tensor:
        """Return the image; latent priors keep to one plane."""
        return image

    def decode(self, x0: Tensor) -> Tensor:
        """Return the image."""
        return x0


@dataclass
class _Told:
    """Progress in patches through the network."""

    progress: ProgressCallback | None
    total: int
    done: int = 0

    def __call__(self, count: int) -> None:
        if self.progress is not None:
            self.progress(SamplingProgress(self.done, count, self.total, 1, 1))
        self.done += count

    def finish(self) -> None:
        """Sampling has ended, perhaps before its last step."""
        if self.done < self.total:
            self(self.total - self.done)


def _nothing() -> None:
    """Parts of a step are short: after an error they end by themselves."""


def _names(inputs: Tensor) -> tuple[str, ...]:
    """Names of the planes across each axis; RAS where nothing says it."""
    if not isinstance(inputs, MetaTensor) or inputs.ndim != 5:
        return _NAMES_OF_RAS
    affine = inputs.affine.reshape(-1, 4, 4)[0].cpu().numpy()
    codes = nib.aff2axcodes(affine, (("L", "L"), ("P", "P"), ("I", "I")))
    names = tuple(_NAMES.get(str(code), "") for code in codes)
    return names if len(set(names)) == 3 else _NAMES_OF_RAS


def _box(layout: SliceLayout, shape: Sequence[int], divisor: int) -> tuple[slice, slice, slice]:
    """The part of [N, 2, H, W] that holds all patches, with sides that the network takes."""
    patches = layout.patches
    ends = (
        (patches[0].number, patches[-1].number + 1, shape[0]),
        (min(p.top for p in patches), max(p.top + p.height for p in patches), shape[2]),
        (min(p.left for p in patches), max(p.left + p.width for p in patches), shape[3]),
    )
    slabs = []
    for first, end, side in ends:
        last = min(end, side)
        # Real neighbors are better context than padding.
        length = min(last - first + -(last - first) % divisor, side)
        start = max(0, min(first - (length - (last - first)) // 2, side - length))
        slabs.append(slice(start, start + length))
    return slabs[0], slabs[1], slabs[2]


def checked_planes(given: Any) -> PlanesName:
    """Return which planes are asked for.

    Raises:
        InputError: if they are unknown.
    """
    if given not in {"axial", "three"}:
        raise InputError(f"planes {given!r} are unknown; use axial or three.")
    name: PlanesName = given
    return name
