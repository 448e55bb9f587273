"""Names share an address: a guest connects to it by a name that it may reach and asks for another that a Deny covers; or
it keeps a connection that nobody judges, when only requests are allowed any more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sandbox import Allow, AllowHTTP, Deny, Hosts, Limits, Sandbox
from tests.escape.attack import ordinary
from tests.http_servers import Site, site

__all__ = ["site"]
pytestmark = ordinary

ASK = """
import http.client, socket, sys
port = int(sys.argv[1])
try: socket.gethostbyname("x.int.wild.test")
except OSError: pass
try:
    asked = http.client.HTTPConnection("www.wild.test", port, timeout=60)
    asked.request("POST", "/x", headers={"Host": f"x.int.wild.test:{port}"})
    print(asked.getresponse().status)
except OSError as error: print(type(error).__name__)
"""


@pytest.mark.parametrize("denied", [True, False], ids=["denied", "guard left out"])
def test_a_denied_name_is_not_asked_for(site: Site, denied: bool) -> None:
    port = site.plain.port
    rules = [
        AllowHTTP("*", f"http://*.wild.test:{port}/*", private=True),
        AllowHTTP("GET", f"http://www.wild.test:{port}/pub/*", private=True),
        Hosts(dict.fromkeys(("www.wild.test", "x.int.wild.test"), "127.0.0.1")),
        *([Deny(f"*.int.wild.test:{port}")] if denied else []),
    ]
    with Sandbox(network=rules) as box:
        said = box.run([sys.executable, "-c", ASK, str(port)], text=True, timeout=100).stdout
    assert (said, len(site.plain.seen)) == (("421\n", 0) if denied else ("200\n", 1))


KEEP = """
import http.client, sys
def ask(conn, method, path):
    try:
        conn.request(method, path); answer = conn.getresponse(); answer.read()
        print(answer.status, flush=True)
    except (OSError, http.client.HTTPException): print("ended", flush=True)
conn = http.client.HTTPConnection("api.test", int(sys.argv[1]), timeout=60)
ask(conn, "GET", "/pub/x")
sys.stdin.readline()
conn.auto_open = 0
ask(conn, "POST", "/admin")
ask(http.client.HTTPConnection("api.test", int(sys.argv[1]), timeout=60), "POST", "/admin")
"""


def said_around(box: Sandbox, port: int, rule: Allow) -> str:
    """What a guest that keeps its connection gets before a rule is taken back and after."""
    process = box.popen([sys.executable, "-c", KEEP, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    box.network.revoke(rule)
    return first + str(process.communicate("\n")[0])


@pytest.mark.parametrize("limits", [None, Limits(bytes_sent=1 << 20)], ids=["alone", "with a limit on bytes"])
def test_what_nobody_judges_ends_with_its_rule(site: Site, limits: Limits | None) -> None:
    """An Allow that is taken back leaves what rules of HTTP let; a connection that the proxy has, stands."""
    port = site.plain.port
    plain = Allow(f"api.test:{port}", private=True)
    rules = [plain, AllowHTTP("GET", f"http://*.test:{port}/pub/*", private=True), site.hosts]
    with Sandbox(network=rules, limits=limits) as box:
        assert said_around(box, port, plain) == "200\nended\n403\n"
    assert [seen.path for seen in site.plain.seen] == ["/pub/x"]


def test_what_is_judged_stands(site: Site) -> None:
    """A change of other rules does not end it."""
    port = site.plain.port
    other = Allow("other.test:9", private=True)
    with site.box(*site.allow("GET,POST", "/*"), other) as box:
        assert said_around(box, port, other) == "200\n200\n200\n"
    assert site.plain.connections == 2
