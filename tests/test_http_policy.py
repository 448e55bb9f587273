"""Rules of HTTP as values: what they cover, what they refuse to be, and where a secret does not appear."""

from __future__ import annotations

import pickle
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandbox
from sandbox import Allow, AllowHTTP, Deny, Header, Hosts, Policy, PolicyError
from sandbox.__main__ import _network, _parser
from sandbox._http.judge import Judge, Origin
from sandbox._http_paths import normal_path
from sandbox._rules import Rules

SECRET = "Bearer 0xC0FFEE"
PUBLIC = ip_address("93.184.216.34")


@pytest.mark.parametrize(
    ("pattern", "shown", "target"),
    [
        ("Docs.Example.com/*", "docs.example.com/*", "tcp://docs.example.com:80,443"),
        ("https://api.example.com:8443/v1/*", "https://api.example.com:8443/v1/*", "tcp://api.example.com:8443"),
        ("https://api.example.com:443/", "https://api.example.com/", "tcp://api.example.com:443"),
        ("*.example.com:8080/a/%7eb", "*.example.com:8080/a/~b", "tcp://*.example.com:8080"),
        ("http://*/robots.txt", "http://*/robots.txt", "tcp://*:80"),
    ],
)
def test_patterns(pattern: str, shown: str, target: str) -> None:
    rule = AllowHTTP("GET", pattern)
    assert (rule.pattern, rule.target) == (shown, target)
    assert AllowHTTP("GET", rule.pattern) == rule


@pytest.mark.parametrize(
    ("methods", "pattern"),
    [("get", "a.b/*"), ("CONNECT", "a.b/*"), ("TRACE", "a.b/*"), ("GET,", "a.b/*"), ("GET POST", "a.b/*"), ("", "a.b/*")]
    + [("GET", pattern) for pattern in ("a.b", "", "1.2.3.4/*", "[::1]/*", "10.0.0.0/8", "ftp://a.b/*", "a.b:80,81/*")]
    + [("GET", "a.b" + path) for path in ("/../x", "/x?y", "/%2f", "/a%00", "/%", "/%252e%252e/", "/..;a/", "/a\\b", "/a#b")]
    + [("GET", pattern) for pattern in ("u@a.b/*", "u:p@a.b/*", "udp://a.b/*", "a..b/*", "*.*.b/*", "a.b:0/*")],
)  # fmt: skip
def test_what_is_none(methods: str, pattern: str) -> None:
    with pytest.raises(PolicyError):
        AllowHTTP(methods, pattern)


@pytest.mark.parametrize("path", ["/a/../b", "/a/./b", "/.", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", "/a\\b", "/%2E.;x/b", "/a%0d", "/%25%32%66", "b", "", "*", "/a b", "/é", "/a#", "/%", "/%g1", "/a;b", "/a%3bb", "/a%253B", "/a%23", "/a%3f", "/a%253F", "/" + "a" * 9000])  # fmt: skip
def test_ambiguous_paths(path: str) -> None:
    with pytest.raises(ValueError, match="."):
        normal_path(path)


@given(st.text("abc/.%2eEfF5cC;3?*~", max_size=24))
def test_a_path_has_one_form(path: str) -> None:
    """Whatever passes is its own form, and no decoding of it, once or twice, leads elsewhere."""
    try:
        normal = normal_path("/" + path)
    except ValueError:
        return
    assert normal_path(normal) == normal
    import urllib.parse

    once = urllib.parse.unquote(normal.partition("?")[0])
    for decoded in (once, urllib.parse.unquote(once)):
        assert decoded.count("/") == normal.partition("?")[0].count("/")
        assert not {".", ".."} & set(decoded.split("/")) and not set(";#?") & set(decoded)


def test_which_request_is_allowed() -> None:
    judge = Judge([AllowHTTP("GET,HEAD", "https://*.a.test/pub/*"), AllowHTTP("*", "b.test:8080/x")], [])
    at = Origin("https", "x.a.test", 443)
    assert judge.rule("GET", at, "/pub/y?q=/priv") == 0
    assert judge.rule("POST", at, "/pub/y") is judge.rule("GET", at, "/pub") is None
    assert judge.rule("GET", at._replace(name="a.test"), "/pub/y") is judge.rule("GET", at._replace(port=444), "/pub/") is None
    assert judge.rule("GET", at._replace(scheme="http"), "/pub/y") is None
    assert judge.rule("DELETE", Origin("http", "b.test", 8080), "/x") == judge.rule("PUT", Origin("https", "b.test", 8080), "/x") == 1
    assert judge.rule("DELETE", Origin("http", "b.test", 8080), "/x/y") is None


@pytest.mark.parametrize(
    ("others", "protocol", "port", "names", "decided"),
    [
        ([], "tcp", 443, ["a.test"], "http"),
        ([], "tcp", 8443, ["a.test"], "refused"),
        ([], "udp", 443, ["a.test"], "refused"),
        ([], "tcp", 443, [], "refused"),
        ([Allow("a.test:443")], "tcp", 443, ["a.test"], "http"),
        ([Allow("*.test")], "udp", 443, ["a.test"], "refused"),
        ([Allow("*.test")], "udp", 53, ["a.test"], "plain"),
        ([Allow("a.test:22")], "tcp", 22, ["a.test"], "plain"),
        ([Allow("93.184.216.0/24")], "tcp", 443, ["a.test"], "http"),
        ([Allow("93.184.216.34:443")], "tcp", 443, ["a.test"], "http"),
        ([Allow("b.test")], "tcp", 443, ["b.test"], "plain"),
        ([Allow("b.test")], "tcp", 443, ["b.test", "a.test"], "http"),
        ([Deny("a.test:443")], "tcp", 443, ["a.test"], "refused"),
        ([Deny("93.184.216.34")], "tcp", 443, ["a.test"], "refused"),
        (["host"], "tcp", 443, ["a.test"], "http"),
        (["host"], "udp", 443, ["a.test"], "refused"),
    ],
)  # fmt: skip
def test_beside_other_rules(others: list[object], protocol: str, port: int, names: list[str], decided: str) -> None:
    """Where a plain rule is no more exact, requests are judged; what denies denies."""
    rules = Rules.compile([*others, AllowHTTP("GET", "a.test/*")])  # type: ignore[list-item]
    verdict = rules.judge_address(protocol, PUBLIC, port, names)
    assert ("http" if verdict.http else "plain") == decided if verdict.allowed else decided == "refused", verdict


def test_private_addresses_need_private() -> None:
    private = ip_address("10.0.0.5")
    for rule, allowed in ((AllowHTTP("GET", "a.test/*"), False), (AllowHTTP("GET", "a.test/*", private=True), True)):
        assert Rules.compile([rule]).judge_address("tcp", private, 443, ["a.test"]).allowed is allowed


def test_a_reach_that_another_rule_has_does_not_lift_the_judgement() -> None:
    rules = Rules.compile([Allow("*.test", private=True), AllowHTTP("GET", "a.test/*")])
    assert rules.judge_address("tcp", ip_address("10.0.0.5"), 443, ["a.test"]).http


def test_the_name_resolves() -> None:
    rules = Rules.compile([AllowHTTP("GET", "*.a.test/*")])
    assert rules.judge_name("x.a.test").allowed and not rules.judge_name("a.test").allowed


# ---- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Host", "Content-Length", "transfer-encoding", "Connection", "a b", "", ":path", "é", "a:"])
def test_fields_that_are_not_added(name: str) -> None:
    with pytest.raises(PolicyError):
        Header(name, "x", hosts=["a.test"])


@pytest.mark.parametrize("value", ["", "a\r\nb: c", "a\nb", "a\0", " a", "é", "a" * 9000, 7, None])
def test_values_that_are_none(value: object) -> None:
    """And no error shows one."""
    with pytest.raises(PolicyError) as raised:
        Header("X", value, hosts=["a.test"])  # type: ignore[arg-type]
    assert not isinstance(value, str) or not value.strip("a ") or value not in str(raised.value)


@pytest.mark.parametrize("hosts", [[], "a.test", ["10.0.0.1"], ["a.test/x"], ["https://a.test"], ["a.test:1,2"]])
def test_hosts_that_are_none(hosts: object) -> None:
    with pytest.raises(PolicyError):
        Header("X", "v", hosts=hosts)  # type: ignore[arg-type]


def test_a_header_that_no_request_carries() -> None:
    with pytest.raises(PolicyError, match="no AllowHTTP"):
        Policy(network=[AllowHTTP("GET", "b.test/*"), Header("X", "v", hosts=["a.test"])])
    with pytest.raises(PolicyError, match="no AllowHTTP"):
        Policy(network=[AllowHTTP("GET", "http://a.test/*"), Header("X", "v", hosts=["a.test"])])
    Policy(network=[AllowHTTP("GET", "http://a.test/*"), Header("X", "v", hosts=["a.test"], plain=True)])
    Policy(network=[AllowHTTP("GET", "*.b.test/*"), Header("X", "v", hosts=["a.b.test:443"])])


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    given = Header("Authorization", SECRET, hosts=["a.test"])
    policy = Policy(network=[AllowHTTP("GET", "a.test/*"), given])
    said = [repr(policy), str(given), f"{given}", str(policy.explain("http", "GET https://a.test/x"))]
    with pytest.raises(PolicyError) as raised:
        policy.to_toml()
    read = Policy(network=[AllowHTTP("GET", "a.test/*"), Header("Authorization", hosts=["a.test"], env="TOKEN")])
    said += [str(raised.value), read.to_toml(), repr(read)]
    assert not [text for text in said if "C0FFEE" in text]
    assert pickle.loads(pickle.dumps(policy)) == policy == read


def test_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    rules = [AllowHTTP("GET,HEAD", "https://a.test:8443/*", private=True, ca="/srv/ca.pem"), AllowHTTP("*", "*.b.test/x")]
    policy = Policy(network=[*rules, Header("X-Key", hosts=["*.b.test"], env="TOKEN", plain=True), Hosts({"a.test": "10.0.0.1"})])
    assert Policy.loads(policy.to_toml()) == policy
    monkeypatch.delenv("TOKEN")
    with pytest.raises(PolicyError, match="TOKEN"):
        Policy.loads('[[network]]\nheader = "X"\nvalue_env = "TOKEN"\nhosts = ["a.test"]\n')
    for text in ('allow_http = "a.test/*"', 'header = "X"\nhosts = ["a.test"]', 'header = "X"\nvalue = "v"\nhosts = ["a.test"]'):
        with pytest.raises(PolicyError):
            Policy.loads(f"[[network]]\n{text}\n")


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    words = ["run", "--allow-http", "GET,HEAD a.test/*", "--header", "X-Key=TOKEN@a.test,*.b.test:443", "--", "true"]
    rules = _network(_parser().parse_args(words))
    assert rules == [AllowHTTP("GET,HEAD", "a.test/*"), Header("X-Key", SECRET, hosts=["a.test", "*.b.test:443"])]
    for bad in ("X", "X=TOKEN", "X@a.test", "X=NOT_SET@a.test"):
        with pytest.raises(PolicyError):
            _network(_parser().parse_args(["run", "--header", bad, "--", "true"]))


@pytest.mark.parametrize(
    ("subject", "decision", "error"),
    [
        ("GET https://a.test/pub/x?y", "allowed", None),
        ("GET http://a.test/pub/x", "refused", "EACCES"),
        ("POST https://a.test/pub/x", "refused", "403"),
        ("GET https://a.test/priv", "refused", "403"),
        ("GET https://b.test/", "allowed", None),
        ("GET https://c.test/", "refused", "EAI_NONAME"),
    ],
)
def test_explain(subject: str, decision: str, error: str) -> None:
    policy = Policy(network=[AllowHTTP("GET", "https://a.test/pub/*"), Allow("b.test:443")])
    said = policy.explain("http", subject)
    assert (said.decision, said.error) == (decision, error), said
    assert decision == "allowed" or f"'{subject.partition('?')[0]}'" in said.remedy
    with pytest.raises(PolicyError):
        policy.explain("http", "https://a.test/")


def test_nothing_is_imported_before_it_is_needed() -> None:
    """A guest without rules of HTTP does not pay for them, and runs without the extra."""
    source = "import sandbox, sys; sandbox.run(['true']); print({'h11', 'h2', 'OpenSSL', 'cryptography', 'asyncio.sslproto'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=Path(sandbox.__file__).parent.parent)
    assert "OpenSSL" not in done.stdout and "h11" not in done.stdout and "cryptography" not in done.stdout, done
