"""A web configuration file -> what holds of it: who may come in, the TLS of a connection, when it was read."""

import ssl
from pathlib import Path
from typing import Final, NamedTuple

from qmp_exporter.runtime.fingerprint import Stamp, file_fingerprint
from qmp_exporter.webserver.settings import WebConfig
from qmp_exporter.webserver.tls import server_context

Stamps = tuple[Stamp | None, ...]


class Policy(NamedTuple):
    """What holds until the file says something else."""

    config: WebConfig
    context: ssl.SSLContext | None  # None: no TLS
    stamps: Stamps


ALLOW_ALL: Final = Policy(WebConfig(), None, ())


def rules(path: Path) -> Policy:
    """Takes some milliseconds, or forever on a storage that hangs.

    :raise ConfigError: with every mistake.
    """
    from qmp_exporter.webserver.web_config import load  # noqa: PLC0415  who has no file does without its 10 MiB

    files: tuple[Path, ...] = (path,)
    while True:
        stamps = file_stamps(files)
        config = load(path)
        if config.files == files:  # so the stamps were taken before any of them was read
            return Policy(config, server_context(config.tls) if config.tls else None, stamps)
        files = config.files


def file_stamps(files: tuple[Path, ...]) -> Stamps:
    return tuple(map(file_fingerprint, files))
