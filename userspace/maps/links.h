/* SPDX-License-Identifier: Apache-2.0 */
/* links.h - every link that may be pinned beside the maps: which program, where, and when. */
#ifndef PINTLE_LINKS_H
#define PINTLE_LINKS_H

#include <linux/bpf.h>
#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>

#include "traits.bpf.h"

enum link_id {
	LINK_SERVERS,
	LINK_CLIENTS,
	LINK_LOOKUP,
	LINK_RELEASE,
	LINK_GETPEERNAME4,
	LINK_GETPEERNAME6,
	LINK_HINT,
	LINK_CONNECT4,
	LINK_CONNECT6,
	LINK_COUNT
};

struct link_kind {
	const char *pin;     /* its name in the directory of pins */
	const char *program; /* its name in the object */
	enum bpf_attach_type type;
	/* The link exists while there is a pool that this hook decides, or that has this key for
	 * its sessions or groups. A link with neither always exists. */
	enum pintle_hook decided_by;
	enum pintle_key key;
	bool classes; /* also while a pool has several classes, and its hook sees `key` */
	bool netns;   /* attached to the network namespace; else to the cgroup */
	/* The program sees how connections end. It stays attached after the last pool that needs
	 * it has left, until the connections to that pool's endpoints have ended. */
	bool sees_ends;
	/* The program runs before those of others where the kernel has BPF_F_PREORDER (Linux
	 * 6.15). A load balancer that ran first would replace the frontend 10.96.0.10:80 by a
	 * pod's address, and the connect hook would see no frontend any more. */
	bool preorder;
};

/** The links in the order in which they are attached; they are detached in reverse. Programs that
 * count come before programs that decide, so that no decision is made that nothing counts. */
extern const struct link_kind link_kinds[LINK_COUNT];

static inline bool link_is_always(const struct link_kind *k)
{
	return !k->decided_by && !k->key;
}

/* What tells which links a pool needs. */
struct link_pool {
	uint32_t decided_by; /* enum pintle_hook */
	uint32_t key_kind;   /* enum pintle_key: of sessions, and of groups */
	uint32_t group_kind;
	uint32_t class_count;
};

/** Returns whether a pool needs the link. */
static inline bool link_is_for(const struct link_kind *k, const struct link_pool *p)
{
	if (k->decided_by && k->decided_by == p->decided_by)
		return true;
	if (k->classes && p->class_count > 1 && hook_sees(p->decided_by, k->key))
		return true;
	return k->key && (k->key == p->key_kind || k->key == p->group_kind);
}

/** Returns the hook's name in messages: "lookup", "sockops_servers". */
static inline const char *link_hook(const struct link_kind *k)
{
	return k->pin + sizeof("link_") - 1;
}

/** Returns whether a link is attached. The kernel reports 0 as inode or cgroup id once the network
 * namespace or the cgroup is gone, or the link was detached by force. */
static inline bool link_is_attached(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_NETNS ? info->netns.netns_ino : info->cgroup.cgroup_id;
}

/* A UAPI flag that older headers lack. */
#ifndef BPF_F_PREORDER
#define BPF_F_PREORDER (1U << 6)
#endif

#endif
