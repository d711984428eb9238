"""Command lines of QEMUs -> the sockets in them, and what for."""

import json
import shlex

import pytest

from qmp_exporter.diagnose.arguments import HMP, PRETTY, QMP, Use, uses, vm_name

LISTENS = "-chardev socket,id=m,path=/m,server=on"
MONITOR_IN_JSON = json.dumps({"qom-type": "monitor-qmp", "id": "q", "chardev": "m"})
PORT_IN_JSON = json.dumps({"driver": "virtserialport", "chardev": "m"})
ADDRESS = {"type": "unix", "data": {"path": "/m"}}
CHARDEV_IN_JSON = json.dumps({"id": "m", "backend": {"type": "socket", "data": {"addr": ADDRESS, "server": True}}})


def used(line: str) -> list[Use]:
    return list(uses(shlex.split(line)))


@pytest.mark.parametrize(
    ("line", "purpose"),
    [
        ("-chardev socket,id=m,path=/m,server=on,wait=off -mon chardev=m,mode=control", QMP),
        ("-chardev socket,id=m,path=/m,server,nowait -mon m,mode=control", QMP),
        ("-chardev socket,id=m,path=/m,server=on -mon chardev=m,mode=control,pretty=on", PRETTY),
        ("-chardev socket,id=m,path=/m,server=on -mon chardev=m", HMP),
        ("-chardev socket,id=m,path=/m,server=on -mon chardev=m,mode=readline", HMP),
        ("-chardev socket,id=m,path=/m,server=on -qmp chardev:m", QMP),
        ("--chardev socket,id=m,path=/m,server=on --monitor chardev=m", QMP),  # qemu-storage-daemon
        ("-qmp unix:/m,server=on,wait=off", QMP),
        ("-qmp-pretty unix:/m,server=on,wait=off", PRETTY),
        ("-monitor unix:/m,server,nowait", HMP),
        ("-serial unix:/m,server=on", "a serial port"),
        ("-chardev socket,id=m,path=/m,server=on -serial chardev:m", "a serial port"),
        (
            "-chardev socket,id=m,path=/m,server=on -device virtserialport,chardev=m,name=org.qemu.guest_agent.0",
            "a virtio serial port, such as the guest agent's",
        ),
        ("-chardev socket,id=m,path=/m,server=on -device usb-braille,chardev=m", "the device usb-braille"),
        ("-chardev socket,id=m,path=/m,server=on -object monitor-qmp,id=q,chardev=m", QMP),  # QEMU 11.1
        ("-chardev socket,id=m,path=/m,server=on -object monitor-qmp,id=q,chardev=m,pretty=on", PRETTY),
        ("-chardev socket,id=m,path=/m,server=on -object monitor-hmp,id=q,chardev=m", HMP),
        (f"{LISTENS} -object '{MONITOR_IN_JSON}'", QMP),
        (f"{LISTENS} -device '{PORT_IN_JSON}'", "a virtio serial port, such as the guest agent's"),
        (f"-chardev '{CHARDEV_IN_JSON}' -mon chardev=m,mode=control", QMP),
        ("-chardev socket,id=m,path=/m,server=on", None),
        ('-chardev socket,id=m,path=/m,server=on -device \'{"driver": "\'', None),
    ],
)
def test_what_a_socket_is_for(line: str, purpose: str | None) -> None:
    assert used(f"qemu-system-x86_64 -name web01 {line} -m 32") == [Use("/m", purpose, listens=True)]


@pytest.mark.parametrize(
    ("address", "socket"),
    [
        ("path=/a,,b", "/a,b"),
        ("path=web01,abstract=on", "@web01"),
        ("host=127.0.0.1,port=4444", "tcp:127.0.0.1:4444"),
        ("host=::1,port=4444", "tcp:[::1]:4444"),
    ],
)
def test_a_socket_is_named_as_in_a_configuration(address: str, socket: str) -> None:
    ((found, _, listens),) = used(f"qemu -chardev socket,id=m,{address} -mon chardev=m,mode=control")
    assert (found, listens) == (socket, False)


def test_the_short_form_over_tcp() -> None:
    assert used("qemu -qmp tcp:127.0.0.1:4444,server=on,wait=off") == [Use("tcp:127.0.0.1:4444", QMP, listens=True)]


def test_a_socket_that_was_passed_open_has_no_name() -> None:
    assert used("qemu -chardev socket,id=charmonitor,fd=30,server=on -mon chardev=charmonitor,mode=control") == []


@pytest.mark.parametrize(
    ("line", "name"), [("-name web01", "web01"), ("-name guest=web01,debug-threads=on", "web01"), ("-m 32", "")]
)
def test_the_name_of_the_vm(line: str, name: str) -> None:
    assert vm_name(shlex.split(f"qemu {line}")) == name


def test_options_that_are_nested_without_end_say_nothing():
    depth = 3000  # from Python 3.12 on the decoder takes it, and calls in calls do not
    assert list(uses(["qemu", "-chardev", '{"a":' * depth + "1" + "}" * depth])) == []
