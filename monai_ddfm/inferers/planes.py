r"""Three planes: a prior of slices that looks at a volume along another axis at every step.

A prior of slices knows nothing of what lies above and below, so what it leaves of the noise, and
what it gets wrong, is another in every slice. Two perpendicular priors tell more of a volume than
one, and need not be asked at once [1]: with the noisy volume :math:`x_t` and the denoiser D of
slices across axis a, step n of the sampling asks one of P planes, in turn, and takes the mean of
what each has told last,

.. math::

    \hat x^{(n)} = D_{a_n}(x_t, t), \qquad a_n = a_{n \bmod P}, \qquad
    \hat x_0 = \sum_{m = n - P + 1}^{n} w_{a_m} \hat x^{(m)}
    \Big/ \sum_{m = n - P + 1}^{n} w_{a_m} .

So a step costs what it costs in one plane. All estimates are of the same clean volume; the errors
of their planes differ in part, and that part shrinks in the mean, where the last estimate alone
would have all of its own. An estimate from a time of much more noise than now is left out.

A plane tells the less the fewer pixels it has for what it shows. The noise of a mean over an area
falls with the number of pixels in it, so the weight of a plane is the inverse of the area of its
pixels. With the edges :math:`h_a` of a voxel that is :math:`w_a \propto h_a`: all planes alike in
cubes, half as much for planes across slices that are twice as thick. A plane with longer pixels
than that is no picture of a head to the prior, and is left out. To interpolate would be of no use,
for interpolated noise is not white, and the prior takes it for texture.

The whole volume goes through the steps together; the network still gets batches of patches, and the
rectifier a few slices at a time. Where a plane has only background, the estimate of the step before
stays. A source of which the prior is shown means of pixels is a volume of means here.

References:
    [1] S. Lee et al., Improving 3D imaging with pre-trained perpendicular 2D diffusion models
        (TPDM), ICCV 2023, arXiv 2303.08440.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import nibabel as nib
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.denoising import NetworkDenoiser, is_latent, spatial_dims
from monai_ddfm.inferers.layout import (
    NoiseAtBlack,
    Patch,
    SliceLayout,
    chosen,
    cut,
    pad_to_frame,
)
from monai_ddfm.inferers.noise import SamplingNoise
from monai_ddfm.inferers.progress import ProgressCallback, SamplingProgress
from monai_ddfm.inferers.running import Batches, Workers
from monai_ddfm.inferers.sampling import (
    FusionSampler,
    SliceSampler,
    coarse_sources,
    refined,
)
from monai_ddfm.likelihoods.guidance import Denoised
from monai_ddfm.likelihoods.rectifiers import Plan, Run
from monai_ddfm.utils.reports import add_report

__all__ = ["PlaneRunner", "Planes", "PlanesName", "checked_planes", "choose_planes", "note_planes"]

PlanesName = Literal["axial", "three"]

# The prior has learned from volumes whose voxels are about that far from cubes, and no farther.
_LONGEST: Final = 2.5
# From the sources the noise falls to its half: all steps of such a run are of one time.
_MUCH_MORE_NOISE: Final = 2.5
_NARROWEST: Final = 16
_NAMES: Final = {"L": "sagittal", "P": "coronal", "I": "axial"}
_NAMES_OF_RAS: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The planes that are looked at.

    Attributes:
        axes: across which their slices lie, in the order of the steps.
        names: of the planes, in the same order.
        edges: of a voxel along H, W, D.
        warnings: what was asked for and is not done, a clause each.
    """

    axes: tuple[int, ...]
    names: tuple[str, ...]
    edges: tuple[float, float, float] = (1.0, 1.0, 1.0)
    warnings: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[float, ...]:
        """Of what each plane tells: the inverse of the area of its pixels, but for a factor."""
        return tuple(self.edges[axis] for axis in self.axes)

    def of_means(self, k: int) -> Planes:
        """Return the same planes of a volume of means over k by k pixels of the first plane."""
        edges = [edge * (1 if axis == self.axes[0] else k) for axis, edge in enumerate(self.edges)]
        return replace(self, edges=(edges[0], edges[1], edges[2]))

    def with_means_for_all(self, plan: Plan) -> Plan:
        """Return a plan without means of so many pixels that a plane could not be looked at."""
        return replace(plan, runs=tuple(self._with_means(run) for run in plan.runs))

    def _with_means(self, run: Run) -> Run:
        if run.means is None:
            return run
        sides = tuple(k for k in run.means.sides if self._fit(self.of_means(k).edges))
        return replace(run, means=replace(run.means, sides=sides) if sides else None)

    def _fit(self, edges: Sequence[float]) -> bool:
        return all(_length(edges, axis) <= _LONGEST for axis in self.axes[1:])

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
    height, width, depth = (1.0, 1.0, 1.0) if voxel is None else voxel
    edges = (height, width, depth)
    used, warnings = [axis], []
    for other in sorted({0, 1, 2} - {axis}, reverse=True):
        ratio = _length(edges, other)
        sides = [inputs.shape[2 + side] for side in range(3) if side != other]
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
    return Planes(
        axes=tuple(used),
        names=tuple(names[one] for one in used),
        edges=edges,
        warnings=tuple(warnings),
    )


def _length(edges: Sequence[float], axis: int) -> float:
    """How many times as long as wide the pixels across an axis are."""
    within = [edge for side, edge in enumerate(edges) if side != axis]
    return max(within) / min(within)


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
        noise_at_black: of each source, see `SliceLayout.of`; None where the background is clean.
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
    noise_at_black: NoiseAtBlack | None = None

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
        inner = slices[box[0], :, box[1], box[2]]
        framed = self._framed(_volume(inner, axis))
        layouts = {
            k: self._layouts(framed, k) for k in {run.coarse for run in self.sampler.plan.runs}
        }
        batches = Batches(self.batch_size, slices.device)
        with Workers.on(slices.device) as workers:
            told = _Told(self.progress, self._visits(layouts))
            estimates = []
            for run, sampler in zip(self.sampler.plan.runs, self.sampler.samplers, strict=True):
                if run.rectifier is None or sampler is None:
                    estimates.append(run.sources(slices)[:, :1])
                    continue
                planes = self.planes.of_means(run.coarse)

                def as_volumes(
                    denoiser: NetworkDenoiser,
                    planes: Planes = planes,
                    own: Sequence[SliceLayout] = layouts[run.coarse],
                ) -> _PlaneDenoiser:
                    return _PlaneDenoiser(denoiser, planes, own, batches, workers, told)

                shown = self._shown(framed, run)
                found = self._sample(shown, run, replace(sampler, as_volumes=as_volumes))
                sliced = _slices(found, axis)
                if run.coarse > 1:
                    sliced = refined(sliced, run.coarse, _slices(framed, axis).shape[2:])
                sliced = sliced[: len(inner), :, : inner.shape[2], : inner.shape[3]]
                whole = slices.new_zeros((len(slices), sliced.shape[1], *slices.shape[2:]))
                whole[box[0], :, box[1], box[2]] = sliced
                estimates.append(whole)
            told.finish()
            self._fuse(slices, estimates, result, batches, workers)

    def _layouts(self, volume: Tensor, k: int) -> list[SliceLayout]:
        """Plan each plane of the sources [1, C, H, W, D], or of means over k by k pixels."""
        if k > 1:
            axis = self.planes.axes[0]
            means = functional.avg_pool2d(_slices(volume, axis), k, ceil_mode=True)
            volume = self._framed(_volume(means, axis))
        noise_at_black = self.noise_at_black
        if noise_at_black is not None:
            noise_at_black = tuple((mean, deviation / k) for mean, deviation in noise_at_black)
        return [
            SliceLayout.of(
                _slices(volume, across),
                divisor=self.divisor,
                crop=self.crop,
                together=True,
                noise_at_black=noise_at_black,
            )
            for across in self.planes.axes
        ]

    def _shown(self, volume: Tensor, run: Run) -> Tensor:
        """Return what a run shows to the prior of the sources [1, C, H, W, D]."""
        shown, axis = run.sources(volume), self.planes.axes[0]
        if run.coarse == 1:
            return shown
        drawn = self.sampling_noise.start([0], shown[:, :1].shape[1:], shown.device)
        means = coarse_sources(_slices(shown, axis), run, drawn=_slices(drawn, axis), divisor=1)
        return self._framed(_volume(means, axis))

    def _framed(self, volume: Tensor) -> Tensor:
        return pad_to_frame(volume, [side + -side % self.divisor for side in volume.shape[2:]])

    def _visits(self, layouts: Mapping[int, Sequence[SliceLayout]]) -> int:
        """Number of patches that the network is given in all steps of all runs."""
        pairs = zip(self.sampler.plan.runs, self.sampler.samplers, strict=True)
        own = [
            (layouts[run.coarse], sampler.steps) for run, sampler in pairs if sampler is not None
        ]
        return sum(
            len(planes[step % len(planes)].patches)
            for planes, steps in own
            for step in range(steps)
        )

    def _sample(self, sources: Tensor, run: Run, sampler: SliceSampler) -> Tensor:
        """Sample what a run shows: its luminance, and the weight of a sampled fused image."""
        assert run.rectifier is not None
        outcome = sampler(
            sources,
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


@dataclass
class _PlaneDenoiser:
    """A denoiser of slices as one of volumes, which looks along another axis at every step."""

    denoiser: NetworkDenoiser
    planes: Planes
    layouts: Sequence[SliceLayout]
    batches: Batches
    workers: Workers
    told: _Told
    before: Tensor | None = field(default=None, init=False)
    latest: dict[int, tuple[float, Tensor]] = field(default_factory=dict, init=False)

    def __call__(self, x_t: Tensor, index: int) -> Denoised:
        """Estimate the clean volume behind [1, C, H, W, D]."""
        turn = (index - self.denoiser.start_index) % len(self.layouts)
        axis, layout = self.planes.axes[turn], self.layouts[turn]
        if self.before is None:
            signal = self.denoiser.solver.schedule.alphas_cumprod[index] ** 0.5
            self.before = (x_t / signal).clamp(-1, 1)
        channels = x_t.shape[1]
        found = self.before
        if getattr(self.denoiser.network, "learns_variance", False):
            found = torch.cat([found, found.new_zeros((1, 2 * channels, *found.shape[2:]))], dim=1)
        noisy = pad_to_frame(_slices(x_t, axis), layout.frame)
        images = _slices(found, axis).clone()

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
        found = _volume(images, axis)
        self.before = self._mean(found[:, :channels], turn, index)
        return Denoised(self.before, found[:, channels:] if found.shape[1] > channels else None)

    def _mean(self, found: Tensor, turn: int, index: int) -> Tensor:
        """Return the mean of what each plane has told last, now that one tells `found`."""
        power = self.denoiser.solver.schedule.alphas_cumprod[index]
        level = math.sqrt(1 / power - 1)
        self.latest[turn] = (level, found)
        recent = {
            plane: told
            for plane, (then, told) in sorted(self.latest.items())
            if then <= _MUCH_MORE_NOISE * level
        }
        if len(recent) == 1:
            return found
        weights = {plane: self.planes.weights[plane] for plane in recent}
        total = torch.zeros_like(found)
        for plane, told in recent.items():
            total += weights[plane] / sum(weights.values()) * told
        return total

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


def _volume(slices: Tensor, axis: int) -> Tensor:
    """Return slices [N, C, H, W] as a volume [1, C, ...] in which they lie across an axis."""
    return slices.movedim(0, 1 + axis)[None]


def _slices(volume: Tensor, axis: int) -> Tensor:
    """Return the slices across an axis, [N, C, ...], of a volume [1, C, H, W, D]."""
    return volume[0].movedim(1 + axis, 0)


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
