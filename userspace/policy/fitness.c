// SPDX-License-Identifier: Apache-2.0
#include "fitness.h"

#include <assert.h>

#include "../base/util.h"

void fitness_begin(struct fitness *f, bool heard, uint32_t unfit, const struct fitness_terms *t,
		   uint64_t now)
{
	assert(t->failures /* in a row: at least one */);
	f->since_ns = now;
	f->good_ns = heard && unfit != PINTLE_UNFIT_STARTING ? now : 0;
	f->failures = unfit == PINTLE_UNFIT_UNHEALTHY ? t->failures : 0;
	f->status = 0;
	f->refused = false;
}

static bool fitness_proven(const struct fitness *f)
{
	return f->good_ns && f->good_ns >= f->since_ns;
}

/* A port that refuses is not a server that starts: it may stay dead. The next connection that is
 * made is to a new server. */
bool fitness_met(struct fitness *f, bool refused, uint64_t listening_ns, uint64_t now)
{
	bool before = fitness_proven(f);

	if (f->refused && !refused)
		f->since_ns = now;
	f->since_ns = MAX(f->since_ns, listening_ns);
	f->refused = refused;
	if (before && !fitness_proven(f))
		f->failures = 0;
	return !fitness_proven(f) && before;
}

static bool fitness_young(const struct fitness *f, const struct fitness_terms *t, uint64_t now)
{
	return !fitness_proven(f) && now - f->since_ns < t->startup_ns;
}

bool fitness_checked(struct fitness *f, const struct fitness_terms *t, bool good, uint32_t status,
		     uint64_t begun_ns, uint64_t now)
{
	if (good) {
		f->good_ns = begun_ns;
		f->failures = 0;
		f->status = 0;
		return false;
	}
	f->failures += f->failures < UINT32_MAX;
	f->status = status;
	return !fitness_young(f, t, now);
}

/* ---- GPUs ------------------------------------------------------------------------ */

static bool gpus_have(const struct fitness_gpus *g, uint32_t xid)
{
	for (size_t i = 0; xid && i < g->count; i++)
		if (g->xids[i] == xid)
			return true;
	return false;
}

static uint32_t gpus_new_xid(const struct fitness_gpus *g, uint32_t old)
{
	for (size_t i = 0; i < g->count; i++)
		if (g->xids[i] != old)
			return g->xids[i];
	return 0;
}

static void gpus_become_old(struct fitness *f, const struct fitness_gpus *g, uint32_t keep)
{
	if (g->count || !g->spoiled)
		f->old_xid = gpus_have(g, keep) ? keep : g->count ? g->xids[0] : 0;
	f->old_dbe = g->spoiled ? MAX(f->old_dbe, g->dbe) : g->dbe;
	f->gpus_known = true;
}

static bool fitness_is_faulty(const struct fitness *f)
{
	return f->faulty && f->since_ns <= f->faulty_ns;
}

void fitness_gpus(struct fitness *f, const struct fitness_gpus *g, uint64_t now)
{
	bool first = !f->gpus_known;

	if (f->faulty) {
		/* The count is 0 again when the driver was loaded anew. */
		bool there = g->spoiled || (f->xid ? gpus_have(g, f->xid) : g->dbe > 0);

		f->faulty = fitness_is_faulty(f) && there;
		gpus_become_old(f, g, f->xid);
		return;
	}
	f->xid = first ? 0 : gpus_new_xid(g, f->old_xid);
	if (!first && (f->xid || g->dbe > f->old_dbe)) {
		f->faulty = true;
		f->faulty_ns = now;
	}
	gpus_become_old(f, g, f->xid ?: f->old_xid);
}

/* ---- the verdict ----------------------------------------------------------------- */

uint32_t fitness_judge(const struct fitness *f, const struct fitness_terms *t, uint64_t now)
{
	uint32_t awake = f->asleep ? PINTLE_UNFIT_ASLEEP : PINTLE_UNFIT_NOT;

	if (fitness_is_faulty(f))
		return PINTLE_UNFIT_FAULTY;
	if (!t->checked)
		return awake;
	if (fitness_proven(f))
		return f->failures < t->failures ? awake : PINTLE_UNFIT_UNHEALTHY;
	return fitness_young(f, t, now) ? PINTLE_UNFIT_STARTING : PINTLE_UNFIT_UNHEALTHY;
}
