"""A playbook and a booted machine -> what ansible-playbook says of it, as if the machine were reached by ssh."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from machine import Machine

ANSIBLE = Path(__file__).parents[2] / "deploy" / "ansible"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SSH = """\
#!/bin/sh
# In ssh's place: what to do there is the last argument.
for last; do :; done
exec {enter} sh -c "$last"
"""


def played(machine: Machine, directory: Path, **variables: object) -> str:
    """Of deploy/ansible/site.yml, with these variables; it must succeed."""
    ssh = directory / "ssh"
    ssh.write_text(SSH.format(enter=shlex.join(machine.enter)))
    ssh.chmod(0o755)
    reached = {
        "ansible_ssh_executable": str(ssh),
        "ansible_ssh_transfer_method": "piped",
        "ansible_remote_tmp": "/var/tmp/ansible",  # noqa: S108  in a machine of its own
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_become": False,  # it is root
    }
    done = subprocess.run(
        [PLAYBOOK, "--inventory=hypervisor,", f"--extra-vars={json.dumps(reached | variables)}", ANSIBLE / "site.yml"],
        env={**os.environ, "ANSIBLE_HOME": str(directory / "ansible"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
