"""Monitor sockets of QEMU virtual machines -> Prometheus metrics.

    socket -> message -> state of one VM -> text of its metrics -> page -> HTTP

`catalog` says WHAT is measured, `core` HOW a message becomes text, `daemon` WHERE bytes and time come from.
"""

__version__ = "0.1.0"
