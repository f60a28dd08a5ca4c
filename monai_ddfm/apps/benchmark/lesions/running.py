"""Fusing sources with lesions, and keeping what the observer's channels give.

Kept are the channel outputs, not the images: a few kilobytes hold what some hundred fusions show,
and d' for any internal noise follows from them. A file stands for one row, slice, lesion and noise,
so that a killed run loses no more than one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_ddfm.apps.benchmark.lesions.rows import Row, View, show, views_of
from monai_ddfm.apps.benchmark.lesions.scenes import Scene
from monai_ddfm.apps.benchmark.methods import Prepared, Setting
from monai_ddfm.apps.benchmark.noise import Noise
from monai_ddfm.apps.benchmark.runner import Runner, images_at_once
from monai_ddfm.apps.benchmark.store import code_hash, hash_of, slug
from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import SIGNALS, Lesion, Outputs, Reader, centers
from monai_ddfm.utils.files import atomic_path

__all__ = ["SOURCES", "Seen", "run_rows"]

SOURCES = (
    Row(label="fixed alone", kind="source", alpha=0.0),
    Row(label="moving alone", kind="source", alpha=1.0),
)
"""The sources by themselves, which efficiencies are relative to."""


@dataclass(frozen=True)
class Seen:
    """What outputs belong to.

    Attributes:
        modality: of the moving source.
        label: of the row.
        view: in gray or in color.
        lesion: what was put into the sources.
        noise: what was added to them.
    """

    modality: str
    label: str
    view: View
    lesion: Lesion
    noise: Noise | None


def run_rows(
    rows: Sequence[Row],
    scenes: Sequence[Scene],
    *,
    lesions: Sequence[Lesion],
    noises: Sequence[Noise | None],
    runner: Runner,
    folder: Path | None,
    reader: Reader | None = None,
) -> dict[Seen, Outputs]:
    """Look at all rows, and at the sources alone, in all scenes.

    Args:
        rows: what is compared.
        scenes: slices with places.
        lesions: what is put there, one kind at a time.
        noises: what is added, one at a time; None is nothing.
        runner: has the priors and the device.
        folder: where finished outputs are kept; None keeps nothing.
        reader: how images are looked at.

    Returns:
        Outputs at the places of all slices of a modality.

    Raises:
        InputError: if a method cannot be prepared or gives images of another size.
    """
    reader = reader or Reader()
    ready = _prepared(rows, scenes, runner)
    parts: dict[Seen, list[Outputs]] = {}
    everything = [*SOURCES, *rows]
    total = len(everything) * len(scenes) * len(lesions) * len(noises)
    keys = {id(scene): scene.case.key for scene in scenes}
    with tqdm(total=total, unit="slice", disable=None) as bar:
        for row in everything:
            bar.set_description(row.label[:30])
            for lesion, noise, scene in _combined(lesions, noises, scenes):
                modality = scene.case.modality
                method = ready.get((row.label, scene.case.setting))
                job = _Job(row, method, scene, lesion, noise, reader, runner.device)
                bar.update()
                if not job.views:
                    continue
                file = None if folder is None else job.file(folder, source=keys[id(scene)])
                found = _load(file)
                if found is None:
                    found = job.run()
                    _keep(file, found)
                for view, outputs in found.items():
                    parts.setdefault(Seen(modality, row.label, view, lesion, noise), []).append(
                        outputs
                    )
    return {seen: Outputs.joined(outputs) for seen, outputs in parts.items()}


@dataclass(frozen=True)
class _Job:
    """One row in one scene, with one kind of lesion and of noise."""

    row: Row
    method: Prepared | None
    scene: Scene
    lesion: Lesion
    noise: Noise | None
    reader: Reader
    device: str

    @property
    def views(self) -> list[View]:
        return [view for view in views_of(self.scene.case.modality) if view in self.row.views]

    def file(self, folder: Path, *, source: str) -> Path | None:
        """Return where the outputs are kept; None if the method's results cannot be known."""
        if self.method is not None and self.method.key is None:
            return None
        fused = "" if self.method is None else (self.method.key, code_hash("fusion"))
        places = self.scene.groups, self.scene.seed, self.scene.case.spacing
        kind = self.row.kind, self.row.alpha, self.row.style
        parts = (kind, fused, source, places, self.lesion, self.noise, self.reader)
        key = hash_of(*parts, code_hash("observer"))
        name = f"{slug(self.row.label)}-{key[:16]}.npz"
        return folder / slug(self.scene.case.title) / name

    def run(self) -> dict[View, Outputs]:
        """Fuse and look."""
        everywhere = centers(self.scene.places)
        absent = self._look(self.scene.without(self.noise), everywhere)
        present: dict[View, list[Tensor]] = {view: [] for view in self.views}
        for group in self.scene.groups:
            stack = self.scene.with_lesions(group, self.lesion, self.noise)
            for view, outputs in self._look(stack, centers(list(group))).items():
                present[view].append(outputs)
        return {view: Outputs(absent[view][0], torch.cat(present[view], 1)) for view in self.views}

    def _look(self, sources: Tensor, places: Tensor) -> dict[View, Tensor]:
        fused = None if self.method is None else self._fuse(self.method, sources)
        modality = self.scene.case.modality
        return {
            view: self.reader.look(
                show(self.row, sources, fused, view=view, modality=modality), places
            )
            for view in self.views
        }

    def _fuse(self, method: Prepared, sources: Tensor) -> Tensor:
        parts = [method.fuse(part) for part in torch.split(sources, images_at_once(self.device))]
        fused = torch.cat(parts).detach().cpu().float()
        expected = (len(sources), 1, *sources.shape[2:])
        if fused.shape != expected:
            raise InputError(f"a method gave {list(fused.shape)} instead of {list(expected)}.")
        return fused


def _prepared(
    rows: Sequence[Row], scenes: Sequence[Scene], runner: Runner
) -> Mapping[tuple[str, Setting], Prepared]:
    """Make all methods ready before the first one runs."""
    settings = dict.fromkeys(scene.case.setting for scene in scenes)
    return {
        (row.label, setting): row.method.prepare(setting, prior=runner.prior)
        for row in rows
        if row.method is not None
        for setting in settings
    }


def _combined(
    lesions: Sequence[Lesion], noises: Sequence[Noise | None], scenes: Sequence[Scene]
) -> Iterator[tuple[Lesion, Noise | None, Scene]]:
    for lesion in lesions:
        for noise in noises:
            for scene in scenes:
                yield lesion, noise, scene


def _load(file: Path | None) -> dict[View, Outputs] | None:
    if file is None or not file.is_file():
        return None
    with np.load(file) as kept:
        views: list[View] = [view for view in ("gray", "color") if f"{view} absent" in kept]
        return {
            view: Outputs(
                torch.from_numpy(kept[f"{view} absent"]), torch.from_numpy(kept[f"{view} present"])
            )
            for view in views
        }


def _keep(file: Path | None, found: Mapping[View, Outputs]) -> None:
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for view, outputs in found.items():
        assert len(outputs.present) == len(SIGNALS)
        arrays[f"{view} absent"] = outputs.absent.numpy()
        arrays[f"{view} present"] = outputs.present.numpy()
    with atomic_path(file) as temporary:
        np.savez_compressed(temporary, **arrays)
