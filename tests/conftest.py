from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from launches import Launcher

from loop.crew import Crew

hypothesis.settings.register_profile("no clock", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("no clock")


@pytest.fixture(scope="session")
def launchers() -> Iterator[list[Launcher]]:
    """Two processes that fork launches; what hangs on the order of a set differs between them."""
    with ExitStack() as stack:
        yield [stack.enter_context(Launcher(hash_seed)) for hash_seed in (1, 2)]


@pytest.fixture(scope="session")
def swift_path() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process leaves the same there as on a disk, sooner."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**25 else None
    with tempfile.TemporaryDirectory(prefix="loop-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Who runs work in children, with torch and what trains already imported."""
    crew = Crew(tmp_path_factory.mktemp("logs"), lambda: None)
    crew.warm()
    yield crew
