/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns.h - finds network namespaces, and makes sockets in them.
 *
 * A namespace is passed as a descriptor of its nsfs file; -1 is the calling thread's own. The
 * thread enters another namespace only for a call: to make a socket, which stays in the namespace
 * it was made in, or to run an iterator over sockets.
 */
#ifndef PINTLE_NETNS_H
#define PINTLE_NETNS_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

/** Opens a network namespace's file, such as /proc/PID/ns/net or /run/netns/NAME. Returns a
 * descriptor (close-on-exec, closed by the caller), or -errno, logged: -EINVAL: `path` is no
 * network namespace. */
int netns_open(const char *path);

/** Reads the inode that `ls -L -i /proc/PID/ns/net` shows. The number is used again once the
 * namespace is gone. Returns 0 or -errno; *inode is untouched on failure. */
int netns_inode(int netns_fd, uint64_t *inode);

/** Reads the namespace's SO_NETNS_COOKIE, which is never used again while the machine is up.
 * Returns 0 or -errno (logged, as by netns_socket()); *cookie is untouched on failure. */
int netns_cookie(int netns_fd, uint64_t *cookie);

/** Reads the cookie without logging, for callers that try again and again. -EPERM: CAP_SYS_ADMIN is
 * missing. */
int netns_cookie_quiet(int netns_fd, uint64_t *cookie);

/**
 * Makes a socket(2) within the namespace; SOCK_CLOEXEC is added to `type`.
 *
 * The calling thread enters the namespace and returns, which needs CAP_SYS_ADMIN; if the namespace
 * is its own, it stays, and needs no capability. Returns a descriptor (closed by the caller), or
 * -errno, logged with what is missing. If the thread cannot return, the process aborts: whatever it
 * did next would be done in the wrong namespace.
 */
int netns_socket(int netns_fd, int domain, int type, int protocol);

/** Makes the socket without logging, for callers that try again and again. */
int netns_socket_quiet(int netns_fd, int domain, int type, int protocol);

/** Returns whether the address is one of the namespace's own; false where that cannot be told. */
bool netns_has_address(int netns_fd, const struct addr *ip);

/** Calls the function within the namespace, under the same conditions as netns_socket(). Returns
 * what it returns; or -errno, logged: the namespace cannot be entered. */
int netns_call(int netns_fd, int (*call)(void *arg), void *arg);

/** Reads a sysctl of the namespace, such as "net/ipv4/tcp_syncookies", under the same conditions as
 * netns_socket(). Returns 0 or -errno, not logged; *value is untouched on failure. */
int netns_sysctl(int netns_fd, const char *name, long *value);

/**
 * Finds a namespace by its inode: at `hint` (a path, or NULL), then the caller's own, those with a
 * name in /run/netns, and those of running processes.
 *
 * Returns a descriptor (closed by the caller); -ENOENT: no such namespace; -EACCES: not found, but
 * some processes' namespaces could not be looked at (CAP_SYS_PTRACE); -errno of a shortage, such as
 * -EMFILE: it may be there. Inodes are used again: compare netns_cookie() where the former cookie
 * is known.
 */
int netns_open_by_inode(uint64_t inode, const char *hint);

/** Calls `each` for every network namespace that has a name in /run/netns, or a process, the own
 * one included; perhaps more than once. `path` is where it was found. A value other than 0 ends the
 * walk. Returns that value; -errno of a shortage, such as -EMFILE: not all were found; or 0. */
int netns_each(int (*each)(int netns_fd, const char *path, void *arg), void *arg);

#endif
