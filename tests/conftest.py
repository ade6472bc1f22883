"""A real service for each module: its own Redis, and web, worker and clock as processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One running service, shared by the tests of a module; each test uses items of its own."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        running.start()
        yield running


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service for one test that breaks it or needs settings of its own; the test starts what it needs."""
    with Service(tmp_path) as stopped:
        yield stopped
