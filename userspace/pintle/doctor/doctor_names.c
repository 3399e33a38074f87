/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_names.c - names in `address`: what DNS says of them, as pintled asks it. */
#include "doctor.h"

static void say_host(struct doctor *d, const struct state_host *h)
{
	char age[WORDS_SIZE];

	if (h->fails)
		doctor_say(d, VERDICT_WARN,
			   "look at the name, at the DNS server and at node.nameservers",
			   "%s: %s; %u address%s of before %s used", h->host, h->why, h->addresses,
			   h->addresses == 1 ? "" : "es", h->addresses == 1 ? "is" : "are");
	else if (!h->has_answer)
		doctor_say(d, VERDICT_WARN, "start pintled, and look again",
			   "%s: DNS was not asked yet", h->host);
	else if (h->left)
		doctor_say(d, VERDICT_WARN,
			   "if they are right, allow them by the endpoint's allowPrefixes",
			   "%s: %u address%s, and %u left out: %s", h->host, h->addresses,
			   h->addresses == 1 ? "" : "es", h->left, h->why);
	else
		doctor_say(d, VERDICT_OK, NULL, "%s: %u address%s, answered %s ago", h->host,
			   h->addresses, h->addresses == 1 ? "" : "es",
			   age_text(h->age_seconds, age));
}

void doctor_names(struct doctor *d)
{
	for (size_t i = 0; d->s && i < d->s->host_count; i++)
		say_host(d, &d->s->hosts[i]);
}
