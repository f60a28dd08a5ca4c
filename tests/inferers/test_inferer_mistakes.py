"""Options and inputs that the inferer refuses in one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from inferer_makers import from_noise, uniform
from run_cases import RecordingNet

from monai_ddfm.errors import InputError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "nonsense"}, "'nonsense'.*reference"),
        ({"steps": "-3"}, "'-3'"),
        ({"steps": -3}, "-3"),
        ({"steps": 0}, "0"),
        ({"steps": 2000}, "2000"),
        ({"steps": "abc"}, "'abc'"),
        ({"steps": 2.5}, "2.5"),
        ({"steps": True}, "True"),
        ({"timesteps": ""}, "steps"),
        ({"timesteps": []}, "steps"),
        ({"axis": 3}, "axis 3"),
        ({"axis": -1}, "axis -1"),
        ({"axis": "2"}, "axis '2'"),
        ({"axis": 1.0}, "axis 1.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": -2}, "batch size -2"),
        ({"batch_size": "many"}, "'many'.*auto"),
        ({"batch_size": 1.5}, "1.5"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "abc"}, "seed 'abc'"),
        ({"seed": 0.5}, "seed 0.5"),
        ({"noise": "loud"}, "'loud'.*shared"),
        ({"autocast_dtype": "int8"}, "'int8'.*bfloat16"),
        ({"start_timestep": -1}, "-1.*0 to 999"),
        ({"start_timestep": 1000}, "1000.*0 to 999"),
        ({"start_timestep": "500"}, "'500'"),
        ({"early_stop": -1.0}, "-1.0"),
        ({"early_stop": "soon"}, "'soon'"),
        ({"speed": "slow"}, "'slow'.*balanced"),
        ({"speed": "fast", "preset": "reference"}, "'fast'.*steps"),
        ({"compile": "quick"}, "'quick'.*graphs"),
        ({"timesteps": "0,1"}, "'0,1'"),
        ({"prediction_type": "score"}, "'score'"),
        ({"betas": "square"}, "'square'"),
        ({"num_timesteps": 0}, "0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_noise(**options)


@pytest.mark.parametrize(
    "shape", [(2, 8, 8), (1, 1, 8, 8), (1, 3, 8, 8), (1, 2, 8), (1, 2, 4, 4, 4, 4), (0, 2, 8, 8)]
)
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], small: RecordingNet) -> None:
    with pytest.raises(InputError, match=r"\[B, 2, H, W\]|not for 2 moving sources"):
        from_noise(steps=1)(torch.zeros(shape), small)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float, small: RecordingNet) -> None:
    pair = uniform(1, 1, 2, 8, 8, 2)
    pair[0, 1, 3, 3, 1] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        from_noise(steps=1)(pair, small)
