"""`DDFMInferer` as an object of a program: it goes to other processes, and says what it is."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
from inferer_makers import FROM_NOISE, head, uniform
from run_cases import RecordingNet

from monai_ddfm.inferers import PRESETS, DDFMInferer, EnsembleInferer, Preset, configure
from monai_ddfm.likelihoods.rectifiers import EMRectifier, IdentityRectifier


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "contrast", "speed": "fast", "seed": 3, "axis": 0, "smooth_across": 1.0},
        {"preset": FROM_NOISE, "steps": 2, "noise": "independent", "batch_size": 1},
    ],
    ids=["default", "contrast", "from noise"],
)
def test_an_unpickled_inferer_fuses_the_same(options: dict[str, Any], small: RecordingNet) -> None:
    volume, inferer = head(5, 16, 12, 4), DDFMInferer(**options)
    restored = pickle.loads(pickle.dumps(inferer))
    assert repr(restored) == repr(inferer)
    assert torch.equal(restored(volume, small), inferer(volume, small))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_can_be_pickled(preset: str) -> None:
    inferer = EnsembleInferer(DDFMInferer(preset=preset, autocast_dtype="bfloat16"), samples=2)
    restored = pickle.loads(pickle.dumps(inferer))
    assert repr(restored) == repr(inferer)
    assert restored.inferer.preset == inferer.inferer.preset


def test_compiled_networks_stay_in_their_process(small: RecordingNet) -> None:
    inferer = DDFMInferer(compile=True)
    with inferer.acceleration.prepared(small, torch.device("cpu")) as compiled:
        assert compiled is not small
    for other in (pickle.loads(pickle.dumps(inferer)), deepcopy(inferer)):
        assert other.acceleration == inferer.acceleration
        assert "compile='default'" in repr(other)


def test_repr_is_the_call_that_makes_it() -> None:
    inferer = DDFMInferer(
        preset="reference", steps=25, seed=7, batch_size=4, axis=1, autocast_dtype="bfloat16"
    )
    again = eval(repr(inferer), {"DDFMInferer": DDFMInferer})
    assert repr(again) == repr(inferer)
    assert repr(inferer).startswith("DDFMInferer(preset='reference', steps=25, seed=7, ")
    for setting in ("batch_size=4", "axis=1", "autocast_dtype='bfloat16'", "compile=None"):
        assert setting in repr(inferer)
    pair = uniform(1, 1, 2, 8, 8)
    assert torch.equal(again(pair, RecordingNet()), inferer(pair, RecordingNet()))


def test_repr_tells_what_the_preset_does_not_say() -> None:
    assert "rectifier" not in repr(DDFMInferer())
    assert "rectifier=EMRectifier(variant='paper'" in repr(
        DDFMInferer(preset="reference", rectifier=EMRectifier(variant="paper"))
    )
    assert "fidelity=0.9" in repr(DDFMInferer(preset=configure("default", fidelity=0.9)))
    own = Preset(steps=3, solver="ddim", rectifier=IdentityRectifier())
    assert repr(DDFMInferer(preset=own)).startswith("DDFMInferer(preset='own', steps=3, ")
