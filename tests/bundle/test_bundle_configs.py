"""The bundle's configurations: a bundle's properties, entries that are used, targets that exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
import pytest
from bundle_parts import BUNDLE, CONFIGS, INFERENCE, WHOLE, read
from monai.bundle import ConfigComponent, ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from PIL import Image

from monai_ddfm.apps.demo import DemoSubject

ENTRY_POINTS = {"imports", "initialize", "run", "finalize"}


def parts_of(value: Any) -> Iterator[Any]:
    """Yield a value and everything within it."""
    yield value
    if isinstance(value, Mapping):
        for part in value.values():
            yield from parts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from parts_of(part)


def test_inference_has_the_properties_of_a_bundle(pet: DemoSubject, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(INFERENCE),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(BUNDLE),
        fixed=str(pet.fixed),
        moving=str(pet.moving),
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert InferProperties.keys() - {"key_metric"} <= set(read("inference.json")) | {"dataset_data"}
    assert workflow.version == read("metadata.json")["version"]
    assert list(tmp_path.iterdir()) == []


def test_training_has_the_properties_of_a_bundle(tmp_path: Path) -> None:
    slices = tmp_path / "slices"
    slices.mkdir()
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    for seed in range(4):
        head = 90 + 60 * np.sin(9 * rows + seed) * np.cos(7 * columns)
        picture = np.where(rows**2 + columns**2 < 0.7, head, 0)
        Image.fromarray(picture.astype(np.uint8)).save(slices / f"{seed}.png")
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "train.json"),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        train_dir=str(slices),
        val_dir=str(slices),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        tensorboard=False,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.trainer.state.max_epochs == workflow.max_epochs
    assert len(workflow.train_dataset) == len(list(slices.iterdir()))


@pytest.mark.parametrize("name", WHOLE)
def test_every_entry_is_used_and_every_reference_leads_somewhere(name: str) -> None:
    config = read(name)
    texts = [part for part in parts_of(config) if isinstance(part, str)]
    used = {match for text in texts for match in re.findall(r"@([\w#]+)", text)}
    wanted = {
        str(p["id"]).split("#")[0] for p in (*InferProperties.values(), *TrainProperties.values())
    }
    entries = {reference.split("#")[0] for reference in used}
    assert set(config) - entries - wanted - ENTRY_POINTS == set()
    parser = ConfigParser(config)
    assert [reference for reference in sorted(used) if reference not in parser] == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_target_exists_and_takes_its_arguments(path: Path) -> None:
    for part in parts_of(read(path.name)):
        if isinstance(part, Mapping) and "_target_" in part:
            target = locate(ConfigComponent(part).resolve_module_name())
            assert callable(target), part["_target_"]
            inspect.signature(target).bind(**{k: v for k, v in part.items() if k[0] != "_"})
