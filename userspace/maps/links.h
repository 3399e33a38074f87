/* SPDX-License-Identifier: Apache-2.0 */
/* links.h - every link that may be pinned beside the maps: which program, where, and when. */
#ifndef PINTLE_LINKS_H
#define PINTLE_LINKS_H

#include <linux/bpf.h>
#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>

enum link_id {
	LINK_SOCKOPS,
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
	/* It is there while there is a pool that this hook decides, or that has this for its
	 * session key or group. Neither is set: always. */
	enum pintle_hook decided_by;
	enum pintle_key key;
	bool netns; /* attached to the network namespace; else to the cgroup */
	/* Before the programs of others where the kernel has BPF_F_PREORDER: a load balancer that
	 * came first would take the frontend for its own. */
	bool preorder;
};

/** In the order in which they are attached; they are detached in the reverse. Who counts comes
 * first: a decision must never be taken that nobody counts. */
extern const struct link_kind link_kinds[LINK_COUNT];

static inline bool link_is_always(const struct link_kind *k)
{
	return !k->decided_by && !k->key;
}

/** Whether a pool with these (enum pintle_hook; enum pintle_key, of sessions and groups) needs the
 * link. */
static inline bool link_is_for(const struct link_kind *k, uint32_t decided_by, uint32_t key_kind,
			       uint32_t group_kind)
{
	return (k->decided_by && k->decided_by == decided_by) ||
	       (k->key && (k->key == key_kind || k->key == group_kind));
}

/** What the hook is called: "lookup", "sockops". */
static inline const char *link_hook(const struct link_kind *k)
{
	return k->pin + sizeof("link_") - 1;
}

/** Whether a link is attached: the kernel tells 0 for a network namespace or a cgroup that is gone,
 * and for a link that was detached by force. */
static inline bool link_is_attached(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_NETNS ? info->netns.netns_ino : info->cgroup.cgroup_id;
}

/* A UAPI flag that older headers lack. */
#ifndef BPF_F_PREORDER
#define BPF_F_PREORDER (1U << 6)
#endif

#endif
