/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns.h - work in a network namespace other than the caller's.
 *
 * A namespace is a descriptor of its nsfs file; -1 stands for the calling thread's
 * own. Only the moment of making a socket is spent in the other namespace: a socket
 * stays in the one that it was made in, wherever it is used later.
 */
#ifndef PINTLE_NETNS_H
#define PINTLE_NETNS_H

#include <stdint.h>

/** Opens a network namespace's file, such as /proc/PID/ns/net or /run/netns/NAME.
 * Returns a descriptor (close-on-exec, the caller's to close), or -errno, logged: -EINVAL
 * when `path` is something else than a network namespace. */
int netns_open(const char *path);

/** What `ls -L -i /proc/PID/ns/net` shows. Numbers are used again once a namespace is
 * gone. Returns 0 or -errno; *inode is untouched on failure. */
int netns_inode(int netns_fd, uint64_t *inode);

/** Its SO_NETNS_COOKIE, which is never used again while the machine is up. Returns 0 or
 * -errno (logged, as by netns_socket()); *cookie is untouched on failure. */
int netns_cookie(int netns_fd, uint64_t *cookie);

/**
 * socket(2) within the namespace; SOCK_CLOEXEC is added to `type`.
 *
 * The calling thread goes there and comes back, which takes CAP_SYS_ADMIN; it stays where it
 * is, and needs no capability, when the namespace is its own. Returns a descriptor (the caller's
 * to close), or -errno, logged with what is missing. If it cannot come back the process aborts:
 * whatever it did next would be done in the wrong namespace.
 */
int netns_socket(int netns_fd, int domain, int type, int protocol);

/** The same, for who tries again and again and says so once: logs nothing. */
int netns_socket_quiet(int netns_fd, int domain, int type, int protocol);

/**
 * Finds a namespace by its inode: at `hint` (a path, or NULL), the caller's own, those with
 * a name in /run/netns, those of running processes.
 *
 * Returns a descriptor (the caller's to close); -ENOENT when it is gone; -EACCES when it was
 * not found, but there were processes whose namespace this one may not see (CAP_SYS_PTRACE).
 * Since inodes are used again, compare netns_cookie() where the old one is known.
 */
int netns_open_by_inode(uint64_t inode, const char *hint);

#endif
