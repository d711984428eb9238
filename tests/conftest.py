"""Settings that all tests share."""

from collections.abc import Callable

import pytest
from hypothesis import settings

# A busy machine is slow now and then, and a test that fails for that says nothing about the code.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=3000)  # pytest --hypothesis-profile=thorough
settings.load_profile("quick")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps what a test measured for the end of the report."""

    def kept(words: str) -> None:
        request.node.user_properties.append((request.node.name, words))

    return kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", ()):
        for test, words in report.user_properties:
            terminalreporter.write_line(f"{test}: {words}")
