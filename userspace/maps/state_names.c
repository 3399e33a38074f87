/* SPDX-License-Identifier: Apache-2.0 */
/* state_names.c - names of states and reasons; texts from maps. */
#include "state_internal.h"

#include <assert.h>

struct words {
	const char *name, *help;
};

static const struct words states[STATE_COUNT] = {
#define X(symbol, name, says) [STATE_##symbol] = {name, says},
	STATE_ENDPOINT_STATES(X)
#undef X
};

static const struct words reasons[] = {
	[PINTLE_UNSTEERABLE_MPTCP] = {"unsteerable: mptcp",
				      "it listens by MPTCP; start it without: a Go server with "
				      "GODEBUG=multipathtcp=0, any other not under mptcpize"},
	[PINTLE_UNSTEERABLE_OTHER] =
		{"unsteerable: refused",
		 "the kernel refused its socket for steering; `pintle doctor` may say why"},
	[PINTLE_UNSTEERABLE_NETNS] =
		{"unsteerable: netns",
		 "it listens in another network namespace; set node.netns to that one, or start the "
		 "server in the steered namespace"},
	[PINTLE_UNSTEERABLE_OWNER] =
		{"unsteerable: owner",
		 "another user than the endpoint's own listens there; if that is intended, set `user` "
		 "in its configuration and reload"},
	[PINTLE_UNSTEERABLE_USER] =
		{"unsteerable: user",
		 "another user than the endpoint's `user` listens there; start the server as that "
		 "user, or correct the configuration and reload"},
	[PINTLE_UNSTEERABLE_CGROUP] =
		{"unsteerable: cgroup",
		 "it does not run in the endpoint's `cgroup`; start the server there, or correct "
		 "the configuration and reload"},
	[PINTLE_UNSTEERABLE_ADDRESS] =
		{"unsteerable: address",
		 "it listens at another address than the metrics page is read from; write the "
		 "server's own address as `listen`"},
	[PINTLE_UNSTEERABLE_ELSEWHERE] =
		{"unsteerable: elsewhere",
		 "connections to its port go past its listener, by a nat rule such as Podman's or "
		 "Docker's for a published port; configure the container by its own `address`, or "
		 "start it in the host's network"},
};

static const struct words unknown = {"unknown", ""};
static const struct words unknown_reason = {"unsteerable: unknown",
					    "use the pintle of pintled's version"};

const char *state_name(enum state_endpoint_state s)
{
	return (s < STATE_COUNT ? &states[s] : &unknown)->name;
}

const char *state_help(enum state_endpoint_state s)
{
	return (s < STATE_COUNT ? &states[s] : &unknown)->help;
}

static const char *const setting_states[STATE_SETTING_COUNT] = {
#define X(symbol, name, says) [STATE_SETTING_##symbol] = name,
	STATE_SETTING_STATES(X)
#undef X
};

const char *setting_state_name(enum state_setting_state s)
{
	return s < STATE_SETTING_COUNT ? setting_states[s] : unknown.name;
}

static const struct words *reason_find(uint32_t reason)
{
	if (!reason)
		return NULL;
	return reason < ARRAY_SIZE(reasons) ? &reasons[reason] : &unknown_reason;
}

const char *unsteerable_text(uint32_t reason)
{
	const struct words *w = reason_find(reason);

	return w ? w->name : NULL;
}

const char *unsteerable_cure(uint32_t reason)
{
	const struct words *w = reason_find(reason);

	return w ? w->help : NULL;
}

void state_text(char *to, size_t to_size, const char *from, size_t size)
{
	size_t length = MIN(strnlen(from, size), to_size - 1);

	assert(to_size > 0);
	for (size_t i = 0; i < length; i++)
		to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
	to[length] = '\0';
}

void state_read_name(const struct maps *m, uint32_t slot, uint32_t generation, const char *kind,
		     uint32_t id, char name[PINTLE_NAME_SIZE])
{
	struct pintle_name n;

	if (!maps_value(m, MAP_names, slot, &n) && n.generation == generation && n.name[0])
		state_text(name, PINTLE_NAME_SIZE, n.name, sizeof(n.name));
	else
		snprintf(name, PINTLE_NAME_SIZE, "%s#%u", kind, id);
}
