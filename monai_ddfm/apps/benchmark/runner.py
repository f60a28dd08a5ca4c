"""Running methods on cases, and keeping what is finished."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from tqdm import tqdm

from monai_ddfm.apps.benchmark.bundle import Prior, bundle_prior
from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.methods import Method, Prepared, identity_prior
from monai_ddfm.apps.benchmark.store import Run, RunStore, code_hash, hash_of
from monai_ddfm.errors import InputError

__all__ = ["Runner", "images_at_once"]

# A killed run loses no more than these.
_AT_ONCE: Final = {"cpu": 4, "cuda": 64}


def images_at_once(device: str) -> int:
    """Return how many images are fused together on a device."""
    return _AT_ONCE.get(torch.device(device).type, 4)


class Runner:
    """Runs methods on cases, and keeps what is finished.

    Args:
        folder: where; None keeps nothing.
        prior: another prior than the bundle's.
        device: of the network.
    """

    def __init__(
        self, folder: Path | None, *, prior: str | Path | Prior | None, device: str
    ) -> None:
        self.store = RunStore(None if folder is None else folder / "runs")
        self.device = device
        self._given = prior
        self._priors: dict[str | None, Prior] = {}

    def prior(self, name: str | None = None) -> Prior:
        """Return a prior by its name, loaded once; None is the benchmark's own."""
        if name not in self._priors:
            self._priors[name] = self._load(self._given if name is None else name)
        return self._priors[name]

    def prior_keys(self) -> dict[str, str]:
        """Return what the priors that were used are known by: the SHA-256 of their files."""
        return {str(name or "own"): prior.key for name, prior in self._priors.items()}

    def _load(self, given: str | Path | Prior | None) -> Prior:
        if isinstance(given, Prior):
            return given
        if given is None:
            return bundle_prior(device=self.device)
        if str(given) == "identity":
            return identity_prior()
        return Prior.from_file(given, device=self.device)

    def run(
        self, methods: Sequence[Method], cases: Sequence[Case]
    ) -> dict[tuple[str, str, str], Run]:
        """Return the run of every method on every case, by label, title and noise."""
        settings = dict.fromkeys(case.setting for case in cases)
        ready = {
            (method.label, setting): method.prepare(setting, prior=self.prior)
            for method in methods
            for setting in settings
        }
        runs: dict[tuple[str, str, str], Run] = {}
        keys = {id(case): case.key for case in cases}
        bar = tqdm(total=len(methods) * len(cases), unit="image", disable=None)
        for method in methods:
            bar.set_description(method.label[:30])
            for setting in settings:
                prepared = ready[method.label, setting]
                own = [case for case in cases if case.setting == setting]
                for case, run in self._run(method, prepared, own, keys):
                    runs[method.label, case.title, str(case.noise)] = run
                    bar.update()
        bar.close()
        return runs

    def _run(
        self, method: Method, prepared: Prepared, cases: Sequence[Case], keys: Mapping[int, str]
    ) -> Iterator[tuple[Case, Run]]:
        pending: dict[torch.Size, list[tuple[Case, str | None]]] = {}
        for case in cases:
            key = None
            if prepared.key is not None:
                key = hash_of(keys[id(case)], prepared.key, code_hash("fusion"))
            run = self.store.load(case.title, _label(method, case), key)
            if run is None:
                pending.setdefault(case.image.shape, []).append((case, key))
            else:
                yield case, run
        for shape, group in pending.items():
            at_once = 1 if len(shape) == 5 else images_at_once(self.device)
            for start in range(0, len(group), at_once):
                part = group[start : start + at_once]
                images = torch.cat([case.image for case, _ in part])
                for (case, key), run in zip(part, _measured(prepared, images), strict=True):
                    yield case, self.store.keep(case.title, _label(method, case), key, run)


def _label(method: Method, case: Case) -> str:
    return method.label if case.noise is None else f"{case.noise} {method.label}"


def _measured(prepared: Prepared, image: Tensor) -> list[Run]:
    """Return a run for each image, with what one slice has cost."""
    begin, begin_processor = time.perf_counter(), time.process_time()
    with _counted(prepared.network) as images:
        fused = prepared.fuse(image)
    seconds, processor = time.perf_counter() - begin, time.process_time() - begin_processor
    expected = (len(image), 1, *image.shape[2:])
    if fused.shape != expected:
        raise InputError(f"a method gave {list(fused.shape)} instead of {list(expected)}.")
    slices = len(image) * (image.shape[-1] if image.ndim == 5 else 1)
    return [
        Run(
            one.clone(),
            seconds / slices,
            sum(images) / slices,
            processor_seconds=processor / slices,
        )
        for one in torch.split(fused.detach().cpu().float(), 1)
    ]


@contextmanager
def _counted(network: nn.Module | None) -> Iterator[list[int]]:
    """Note how many images each call of the network is given."""
    images: list[int] = []
    if network is None:
        yield images
        return

    def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        images.append(len(arguments[0]))  # one step of Python, so that threads may do it

    hook = network.register_forward_pre_hook(note)
    try:
        yield images
    finally:
        hook.remove()
