"""The console script, and python -m qmp_exporter -> what the command line says.

A SIGHUP that comes before anybody can take it waits: the imports take half a second, and it would end the process.
"""

import signal
from typing import NoReturn


def start() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from qmp_exporter.cli import main  # noqa: PLC0415  see above

    main()


if __name__ == "__main__":
    start()
