# SPDX-License-Identifier: Apache-2.0
"""A DNS server whose answers a test may change, and which may misbehave: nameserver.py ADDRESS ZONE LOG

ZONE is a file with JSON, read for each question:

    {"api.provider.test": {"A": ["10.1.0.2"], "AAAA": [], "ttl": 0, "cname": ["a.test", ...],
                           "rcode": 0, "mute": false, "raw": "hex of bytes in the place of an answer"}}

A name that is not there does not exist (NXDOMAIN). LOG gets a line for each question: udp or tcp, type and name.
"""
import ipaddress
import json
import pathlib
import socket
import struct
import sys
import threading

TYPES = {1: "A", 28: "AAAA"}
NXDOMAIN = 3
UDP_MOST = 512


def packed(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def record(owner, kind, ttl, data):
    return packed(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def question_of(query):
    """The name, the type, and the question's bytes."""
    parts, at = [], 12
    while query[at]:
        parts.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(parts).lower(), kind, query[12:at + 5]


def answer_to(query, entry, by_udp):
    name, kind, question = question_of(query)
    if entry and entry.get("raw") is not None:
        return query[:2] + bytes.fromhex(entry["raw"])
    rcode = NXDOMAIN if entry is None else entry.get("rcode", 0)
    records, owner = [], name
    if entry and not rcode:
        ttl = entry.get("ttl", 0)
        for alias in entry.get("cname", []):
            records.append(record(owner, 5, ttl, packed(alias)))
            owner = alias
        for address in entry.get(TYPES.get(kind), []):
            records.append(record(owner, kind, ttl, ipaddress.ip_address(address).packed))
    body = question + b"".join(records)
    truncated = by_udp and len(body) + 12 > UDP_MOST
    flags = 0x8180 | rcode | (0x200 if truncated else 0)
    if truncated:
        records, body = [], question
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + body


class Server:
    def __init__(self, address, zone, log):
        self.zone, self.log = pathlib.Path(zone), open(log, "a", buffering=1)  # pylint: disable=consider-using-with
        self.address = address

    def answer(self, query, how):
        name, kind, _ = question_of(query)
        self.log.write(f"{how} {TYPES.get(kind, kind)} {name}\n")
        entry = json.loads(self.zone.read_text()).get(name)
        if entry and entry.get("mute"):
            return None
        return answer_to(query, entry, how == "udp")

    def udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((self.address, 53))
            print("ready", flush=True)
            while True:
                query, peer = s.recvfrom(4096)
                answer = self.answer(query, "udp")
                if answer is not None:
                    s.sendto(answer, peer)

    def tcp(self):
        with socket.create_server((self.address, 53)) as s:
            while True:
                c, _ = s.accept()
                with c:
                    size = c.recv(2, socket.MSG_WAITALL)
                    query = c.recv(struct.unpack("!H", size)[0], socket.MSG_WAITALL)
                    answer = self.answer(query, "tcp")
                    if answer is not None:
                        c.sendall(struct.pack("!H", len(answer)) + answer)


def main():
    server = Server(*sys.argv[1:])
    threading.Thread(target=server.tcp, daemon=True).start()
    server.udp()


if __name__ == "__main__":
    main()
