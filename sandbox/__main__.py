"""python -m sandbox: run, explain, learn, doctor, surface, audit, report, completion. Exit status of run: the
command's, 128+n for signal n, 124 timeout, 125 an error of sandbox itself, 126 a program that cannot be executed, 127
one that is not found."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, NoReturn

from . import (
    _cli_audit,
    _cli_completion,
    _cli_explain,
    _cli_hints,
    _cli_html,
    _cli_learn,
    _cli_trace,
    _console,
    _terminal,
    doctor,
    surface,
)
from ._errors import CommandTimeout, PolicyError, SandboxError
from ._grants import FRACTIONS
from ._network import Allow, AllowHTTP, Deny, Header, Hosts, Network, Publish, Resolvers, Rule
from ._open import bare
from ._paths import printable
from ._policy import Limits, Mount, Policy
from ._popen import Popen

TIMEOUT, OWN_ERROR, CANNOT_RUN, NOT_FOUND = 124, 125, 126, 127
_SUFFIXES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LIMITS = {
    "memory": "bytes of all processes together; K, M, G, T as in 64M",
    "processes": "processes and threads together",
    "open_files": "descriptors of each process",
    "file_size": "bytes of each file",
    "cpu_seconds": "processor seconds of all together",
    "wall_seconds": "seconds until everything is killed",
    "scratch_bytes": "bytes in private directories, 1G by default",
    "scratch_files": "files in private directories, 262144 by default",
    "output_bytes": "bytes of output that a caller keeps, 1G by default",
    "sockets": "sockets that the guest has made and holds at once",
    "connections": "connections to the outside",
    "connections_per_second": "connections to the outside by the second",
    "bytes_sent": "bytes to the outside",
    "bytes_received": "bytes from the outside",
    "bytes_sent_per_second": "bytes to the outside by the second",
    "bytes_received_per_second": "bytes from the outside by the second",
}
_DOCTOR = {
    r"(?m)^[a-zA-Z].*$": "bold",
    r"(?m)  (stands|yes)$": "green",
    r"(?m)  no(: .*)?$": "yellow",
    r"(?m)commands do not run here.*$|^warning: .*$": "bold red",
    r"(?m)^ +do: .*$": "cyan",
}
_PORTS = "a port on the host, for all or these sources: [udp://][ADDRESS:]PORT:PORT[@SOURCE,...]"
_BYTES = ("memory", "file_size", *(name for name in _LIMITS if "bytes" in name))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(OWN_ERROR, f"{self.prog}: {message}\n")


def size(text: str) -> int:
    """A number of bytes, with K, M, G or T for powers of 1024.

    >>> size("64M")
    67108864
    """
    number = text.rstrip("iBb")
    factor = _SUFFIXES.get(number[-1:].lower(), 1)
    return int(number[:-1] if factor > 1 else number) * factor


def mount(text: str) -> tuple[str, str]:
    """HOST[:GUEST]: guest path and host path.

    >>> mount("/srv/data:/data")
    ('/data', '/srv/data')
    """
    host, colon, guest = text.rpartition(":")
    if colon and guest.startswith("/"):
        return guest, host
    return os.path.abspath(text), text


def assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def published(text: str) -> Publish:
    """HOST:GUEST[@SOURCE[,SOURCE]], where HOST is [udp://][ADDRESS:]PORT.

    >>> str(published("18080:8080")), str(published("udp://[::1]:1053:53@::1"))
    ('publish 127.0.0.1:18080 as 8080', 'publish udp://[::1]:1053 as 53 for ::1')
    """
    ports, at, sources = text.partition("@")
    host, _, guest = ports.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", guest):
        raise PolicyError(f"publish {text!r}: is not HOST:GUEST[@SOURCE,...], [udp://][ADDRESS:]PORT and PORT")
    return Publish(int(guest), host, sources.split(",") if at else ())


def private(text: str) -> Allow:
    return Allow(text, private=True)


def hosts(text: str) -> Hosts:
    """NAME=ADDRESS[,ADDRESS].

    >>> str(hosts("db.internal=10.0.0.5,fd00::5"))
    'hosts db.internal = 10.0.0.5 fd00::5'
    """
    name, equals, addresses = text.partition("=")
    if not equals:
        raise PolicyError(f"hosts {text!r}: is not NAME=ADDRESS[,ADDRESS]")
    return Hosts({name: addresses.split(",")})


def requests(text: str) -> AllowHTTP:
    """METHODS PATTERN.

    >>> str(requests("GET,HEAD docs.example.com/*"))
    'allow-http GET,HEAD docs.example.com/*'
    """
    methods, _, pattern = text.partition(" ")
    return AllowHTTP(methods, pattern.strip())


def header(text: str) -> Header:
    """NAME=VARIABLE@HOST[,HOST]: the value is in a variable of the environment, where no list of processes shows it."""
    name, _, rest = text.partition("=")
    variable, at, hosts = rest.partition("@")
    if not at:
        raise PolicyError(f"header {text!r}: is not NAME=VARIABLE@HOST[,HOST]")
    return Header(name, hosts=hosts.split(","), env=variable)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sandbox", description="Run Linux programs behind a served filesystem.")
    commands = parser.add_subparsers(dest="action", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="run a command", usage="sandbox run [options] -- command [argument ...]")
    _grants(run)
    run.add_argument("--audit", metavar="FILE", help="append the audit records to FILE")
    _cli_trace.add(run)
    run.add_argument("--timeout", type=float, metavar="S", help="kill everything after S seconds, exit with 124")
    run.add_argument("--cwd", metavar="DIR", help="guest path of the working directory, /work by default")
    run.add_argument("--hints", action=argparse.BooleanOptionalAction, help="say what was refused and would allow it")
    run.add_argument("command", nargs=argparse.REMAINDER, help="what runs, behind --")
    look = commands.add_parser("doctor", help="what stands here and what does not")
    look.add_argument("--json", action="store_true", help="one JSON object")
    commands.add_parser("surface", help="the table of system calls")
    _cli_explain.add(commands, _grants)
    _cli_audit.add(commands)
    _cli_html.add(commands)
    _cli_learn.add(commands, assignment)
    _cli_completion.add(commands)
    return parser


def _grants(run: argparse.ArgumentParser) -> None:
    """The options that make a policy, for `_policy`."""
    run.add_argument("--ro", action="append", type=mount, default=[], metavar="HOST[:GUEST]", help="mount read-only")
    run.add_argument("--rw", action="append", type=mount, default=[], metavar="HOST[:GUEST]", help="mount writable")
    run.add_argument("--root", metavar="DIR", help="another root instead of the default view")
    run.add_argument("--policy", metavar="FILE", help="a policy in TOML")
    run.add_argument("--env", action="append", type=assignment, default=[], metavar="NAME=VALUE", help="set a variable")
    run.add_argument("--network", choices=("none", "loopback", "host"), help="none by default, loopback with rules")
    run.add_argument("--allow", action="append", default=[], metavar="TARGET", help="may be reached: [tcp://|udp://]WHAT[:PORTS]")
    about = "the same; of a name its private addresses, too"
    run.add_argument("--allow-private", action="append", default=[], metavar="TARGET", help=about)
    run.add_argument("--deny", action="append", default=[], metavar="TARGET", help="may not be reached")
    about = "may be asked: 'METHODS HOST[:PORT]/PATH'"
    run.add_argument("--allow-http", action="append", default=[], metavar="RULE", help=about)
    about = "NAME=VARIABLE@HOST[,HOST]: add a field, its value from the environment"
    run.add_argument("--header", action="append", default=[], metavar="FIELD", help=about)
    run.add_argument("--publish", action="append", default=[], metavar="HOST:GUEST[@SOURCES]", help=_PORTS)
    about = "what a name resolves to: NAME=ADDRESS[,ADDRESS]"
    run.add_argument("--hosts", action="append", default=[], metavar="NAME=ADDRESSES", help=about)
    about = "whom names are asked of, instead of the host's servers"
    run.add_argument("--resolver", action="append", default=[], metavar="ADDRESS[:PORT]", help=about)
    run.add_argument("--require", action="append", default=[], metavar="WALL", help="refuse to run without this wall")
    for entry in fields(Limits):
        kind: Any = size if entry.name in _BYTES else float if entry.name in FRACTIONS else int
        name, text = entry.name.replace("_", "-"), f"limit: {_LIMITS[entry.name]}"
        run.add_argument(f"--{name}", type=kind, metavar="N", help=text)


def _policy(options: argparse.Namespace) -> Policy:
    base = Policy.load(options.policy) if options.policy else Policy()
    limits = Limits(**{entry.name: getattr(options, entry.name) for entry in fields(Limits)})
    root = [Mount("/", options.root)] if options.root else []
    policy = replace(
        base.extend(limits=limits, network=_network(options)),
        mounts=(*base.mounts, *root, *(Mount(*pair) for pair in options.ro)),
        env={**base.env, **dict(options.env)},
        require=(*base.require, *options.require),
    )
    return replace(policy, mounts=(*policy.mounts, *(Mount(*pair, writable=True) for pair in options.rw)))


def _network(options: argparse.Namespace) -> Network | None:
    """None where the command line says nothing of it."""
    given: list[str | Rule] = [options.network] if options.network else []
    made: tuple[tuple[Callable[[str], Rule], list[str]], ...] = (
        (Allow, options.allow),
        (private, options.allow_private),
        (Deny, options.deny),
        (requests, options.allow_http),
        (header, options.header),
        (published, options.publish),
        (hosts, options.hosts),
    )
    for make, texts in made:
        given += map(make, texts)
    if options.resolver:
        given.append(Resolvers(*options.resolver))
    return given or None


def _run(options: argparse.Namespace) -> int:
    _cli_trace.check(options)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise PolicyError("run: there is no command")
    policy = _policy(options)
    if _terminal.on_terminal() and "TERM" in os.environ and "TERM" not in policy.env:
        policy = replace(policy, env={**policy.env, "TERM": os.environ["TERM"]})

    wanted = os.isatty(2) if options.hints is None else options.hints
    hints = _cli_hints.Hints(policy, options.audit, wanted=wanted)

    def start(**streams: Any) -> Popen:
        traced = _cli_trace.wanted(options)
        return follow(Popen(command, policy=policy, audit=hints.target, cwd=options.cwd, trace=traced, **streams))

    try:
        with _cli_trace.tracing(options, _say) as follow:
            process = _terminal.run_here(start, options.timeout)
    except CommandTimeout:
        _say(f"{command[0]}: killed after {options.timeout:g} seconds")
        hints.say(_say, failed=True)
        return TIMEOUT
    except OSError as error:
        _say(f"{error.filename or command[0]}: {error.strerror}")
        return NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN
    warning = bare(process._guest)
    if warning:
        _say(f"warning: {warning}")
    if process.exceeded:
        _say(f"limit {process.exceeded} exceeded")
    hints.say(_say, failed=process.returncode != 0)
    code = process.returncode or 0
    return code if code >= 0 else 128 - code


def _explain(options: argparse.Namespace) -> int:
    return _cli_explain.run(options, _policy(options))


def _doctor(options: argparse.Namespace) -> int:
    report = doctor.examine()
    if options.json:
        print(report.to_json())
    else:
        _console.show(str(report), _DOCTOR)
    return 1 if report.error else 0


def _completion(options: argparse.Namespace) -> int:
    return _cli_completion.run(options, _parser())


def _surface(_: argparse.Namespace) -> int:
    print(surface.table())
    return 0


def _say(text: str) -> None:
    print(f"sandbox: {printable(text)}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    actions = {"run": _run, "doctor": _doctor, "surface": _surface, "audit": _cli_audit.run, "report": _cli_html.run}
    actions.update(explain=_explain, learn=_cli_learn.run, completion=_completion)
    action = actions[options.action]
    try:
        status = action(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more is wanted
        return OWN_ERROR
    except (SandboxError, ValueError) as error:
        _say(str(error))
        return OWN_ERROR
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
