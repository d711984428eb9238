"""What hostile peers make the exporter log at the level debug is not written, as it is not by default."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for the path of a socket, which tmp_path is not always."""
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)
