"""Fixtures that every test may use."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browsers import chromium
from forked_runs import LoadedProcess
from golden_runs import golden_network, golden_run
from hypothesis import settings
from run_cases import demo_subject, saved_prior

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.networks import ADMUNet

# Busy machines make single examples slow; a fixed seed makes a failure repeatable.
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")

SHARED = Path(__file__).resolve().parents[2] / "shared"


LOADED = pytest.StashKey[LoadedProcess]()

# With pytest-xdist, the programs that tests start share the cores too.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files that take long though they hold few tests: pytest-xdist would begin them last, and one core
# would wait for the other.
LONG = (
    *("apps/cohort/test_cohort_run.py", "attack/test_attack_fuzz.py", "docs/test_recipes.py"),
    *("test_packaging.py", "bundle/test_bundle_command.py", "workflow/test_workflow.py"),
    *("workflow/test_end_to_end.py", "workflow/test_several.py", "workflow/test_dicom_output.py"),
    *("apps/cohort/test_cohort_jobs.py", "attack/test_attack_identity.py"),
    *("training/test_training_bundle.py", "transforms/test_registration_turned.py"),
    *("cli/test_cli.py", "inferers/test_resuming.py"),
    *("apps/cohort/test_cohort_group.py", "apps/demo/test_demo_head.py"),
    *("apps/benchmark/test_benchmark_resuming.py", "apps/benchmark/test_benchmark_curves.py"),
)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # of pytest-xdist, which would sort by number


@pytest.hookimpl(trylast=True)  # what is not asked for is gone by then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, and go on with those of many tests."""
    if WORKERS == 1:
        return
    long = {str(Path(__file__).parent / name): place for place, name in enumerate(LONG)}
    sizes = Counter(item.path for item in items)
    items.sort(
        key=lambda item: (long.get(str(item.path), len(LONG)), -sizes[item.path], str(item.path))
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fork what the fixture `loaded` is, where a test asks for it, before any other test runs."""
    wanted = any("loaded" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        session.config.stash[LOADED] = LoadedProcess()


@pytest.fixture(scope="session")
def loaded(pytestconfig: pytest.Config) -> Iterator[LoadedProcess]:
    """A process that has everything loaded; what runs beside the tests is forked from it."""
    process = pytestconfig.stash[LOADED]
    yield process
    process.end()


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(2 if WORKERS == 1 else 1)


@pytest.fixture(autouse=True)
def _no_handlers_left() -> Iterator[None]:
    """Bundles configure logging; their handlers would write to streams that are closed by then."""
    yield
    for handler in list(logging.root.handlers):
        if type(handler) is logging.StreamHandler:
            logging.root.removeHandler(handler)


def _with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    yield from _with_threads(1)


@pytest.fixture(scope="module")
def one_thread_throughout() -> Iterator[None]:
    """For modules of many small operations, where a second thread of a busy machine only waits."""
    yield from _with_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    yield from _with_threads(2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("reference data are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> dict[str, Any]:
    """A recorded run of the published method."""
    return golden_run(shared)


@pytest.fixture(scope="session")
def golden_prior(shared: Path) -> ADMUNet:
    """The network of the recorded run."""
    return golden_network(shared)


@pytest.fixture(scope="session")
def pet(tmp_path_factory: pytest.TempPathFactory) -> DemoSubject:
    """A coarse demo subject with a PET, as NIfTI and DICOM; for reading only."""
    pytest.importorskip("nilearn")
    return demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small prior with random weights, which is quick; for reading only."""
    return saved_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="session")
def label_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of subjects of one, two and three volumes, which the label server serves."""
    from label_servers import write_subjects  # noqa: PLC0415 - needs more than other tests have

    return write_subjects(tmp_path_factory.mktemp("volumes"))


@pytest.fixture(scope="session")
def label_server(label_volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real label server, which takes long to start; its log begins anew for every file."""
    from label_servers import QUEUE, server  # noqa: PLC0415

    limits = ("--queue", str(QUEUE), "--upload-limit", "0.01")
    with server(tmp_path_factory.mktemp("server"), label_volumes, *limits) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser; the test is skipped where there is none."""
    with chromium() as opened:
        yield opened
