r"""Whether a source has details that means of its pixels would lose: the prior is asked.

A source y, on the scale on which its noise has one deviation :math:`\sigma`, shows the clean s. Let
R be what the means over k by k pixels and an interpolation back leave of an image, its details.
If the prior sees all pixels, its estimate :math:`\hat s` has details :math:`R \hat s`, right or
wrong; of means it has none. So to see all pixels is worth, in squared error,

.. math::

    G_k = \frac1{|\Omega|} \sum_\Omega (R s)^2 - (R s - R \hat s)^2
        = \frac1{|\Omega|} \sum_\Omega 2\, R s\, R \hat s - (R \hat s)^2

within the patient :math:`\Omega`. That is linear in s, so a noisy image with the mean s will do
for it, if its noise has nothing to do with that of :math:`\hat s`. Two such images are made of one
[1], by drawn noise z of the deviation :math:`\sigma`,

.. math::

    y_1 = y + \alpha z, \qquad y_2 = y - z / \alpha ,

whose noises are not correlated: the prior estimates :math:`\hat s` from :math:`y_1`, and
:math:`R y_2` stands for :math:`R s`. Where the noise was interpolated, and y is smoother than it
seems, both have some of it in common, which counts as details.

Means are shown for the largest k whose :math:`G_k` is small. That is found out once a volume, in
few slices, so that batches, processes and resumed runs agree on it.

References:
    [1] T. Pang, H. Zheng, Y. Quan, H. Ji, Recorrupted-to-recorrupted: unsupervised deep learning
        for image denoising, CVPR 2021, makes the same two images of one, to train with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.inferers.layout import Patch, SliceLayout, chosen
from monai_ddfm.inferers.noise import NoiseSource
from monai_ddfm.inferers.running import SliceRunner
from monai_ddfm.inferers.sampling import FusionSampler, SliceSampler, interpolated
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE, NoiseModel
from monai_ddfm.likelihoods.rectifiers import EstimateRectifier, Plan, Run

__all__ = ["value_of_details", "with_means"]

_MOST_ASKED: Final = 3
# To ask costs a slice in all pixels, means save three quarters of one: this pays soon.
_SLICES_PER_ASKED: Final = 8
_ALPHA: Final = 0.5
# Above black on the scale from -1 to 1, and in deviations of magnitudes, whose noise has a mean.
_TISSUE: Final = 0.2
_CLEAR_OF_THE_FLOOR: Final = 3.0
_SMOOTHING: Final = 5


def with_means(
    plan: Plan,
    slices: Tensor,
    layout: SliceLayout,
    *,
    network: nn.Module,
    sampler_of: Callable[[Run], SliceSampler],
) -> Plan:
    """Decide in which runs of a volume the prior is shown means of pixels.

    Args:
        plan: of the volume; its runs say which means may be shown.
        slices: the sources, [N, C, H, W].
        layout: which parts of them are sampled.
        network: the prior, as the sampling loop calls it.
        sampler_of: makes the loop for a run.

    Returns:
        The plan, decided. In a volume of few slices nothing is asked, and all pixels are shown.
    """
    asked = _asked(layout.patches)
    if not asked:
        return plan
    numbers = [patch.number for patch in asked]
    own = replace(layout, patches=tuple(replace(p, number=n) for n, p in enumerate(asked)))
    runs = []
    for run in plan.runs:
        if run.means is not None and run.source is not None and run.noise_model is not None:
            source = chosen(slices[:, run.source : run.source + 1], numbers).float()
            told = _Told.of(source, run.noise_model, own, network=network, sampler_of=sampler_of)
            worth = {k: told.worth(k) for k in sorted(run.means.sides, reverse=True)}
            fits = (k for k, value in worth.items() if value <= run.means.tolerated)
            run = replace(run, coarse=next(fits, 1))  # noqa: PLW2901
        runs.append(run)
    return replace(plan, runs=tuple(runs))


def value_of_details(noisy: Tensor, estimate: Tensor, k: int, *, inside: Tensor) -> float:
    """Return G_k, what an estimate's details are worth; infinite where nothing is inside.

    Args:
        noisy: image with noise that has nothing to do with the estimate's error, [N, 1, H, W].
        estimate: of the clean image, same shape.
        k: pixels along the side of a block.
        inside: where to look, boolean, same shape.
    """

    def details(images: Tensor) -> Tensor:
        means = functional.avg_pool2d(images, k, ceil_mode=True)
        return (images - interpolated(means, k, images.shape[2:]))[inside].double()

    if not bool(inside.any()):
        return math.inf
    found = details(estimate)
    return float((2 * details(noisy) * found - found.square()).mean())


class _Told:
    """What the prior tells of some slices of a source.

    Args:
        noisy: y_2, [N, 1, H, W].
        estimate: from y_1, black outside of the patches.
        black: up to what a mean over some pixels is no patient.
    """

    def __init__(self, noisy: Tensor, estimate: Tensor, *, black: float) -> None:
        smooth = functional.avg_pool2d(estimate, _SMOOTHING, 1, _SMOOTHING // 2)
        self.noisy, self.estimate, self.inside = noisy, estimate, smooth > black

    @classmethod
    def of(
        cls,
        source: Tensor,
        noise_model: NoiseModel,
        layout: SliceLayout,
        *,
        network: nn.Module,
        sampler_of: Callable[[Run], SliceSampler],
    ) -> _Told:
        """Ask the prior for slices [N, 1, H, W] in a layout of their own."""
        level, own = noise_model.level, NoiseSource(mode="independent")
        drawn = own.start(range(len(source)), source.shape[1:], source.device)
        # Values at the ends have lost their noise; the loop draws it anew.
        z = torch.where(source.abs() < END_OF_RANGE, level * drawn, 0)
        stable = noise_model.stabilize(source)
        white = NoiseModel.white(level * math.sqrt(1 + _ALPHA**2))
        alone = EstimateRectifier(share=1.0, noise_model=white)
        run = Run(rectifier=alone, source=0, noise_model=white)
        estimate = torch.full_like(stable, -1)

        def keep(patches: Sequence[Patch], outcome: Tensor) -> None:
            for patch, part in zip(patches, outcome, strict=True):
                layout.place(part[:1], patch, estimate)

        SliceRunner(
            sampler=FusionSampler(plan=Plan(runs=(run,)), samplers=(sampler_of(run),)),
            network=network,
            sampling_noise=own,
            layout=layout,
            batch_size="auto",
        )(stable + _ALPHA * z, layout.patches, on_batch=keep)
        tissue = _TISSUE
        if noise_model.magnitudes:
            tissue = max(tissue, _CLEAR_OF_THE_FLOOR * level)
        return cls(stable - z / _ALPHA, estimate, black=tissue - 1)

    def worth(self, k: int) -> float:
        """Return G_k."""
        return value_of_details(self.noisy, self.estimate, k, inside=self.inside)


def _asked(patches: Sequence[Patch]) -> list[Patch]:
    """Some patches, evenly spread; none of a volume of few slices."""
    number = min(_MOST_ASKED, len(patches) // _SLICES_PER_ASKED)
    return [patches[(2 * n + 1) * len(patches) // (2 * number)] for n in range(number)]
