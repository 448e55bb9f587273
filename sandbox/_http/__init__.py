"""The HTTP proxy of one guest: a confined process of its own that judges requests. Nothing here is imported by the
Supervisor but `wire`.

    wire         messages with the Supervisor
    judge        rules, made ready; which request may be made and what is added to it
    heads        fields of requests and responses: checked, and kept where they concern both ends
    certificates the CA of this guest and a certificate for each name
    streams      bytes to and from a peer, plain or TLS
    http1 http2  one connection's requests, judged and passed on
    connection   from two sockets to one of these
    confine      the walls
    process      main
"""
