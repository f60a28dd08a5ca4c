"""MONAI's evaluator for volumes that fill the memory: nothing is copied or held without need.

MONAI copies a case into a batch, also a batch of one, and runs the postprocessing within the
iteration, where its state and its frames hold the batch and the output until the end. Of a large
volume that is more than the fusion itself takes. Here a single case becomes a batch by a view, and
the postprocessing has the only reference to it: what a transform drops is free for the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor, list_data_collate
from monai.engines import SupervisedEvaluator, default_prepare_batch
from monai.transforms import Compose, apply_transform

from monai_ddfm.modalities import Modality

__all__ = ["FusionEvaluator", "collate_cases", "prepare_case"]

_Case = dict[Hashable, Any]


class FusionEvaluator(SupervisedEvaluator):  # type: ignore[misc]
    """`SupervisedEvaluator` whose postprocessing runs after the iteration and owns the case.

    After every iteration ``state.output`` is the list of the cases as the postprocessing has left
    them, and ``state.batch`` is empty. The arguments are those of `SupervisedEvaluator`, with
    `decollate` left as it is.
    """

    def _register_postprocessing(self, posttrans: Callable[[_Case], _Case]) -> None:
        chain = posttrans.flatten().transforms if isinstance(posttrans, Compose) else (posttrans,)

        @self.on(Events.ITERATION_COMPLETED)  # type: ignore[untyped-decorator]
        def _run_postprocessing(engine: Engine) -> None:
            waiting = [
                {**batch, **output}
                for batch, output in zip(engine.state.batch, engine.state.output, strict=True)
            ]
            engine.state.batch, engine.state.output = [], []
            waiting.reverse()
            while waiting:
                engine.state.output.append(_through(chain, [waiting.pop()]))


def collate_cases(cases: Sequence[Mapping[Hashable, Any]]) -> Any:
    """Make a batch as MONAI does, but of a single case without copying its volumes.

    Args:
        cases: dictionaries of volumes [C, H, W(, D)] and whatever else MONAI collates; what can be
            called in a single case is no data, and goes on as it is.

    Returns:
        The batch, volumes [B, C, H, W(, D)]; for one case they share its memory.
    """
    if len(cases) != 1:
        return list_data_collate(cases)
    volumes = {key: value for key, value in cases[0].items() if isinstance(value, MetaTensor)}
    tools = {key: value for key, value in cases[0].items() if callable(value)}
    data = {key: value for key, value in cases[0].items() if key not in tools}
    collated = list_data_collate([{**data, **{k: v[:0] for k, v in volumes.items()}}])
    for key, volume in volumes.items():
        batch = MetaTensor(volume.as_tensor()[None])
        batch.copy_meta_from(collated[key])
        collated[key] = batch
    return collated | tools


def prepare_case(
    batch: MutableMapping[str, Any], device: Any, non_blocking: bool, **options: Any
) -> tuple[Any, Any, tuple[()], dict[str, Any]]:
    """Prepare a batch as MONAI does, and hand the inferer what it is to know of the case.

    Args:
        batch: as `collate_cases` makes it, with ``moving_scaled``, or with such a key for each of
            several moving volumes, in their order; and with ``draws`` if its sources are to be
            drawn again: they are taken out, for they are no data, and hold a volume.
        device: where the volumes go.
        non_blocking: see `torch.Tensor.to`.
        options: likewise.

    Returns:
        The volumes, their labels, and arguments of the inferer: whether `moving` is in known
        units, if not, and what draws the sources.
    """
    images, labels = default_prepare_batch(batch, device, non_blocking, **options)
    moving = (key for key in batch if re.fullmatch(r"moving(_[a-z0-9]+)?_scaled", str(key)))
    known = [not _is_bare(batch[key]) for key in moving]
    told: dict[str, Any] = {}
    if not all(known):
        told["in_units"] = known if len(known) > 1 else False
    if "draws" in batch:
        told["draws"] = batch.pop("draws")
    return images, labels, (), told


def _is_bare(volume: Any) -> bool:
    """Whether a volume is a CT without HU."""
    meta = getattr(volume, "meta", {})
    known, kind = (np.ravel(meta.get(key) or "") for key in ("units", "modality"))
    return any(u not in ("", "HU") and k == Modality.CT for u, k in zip(known, kind, strict=False))


def _through(chain: Sequence[Callable[[_Case], _Case]], holder: list[_Case]) -> _Case:
    """Run the transforms one by one, so that no one holds what the last one has replaced."""
    case = holder.pop()
    for transform in chain:
        case = apply_transform(transform, case)
    return case
