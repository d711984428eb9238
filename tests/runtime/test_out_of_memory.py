"""A process that meets a MemoryError -> its end, with an exit status of its own."""

import subprocess
import sys

import pytest

from qmp_exporter.runtime.out_of_memory import EXIT_STATUS

PREPARED = """
import asyncio
from qmp_exporter.runtime.out_of_memory import end_when_met_by, ends_the_process

def fail():
    raise {error}

async def run():
    end_when_met_by(asyncio.get_running_loop())
    {meets}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    print("it went on")

asyncio.run(run())
"""
CALLBACK = "asyncio.get_running_loop().call_soon(fail)"
CAUGHT = """
    try:
        with ends_the_process():
            fail()
    except Exception:
        pass
"""


@pytest.mark.parametrize("meets", [CALLBACK, CAUGHT], ids=["a callback", "what somebody else would catch"])
@pytest.mark.parametrize(("error", "wanted"), [("MemoryError", (EXIT_STATUS, "")), ("KeyError", (0, "it went on\n"))])
def test_no_memory_ends_it_and_any_other_error_does_not(meets: str, error: str, wanted: tuple[int, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PREPARED.format(meets=meets, error=error)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == wanted
