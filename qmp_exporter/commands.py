"""The options of a command -> what it does, and its exit status: 0 done, 1 failed, 2 wrongly used."""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from qmp_exporter import __version__
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.reference import reference
from qmp_exporter.config import Config, ConfigError, Known, Target, load
from qmp_exporter.core.page import Page
from qmp_exporter.core.replay import RecordingError, replay
from qmp_exporter.daemon.run import DEFAULT_ADDRESS, Options, run
from qmp_exporter.daemon.systemd import ActivationError
from qmp_exporter.daemon.targets.reconciler import KNOWN
from qmp_exporter.daemon.web.web_process import WebConfigWrong, WebOptions
from qmp_exporter.diagnose.attach import attach as how_to_attach
from qmp_exporter.log import configure
from qmp_exporter.revision import revision
from qmp_exporter.webserver.addresses import AddressError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
DEFAULT_URL = "http://localhost:10065"
DEMO_POLL = 2.0  # seconds: a newcomer wants to see things move


def watch_and_serve(options: argparse.Namespace) -> int:
    config = _load(options.config)
    if config is None:
        return USAGE
    configure(options.level, options.format)
    return _served(lambda: run(config, _options(options), partial(load, options.config, KNOWN)))


def check_config(options: argparse.Namespace) -> int:
    from qmp_exporter.diagnose.command import check  # noqa: PLC0415  a daemon has no use for it

    known = KNOWN._replace(users=not options.syntax_only)
    config, web_is_good = _load(options.file, known), _is_good(options.web_config)
    if config is None or not web_is_good:
        return USAGE
    if options.syntax_only:
        sys.stdout.write(f"{options.file}: good syntax\n")
        return 0
    report = check(config, str(options.file))
    sys.stderr.writelines(f"{line}\n" for line in report.said)
    if report.errors:
        return USAGE
    if report.warnings and options.strict:
        return FAILED
    sys.stdout.write(report.text)
    return 0


def diagnose(options: argparse.Namespace) -> int:
    from qmp_exporter.diagnose import command  # noqa: PLC0415  as above

    of_a_file = command.is_configuration(options.what)
    config = _load(Path(options.what)) if of_a_file else None
    if of_a_file and config is None:
        return USAGE
    try:
        report = command.diagnose(options.what, config, options.vm, options.user)
    except ValueError as error:
        return _wrong(str(error))
    sys.stderr.writelines(f"{line}\n" for line in report.said)
    sys.stdout.write(report.text)
    return FAILED if report.errors else 0


def attach(options: argparse.Namespace) -> int:
    try:
        lines = list(
            how_to_attach(options.name, options.manager, options.path, options.monitor, dials_in=options.dials_in)
        )
    except ValueError as error:
        return _wrong(str(error))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def tell_version(_options: argparse.Namespace) -> int:
    sys.stdout.write(f"qmp-exporter {__version__} (revision {revision()})\n")
    return 0


def tell_metrics(_options: argparse.Namespace) -> int:
    sys.stdout.write(reference())
    return 0


def make_rules(options: argparse.Namespace) -> int:
    from qmp_exporter.alerting import rules, settings  # noqa: PLC0415  the daemon has no use for it

    try:
        wanted = settings.load(options.file) if options.file else settings.Settings()
    except ConfigError as error:
        _complain_of_all(error)
        return USAGE
    sys.stdout.write(rules.rules(wanted))
    return 0


def replay_recording(options: argparse.Namespace) -> int:
    def complain(text: str) -> None:
        _complain(f"{options.file}: {text}")

    try:
        with options.file.open("rb") as lines:
            vm = replay(CATALOG, lines, ended=options.ended, complain=complain).vm
    except OSError as error:
        return _failed(f"{options.file}: {error.strerror}")
    except RecordingError as error:
        return _failed(f"{options.file}: {error}")
    page = Page(CATALOG.families)
    page.add(options.file.stem, {})
    page.refresh(options.file.stem, vm.samples)
    sys.stdout.write(page.text())
    return 0


def show_top(options: argparse.Namespace) -> int:
    try:
        from qmp_exporter.top.app import Top  # noqa: PLC0415  not everybody has textual
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is missing: pip install 'qmp-exporter[top]'")
    Top(options.url).run()
    return 0


def hold_drill(options: argparse.Namespace) -> int:
    from qmp_exporter.demo.drill import DrillError, drill  # noqa: PLC0415  the daemon has no use for it

    def say(text: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    try:
        asyncio.run(drill(options.path, dials_in=options.dials_in, every=options.every, say=say))
    except DrillError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return _failed("the drill was ended")
    return 0


def show_demo(options: argparse.Namespace) -> int:
    from qmp_exporter.demo.embedded import embedded_vms  # noqa: PLC0415  a daemon has no use for what starts VMs

    async def watch() -> None:
        async with embedded_vms(random.Random()) as vms:  # noqa: S311  chance, not secrets
            wanted = _options(options)
            address = (*wanted.addresses, DEFAULT_ADDRESS)[0]
            url = f"http://{'localhost' if address.startswith(':') else ''}{address}"
            config = Config(
                tuple(Target(name, socket, poll_interval=DEMO_POLL) for name, socket in vms.sockets.items())
            )

            def promise() -> None:
                sys.stderr.write(f"Watching {vms.what}.\nLook at {url}/ or scrape {url}{wanted.web.telemetry_path}; ")
                sys.stderr.write("Ctrl-C ends it.\n")

            await run(config, wanted, lambda: config, promise)

    configure(options.level, options.format)
    return _served(watch)


def _load(file: Path, known: Known = KNOWN) -> Config | None:
    """The configuration, or None after every error in it was printed."""
    try:
        return load(file, known)
    except ConfigError as error:
        _complain_of_all(error)
        return None


def _is_good(web_config: Path | None) -> bool:
    """Every error in it is printed; none is good."""
    from qmp_exporter.webserver.policy import rules  # noqa: PLC0415  the daemon leaves TLS to its web process

    try:
        if web_config is not None:
            rules(web_config)
    except ConfigError as error:
        _complain_of_all(error)
        return False
    return True


def _options(options: argparse.Namespace) -> Options:
    return Options(
        tuple(options.addresses or ()),
        WebOptions(options.path, options.web_config, options.level, options.format),
        options.lifecycle,
        options.systemd_socket,
        options.log_events,
        options.textfile,
    )


def _served(serve: Callable[[], Awaitable[None]]) -> int:
    """Run until it ends; what the operator can fix is said in one line, without a traceback."""

    async def main() -> None:
        await serve()

    try:
        asyncio.run(main())
    except AddressError as error:
        return _wrong(f"--web.listen-address: {error}")
    except ActivationError as error:
        return _wrong(f"--web.systemd-socket: {error}")
    except WebConfigWrong:
        return USAGE
    except asyncio.CancelledError:
        return INTERRUPTED
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 0


def _wrong(how: str) -> int:
    _complain(how)
    return USAGE


def _failed(why: str) -> int:
    _complain(why)
    return FAILED


def _complain_of_all(error: ConfigError) -> None:
    sys.stderr.writelines(f"{line}\n" for line in error.errors)


def _complain(text: str) -> None:
    sys.stderr.write(f"qmp-exporter: {text}\n")
