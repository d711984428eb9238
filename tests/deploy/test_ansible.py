"""The role of deploy/ansible -> what ansible-lint says of it; test_live.py runs it against a live Debian."""

import os
import subprocess
import sys
from pathlib import Path

ANSIBLE = Path(__file__).parents[2] / "deploy" / "ansible"


def test_it_is_what_the_authors_of_ansible_hold_for_fit_for_production(tmp_path: Path):
    lint = Path(sys.executable).with_name("ansible-lint")
    done = subprocess.run(
        [lint, "--offline", "--nocolor", "--profile=production"],
        cwd=ANSIBLE,
        env={**os.environ, "PATH": f"{lint.parent}:{os.environ['PATH']}", "ANSIBLE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
