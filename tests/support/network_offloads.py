"""Makes the kernel send packets as they would go over a cable: no larger than the MTU, with checksums that are right.

Between two ends of a veth pair it otherwise leaves both out, and hands over 64 KiB at once.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
# ETHTOOL_S...: checksums of what is received and sent, then scatter-gather and the offloads that join packets.
_SWITCHES = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def switch_offloads_off(interface: str) -> None:
    """Raises OSError where that is not allowed; one that the interface has not is left alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _SWITCHES.values():
            value = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
