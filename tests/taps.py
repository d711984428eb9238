"""A name, an address and a command -> the command, with a new tap of that name as its descriptor 9.

As root.  The tap is up, and is gone when the last one who has it open ends.
"""

import fcntl
import os
import socket
import struct
import sys

TUNSETIFF, IFF_TAP_NO_PI, TAP = 0x400454CA, 0x1002, 9  # linux/if_tun.h
SIOCSIFFLAGS, SIOCSIFHWADDR, IFF_UP, ARPHRD_ETHER = 0x8914, 0x8924, 1, 1  # linux/sockios.h


def make_tap(name: str, mac: str) -> int:
    """-> its descriptor"""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = bytes.fromhex(mac.replace(":", ""))
        fcntl.ioctl(control, SIOCSIFHWADDR, struct.pack("16sH6s16x", name.encode(), ARPHRD_ETHER, address))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), IFF_UP))
    return tap


def arp_request(asked: str) -> bytes:
    """A frame that asks who has this address of slirp's network."""
    sender = bytes.fromhex("525400000001")
    header = b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return (header + sender + socket.inet_aton("10.0.2.99") + bytes(6) + socket.inet_aton(asked)).ljust(60, b"\0")


def send(name: str, frames: int) -> None:
    """From the host into the interface, so that the guest receives them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
        packet.bind((name, 0))
        for _ in range(frames):
            packet.send(arp_request("10.0.2.2"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", name, frames]:
            send(name, int(frames))
        case [name, mac, *command]:
            os.dup2(make_tap(name, mac), TAP)
            os.execvp(command[0], command)  # noqa: S606  no shell is wanted
