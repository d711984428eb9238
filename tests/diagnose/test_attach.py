"""What is printed for an administrator to send; that QEMU takes it is seen in tests/real."""

import json
import shlex

import pytest

from qmp_exporter.diagnose.attach import MANAGERS, attach, without_a_restart


def commands(*arguments: str) -> str:
    return "\n".join(line for line in attach(*arguments) if line.startswith("  "))


def test_libvirt_passes_on_json_that_a_shell_leaves_as_it_is():
    said = [shlex.split(line) for line in commands("web 01", "libvirt", "/run/qmp/web01.sock").splitlines()]
    assert {tuple(words[:3]) for words in said} == {("virsh", "qemu-monitor-command", "web 01")}
    assert [json.loads(words[3])["execute"] for words in said] == [
        "chardev-add",
        "object-add",
        "object-del",
        "chardev-remove",
    ]


def test_the_socket_is_where_the_packages_discover_it_unless_told_otherwise():
    assert "path=/run/qmp/101.sock," in commands("101", "proxmox")
    assert '"path": "/srv/a.sock"' in commands("101", "qemu", "/srv/a.sock")


def test_one_that_dials_in_connects_to_the_exporter_again_and_again():
    assert "path=/run/qmp-exporter/dial-in.sock,server=off,reconnect-ms=1000" in "\n".join(
        attach("101", "proxmox", dials_in=True)
    )
    said = "\n".join(attach("web01", "qemu", dials_in=True))
    assert '"data": {"path": "/run/qmp-exporter/dial-in.sock"}}, "server": false, "reconnect-ms": 1000' in said


def test_plain_qemu_is_told_over_the_monitor_that_it_has():
    assert "UNIX-CONNECT:/run/vm/web01.sock" in commands("web01", "qemu", "", "/run/vm/web01.sock")


@pytest.mark.parametrize("path", ["relative.sock", "/run/qmp/a,b.sock", "/run/qmp/a b.sock", "/run/qmp/'a'.sock"])
@pytest.mark.parametrize("manager", MANAGERS)
def test_a_path_that_qemu_would_read_otherwise_is_refused(manager, path):
    with pytest.raises(ValueError, match="wanted an absolute path"):
        list(attach("web01", manager, path))


def test_a_name_that_means_something_to_a_shell_is_left_out_where_it_is_not_quoted():
    assert without_a_restart("a;reboot", "libvirt")[1] == "  qmp-exporter attach --by=libvirt NAME"
    assert without_a_restart("101", "Proxmox")[1] == "  qmp-exporter attach --by=proxmox 101"
    assert without_a_restart("web01", "Ganeti")[1] == "  qmp-exporter attach --by=qemu web01"
