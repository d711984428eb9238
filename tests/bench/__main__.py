"""Names of sections, none for all -> their numbers, measured and put into README.md; with --smoke only shown.

python -m tests.bench [--smoke] [intake] [page] [fleet] [cost] [chain] [libvirt] [siege] [soak]
"""

import argparse
import asyncio
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from qmp_exporter.revision import revision
from tests.bench import chain, cost, fleet, intake, libvirt, page, siege, soak
from tests.bench.process import raise_file_limit
from tests.bench.scale import FULL, SMOKE
from tests.bench.table import rewrite

SECTIONS = {
    "page": page.run,
    "intake": intake.run,
    "fleet": fleet.run,
    "cost": cost.run,
    "chain": chain.run,
    "libvirt": libvirt.run,
    "siege": siege.run,
    "soak": soak.run,
}
LONG = "soak"  # half an hour, for who asks for it
README = Path(__file__).with_name("README.md")


def origin() -> str:
    """What was measured when; the machine may have been busy with other things before."""
    return (
        f"Of revision {revision()[:7]} on {time.strftime('%Y-%m-%d')}; load average before: {os.getloadavg()[0]:.1f}.\n"
    )


def machine() -> str:
    """What numbers depend on, without what tells whose machine it is."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("qemu.qmp", "prometheus_client", "msgspec", "aiohttp"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    cores = f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {platform.system()}"
    return f"{cores}, {python}, {libraries}.\n"


async def main(sections: list[str], *, smoke: bool) -> None:
    raise_file_limit()
    for section in sections:
        started, header = time.monotonic(), origin()
        text = await SECTIONS[section](SMOKE if smoke else FULL)
        sys.stdout.write(f"## {section}, {time.monotonic() - started:.0f} s\n\n{text}\n")
        sys.stdout.flush()
        if not smoke:
            rewrite(README, section, f"{header}\n{text}")
    if not smoke:
        rewrite(README, "machine", machine())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="little of everything, for function only")
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all but soak")
    options = parser.parse_args()
    everything = list(SECTIONS) if options.smoke else [section for section in SECTIONS if section != LONG]
    asyncio.run(main(options.sections or everything, smoke=options.smoke))
