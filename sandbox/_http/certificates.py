"""The certificates that a guest sees: a CA of its own, whose key is in this process's memory and nowhere else, and one
for each name. The CA may sign for the names of the rules only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

_CA_DAYS, _NAME_DAYS = 3650, 397  # no client takes a name's for longer
_NAMES_MAX = 1024
_AHEAD = timedelta(days=1)  # clocks differ
_SUBJECT = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sandbox"), x509.NameAttribute(NameOID.COMMON_NAME, "HTTP rules")]
)


class Hello:
    """What a client says first: `name` is whom it wants to speak with, `protocols` those of ALPN; `chosen` is the
    answer."""

    def __init__(self, chosen: bytes = b"") -> None:
        self.seen = False
        self.name: bytes | None = None
        self.protocols: list[bytes] = []
        self.chosen = chosen


class Certificates:
    def __init__(self, hosts: Sequence[str]) -> None:
        """`hosts` are the host patterns of the rules."""
        self._ca_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self._ca = _sign(_authority(hosts, self._ca_key), self._ca_key, _CA_DAYS)
        self._context = _context()
        self._signed: dict[str, x509.Certificate] = {}

    @property
    def pem(self) -> bytes:
        return self._ca.public_bytes(serialization.Encoding.PEM)

    def connection(self, name: str, hello: Hello) -> SSL.Connection:
        """TLS as `name`, without a socket; `hello` is filled when the client has said it."""
        made = SSL.Connection(self._context, None)
        made.use_certificate(self._certificate(name))
        made.use_privatekey(self._key)
        made.set_app_data(hello)
        made.set_accept_state()
        return made

    def _certificate(self, name: str) -> x509.Certificate:
        if name not in self._signed:
            self._signed[name] = _sign(self._of(name), self._ca_key, _NAME_DAYS)
            if len(self._signed) > _NAMES_MAX:
                del self._signed[next(iter(self._signed))]
        return self._signed[name]

    def _of(self, name: str) -> x509.CertificateBuilder:
        identifier = self._ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .public_key(self._key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )


def _context() -> SSL.Context:
    """One for all: a callback needs memory that is both written and executed, which there is none of later."""
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.set_tlsext_servername_callback(_on_name)
    made.set_alpn_select_callback(_on_protocols)
    return made


def _on_name(connection: SSL.Connection) -> None:
    hello = connection.get_app_data()
    hello.seen, hello.name = True, connection.get_servername()


def _on_protocols(connection: SSL.Connection, offered: list[bytes]) -> Any:
    hello = connection.get_app_data()
    hello.protocols = offered
    return hello.chosen if hello.chosen in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _authority(hosts: Sequence[str], key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        + ("encipher_only", "decipher_only"),
        False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if "*" in hosts:
        return made
    allowed = [x509.DNSName(host) for host in dict.fromkeys(host[2:] if host[:2] == "*." else host for host in hosts)]
    return made.add_extension(x509.NameConstraints(allowed, None), critical=True)


def _sign(made: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    dated = made.not_valid_before(now - _AHEAD).not_valid_after(now - _AHEAD + timedelta(days=days))
    return dated.issuer_name(_SUBJECT).serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())
