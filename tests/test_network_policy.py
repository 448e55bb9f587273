"""A network as a whole: words and lists, in a Policy, in TOML, beside a policy and on the command line."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandbox
from sandbox import Allow, Deny, Hosts, Policy, PolicyError, Publish, Resolvers
from sandbox import __main__ as cli
from sandbox._rules import Rules

# ---- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "base", "rules"),
    [
        ("none", "none", ()),
        ("loopback", "loopback", ()),
        ("host", "host", ()),
        ([], "loopback", ()),
        (["host"], "host", ()),
        ([Deny("a.com"), "host", "loopback"], "host", (Deny("a.com"),)),
        ((Allow("a.com"), Allow("A.com")), "loopback", (Allow("a.com"),)),
        (iter([Allow("a.com")]), "loopback", (Allow("a.com"),)),
    ],
)
def test_compile(network: Any, base: str, rules: Any) -> None:
    compiled = Rules.compile(network)
    assert (compiled.base, compiled.rules) == (base, rules)
    assert compiled.covers_loopback == (base != "none")


def test_default_is_none() -> None:
    assert Rules.compile() == Rules() == Rules.compile("none")


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("internet", "'internet' is none of"),
        ("", "'' is none of"),
        (["a.com"], "'a.com' is none of"),
        ([None], "None is none of"),
        (5, "5 is neither"),
        (None, "None is neither"),
        (b"none", "neither"),
        ({"a": 1}, "'a' is none of"),
        (["none", Allow("a.com")], "none leaves no room"),
        (["none", "host"], "none leaves no room"),
        ([Publish(80, 8080), Publish(81, 8080)], r"127\.0\.0\.1:8080 is given twice"),
        ([Hosts({"a": "::1"}), Hosts({"A": "::2"})], "a is given twice"),
        ([Resolvers("1.1.1.1"), Resolvers("::1")], "resolvers is given twice"),
    ],
)
def test_networks_that_cannot_be(network: Any, what: str) -> None:
    with pytest.raises(PolicyError, match=f"^network: .*{what}"):
        Rules.compile(network)


def test_what_is_published_and_named() -> None:
    publish, hosts = Publish(80, 8080), Hosts({"a": ["10.0.0.5", "::1"]})
    rules = Rules.compile([publish, Hosts({"b": "1.2.3.4"}), hosts])
    assert rules.publishes == (publish,)
    assert dict(rules.hosts) == {"b": (ip_address("1.2.3.4"),), "a": (ip_address("10.0.0.5"), ip_address("::1"))}
    assert not rules.judge_address("tcp", ip_address("10.0.0.5"), 80, ["a"]).allowed


def test_rules_come_and_go() -> None:
    """Rules are added to and taken from a copy; one that is not there cannot be taken."""
    empty, allow, deny = Rules.compile("loopback"), Allow("10.0.0.1"), Deny("10.0.0.1:22")
    both = empty.with_rules(allow).with_rules(deny, allow)
    assert both.rules == (allow, deny) and empty.rules == ()
    assert both.judge_address("tcp", ip_address("10.0.0.1"), 22).rule == str(deny)
    assert both.without(deny).judge_address("tcp", ip_address("10.0.0.1"), 22).rule == str(allow)
    assert both.without(allow, deny) == empty == both.without(deny).without(allow)
    with pytest.raises(PolicyError, match=r"deny 10\.0\.0\.1:22: there is no such rule"):
        both.without(deny).without(deny)
    with pytest.raises(PolicyError, match="given twice"):
        both.with_rules(Publish(1, 80), Publish(2, 80))


def test_words_and_changes() -> None:
    """A guest without a network gets its loopback with the first rule; "host" stays what it is."""
    allow = Allow("10.0.0.1")
    assert Rules.compile("none").with_rules() == Rules.compile("none")
    assert Rules.compile("none").with_rules(allow) == Rules.compile([allow])
    assert Rules.compile("host").with_rules(allow) == Rules.compile(["host", allow])
    assert Rules.compile(["host", allow]).without(allow) == Rules.compile("host")
    with pytest.raises(PolicyError, match="no such rule"):
        Rules.compile("host").without(Allow("0.0.0.0/0"))


# ---- in a policy ------------------------------------------------------------------------------------------------

RULES = [
    Allow("a.com:443", private=True),
    Deny("10.0.0.0/8"),
    Publish(80, 8080, ["::1"]),
    Hosts({"b": ["::1", "1.2.3.4"]}),
    Resolvers("1.1.1.1", "[::1]:5353"),
]


def test_policy_has_none_by_default() -> None:
    assert Policy().network == "none" and Policy(network=["host"]).network == "host"
    with pytest.raises(PolicyError, match="network"):
        Policy(network="all")


def test_policy_is_a_value() -> None:
    """A list is kept as a tuple; the policy can be compared, copied and hashed."""
    given = list(RULES)
    policy = Policy(network=given)
    given.clear()
    assert policy.network == tuple(RULES)
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy
    assert hash(policy) == hash(copy.deepcopy(policy)) and policy != Policy()


def test_extend() -> None:
    """Given beside a policy it takes the place of "none", and of nothing else."""
    assert Policy().extend(network="host").network == "host"
    assert Policy(network="host").extend().network == "host"
    assert Policy(network="none").extend(network=RULES).network == tuple(RULES)
    for network in ("host", "loopback", RULES):
        with pytest.raises(PolicyError, match="network: is given twice"):
            Policy(network=network).extend(network="none")


@pytest.mark.parametrize("network", ["none", "loopback", "host", RULES, ["host", *RULES]])
def test_toml_round_trip(network: Any) -> None:
    policy = Policy(network=network, require=["landlock"])  # type: ignore[arg-type]
    assert Policy.loads(policy.to_toml()) == policy


@given(st.lists(st.sampled_from(["a", "b.c"]), unique=True), st.lists(st.sampled_from(["host", *RULES])))
def test_toml_round_trip_of_any(names: list[str], rules: list[Any]) -> None:
    more = [Hosts({f"x.{name}": "::1" for name in names})]
    policy = Policy(network=[*more, *rules], env={"A": "1"})
    assert Policy.loads(policy.to_toml()) == policy


TEXT = """
[[network]]
allow = "a.com:443"
private = true
[[network]]
deny = "10.0.0.0/8"
[[network]]
publish = 80
host = 8080
sources = ["::1"]
[[network]]
hosts = {b = ["::1", "1.2.3.4"]}
[[network]]
resolvers = ["1.1.1.1:53", "[::1]:5353"]
"""


def test_toml() -> None:
    assert Policy.loads(TEXT).network == tuple(RULES)
    assert Policy.loads("network = 'loopback'").network == "loopback"
    assert Policy.loads("network = []").network == "loopback"
    assert Policy.loads("network = ['host', {deny = 'a.com'}]").network == ("host", Deny("a.com"))
    assert 'network = ["host", {deny = "a.com"}]' in Policy(network=["host", Deny("a.com")]).to_toml()
    assert Policy(network=RULES).to_toml().count("[[network]]") == 5
    assert Policy().to_toml() == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("network = 5", "network: 5 is not text or a list"),
        ("network = true", "network: True is not"),
        ("network = 'all'", "network: 'all' is none of"),
        ("network = [5]", "network: 5 is not text or a table"),
        ("network = ['none', {allow = 'a'}]", "none leaves no room"),
        ("[network]\nallow = 'a'", "network: .* is not text or a list"),
        ("[[network]]", "an entry has one of allow, deny, allow_http, header, publish, hosts, resolvers; this has none"),
        ("[[network]]\nprivate = true", "this has private"),
        ("[[network]]\nallow = 'a'\ndeny = 'b'", "this has allow, deny"),
        ("[[network]]\ndeny = 'a'\nprivate = true", r"unknown key network\.private"),
        ("[[network]]\nallow = 'a'\nprivate = 1", r"network\.private: 1 is not true or false"),
        ("[[network]]\nallow = ['a']", r"network\.allow: \['a'\] is not text"),
        ("[[network]]\nallow = 'a b'", "network: allow 'a b': holds whitespace"),
        ("[[network]]\npublish = 80", "network: publish 80 has no host"),
        ("[[network]]\npublish = true\nhost = 80", r"network\.publish: True is not a whole number"),
        ("[[network]]\npublish = 80\nhost = 0", "publish 0: port 0"),
        ("[[network]]\nresolvers = []", "resolvers: there is none"),
        ("[[network]]\nresolvers = ['a.com']", "network: resolvers a.com: "),
        ("[[network]]\nresolvers = ['1.1.1.1:0']", "network: resolvers 1.1.1.1:0: port 0"),
        ("[[network]]\nhosts = {a = 5}", "network: hosts 'a'"),
        ("[[network]]\nhosts = 'a'", r"network\.hosts: 'a' is not a table"),
    ],
)
def test_toml_that_cannot_be(text: str, what: str) -> None:
    with pytest.raises(PolicyError, match=f"^/p.toml: .*{what}"):
        Policy.loads(text, name="/p.toml")


# ---- beside a policy --------------------------------------------------------------------------------------------


def test_shorthand() -> None:
    with pytest.raises(PolicyError, match="network: is given twice"):
        sandbox.Popen(["true"], network="host", policy=Policy(network="host"))
    with pytest.raises(PolicyError, match="'all' is none of"):
        sandbox.run(["true"], network="all")
    with sandbox.Sandbox(network="none") as box, pytest.raises(TypeError, match="network belongs to the Sandbox"):
        box.run(["true"], network="none")


def network_of(*arguments: str) -> Any:
    return cli._policy(cli._parser().parse_args(["run", *arguments, "--", "true"])).network


def test_command_line(tmp_path: Path) -> None:
    """Words, rules, and both; a policy file's network and one beside it are too much."""
    assert network_of() == "none" and network_of("--network", "host") == "host"
    assert network_of("--allow", "a.com", "--deny", "b.com", "--allow", "::1") == (
        Allow("a.com"),
        Allow("::1"),
        Deny("b.com"),
    )
    assert network_of("--network", "host", "--deny", "b.com") == ("host", Deny("b.com"))
    published = network_of("--publish", "8080:80", "--publish", "[::1]:8080:80", "--network", "loopback")
    assert published == (Publish(80, 8080), Publish(80, "[::1]:8080"))
    named = network_of("--publish", "udp://[::1]:1053:53@10.0.0.0/8,::1", "--allow-private", "*.b.com:443", "--resolver", "192.0.2.53",
                       "--resolver", "[::1]:5353", "--hosts", "db.b.com=10.0.0.5,fd00::5", "--hosts", "web.b.com=::1")  # fmt: skip
    assert named == (
        Allow("*.b.com:443", private=True),
        Publish(53, "udp://[::1]:1053", ["10.0.0.0/8", "::1"]),
        Hosts({"db.b.com": ["10.0.0.5", "fd00::5"]}),
        Hosts({"web.b.com": "::1"}),
        Resolvers("192.0.2.53", "[::1]:5353"),
    )
    (tmp_path / "p.toml").write_text("network = 'host'")
    assert network_of("--policy", str(tmp_path / "p.toml")) == "host"
    with pytest.raises(PolicyError, match="given twice"):
        network_of("--policy", str(tmp_path / "p.toml"), "--allow", "a.com")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--network", "all"], "invalid choice"),
        (["--allow", "a b"], "allow 'a b': holds whitespace"),
        (["--deny", "10.0.0.1/8"], "host bits"),
        (["--publish", "8080"], "publish '8080': is not HOST:GUEST"),
        (["--publish", "8080:"], "is not HOST:GUEST"),
        (["--publish", ":80"], "is not HOST:GUEST"),
        (["--publish", "8080:+80"], "is not HOST:GUEST"),
        (["--publish", "localhost:8080:80"], "neither an address"),
        (["--publish", "8080:80@"], "source '': is empty"),
        (["--publish", "8080:80@10.0.0.1/8"], "host bits"),
        (["--allow-private", "a b"], "allow 'a b': holds whitespace"),
        (["--hosts", "db.internal"], "hosts 'db.internal': is not NAME=ADDRESS"),
        (["--hosts", "db.internal="], "hosts 'db.internal': "),
        (["--hosts", "a=::1", "--hosts", "a=::2"], "a is given twice"),
        (["--resolver", "dns.example.org"], "resolvers dns.example.org: "),
        (["--network", "none", "--allow", "a.com"], "none leaves no room"),
    ],
)
def test_command_line_that_cannot_be(arguments: list[str], what: str) -> None:
    """Exit status 125 and one line that says why."""
    command = [sys.executable, "-m", "sandbox", "run", *arguments, "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(sandbox.__file__).parent.parent)
    assert done.returncode == 125 and what in done.stderr and "Traceback" not in done.stderr
