"""Arguments of the command line -> what the program does, and its exit status: 0 done, 1 failed, 2 wrongly used."""

import argparse
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from qmp_exporter import commands
from qmp_exporter.commands import DEFAULT_URL, FAILED, INTERRUPTED
from qmp_exporter.daemon.run import DEFAULT_ADDRESS
from qmp_exporter.diagnose.attach import MANAGERS
from qmp_exporter.documents.duration import between
from qmp_exporter.log import LEVELS

_EPILOG = """\
A QMP monitor is full control of its VM. This program sends nothing but queries, from a fixed list; but anyone who may
open the sockets that it opens has the VMs. A monitor serves one client: give each VM one of its own for this program,
and leave libvirt's and Proxmox' own alone.
"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """The console script."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.act is not commands.watch_and_serve:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # it ends everything but the daemon
    if options.act is commands.watch_and_serve and options.config is None:
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
        "--version", dest="act", action="store_const", const=commands.tell_version, help="print version and revision"
    )
    parser.set_defaults(act=commands.watch_and_serve)
    added_to = parser.add_subparsers(title="commands", metavar="COMMAND", description="none: watch and serve")

    def command(
        name: str, act: Callable[[argparse.Namespace], int], words: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = added_to.add_parser(name, help=words, description=words, parents=parents, allow_abbrev=False)
        added.set_defaults(act=act)
        return added

    checked = command(
        "check-config", commands.check_config, "exit 0, or 2 with every error in the file and in what it names"
    )
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
    looked_at = command(
        "diagnose", commands.diagnose, "say in words what is wrong with a monitor, or all of a configuration's"
    )
    looked_at.add_argument(
        "what", metavar="SOCKET|CONFIG", help="/path, @name or tcp:HOST:PORT of a monitor; or a file"
    )
    looked_at.add_argument(
        "--vm", metavar="NAME", help="with a configuration: check only this VM; with a socket: the name to use"
    )
    looked_at.add_argument(
        "--user", metavar="NAME", default="", help="whose rights to look at (default: the exporter's)"
    )
    attached = command(
        "attach", commands.attach, "print what gives a running VM a monitor without a restart (QEMU 11.1)"
    )
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
    command("metrics", commands.tell_metrics, "print the metric reference in Markdown")
    ruled = command(
        "rules", commands.make_rules, "print the alert rules for Prometheus, with what a site wants otherwise"
    )
    ruled.add_argument(
        "file", metavar="SETTINGS", type=Path, nargs="?", help="thresholds, severities and the like, in YAML"
    )
    recorded = command("replay", commands.replay_recording, "print the page that a recorded session of a monitor makes")
    recorded.add_argument("file", metavar="FILE.jsonl", type=Path)
    recorded.add_argument("--ended", action="store_true", help="the connection was lost after the last line")
    live = command("top", commands.show_top, "a live view of a running exporter's VMs in the terminal")
    live.add_argument(
        "url", metavar="URL", nargs="?", default=DEFAULT_URL, help="of the exporter (default: %(default)s)"
    )
    drilled = command("drill", commands.hold_drill, "play a VM that fails, to see that the alerts reach a person")
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
    command(
        "demo", commands.show_demo, "watch two embedded VMs, real QEMUs where one is installed, else simulated", web
    )
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
