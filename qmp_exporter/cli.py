"""Arguments of the command line -> what the program does, and its exit status: 0 done, 1 failed, 2 wrongly used."""

import argparse
import asyncio
import random
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from qmp_exporter import __version__
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.reference import reference
from qmp_exporter.config import Config, ConfigError, Known, Target, load
from qmp_exporter.core.page import Page
from qmp_exporter.core.replay import RecordingError, replay
from qmp_exporter.daemon.log import LEVELS, configure
from qmp_exporter.daemon.run import DEFAULT_ADDRESS, Options, run
from qmp_exporter.daemon.systemd import ActivationError
from qmp_exporter.daemon.targets.reconciler import KNOWN
from qmp_exporter.diagnose.attach import MANAGERS, attach
from qmp_exporter.documents.duration import between
from qmp_exporter.revision import revision
from qmp_exporter.webserver import AddressError, rules

FAILED, USAGE, INTERRUPTED = 1, 2, 130
DEFAULT_URL = "http://localhost:10065"
DEMO_POLL = 2.0  # seconds: a newcomer wants to see things move

_EPILOG = """\
A QMP monitor is full control of its VM. This program sends nothing but queries, from a fixed list; but anyone who may
open the sockets that it opens has the VMs. A monitor serves one client: give each VM one of its own for this program,
and leave libvirt's and Proxmox' own alone.
"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """The console script."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.act is not _run:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # it ends everything but the daemon
    if options.act is _run and options.config is None:
        parser.error("--config.file=FILE is required (to see it work without one: qmp-exporter demo)")
    try:
        status = options.act(options)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()  # or the interpreter complains about the pipe when it flushes
        status = FAILED
    sys.exit(status)


def command_line() -> argparse.ArgumentParser:
    """What the program takes; manual and completions of shells are made of it too."""
    web = argparse.ArgumentParser(add_help=False)
    web.add_argument(
        "--web.listen-address",
        dest="addresses",
        metavar="ADDRESS",
        action="append",
        help=f":PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH; may be given several times (default: {DEFAULT_ADDRESS})",
    )
    web.add_argument(
        "--web.telemetry-path", dest="path", metavar="PATH", type=_path, default="/metrics", help="default: %(default)s"
    )
    web.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="let POST /-/reload read the configuration again, as SIGHUP does",
    )
    web.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        type=Path,
        help="TLS, passwords and headers, in the format of Prometheus' own web configuration",
    )
    web.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="listen on the sockets that a .socket unit passes, and on no address",
    )
    web.add_argument(
        "--output.textfile",
        dest="textfile",
        metavar="FILE.prom",
        type=_textfile,
        help="write the metrics to this file as well, for node_exporter's textfile collector",
    )
    web.add_argument("--log.level", dest="level", choices=tuple(LEVELS), default="info", help="default: %(default)s")
    web.add_argument(
        "--log.format", dest="format", choices=("logfmt", "json"), default="logfmt", help="default: %(default)s"
    )
    web.add_argument(
        "--log.events",
        dest="log_events",
        action="store_true",
        help="log the events of QEMU as well, those that are alike within ten seconds as one line",
    )
    parser = argparse.ArgumentParser(
        "qmp-exporter",
        description="Watch the QMP monitors of QEMU virtual machines and serve what they tell as Prometheus metrics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[web],
        allow_abbrev=False,
    )
    parser.add_argument("--config.file", dest="config", metavar="FILE", type=Path, help="the VMs to watch, in YAML")
    parser.add_argument(
        "--version", dest="act", action="store_const", const=_version, help="print version and revision"
    )
    parser.set_defaults(act=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", description="none: watch and serve")

    def command(
        name: str, act: Callable[[argparse.Namespace], int], words: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words, parents=parents, allow_abbrev=False)
        added.set_defaults(act=act)
        return added

    checked = command("check-config", _check_config, "exit 0, or 2 with every error in the file and in what it names")
    checked.add_argument("file", metavar="FILE", type=Path)
    checked.add_argument("--strict", action="store_true", help="exit 1 where there are warnings alone")
    checked.add_argument("--syntax-only", action="store_true", help="look at FILE alone, not at this host: for CI")
    checked.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        type=Path,
        help="check this one and its certificates, too",
    )
    looked_at = command("diagnose", _diagnose, "say in words what is wrong with a monitor, or all of a configuration's")
    looked_at.add_argument(
        "what", metavar="SOCKET|CONFIG", help="/path, @name or tcp:HOST:PORT of a monitor; or a file"
    )
    looked_at.add_argument(
        "--vm", metavar="NAME", help="with a configuration: check only this VM; with a socket: the name to use"
    )
    looked_at.add_argument(
        "--user", metavar="NAME", default="", help="whose rights to look at (default: the exporter's)"
    )
    attached = command("attach", _attach, "print what gives a running VM a monitor without a restart (QEMU 11.1)")
    attached.add_argument("name", metavar="VM", help="as its manager calls it")
    attached.add_argument(
        "--by", dest="manager", choices=MANAGERS, default="qemu", help="who passes commands on (default: %(default)s)"
    )
    attached.add_argument("--path", metavar="PATH", default="", help="the new socket (default: /run/qmp/VM.sock)")
    attached.add_argument(
        "--dial-in", dest="dials_in", action="store_true", help="let it connect to the exporter instead of listening"
    )
    attached.add_argument(
        "--monitor", metavar="SOCKET", default="", help="with --by=qemu: a QMP monitor that the VM has already"
    )
    command("metrics", _metrics, "print the metric reference in Markdown")
    ruled = command("rules", _rules, "print the alert rules for Prometheus, with what a site wants otherwise")
    ruled.add_argument(
        "file", metavar="SETTINGS", type=Path, nargs="?", help="thresholds, severities and the like, in YAML"
    )
    recorded = command("replay", _replay, "print the page that a recorded session of a monitor makes")
    recorded.add_argument("file", metavar="FILE.jsonl", type=Path)
    recorded.add_argument("--ended", action="store_true", help="the connection was lost after the last line")
    live = command("top", _top, "a live view of a running exporter's VMs in the terminal")
    live.add_argument(
        "url", metavar="URL", nargs="?", default=DEFAULT_URL, help="of the exporter (default: %(default)s)"
    )
    drilled = command("drill", _drill, "play a VM that fails, to see that the alerts reach a person")
    drilled.add_argument(
        "path",
        metavar="SOCKET",
        type=Path,
        nargs="?",
        default=Path("/run/qmp/qmp-exporter-drill.sock"),
        help="where the exporter finds it (default: %(default)s)",
    )
    drilled.add_argument(
        "--dial-in", dest="dials_in", action="store_true", help="connect to SOCKET, where an exporter listens for VMs"
    )
    drilled.add_argument(
        "--every", metavar="TIME", type=_duration, default=180.0, help="between two steps, such as 3m (the default)"
    )
    command("demo", _demo, "watch two embedded VMs, real QEMUs where one is installed, else simulated", web)
    return parser


def _path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]*)+", text) or text.startswith("/-/"):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a path like /metrics, outside of /-/")
    return text


def _duration(text: str) -> float:
    try:
        return between("1s", "1h", "3m")(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _textfile(text: str) -> Path:
    """The collector reads no other."""
    if not text.startswith("/") or not text.endswith(".prom"):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted an absolute path that ends in .prom")
    return Path(text)


def _run(options: argparse.Namespace) -> int:
    config = _load(options.config)
    if config is None:
        return USAGE
    configure(options.level, options.format)
    return _served(lambda: run(config, _options(options), partial(load, options.config, KNOWN)))


def _check_config(options: argparse.Namespace) -> int:
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


def _diagnose(options: argparse.Namespace) -> int:
    from qmp_exporter.diagnose.command import diagnose, is_configuration  # noqa: PLC0415  as above

    of_a_file = is_configuration(options.what)
    config = _load(Path(options.what)) if of_a_file else None
    if of_a_file and config is None:
        return USAGE
    try:
        report = diagnose(options.what, config, options.vm, options.user)
    except ValueError as error:
        return _wrong(str(error))
    sys.stderr.writelines(f"{line}\n" for line in report.said)
    sys.stdout.write(report.text)
    return FAILED if report.errors else 0


def _attach(options: argparse.Namespace) -> int:
    try:
        lines = list(attach(options.name, options.manager, options.path, options.monitor, dials_in=options.dials_in))
    except ValueError as error:
        return _wrong(str(error))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _version(_options: argparse.Namespace) -> int:
    sys.stdout.write(f"qmp-exporter {__version__} (revision {revision()})\n")
    return 0


def _metrics(_options: argparse.Namespace) -> int:
    sys.stdout.write(reference())
    return 0


def _rules(options: argparse.Namespace) -> int:
    from qmp_exporter.alerting import rules, settings  # noqa: PLC0415  the daemon has no use for it

    try:
        wanted = settings.load(options.file) if options.file else settings.Settings()
    except ConfigError as error:
        _complain_of_all(error)
        return USAGE
    sys.stdout.write(rules.rules(wanted))
    return 0


def _replay(options: argparse.Namespace) -> int:
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


def _top(options: argparse.Namespace) -> int:
    try:
        from qmp_exporter.top.app import Top  # noqa: PLC0415  not everybody has textual
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is missing: pip install 'qmp-exporter[top]'")
    Top(options.url).run()
    return 0


def _drill(options: argparse.Namespace) -> int:
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


def _demo(options: argparse.Namespace) -> int:
    from qmp_exporter.demo.embedded import embedded_vms  # noqa: PLC0415  a daemon has no use for what starts VMs

    async def watch() -> None:
        async with embedded_vms(random.Random()) as vms:  # noqa: S311  chance, not secrets
            wanted = _options(options)
            address = wanted.addresses[0]
            url = f"http://{'localhost' if address.startswith(':') else ''}{address}"
            config = Config(
                tuple(Target(name, socket, poll_interval=DEMO_POLL) for name, socket in vms.sockets.items())
            )

            def promise() -> None:
                sys.stderr.write(f"Watching {vms.what}.\nLook at {url}/ or scrape {url}{wanted.telemetry_path}; ")
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
    try:
        if web_config is not None:
            rules(web_config)
    except ConfigError as error:
        _complain_of_all(error)
        return False
    return True


def _options(options: argparse.Namespace) -> Options:
    return Options(
        tuple(options.addresses or (DEFAULT_ADDRESS,)),
        options.path,
        options.lifecycle,
        options.web_config,
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
    except ConfigError as error:
        _complain_of_all(error)
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
