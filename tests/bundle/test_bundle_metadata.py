"""The bundle's metadata: the zoo's schema, the versions, the network, the priors as they say."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bundle_parts import BUNDLE, CONFIGS, INFERENCE, REPOSITORY, WITH_NETWORK, read
from monai.bundle import ConfigParser, verify_net_in_out
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from run_cases import NOTICE

import monai_ddfm
from monai_ddfm.networks.priors import KNOWN_SHA256, PUBLISHED, network_from_file, prior_info

SCHEMA = Path(__file__).with_name("schemas") / "meta_schema_20240725.json"


def without(content: dict[str, Any], *path: str) -> dict[str, Any]:
    """A copy that lacks one entry."""
    copy: dict[str, Any] = json.loads(json.dumps(content))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


# --- metadata


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft201909Validator:
    content = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator.check_schema(content)
    return jsonschema.Draft201909Validator(content)


def test_metadata_follows_the_schema_of_the_zoo(schema: jsonschema.Draft201909Validator) -> None:
    metadata = read("metadata.json")
    schema.validate(metadata)
    assert metadata["schema"].endswith("/" + SCHEMA.name)


@pytest.mark.parametrize(
    "path",
    [
        ("version",),
        ("network_data_format",),
        ("network_data_format", "outputs"),
        ("network_data_format", "inputs", "image", "dtype"),
        ("fusion_data_format", "inputs"),
        ("fusion_data_format", "outputs", "weight", "value_range"),
    ],
)
def test_the_schema_refuses_what_lacks_something(
    schema: jsonschema.Draft201909Validator, path: tuple[str, ...]
) -> None:
    assert not schema.is_valid(without(read("metadata.json"), *path))


def test_metadata_says_what_the_bundle_is() -> None:
    metadata = read("metadata.json")
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["monai-ddfm"] == monai_ddfm.__version__
    assert NOTICE in metadata["intended_use"].lower()
    assert NOTICE in metadata["description"].lower()
    fusion = metadata["fusion_data_format"]
    assert set(fusion["inputs"]) == {"fixed", "moving"}
    assert set(fusion["outputs"]) == {"fused", "weight"}


def test_versions_are_those_that_the_package_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    metadata = read("metadata.json")
    given = metadata["required_packages_version"] | {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    del given["monai-ddfm"]
    assert asked.keys() - given.keys() == {"typer", "rich"}, "only the command line may be missing"
    for name, version in given.items():
        assert version in asked[name].specifier, name
    assert f"torch=={given['torch']}" in (REPOSITORY / "constraints.txt").read_text()


# --- the network


@pytest.mark.parametrize("n", [1, 3])
def test_the_network_takes_and_gives_what_the_metadata_say(n: int) -> None:
    verify = {
        "net_id": "network_def",
        "meta_file": str(CONFIGS / "metadata.json"),
        "config_file": str(INFERENCE),
        "device": "cpu",
        "n": n,
    }
    verify_net_in_out(**verify)
    with pytest.raises(ValueError, match="channel number"):
        verify_net_in_out(**verify, **{"_meta_#network_data_format#outputs#pred#num_channels": 2})


def test_the_prior_is_the_network_of_every_configuration() -> None:
    weights = BUNDLE / "models" / "model.pt"
    assert weights.stat().st_size < 16e6
    described = network_from_file(weights)
    for name in WITH_NETWORK:
        parser = ConfigParser({"network_def": read(name)["network_def"]})
        network = parser.get_parsed_content("network_def")
        assert {k: v.shape for k, v in network.state_dict().items()} == {
            k: v.shape for k, v in described.state_dict().items()
        }, name
        assert network.prediction_type == described.prediction_type
        assert network.patch_size == described.patch_size
    assert prior_info(weights).dtype == "float16"
    image = read("metadata.json")["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [f"{described.size_divisor}*n"] * 2
    assert image["num_channels"] == described.image_channels


def test_nothing_fetches_the_optional_prior_with_the_bundle() -> None:
    published = PUBLISHED["imagenet256"]
    assert KNOWN_SHA256[published.name] == published.sha256
    assert published.url.startswith("https://openaipublic.blob.core.windows.net/diffusion/")
    assert published.url.endswith("/" + published.name)
    assert list(BUNDLE.glob("large_files.*")) == [], "the zoo fetches those in every check"
    assert published.name not in "".join(path.read_text() for path in CONFIGS.glob("*.json"))
    page = (REPOSITORY / "docs" / "how-to" / "prior.md").read_text(encoding="utf-8")
    assert published.url in page
    assert published.sha256 in page
