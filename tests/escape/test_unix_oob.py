"""Urgent data of AF_UNIX sockets: rarely used code of the kernel, through which sandboxes have been left before."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
int main(void) {
    int pair[2], won = 0;
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return unfit("socketpair");
    struct iovec part = {"x", 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    won |= !told("send", send(pair[0], "x", 1, MSG_OOB));
    won |= !told("sendmsg", sendmsg(pair[0], &message.msg_hdr, MSG_OOB));
    won |= !told("sendmmsg", sendmmsg(pair[0], &message, 1, MSG_OOB));
    won |= !told("recv", recv(pair[1], &byte, 1, MSG_OOB | MSG_DONTWAIT));
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_no_urgent_data(walls: str) -> None:
    outcome = inside(build(ATTACK), walls=walls)
    assert not outcome.won and set(outcome.told.values()) == {95}, outcome


def test_there_is_natively() -> None:
    assert native(build(ATTACK)).won
