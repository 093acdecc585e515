"""Connections between processes of one machine that do without TCP.

A message and its answer cost the two processes 120 us by way of TCP on loopback and 55 us by a
Unix socket. Names are in Linux's abstract namespace: like ports they belong to a network namespace,
and they go with the process that took them, so a name that can be reached is that of a living
process of the same machine. Where there is none, or on another system, there is still TCP.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

_SUPPORTED: Final = sys.platform == "linux"
BACKLOG: Final = 100
# Asked for; the system's net.core.wmem_max bounds it. Of a frame that does not fit, as of bulk
# writes, the sender is woken up for every part.
SEND_BUFFER_BYTES: Final = 4 * 1024 * 1024


def name_of(grid_id: bytes, incarnation: str) -> str:
    """Of the socket on which a unit takes replication."""
    return f"\0tupelo/{grid_id.hex()}/{incarnation}"


def listen(name: str) -> socket.socket | None:
    """None: not on this system, or the name is taken or too long."""
    if not _SUPPORTED:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.bind(name)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        return None
    return made


def connect(name: str) -> socket.socket | None:
    """None: nobody listens there. Does not wait."""
    if not _SUPPORTED:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        made.connect(name)
    except OSError:
        made.close()
        return None
    return made
