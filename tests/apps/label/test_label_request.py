"""What a client asks for: every option read, everything else refused, nothing evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_ddfm.apps.label.request import CHOICES, FusionRequest, offered_options, read_request
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.options import all_options
from monai_ddfm.workflow import bundle_root

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
OF_THE_OPERATOR = {"device", "amp", "compile", "max_memory", "batch_size", "resume", "push"}
NAMES = [*offered_options(archive=True)]


def test_what_is_offered_may_be_sent_back() -> None:
    """Clients send the offer back as it is: lists of choices, empty texts."""
    for archive in (True, False):
        assert read_request(offered_options(archive=archive)) == read_request({})


def test_defaults_are_those_of_the_configuration() -> None:
    config = json.loads((bundle_root() / "configs" / "inference.json").read_text())
    for name, value in read_request({}).options.items():
        assert config[name] == value, name


def test_every_option_of_a_wish_is_an_entry_of_the_configuration() -> None:
    config = json.loads((bundle_root() / "configs" / "inference.json").read_text())
    assert read_request({}).options.keys() <= config.keys()


def test_options_are_read() -> None:
    request = read_request(
        {
            "modality": "pet",
            "preset": "reference",
            "steps": "12",
            "seed": 3.0,
            "window": " 0..10 ",
            "registration": ["affine", "rigid"],
            "image2": "a_pet",
            "result": "COLOR",
            "result_extension": ".nrrd",
            "store": "everything",
            "client_id": "someone",
            "device": "cuda",
        }
    )
    assert request.modalities == (Modality.PET,)
    assert (request.image2, request.session2) == (("a_pet",), ())
    assert (request.result, request.extension, request.store) == ("color", ".nrrd", "everything")
    assert request.options["steps"] == 12
    assert request.options["seed"] == 3
    assert request.options["window"] == "0..10"
    assert request.options["registration"] == "affine"
    assert "device" not in request.options


def test_every_safe_option_is_offered_by_what_it_may_be() -> None:
    offered = offered_options(archive=False)
    assert offered["registration"] == ["rigid", "affine", "deformable", "none"]
    assert offered["bias_correction"] is False
    assert (offered["samples"], offered["steps"], offered["prior_share"]) == (1, 0, "")
    assert {"noise_margin", "slice_along", "color_style", "moving_frames"} <= offered.keys()
    for option in all_options().values():
        if option.is_path or option.parts or option.name in OF_THE_OPERATOR:
            assert option.name not in offered


def test_numbers_and_switches_are_read() -> None:
    given = {"prior_share": "0.4", "smooth_across": 1, "bias_correction": "True", "samples": 2}
    options = read_request(
        given | {"spacing": 0, "noise_margin": "", "color_style": "Overlay"}
    ).options
    assert (options["prior_share"], options["smooth_across"], options["samples"]) == (0.4, 1.0, 2)
    assert (options["bias_correction"], options["bone_tint"]) == (True, False)
    assert (options["spacing"], options["noise_margin"]) == (0.0, None)
    assert options["color_style"] == "overlay"


def test_speed_is_one_of_the_preset() -> None:
    assert read_request({"speed": "Fast"}).options["speed"] == "fast"
    assert read_request({"preset": "paper"}).options["speed"] is None
    with pytest.raises(InputError, match="speed 'fast' is unknown to this preset"):
        read_request({"preset": "paper", "speed": "fast"})


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"modality": "MR"}, "modality 'MR' is unknown"),
        ({"preset": "best"}, "use default, reference, paper"),
        ({"registration": "x.tfm"}, "registration 'x.tfm' is unknown"),
        ({"color_table": 3}, "color_table 3 is unknown"),
        ({"window": 40}, "window must be a short text"),
        ({"window": "x" * 300}, "short text"),
        ({"image2": "a\nb"}, "short text"),
        ({"steps": -1}, "whole number up to 1000"),
        ({"steps": True}, "whole number"),
        ({"steps": 2.5}, "whole number"),
        ({"steps": "many"}, "whole number"),
        ({"steps": float("inf")}, "whole number"),
        ({"seed": 2**32}, "whole number"),
        ({"prior_share": 1.5}, "prior_share must be a number, 0 to 1, not 1.5"),
        ({"noise_margin": "nan"}, "must be a number, 0 or more"),
        ({"samples": 1.5}, "must be a whole number, 1 or more"),
        ({"bias_correction": "perhaps"}, "must be true or false"),
        ({"bias_correction": 2}, "must be true or false"),
        ({"deidentify": True}, "option 'deidentify' is unknown"),
        ({"reference_mask": "/etc/passwd"}, "option 'reference_mask' is unknown"),
        ({"image2": "a", "session2": "b"}, "given twice"),
        ({"image2": ["a", "b"], "modality": "PET"}, "are 2 and their modalities 1; give one"),
        ({"image2": "a", "modality": ["PET", "CT"]}, "are 1 and their modalities 2; give one"),
        ({"image2": ["a", ""]}, "one entry of image2 is empty"),
        ({"image2": "a,,b"}, "one entry of image2 is empty"),
        ({"image2": ["a", 3]}, "image2 must be a short text, not 3"),
        ({"image2": [f"s{n}" for n in range(17)]}, "image2 names 17 volumes; give up to 16"),
        ({"image2": "a,b", "modality": "all"}, "finds the volumes itself; leave image2 out"),
        ({"modality": "PET, PET"}, "PET is asked for 2 times; name the volumes with image2"),
        ({"modality": ["all", "CT"]}, "stands for all; give it alone"),
        ({"modality": ["PET", "MR"]}, "modality 'MR' is unknown"),
        ({"output_dir": "/tmp"}, "option 'output_dir' is unknown"),
        ({"store": "../x"}, "store '../x' is unknown"),
        ([], "must be a JSON object"),
        ("text", "must be a JSON object"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(params: Any, told: str) -> None:
    with pytest.raises(InputError) as refused:
        read_request(params)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.sampled_from([*NAMES, "client_id", "label_info", "new"]), st.sampled_from("$@%"), JSON)
def test_nothing_that_monai_would_evaluate_gets_through(name: str, sign: str, rest: Any) -> None:
    text = f"{sign}{rest}"
    for value in (text, [text], {"deep": [rest, {"deeper": text}]}, {text: rest}):
        with pytest.raises(InputError):
            read_request({name: value})
    with pytest.raises(InputError):
        read_request({name: {"_target_": "os.system"}})


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_json_is_read_or_refused(params: dict[str, Any]) -> None:
    try:
        request = read_request(params)
    except InputError:
        return
    for name in ("preset", "registration", "color_table"):
        assert request.options[name] in CHOICES[name]
    for name, read in request.options.items():
        several = isinstance(read, list) and all_options()[name].each
        for value in read if several else [read]:
            assert value is None or isinstance(value, str | int | float)
            assert not str(value).startswith(("$", "@", "%"))


def test_a_window_must_belong_to_the_modality() -> None:
    FusionRequest(options={"window": "brain"}).sources(["x"], [Modality.CT])
    with pytest.raises(InputError, match="unknown for PET"):
        FusionRequest(options={"window": "brain"}).sources(["x"], [Modality.PET])


@pytest.mark.parametrize("image2", [["a_pet", "a_ct"], "a_pet, a_ct", "a_pet,a_ct,"])
@pytest.mark.parametrize("modality", [["pet", "CT"], "PET,CT"])
def test_several_volumes_are_named_by_lists_or_with_commas(image2: Any, modality: Any) -> None:
    request = read_request({"image2": image2, "modality": modality, "window": "default, bone"})
    assert request.image2 == ("a_pet", "a_ct")
    assert request.modalities == (Modality.PET, Modality.CT)
    assert not request.every
    sources = request.sources(request.image2, [Modality.PET, Modality.CT])
    assert [one.name for one in sources] == ["pet", "ct"]
    assert [one.window for one in sources] == [None, "bone"]


def test_a_comma_in_a_name_or_in_frames_is_kept() -> None:
    request = read_request({"image2": ["a,b_pet"], "moving_frames": "2-5,8"})
    assert request.image2 == ("a,b_pet",)
    assert request.options["moving_frames"] == "2-5,8"


def test_all_that_there_are_and_what_the_store_says() -> None:
    assert read_request({"modality": "ALL"}).every
    one = read_request({"image2": ["x", "y"], "modality": ["as stored", "CT"]})
    assert one.modalities == (None, Modality.CT)
    assert read_request({"modality": "as stored"}) == read_request({})


@pytest.mark.parametrize(
    ("ids", "kinds", "options", "told"),
    [
        (["a", "a"], ["PET", "CT"], {}, "a is given twice"),
        (["a", "b"], ["PET", "PET"], {}, "2 of the moving volumes are PET; tell them apart with n"),
        (["a", "b"], ["PET", "PET"], {"name": "x,x"}, "two moving volumes are called 'x'"),
        (["a", "b"], ["PET", "CT"], {"name": "x"}, "2 moving volumes and 1 name do not go"),
        (["a", "b"], ["PET", "CT"], {"window": "bone"}, "window is given 1 time for 2"),
        (["a", "b"], ["PET", "CT"], {"window": "bone,bone"}, "unknown for PET"),
        (["a", "b"], ["PET", "CT"], {"smooth_across": 1}, "smoothing across slices is for one"),
        (["a", "b"], ["PET", "CT"], {"preset": "paper"}, "fuses one moving volume"),
        (["a"], ["PET"], {"name": "fdg"}, "leave --name out"),
    ],
)
def test_volumes_that_do_not_go_together(
    ids: list[str], kinds: list[str], options: dict[str, Any], told: str
) -> None:
    request = read_request(options)
    with pytest.raises(InputError) as refused:
        request.sources(ids, [Modality(kind) for kind in kinds])
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_of_one_modality_have_names() -> None:
    request = read_request({"image2": "a,b", "modality": "PET,PET", "name": ["fdg", "amyloid"]})
    found = request.sources(request.image2, [Modality.PET, Modality.PET])
    assert [one.weight_key for one in found] == ["weight_fdg", "weight_amyloid"]
    assert request.options["name"] == ["fdg", "amyloid"]
