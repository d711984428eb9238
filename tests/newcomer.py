"""A fresh clone, in it -> what the README promises: `make run` shows a VM on its page, and `make test` passes.

Run by the system's own Python, before anything is installed.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

PAGE = "http://127.0.0.1:10065/metrics"
DEADLINE = 600.0  # seconds, for installing and for the first queries


def shows_a_vm() -> bool:
    try:
        with urllib.request.urlopen(PAGE, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return False
    return any(line.startswith("qemu_up{") and line.endswith(" 1.0") for line in lines)


def make_run() -> None:
    demo = subprocess.Popen(["make", "run"], start_new_session=True)
    ends = time.monotonic() + DEADLINE
    try:
        while not shows_a_vm():
            if demo.poll() is not None:
                sys.exit(f"make run ended with status {demo.returncode}")
            if time.monotonic() > ends:
                sys.exit(f"make run: no VM on the page within {DEADLINE:.0f} s")
            time.sleep(1)
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(30)
    sys.stdout.write("make run: a VM is on the page\n")
    sys.stdout.flush()


def make_test() -> int:
    return subprocess.run(["make", "test", *shlex.split(os.environ.get("MAKE_ARGS", ""))], check=False).returncode


if __name__ == "__main__":
    began = time.monotonic()
    make_run()
    status = make_test()
    sys.stdout.write(f"both commands took {time.monotonic() - began:.0f} s\n")
    sys.exit(status)
