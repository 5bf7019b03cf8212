"""Whose process is at the other end of a loopback connection? Linux can tell.

Browsers send the cookies of 127.0.0.1 to every port of it, also to a server of another user of this machine,
and links that a browser was started with stand in the list of processes. So a cookie or a token may become
known to another user; here their connection is told from the learner's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_LOOPBACK = "0100007F" if sys.byteorder == "little" else "7F000001"


def is_another_user(client_port: int, server_port: int) -> bool:
    """Whether the client end belongs to another user than this process's and root's.

    ``False`` where the system does not say: outside of Linux, and for connections that are in no table.
    """
    if not sys.platform.startswith("linux"):
        return False
    owner = _owner(client_port, server_port)
    return owner is not None and owner not in (os.getuid(), 0)


def _owner(client_port: int, server_port: int) -> int | None:
    wanted = f" {_LOOPBACK}:{client_port:04X} {_LOOPBACK}:{server_port:04X} "
    try:
        table = _TABLE.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    start = table.find(wanted)
    if start < 0:
        return None
    # state, queues, timer, retransmissions, then the user
    fields = table[start + len(wanted) : table.find("\n", start)].split()
    return int(fields[4]) if len(fields) > 4 and fields[4].isdecimal() else None
