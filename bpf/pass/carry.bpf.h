/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* carry.bpf.h - what carry.bpf.c and the daemon both know. */
#ifndef PINTLE_CARRY_BPF_H
#define PINTLE_CARRY_BPF_H

/* X(map, its value): sockets' storages whose records a takeover carries over. `traces` is not one:
 * its followers start anew. */
#define CARRY_RECORDS(X)                                                                           \
	X(conns, struct pintle_conn)                                                               \
	X(listeners, struct pintle_conn)                                                           \
	X(connects, struct pintle_connect)                                                         \
	X(turns, struct pintle_turn)                                                               \
	X(seats, struct pintle_seat)

/* Bytes of a BTF that one walk reads. */
#define CARRY_TYPES_PIECE 16384

#endif
