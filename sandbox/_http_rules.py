"""Rules of HTTP: which requests may be made, and what is added to them; values that cannot exist invalid.

A pattern is `[http://|https://]HOST[:PORT]/PATH`. HOST is a domain name, `*.name` (every name below it, at any depth)
or `*`. Without a scheme it is both: http at port 80 and https at 443, or both at PORT. In PATH `*` is any run of
characters, `/` included; the query is not judged.

>>> str(AllowHTTP("HEAD,GET", "Docs.Example.com/guide/*"))
'allow-http GET,HEAD docs.example.com/guide/*'
>>> Header("Authorization", "Bearer 1234", hosts=["api.example.com"])
Header(name='Authorization', hosts=('api.example.com',), plain=False)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ._errors import PolicyError
from ._grants import set_fields
from ._http_paths import normal_pattern
from ._paths import AnyPath, host_path
from ._targets import Target, clean_text, parse_target

SCHEMES: Mapping[str, int] = {"http": 80, "https": 443}
"""Their default ports."""
VALUE_MAX = 8192
_TOKEN = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile("[A-Z][A-Z0-9_-]*")
_NEVER = {
    "CONNECT": "opens a tunnel that nobody judges",
    "TRACE": "shows what was added to the request",
}
"""Methods that no rule allows."""
FRAMING = frozenset(
    ("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate")
    + ("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Fields that say how a message is carried: the proxy's to set."""


@dataclass(frozen=True, init=False)
class AllowHTTP:
    """The guest may make these requests: `methods` as `GET`, `GET,HEAD` or `*` (all but CONNECT and TRACE).

    It may resolve the name. Its connections to the rule's ports go through a proxy process of its own, which judges
    every request; nothing else of the host is reached by this rule, and no UDP. By name it reaches public addresses
    only: others need `private=True`. A server is verified by the host's certificates, or by those of the PEM file `ca`.
    Needs the extra `sandbox[http]`.

    PolicyError: a method or the pattern is none.

    >>> AllowHTTP("*", "https://api.example.com:8443/v1/*").target
    'tcp://api.example.com:8443'
    """

    methods: str
    pattern: str
    private: bool = False
    ca: str | None = None

    def __init__(self, methods: str, pattern: str, *, private: bool = False, ca: AnyPath | None = None) -> None:
        try:
            listed = _methods(clean_text(methods))
            parsed = parse_pattern(clean_text(pattern))
        except ValueError as error:
            raise PolicyError(f"allow-http {methods!r} {pattern!r}: {error}") from None
        held = None if ca is None else host_path(ca, f"allow-http {parsed}: ca")
        set_fields(self, methods=",".join(listed), pattern=str(parsed), private=bool(private), ca=held)

    def __str__(self) -> str:
        return f"allow-http {self.methods} {self.pattern}{' private' if self.private else ''}"

    @property
    def url(self) -> Pattern:
        return parse_pattern(self.pattern)

    @property
    def target(self) -> str:
        """Where its connections go, as the target of an Allow."""
        ports = self.url.ports.values()
        return str(parse_target(f"tcp://{self.url.host}:{','.join(map(str, sorted(set(ports))))}", "allow-http"))


@dataclass(frozen=True)
class Pattern:
    """`scheme` is empty for both, `port` None for the scheme's."""

    scheme: str
    host: str
    port: int | None
    path: str

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme and self.scheme + '://'}{self.host}{port}{self.path}"

    @property
    def ports(self) -> dict[str, int]:
        """The port of each scheme that it covers."""
        schemes = (self.scheme,) if self.scheme else SCHEMES
        return {scheme: self.port or SCHEMES[scheme] for scheme in schemes}


def _methods(text: str) -> list[str]:
    if text == "*":
        return ["*"]
    listed = sorted(set(text.split(",")))
    for method in listed:
        if not _METHOD.fullmatch(method):
            raise ValueError(f"method {method!r} is none: GET, or GET,HEAD in capitals, or *")
        if method in _NEVER:
            raise ValueError(f"method {method} {_NEVER[method]}")
    return listed


def parse_pattern(text: str) -> Pattern:
    """ValueError: it is none."""
    scheme, found, rest = text.partition("://")
    if not found or "/" in scheme:
        scheme, rest = "", text
    elif scheme.lower() not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme}://; known: http://, https://")
    authority, slash, path = rest.partition("/")
    if not slash:
        raise ValueError("has no path; HOST/* is every path")
    target = _host(authority)
    port = None if target.port_count > 1 else target.ports[0][0]
    if scheme and port == SCHEMES[scheme.lower()]:
        port = None
    return Pattern(scheme.lower(), target.what, port, normal_pattern(slash + path))


def _host(text: str) -> Target:
    """A name, or a pattern of names, with one port or none."""
    if "@" in text:
        raise ValueError("holds a user; Header adds what a server knows it by")
    target = parse_target(text, "host")
    if target.protocol:
        raise ValueError("has no scheme here")
    if target.block is not None:
        raise ValueError(f"{target.what} is an address; requests are judged by names")
    if target.port_count not in (1, 65535):
        raise ValueError("has more than one port")
    return target


def covers(pattern: str, name: str) -> bool:
    """Is the name that of a host pattern?

    >>> covers("*.example.com", "a.b.example.com"), covers("*.example.com", "example.com")
    (True, False)
    """
    return pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def meet(one: str, other: str) -> bool:
    """Is there a name that both host patterns cover?"""
    return any(covers(a, b) or covers(a, b.lstrip("*.")) for a, b in ((one, other), (other, one)))


@dataclass(frozen=True, init=False)
class Header:
    """Requests to `hosts` carry this header field, whatever the guest sends in its place: a secret that the guest
    never holds. Only over TLS to the verified host, unless `plain`.

    A host is a domain name, `*.name` or `*`, with `:PORT` where it counts for that port alone. `value` is visible
    ASCII and spaces; with `env` in its place it is read from that variable of this process's environment, now. It is
    shown nowhere: not in repr, records, errors or TOML, which holds `env`. A server that answers with what it was
    sent shows it to the guest.

    PolicyError: name, value or a host is none, the field is the proxy's to set, or the variable is not set.

    >>> str(Header("X-Key", "secret", hosts=["*.example.com"], plain=True))
    'header X-Key for *.example.com plain'
    """

    name: str
    value: str = field(repr=False)
    hosts: tuple[str, ...]
    plain: bool = False
    env: str | None = field(default=None, repr=False, compare=False)

    def __init__(
        self,
        name: str,
        value: str | None = None,
        hosts: Iterable[str] = (),
        *,
        plain: bool = False,
        env: str | None = None,
    ) -> None:
        try:
            held, listed = _field(name), _hosts(hosts)
            secret = _value(_environment(env) if value is None else value)
            if value is not None and env is not None:
                raise ValueError("has both a value and a variable of one")
        except ValueError as error:
            raise PolicyError(f"header {name!r}: {error}") from None
        set_fields(self, name=held, value=secret, hosts=listed, plain=bool(plain), env=env)

    def __str__(self) -> str:
        return f"header {self.name} for {', '.join(self.hosts)}{' plain' if self.plain else ''}"

    def is_for(self, scheme: str, name: str, port: int) -> bool:
        """Do requests to this host carry it?"""
        targets = map(_host, self.hosts if self.plain or scheme == "https" else ())
        return any(covers(each.what, name) and each.covers("tcp", port) for each in targets)

    def meets(self, rule: AllowHTTP) -> bool:
        """Does any request that the rule allows carry it?"""
        ports = [port for scheme, port in rule.url.ports.items() if self.plain or scheme == "https"]
        targets = list(map(_host, self.hosts))
        return any(meet(each.what, rule.url.host) and each.covers("tcp", port) for each in targets for port in ports)


def _field(name: object) -> str:
    text = clean_text(name)
    if not _TOKEN.fullmatch(text):
        raise ValueError("is no name of a field")
    if text.lower() in FRAMING:
        raise ValueError("says how a message is carried: it is the proxy's to set")
    return text


def _environment(name: str | None) -> str:
    if name is None:
        raise ValueError("has no value")
    if name not in os.environ:
        raise ValueError(f"the variable {name} of its value is not set")
    return os.environ[name]


def _value(value: object) -> str:
    """INVARIANT untold-secret: no error shows it."""
    if not isinstance(value, str):
        raise ValueError("its value is no text")
    if not value.strip(" ") or value != value.strip(" ") or len(value) > VALUE_MAX:
        raise ValueError(f"its value is empty, longer than {VALUE_MAX} characters, or has spaces around it")
    if not all(" " <= character <= "~" for character in value):
        raise ValueError("its value holds more than visible ASCII and spaces")
    return value


def _hosts(hosts: object) -> tuple[str, ...]:
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Iterable):
        raise ValueError(f"hosts: {hosts!r} is no list")
    found = (_host(clean_text(host)) for host in hosts)
    listed = tuple(dict.fromkeys(str(each) for each in found))
    if not listed:
        raise ValueError("has no hosts")
    return listed
