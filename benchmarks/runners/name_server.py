"""A name server of the host's for guests whose names are resolved."""

from __future__ import annotations

import socket
import threading
from functools import lru_cache

__all__ = ["name_server"]

ANSWER = "203.0.113.7"
TTL = 3600


@lru_cache(maxsize=1)
def name_server() -> int:
    """Its port on 127.0.0.1. It answers every question until this process ends, all names with one address."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    threading.Thread(target=_answer_all, args=(server,), daemon=True, name="name server").start()
    return int(server.getsockname()[1])


def _answer_all(server: socket.socket) -> None:
    import dns.message
    import dns.rrset

    while True:
        question, peer = server.recvfrom(512)
        answer = dns.message.make_response(dns.message.from_wire(question))
        answer.answer.append(dns.rrset.from_text(answer.question[0].name, TTL, "IN", "A", ANSWER))
        server.sendto(answer.to_wire(), peer)
