# SPDX-License-Identifier: Apache-2.0
"""Programs at a device for what comes in or goes out: those of tcx, and filters of a clsact."""
import contextlib
import ctypes
import os
import re
import socket
import struct

from kernel import HERE, check, inside

DIRECTIONS = ("ingress", "egress")
# enum bpf_attach_type, which the headers of older distributions do not have.
TCX = {"ingress": 46, "egress": 47}
# linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h
RTMGRP_TC, RTM_NEWTFILTER, NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 8, 44, 1, 4, 0x400
TCA_KIND, TCA_OPTIONS, CLSACT_INGRESS, ETH_P_ALL = 1, 2, 0xFFFFFFF2, 3
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT = 6, 7, 8, 1
PRIORITY = 16  # of Pintle's filters for the hand-off
INFO_SIZE, INFO_NAME = 256, slice(64, 80)  # of struct bpf_prog_info

libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def index_of(device):
    """0 if it is gone."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(device)
    return 0


def name_of(program):
    """Of the program with that id; "" if it is gone."""
    fd = libbpf.bpf_prog_get_fd_by_id(program)
    if fd < 0:
        return ""
    info, size = ctypes.create_string_buffer(INFO_SIZE), ctypes.c_uint32(INFO_SIZE)
    failed = libbpf.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size))
    os.close(fd)
    return "" if failed else info.raw[INFO_NAME].rstrip(b"\0").decode()


def programs(netns, device, direction):
    """{name: id} of the programs in tcx, in the order in which packets meet them."""
    ids, count, flags = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(64), ctypes.c_uint32()
    with inside(netns):
        if libbpf.bpf_prog_query(index_of(device), TCX[direction], 0, ctypes.byref(flags), ids, ctypes.byref(count)):
            return {}  # the device is gone
    return {name_of(i): i for i in ids[:count.value]}


def tcx(netns, device, direction):
    """Their names."""
    return list(programs(netns, device, direction))


def filters(node, netns, device, direction):
    """Names of the filters in its clsact, or ingress qdisc."""
    shown = node.run("tc", "filter", "show", "dev", device, direction, netns=netns, check=False).stdout
    return re.findall(r" handle 0x[0-9a-f]+ (\S+?)(?:\+clsact)? ", shown)


def devices(node, netns):
    return [line.split(": ")[1].split("@")[0] for line in node.run("ip", "-o", "link", netns=netns).stdout.splitlines()]


def attached(node, netns, program):
    """{device: [directions]} where a program whose name begins so is attached."""
    found = {}
    for device in devices(node, netns):
        for direction in DIRECTIONS:
            names = tcx(netns, device, direction) + filters(node, netns, device, direction)
            if any(name.startswith(program) for name in names):
                found.setdefault(device, []).append(direction)
    return found


def clsacts(node, netns):
    """The devices that have a clsact."""
    return set(re.findall(r"^qdisc clsact \S+ dev (\S+)", node.run("tc", "qdisc", "show", netns=netns).stdout, re.M))


def watch(netns):
    """A socket that gets each change of a qdisc or filter there."""
    with inside(netns):
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    s.bind((0, RTMGRP_TC))
    return s


def has_changed(watched):
    with contextlib.suppress(BlockingIOError):
        return bool(watched.recv(1))
    return False


def attribute(kind, value):
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attach_filter(netns, device, program, handle, name):
    """Attaches the program with that id for what comes in, as a Pintle does that knows no tcx."""
    fd = libbpf.bpf_prog_get_fd_by_id(program)
    check(fd, f"open program {program}")
    options = (attribute(TCA_BPF_FD, struct.pack("I", fd)) + attribute(TCA_BPF_NAME, name.encode() + b"\0")
               + attribute(TCA_BPF_FLAGS, struct.pack("I", TCA_BPF_FLAG_ACT_DIRECT)))
    with inside(netns):
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        index = index_of(device)
    message = struct.pack("BxxxiIII", socket.AF_UNSPEC, index, handle, CLSACT_INGRESS,
                          PRIORITY << 16 | socket.htons(ETH_P_ALL))
    message += attribute(TCA_KIND, b"bpf\0") + attribute(TCA_OPTIONS, options)
    with s:
        s.send(struct.pack("IHHII", 16 + len(message), RTM_NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0)
               + message)
        (error,) = struct.unpack_from("i", s.recv(4096), 16)
    os.close(fd)
    assert not error, os.strerror(-error)


def take_away(node, program, device):
    """Detaches Pintle's program for what comes in by force, as somebody else may."""
    with inside(node.netns):
        (pin,) = node.bpffs.glob(f"v*/tcx_{program}_in_{index_of(device)}")
    node.run("bpftool", "link", "detach", "pinned", pin)


def load_neighbours(node):
    """The directory in which the programs of neighbour_tc.bpf.c are pinned."""
    pins = node.bpf_mount / "neighbours"
    pins.mkdir()
    node.run("bpftool", "prog", "loadall", node.compile_bpf(HERE / "neighbour_tc.bpf.c"), pins)
    return pins


def attach(netns, device, direction, pin):
    """Attaches a pinned program in tcx, behind those that are there."""
    program = libbpf.bpf_obj_get(os.fsencode(pin))
    check(program, f"open {pin}")
    with inside(netns):
        failed = libbpf.bpf_prog_attach(program, index_of(device), TCX[direction], 0)
    os.close(program)
    check(failed, f"attach {pin}")
