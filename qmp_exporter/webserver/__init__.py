"""A web configuration file and addresses -> an aiohttp application served over TLS, with passwords and limits.

It knows nothing of VMs: what it needs beside aiohttp is in `documents` (YAML with the place of each mistake) and in
`runtime` (threads, tasks and sockets).
"""

from qmp_exporter.webserver.access_control import ALLOW_ALL, AccessControl, Policy, rules
from qmp_exporter.webserver.connections import LIMITS, Limits
from qmp_exporter.webserver.listen import AddressError, bound, listening, named

__all__ = [
    "ALLOW_ALL",
    "LIMITS",
    "AccessControl",
    "AddressError",
    "Limits",
    "Policy",
    "bound",
    "listening",
    "named",
    "rules",
]
