"""Names in DNS messages that were seen on their way. Whatever is no message tells nothing."""

from __future__ import annotations

from sandbox.services.names_messages import VERSIONS, parsed, read_answer, text_of

PORT = 53


def told(wire: bytes) -> tuple[str, list[str]] | None:
    """The name of an answer that has records, and the addresses among them.

    >>> import dns.message, dns.rrset
    >>> answer = dns.message.make_response(dns.message.make_query("Db.example.", "A"))
    >>> told(answer.to_wire())
    >>> answer.answer = [dns.rrset.from_text("Db.example.", 60, "IN", "A", "10.0.0.5")]
    >>> told(answer.to_wire())
    ('db.example', ['10.0.0.5'])
    >>> told(b"no message")
    """
    message = parsed(wire)
    if message is None or message.errors or len(message.question) != 1:
        return None
    found = read_answer(message, 0.0).found
    if not found:
        return None
    addresses = [each.address for each in found] if found.rdtype in VERSIONS else []
    return text_of(message.question[0].name), addresses
