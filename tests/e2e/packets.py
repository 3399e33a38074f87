# SPDX-License-Identifier: Apache-2.0
"""Hand-made TCP segments over IPv4, sent from a raw socket."""
import array
import socket
import struct
import sys

from kernel import inside

FLAGS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "ACK": 0x10}


def checksum(data):
    total = sum(array.array("H", data + bytes(len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    value = ~total & 0xFFFF
    return value if sys.byteorder == "big" else socket.htons(value)


def segment(frm, to, flags, data=b"", sequence=12345, acknowledged=77777, options=b""):
    """A segment; frm and to are (address, port)."""
    addresses = socket.inet_aton(frm[0]) + socket.inet_aton(to[0])
    acknowledged = acknowledged if flags & FLAGS["ACK"] else 0
    tcp = struct.pack("!HHLLBBHHH", frm[1], to[1], sequence, acknowledged, 5 + len(options) // 4 << 4, flags, 65535, 0,
                      0) + options + data
    pseudo = addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    # The kernel fills in total length and checksum of the IP header.
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    return ip + tcp


def send(netns, sources, to, kind):
    """One segment from each of the (address, port) in sources."""
    with inside(netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with s:
        for frm in sources:
            s.sendto(segment(frm, to, FLAGS[kind]), (to[0], 0))
