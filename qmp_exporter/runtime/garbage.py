"""What is kept for long -> set aside once, so that looking for garbage costs little and happens in time.

Each VM keeps thousands of objects. Looking through all of them takes 1 ms a VM, which Python would do again and again,
and practically never with thresholds that avoid it: then a cycle of garbage, and all that hangs on it, stays for ever.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final

CHECK_EVERY: Final = 1.0  # seconds between two checks whether most is there
PAUSE: Final = 60.0  # seconds between two collections
SLOW: Final = 0.02  # seconds; when a collection took longer, what it has found alive is set aside as well
CHURN: Final = 256  # VMs that have gone: what was set aside of them is 25 MB of garbage by then
# Between two collections Python looks at what is young by itself. At its default rate that is a fifth of the CPU.
THRESHOLDS: Final = (50_000, 20, 1_000_000)


async def collect_garbage(is_settled: Callable[[], bool], gone: Callable[[], int]) -> None:
    """Never returns.  `is_settled`: whether most of what stays is there; `gone`: how many VMs have left so far."""
    gc.set_threshold(*THRESHOLDS)
    while not is_settled():  # noqa: ASYNC110  a second sooner or later is all the same
        await asyncio.sleep(CHECK_EVERY)
    gc.freeze()
    left = gone()
    while True:
        await asyncio.sleep(PAUSE)
        if (churned := gone()) - left >= CHURN:
            gc.unfreeze()
            left = churned
        began = time.monotonic()
        gc.collect()
        if time.monotonic() - began > SLOW:
            gc.freeze()
