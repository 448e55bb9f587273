"""Who may import whom, and which file may make which kernel call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sandbox"

_NETWORK = ("_addresses", "_domains", "_targets", "_hosts", "_publish", "_http_paths", "_http_rules", "_network", "_verdicts", "_rules")
_AUDIT = (
    *("_audit.format", "_audit.guest", "_audit.opened", "_audit.event", "_audit.counts", "_audit.decided", "_audit.reader", "_audit.join", "_audit.disk"),
    *("_audit.file", "_audit.blocks", "_audit.calls", "_audit.sinks", "_audit"),
)
_COMMANDS = (
    *("_audit.schema", "_audit.times", "_audit.summary", "_audit.verify", "_audit.show"),
    *("_cli_audit_modes", "_cli_audit", "_cli_advice", "_cli_report"),
    *("_report", "_report.kinds", "_report.groups", "_report.timeline", "_report.tree", "_report.report"),
    *("_report.text", "_report.style", "_report.bars", "_report.tables", "_report.processes", "_report.files"),
    *("_report.page", "_cli_html", "_cli_explain", "_cli_hints", "_cli_trace", "_cli_completion"),
)
_EXPLAIN = ("_remedies", "_programs", "_explain.walk", "_explain.answers", "_explain.files", "_explain.looks", "_explain.names", "_explain.moves", "_explain.attributes", "_explain.network", "_explain.http", "_explain.explain")
_LEARN = (
    *("_seen", "_walk", "_task", "_executed", "_files", "_dns", "_sockaddr", "_plain", "_sockets", "_peaks", "_refusals", "_tracer", "_helper"),
    *("_broad", "_fold", "_standing", "_places", "_peers", "_variables", "_lines", "_merge", "_text", "_learned", "_run"),
)
_HTTP = (
    *("_http.wire", "_http.heads", "_http.streams", "_http.certificates", "_http.passing", "_http.farewell"),
    *("_http.http1", "_http.http2", "_http.connection", "_http.confine", "_http.process"),
)
LAYERS = (
    *("_errors", "_paths", "_console", "_toml", "_grants", *_NETWORK, "_http", "_http.judge", "_messages", "_network_file", "_policy_file", "_explain", "_explain.explanation", "_policy"),
    *("_ffi", "_core.binding"),
    *("_core.enums", "_core.messages", "_core.beyond", "_core.plans", "_core.processes", "_core.records", "_core.table", "_core.trail", "_core", "_filter"),
    *("_loop", "services", "services.names_messages", "services.names_upstream", "services.names"),
    *("services.files", "services.proc", "services._ingress", "services._names_of_sockets", "services._diag", "services._tcp_ends", "services._sockets", "services._refused", "services._options", "services._flow", "services._held", "services._meter", "services._pump", "services._relay", "services._inners", "services._inbound", "services._datagrams", "services._relayed", "services._outward", "services._proxied", "services._published", "services._slice", "services._home", "services._resolving", "services._visitors", "services._judging", "services._goals", "services._hearing", "services._routes", "services._relayed_names", "services._dialing", "services._connecting", "services._binding", "services._making", "services._revoking", "services._operations", "services.net", "_trust", "_view", "_describe", "_plan", *_EXPLAIN, "_cgroup", "_remove", *_AUDIT, "_inbox"),
    *("_workers", "_outbox", "_memfd", *_HTTP, "_http_code", "_http_proxy", "_parts", "_events", "_records", "_serving", "_fetches", "_ending", "_moved", "_link", "_commands", "_answers", "_pipes", "_standing", "_watch", "_guest", "_metrics", "_filter_options", "_sentry", "_building"),
    *("_supervisor", "prometheus", "otel", "_result", "_command", "_streams", "_pty"),
    *("_communicate", "_coding", "_open", "_starting", "_popen", "_run", "_export", "_async", "_live_network", "_sandbox", "_trace", "_terminal", "surface"),
    *(*(f"_learn.{name}" for name in _LEARN), "_learn", "_cli_learn", *_COMMANDS, "doctor"),
    *("__init__", "__main__"),
)
"""A module imports only what stands before it."""

FENCES = {
    r"SYS_process_vm_\w+|process_vm_(readv|writev)\s*\(": {"guest.c"},
    r"SYS_openat2": {"walk_open.c"},
    r"SECCOMP_IOCTL_NOTIF_SEND": {"answer.c", "borrow.c"},
    r"SECCOMP_IOCTL_NOTIF_ADDFD": {"answer.c", "guest.c"},
    r"SECCOMP_IOCTL_NOTIF_RECV": {"loop.c"},
    r"SYS_landlock_\w+": {"confine.c"},
    r"\bptrace\s*\(|SYS_ptrace": {"trace.c"},
    r"SYS_kcmp": {"guest.c"},
    r"SYS_pidfd_getfd": {"guest.c", "sentry.c"},
    r"SYS_(open_tree|move_mount|mount_setattr|fsopen|fsmount|fsconfig|pivot_root)|\bumount2?\s*\(": {"mounts.c", "spawn.c"},
    r"\bunshare\s*\(": {"confine.c"},
    r"SECCOMP_SET_MODE_FILTER": {"filter.c"},
}
"""A fenced kernel call, and the files that may make it."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imports(name: str, path: Path) -> set[str]:
    """Modules of the package that are imported when the module is."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= set(_from(name, node))
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition("sandbox.")[2] for alias in node.names if alias.name.startswith("sandbox.")}
    return found


def _from(name: str, node: ast.ImportFrom) -> Iterator[str]:
    package = name.split(".") if name in ("_core", "services", "_learn", "_http", "_audit", "_explain") else name.split(".")[:-1]
    if node.level:
        package = package[: len(package) - node.level + 1] if node.level > 1 else package
        base = ".".join([*package, *filter(None, [node.module])])
    elif node.module == "sandbox" or (node.module or "").startswith("sandbox."):
        base = (node.module or "").partition("sandbox")[2].lstrip(".")
    else:
        return
    for alias in node.names:
        inner = f"{base}.{alias.name}".lstrip(".")
        yield inner if inner in LAYERS else base


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_upward_only(name: str, path: Path) -> None:
    """A module imports what stands above it in LAYERS, and every module stands there."""
    assert name in LAYERS, f"{name} has no layer"
    for other in imports(name, path) - {""}:
        assert LAYERS.index(other) < LAYERS.index(name), f"{name} imports {other}"


def test_one_importer_of_the_extension() -> None:
    """sandbox._ffi is imported by _core/binding.py alone."""
    assert [name for name, path in modules() if "_ffi" in imports(name, path)] == ["_core.binding"]


def test_services_know_neither_c_nor_supervisor() -> None:
    """services/ speak the values of _messages and of a network's rules; what waits, on the loop."""
    known = {"_errors", "_messages", "_grants", "_loop", *_NETWORK}
    for name, path in modules():
        if name.startswith("services."):
            assert {other for other in imports(name, path) if not other.startswith("services")} <= known


def code_of(path: Path) -> str:
    """C without comments and strings."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r'"(\\.|[^"\\])*"', '""', text)


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence[:24])
def test_fenced_kernel_calls(fence: str) -> None:
    """A fenced kernel call stands in its files only, and does stand there."""
    found = {path.name for path in (ROOT / "csrc").glob("*.c") if re.search(fence, code_of(path))}
    assert found and found <= FENCES[fence]


def test_contract_is_plain() -> None:
    """core.h is a cdef: no conditionals and no includes but stdint.h."""
    lines = (ROOT / "csrc" / "core.h").read_text("utf-8").splitlines()
    directives = [line for line in lines if line.startswith("#")]
    plain = re.compile(r"#include <stdint.h>|#ifndef SBX_CORE_H|#define SBX_\w+( (0x)?[0-9a-f]+)?( +/\*.*)?|#endif")
    assert [line for line in directives if not plain.fullmatch(line)] == []
