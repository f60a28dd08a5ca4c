"""Methods with options, as the benchmark reads them from text and runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from benchmark_makers import heads
from torch import Tensor

from monai_ddfm.apps.benchmark import Case, Prior, benchmark, identity_prior, parse_methods
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, configure
from monai_ddfm.likelihoods.rectifiers import EMRectifier


def test_options_belong_to_the_method_before_them() -> None:
    methods = parse_methods(
        "average, default:prior_share=0.6,steps=8,max,paper,eta=0.5,as=p", steps=4
    )
    assert [method.label for method in methods] == [
        "average",
        "default:prior_share=0.6,steps=8",
        "max",
        "p",
    ]
    assert methods[1].options == {"prior_share": 0.6, "steps": 8}
    assert methods[3].options == {"eta": 0.5, "steps": 4}
    assert [method.is_baseline for method in methods] == [True, False, True, False]


def test_options_of_a_modality_hold_there_alone() -> None:
    (method,) = parse_methods("default:levels=3,CT.levels=1,SPECT.window=4")
    assert method.options_for("PET") == {"levels": 3}
    assert method.options_for("CT") == {"levels": 1}
    assert method.options_for("SPECT") == {"levels": 3, "window": 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no method is named"),
        ("best", "method 'best' is unknown"),
        ("max,max", "given twice"),
        ("default:fast", "is no name=value"),
        ("max:levels=3", "has no option 'levels'"),
        ("default:colour=3", "has no option 'colour'; it has .*texture_grain"),
        ("default:prior_share=2", "must lie between 0 and 1"),
        ("default:rectifier=best", "rectifier 'best' is unknown"),
        ("default:solver=fast", "solver 'fast' is unknown"),
        ("default:prior=/nowhere.pt", "/nowhere.pt is not a file"),
        ("default:MR.steps=3", "use CT, PET, SPECT or IR"),
        ("contrast:levels=many", "is of the wrong kind"),
        ("default:window=many", "must be a finite number"),
        ("default:levels=3", "has no option 'levels'"),
    ],
)
def test_unusable_methods_are_refused(text: str, words: str, small_prior: Prior) -> None:
    with pytest.raises(InputError, match=words):
        benchmark([heads("a", "CT")], methods=text, prior=small_prior)


def results_of(methods: Any, case: Case, prior: Prior) -> dict[str, Tensor]:
    """The fused images themselves, by way of a method that looks on."""
    runs: dict[str, Tensor] = {}
    for method in parse_methods(methods):
        prepared = method.prepare(case.modality, prior=lambda name: _prior(name, prior))
        runs[method.label] = prepared.fuse(case.image)
    return runs


def _prior(name: str | None, own: Prior) -> Prior:
    return identity_prior() if name == "identity" else own


def test_a_preset_with_options_is_what_the_inferer_gives(small_prior: Prior) -> None:
    case = heads("a", "CT")
    found = results_of(
        "default:prior_share=0.8,steps=3,seed=4,reference:steps=2,tv=false,"
        "default:rectifier=em,variant=paper,steps=2,as=em",
        case,
        small_prior,
    )
    image, network = case.image * 2 - 1, small_prior.network
    share = configure("default", modality="CT", prior_share=0.8)
    wanted = DDFMInferer(preset=share, steps=3, seed=4)(image, network)
    np.testing.assert_allclose(
        found["default:prior_share=0.8,steps=3,seed=4"], (wanted[:, :1] + 1) / 2, atol=1e-6
    )
    plain = EMRectifier(luminance="limited", tv=False)
    wanted = DDFMInferer(preset="reference", steps=2, rectifier=plain)(image, network)
    np.testing.assert_allclose(
        found["reference:steps=2,tv=false"], (wanted[:, :1] + 1) / 2, atol=1e-6
    )
    wanted = DDFMInferer(steps=2, rectifier=EMRectifier(variant="paper"))(image, network)
    np.testing.assert_allclose(found["em"], (wanted[:, :1] + 1) / 2, atol=1e-6)


def test_the_identity_prior_removes_nothing(small_prior: Prior) -> None:
    """With it alone (share 1), sampling without noise keeps what it starts from, within the box."""
    network = identity_prior().network
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(x, torch.tensor([500])), torch.zeros_like(x))
    case = heads("a", "CT")
    own, without = results_of(
        "default:steps=3,default:steps=3,prior=identity", case, small_prior
    ).values()
    assert float((own - without).abs().max()) > 1e-3
