r"""One prior from several that were trained from one another.

Networks of one training, or of trainings that go on from one another, can be averaged weight by
weight,

.. math::

    \theta = \frac1n \sum_{i=1}^n \theta_i ,

without extra cost in use; the average is as a rule more robust on images unlike those of the
training than any of them ("model soups", Wortsman et al. 2022, arXiv 2203.05482). Networks that
were trained independently cannot be averaged: the result predicts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors.architecture import Architecture
from monai_ddfm.networks.priors.growth import grown_prior
from monai_ddfm.networks.priors.loading import network_from_file, prior_info

__all__ = ["averaged_prior"]


def averaged_prior(paths: Sequence[str | Path]) -> ADMUNet:
    """Average the weights of priors.

    Args:
        paths: priors; those with fewer residual blocks than the last are grown to its shape.

    Returns:
        A float32 network of the shape of the last prior, in evaluation mode.

    Raises:
        InputError: if there are fewer than two, one cannot be read, they differ in more than the
            number of blocks, or one has more blocks than the last.
    """
    if len(paths) < 2:
        raise InputError("one prior has no average; give two or more.")
    average = network_from_file(paths[-1])
    total = {name: value.double() for name, value in average.state_dict().items()}
    shape = Architecture.of(average)
    for path in paths[:-1]:
        _check_shape(path, prior_info(path).architecture, shape)
        grown = grown_prior(network_from_file(paths[-1]), path)
        for name, value in grown.state_dict().items():
            total[name] += value.double()
    average.load_state_dict({name: value / len(paths) for name, value in total.items()})
    return average


def _check_shape(path: str | Path, found: Architecture | None, wanted: Architecture) -> None:
    """Refuse a prior that would have to be changed, and not only deepened, to be averaged."""
    if found is None:
        return  # Without a description it must fit as it is, which loading it finds out.
    pairs = zip(found.num_res_blocks, wanted.num_res_blocks, strict=False)
    if found.channels != wanted.channels or any(old > new for old, new in pairs):
        raise InputError(
            f"{path} has channels {found.channels} and num_res_blocks {found.num_res_blocks}, the "
            f"last prior {wanted.channels} and {wanted.num_res_blocks}; average priors of the same "
            "channels, and name the one with the most blocks last"
        )
