"""Places where no socket can be made -> why, in the words that the log, the page and /-/ready tell."""

import subprocess
import sys
from pathlib import Path

import pytest

from parts import need, need_root
from qmp_exporter.runtime.own_socket import own_socket


def why_not(path: Path, group: str = "") -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011  its words are looked at
        own_socket(path, 0o660, group)
    return str(caught.value.strerror)


def test_a_directory_that_is_not_there_is_named(directory: Path) -> None:
    assert why_not(directory / "none" / "dial-in.sock") == f"there is no directory {directory}/none"


def test_a_group_that_is_not_there_is_named_and_no_socket_left(directory: Path) -> None:
    assert why_not(directory / "dial-in.sock", "no-such-group") == "there is no group no-such-group"
    assert list(directory.iterdir()) == []


def said(directory: Path, shell: str, user: int = 0) -> str:
    """What a process of that user says that tries it there, when a shell has set the place up for it."""
    program = (
        "import os, sys, pathlib; from qmp_exporter.runtime.own_socket import own_socket\n"
        f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"  # now: it may be nobody's to read below /root
        "try:\n  own_socket(pathlib.Path(sys.argv[1], 'dial-in.sock'), 0o660, '')\n"
        "except OSError as error:\n  print(error.strerror)"
    )
    command = ["/bin/sh", "-ec", f'{shell} "$@"', "sh", sys.executable, "-c", program, str(directory)]
    return subprocess.run([need("unshare"), "--mount", *command], capture_output=True, text=True, check=True).stdout


def test_a_read_only_directory_is_named_with_what_the_unit_has_to_say(directory: Path) -> None:
    need_root()
    why = (
        f"{directory} is read-only (ReadWritePaths={directory} in a drop-in of the unit lets the exporter write there)"
    )
    assert said(directory, f'mount --bind --options ro "{directory}" "{directory}"; exec') == f"{why}\n"


def test_a_directory_that_may_not_be_written_is_named(directory: Path) -> None:
    need_root()
    directory.chmod(0o755)
    assert said(directory, "exec", user=65534) == f"no permission to make a socket in {directory}\n"
