"""Who starts a VM -> how it gets a monitor for the exporter, at its next cold start."""

import re

DIRECTORY = "/run/qmp"
CHARDEV = "exporter"  # its id


def second_monitor(name: str, manager: str | None = None, path: str = "") -> tuple[str, ...]:
    """Words, and commands, which begin with two spaces. `manager`: as `foreign.owner` calls it; None: plain QEMU.

    They are made to be pasted into a shell, so that a name which means something to one is left out.
    """
    name = pasteable(name)
    path = path if re.fullmatch(r"/[\w./-]+", path) else f"{DIRECTORY}/{name}.sock"
    chardev = listening(path)
    mon = f"chardev={CHARDEV},mode=control"
    match manager:
        case "libvirt":
            return (
                f"`virsh edit {name}`, with xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' in <domain>:",
                "  <qemu:commandline>",
                "    <qemu:arg value='-chardev'/>",
                f"    <qemu:arg value='{chardev}'/>",
                "    <qemu:arg value='-mon'/>",
                f"    <qemu:arg value='{mon}'/>",
                "  </qemu:commandline>",
            )
        case "Proxmox":
            return (
                "As root; mind that --args replaces what was there before:",
                f"  qm set {name} \\",
                f"    --args '-chardev {chardev} -mon {mon}'",
            )
        case "Incus":
            return (
                "Mind that raw.qemu replaces what was there before:",
                f"  incus config set {name} \\",
                f"    raw.qemu='-chardev {chardev} -mon {mon}'",
            )
        case "Ganeti":
            return (
                "Mind that kvm_extra replaces what was there before:",
                "  gnt-instance modify --hypervisor-parameters \\",
                f"    kvm_extra='{_escaped(f'-chardev {chardev} -mon {mon}')}' \\",
                f"    {name}",
            )
        case _:
            return (
                "Give QEMU these arguments when the VM starts next:",
                f"  -chardev {chardev} \\",
                f"  -mon {mon}",
            )


def pasteable(name: str) -> str:
    """The name of a VM, or a word in its place where a shell would read more than a name."""
    return name if re.fullmatch(r"[\w.-]+", name) else "NAME"


def listening(path: str) -> str:
    """A chardev that waits there for the exporter, as QEMU's arguments and its human monitor take it."""
    return f"socket,id={CHARDEV},path={path},server=on,wait=off"


def _escaped(text: str) -> str:
    r"""Ganeti splits parameters at commas that have no backslash before them."""
    return text.replace(",", r"\,")
