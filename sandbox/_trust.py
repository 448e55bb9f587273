"""The certificates that a guest with rules of HTTP trusts: the host's, and the CA of its proxy.

They are files of its view, in the places where programs look, made when they are opened: then the CA exists."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import dataclass

from ._policy import Policy
from ._rules import Rules

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_OTHERS = (
    *("/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"),
    *("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem"),
)
HASHED = "/etc/ssl/certs/19fd6623.0"
"""The CA alone, by the hash of its subject (certificates.py), as OpenSSL looks for it in a directory."""
_VARIABLES = {
    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"), BUNDLE),
    "NODE_EXTRA_CA_CERTS": HASHED,
}


@dataclass(frozen=True)
class Trust:
    """The content of a file of the guest's, until its proxy is known; `whole`: with the host's certificates."""

    whole: bool

    def __call__(self) -> bytes:
        raise RuntimeError("a guest without a proxy has no such file")


def is_proxied(policy: Policy) -> bool:
    return bool(Rules.compile(policy.network).requests)


def files(policy: Policy) -> dict[str, Trust]:
    """By guest path."""
    if not is_proxied(policy):
        return {}
    bundles = (BUNDLE, *(path for path in _OTHERS if os.path.exists(path) and not os.path.islink(path)))
    return {**dict.fromkeys(bundles, Trust(True)), HASHED: Trust(False)}


def environment(policy: Policy) -> dict[str, str]:
    """The policy's variables, and those that name the files to programs that look elsewhere."""
    return {**(_VARIABLES if is_proxied(policy) else {}), **policy.env}


def host_bundle() -> bytes:
    """The certificates that the host trusts, PEM; empty where there are none."""
    default = ssl.get_default_verify_paths()
    for path in filter(None, (os.environ.get("SSL_CERT_FILE"), default.cafile, BUNDLE, *_OTHERS)):
        with suppress(OSError), open(path, "rb") as file:
            return file.read()
    return b""
