"""The failing disk and the process that forks quickly, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.faulty_io import build, why_impossible
from crash.fork_server import ForkServer
from crash.scratch import scratch
from crash.scripted import PREPARE, Stage


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Where everything lies."""
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="session")
def library(folder: Path) -> Path:
    """The failing disk, to preload."""
    impossible = why_impossible()
    if impossible is not None:
        pytest.skip(impossible)
    return build(folder)


@pytest.fixture(scope="session")
def server(library: Path) -> Iterator[ForkServer]:
    """Runs processes with a failing disk."""
    with ForkServer(library) as server:
        yield server


@pytest.fixture(scope="session")
def stage(server: ForkServer, folder: Path) -> Stage:
    """With every script prepared."""
    return Stage(server, folder).prepare(*PREPARE)
