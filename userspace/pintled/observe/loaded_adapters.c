// SPDX-License-Identifier: Apache-2.0
#include "loaded_adapters.h"

#include <assert.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../policy/adapter_list.h"
#include "rule/loaded_adapters.bpf.h"
#include "../publish/model_pools.h"

#define WORDS PINTLE_ADAPTER_WORDS

/* A name of a pool's `models`. */
struct name {
	struct pintle_model_key key; /* its row in `models` */
	size_t pool;                 /* that serves it: an index into the configuration */
	uint64_t id;                 /* hash_text() */
	uint32_t number;             /* 0: it is no adapter, as far as is known */
};

/* Two pools may send requests for the same name to the same pool: that is one adapter. */
struct number {
	struct pintle_ref pool; /* that serves it; generation 0: the number is free */
	uint64_t id;
};

/* Whom requests for adapters were placed at, when its page was asked for the last two times. */
struct placed {
	uint32_t generation;
	uint64_t before[WORDS], now[WORDS];
};

struct loaded_adapters {
	const struct maps *m;
	const struct config *config;
	const struct publication *published;
	struct name *names;
	size_t count;
	struct number numbers[PINTLE_MAX_ADAPTERS];
	bool concern[PINTLE_MAX_POOLS]; /* by the pool's index: loaded_adapters_concern() */
	bool full;                      /* that there is no further number was said */
	struct placed placed[PINTLE_MAX_ENDPOINTS];
};

/* ---- numbers ---------------------------------------------------------------------- */

static struct pintle_ref serves(const struct loaded_adapters *a, const struct name *n)
{
	return a->published->pools[n->pool].ref;
}

static bool number_is(const struct number *n, const struct pintle_ref *pool, uint64_t id)
{
	return !memcmp(&n->pool, pool, sizeof(*pool)) && n->id == id;
}

static uint32_t number_find(const struct loaded_adapters *a, const struct pintle_ref *pool,
			    uint64_t id)
{
	for (uint32_t i = 1; i < PINTLE_MAX_ADAPTERS; i++)
		if (number_is(&a->numbers[i], pool, id))
			return i;
	return 0;
}

/* Returns 0 where all numbers are taken. */
static uint32_t number_take(struct loaded_adapters *a, const struct name *n)
{
	struct pintle_ref pool = serves(a, n);
	uint32_t number = number_find(a, &pool, n->id);

	for (uint32_t i = 1; !number && i < PINTLE_MAX_ADAPTERS; i++)
		if (!a->numbers[i].pool.generation)
			number = i;
	if (number) {
		a->numbers[number] = (struct number){pool, n->id};
		return number;
	}
	if (!a->full)
		log_warn("models has more than %d LoRA adapters; endpoints that have loaded %s are "
			 "not preferred. Remove names that are not used",
			 PINTLE_MAX_ADAPTERS - 1, n->key.name);
	a->full = true;
	return 0;
}

/* Nobody has the adapter of that number: it will be another one's. */
static void number_free(struct loaded_adapters *a, uint32_t number)
{
	for (size_t e = 0; e < PINTLE_MAX_ENDPOINTS; e++) {
		struct pintle_adapters *row = &a->m->adapters[e];
		uint64_t others = ~(1ULL << number % 64);

		__atomic_fetch_and(&row->loaded[number / 64], others, __ATOMIC_RELAXED);
		__atomic_fetch_and(&row->listed[number / 64], others, __ATOMIC_RELAXED);
		__atomic_fetch_and(&row->placed[number / 64], others, __ATOMIC_RELAXED);
	}
	for (size_t i = 0; i < PINTLE_ADAPTER_HOLDERS; i++)
		__atomic_store_n(&a->m->adapter_holders[number].of[i], 0, __ATOMIC_RELAXED);
	a->numbers[number] = (struct number){0};
}

/* ---- names ------------------------------------------------------------------------ */

/* An earlier daemon, or this one before a reload, may have given the name its number. */
static void name_adopt(struct loaded_adapters *a, struct name *n)
{
	uint32_t number = model_pools_adapter(a->m, &n->key);
	struct pintle_ref pool = serves(a, n);
	struct number *is = number < PINTLE_MAX_ADAPTERS ? &a->numbers[number] : NULL;

	if (!number)
		return;
	if (is && (!is->pool.generation || number_is(is, &pool, n->id))) {
		*is = (struct number){pool, n->id};
		n->number = number;
	} else {
		model_pools_set_adapter(a->m, &n->key, 0);
	}
}

static size_t names_most(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		n += c->pools[i].model_count;
	return n;
}

static void name_add(struct loaded_adapters *a, size_t from, const struct config_model *model)
{
	const struct config_pool *to = config_pool_named(a->config, model->pool);
	struct name *n = &a->names[a->count];

	if (!to || !strcmp(model->name, CONFIG_MODEL_DEFAULT))
		return;
	*n = (struct name){.key.pool = a->published->pools[from].ref,
			   .pool = (size_t)(to - a->config->pools),
			   .id = hash_text(model->name)};
	memcpy(n->key.name, model->name, sizeof(n->key.name));
	name_adopt(a, n);
	a->concern[n->pool] = to->weights.adapter > 0;
	a->count++;
}

static bool number_used(const struct loaded_adapters *a, uint32_t number)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->names[i].number == number)
			return true;
	return false;
}

bool loaded_adapters_concern(const struct loaded_adapters *a, size_t pool)
{
	return pool < ARRAY_SIZE(a->concern) && a->concern[pool];
}

/* What was known of the endpoints of a pool whose pages are no longer read for it. */
static void rows_forget(struct loaded_adapters *a, size_t pool)
{
	for (size_t i = 0; i < a->config->pools[pool].endpoint_count; i++) {
		struct pintle_ref ref = a->published->pools[pool].endpoints[i];
		struct pintle_adapters *row = &a->m->adapters[ref.id];

		if (row->generation == ref.generation)
			__atomic_store_n(&row->generation, 0, __ATOMIC_RELAXED);
	}
}

void loaded_adapters_configure(struct loaded_adapters *a, const struct config *c,
			       const struct publication *pub)
{
	size_t most = names_most(c);
	struct name *names = most ? calloc(most, sizeof(*names)) : NULL;

	assert(pub->pool_count == c->pool_count);
	if (most && !names)
		log_err_r(ENOMEM, "adapters");
	free(a->names);
	a->names = names;
	a->count = 0;
	memset(a->concern, 0, sizeof(a->concern));
	a->config = c;
	a->published = pub;
	for (size_t i = 0; names && i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].model_count; k++)
			name_add(a, i, &c->pools[i].models[k]);
	for (uint32_t i = 1; i < PINTLE_MAX_ADAPTERS; i++)
		if (a->numbers[i].pool.generation && !number_used(a, i)) {
			number_free(a, i);
			a->full = false;
		}
	for (size_t i = 0; i < c->pool_count; i++)
		if (!loaded_adapters_concern(a, i))
			rows_forget(a, i);
}

/* An endpoint of the pool says that this is an adapter. Adds its number to *set, if a request can
 * name it. */
static void adapter_seen(struct loaded_adapters *a, size_t pool, uint64_t id, uint64_t set[WORDS])
{
	for (size_t i = 0; i < a->count; i++) {
		struct name *n = &a->names[i];

		if (n->pool != pool || n->id != id)
			continue;
		if (!n->number) {
			n->number = number_take(a, n);
			if (n->number)
				model_pools_set_adapter(a->m, &n->key, n->number);
		}
		if (n->number)
			set[n->number / 64] |= 1ULL << n->number % 64;
	}
}

/* ---- what endpoints say --------------------------------------------------------------- */

static struct pintle_adapters *loaded_adapters_row_of(struct loaded_adapters *a,
						      struct pintle_ref endpoint)
{
	struct pintle_adapters *row = &a->m->adapters[endpoint.id];

	if (row->generation != endpoint.generation) {
		memset(row, 0, sizeof(*row));
		__atomic_store_n(&row->generation, endpoint.generation, __ATOMIC_RELEASE);
	}
	return row;
}

static void set_store(__u64 to[WORDS], const uint64_t from[WORDS])
{
	for (size_t i = 0; i < WORDS; i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

void loaded_adapters_begin(struct loaded_adapters *a, struct pintle_ref endpoint)
{
	const struct pintle_adapters *row = &a->m->adapters[endpoint.id];
	struct placed *p = &a->placed[endpoint.id];
	bool same = p->generation == endpoint.generation;

	for (size_t i = 0; i < WORDS; i++) {
		p->before[i] = same ? p->now[i] : 0;
		p->now[i] = __atomic_load_n(&row->placed[i], __ATOMIC_RELAXED);
	}
	p->generation = endpoint.generation;
}

static bool holder_has(const struct loaded_adapters *a, uint64_t holder, uint32_t number)
{
	uint32_t id = (uint32_t)holder;

	return id < PINTLE_MAX_ENDPOINTS &&
	       adapters_state(&a->m->adapters[id], (uint32_t)(holder >> 32), number) ==
		       ADAPTERS_LOADED;
}

/* Notes that the endpoint has the adapter, unless enough others do. */
static void holder_note(struct loaded_adapters *a, struct pintle_ref endpoint, uint32_t number)
{
	struct pintle_holders *h = &a->m->adapter_holders[number];

	for (uint32_t i = 0; i < PINTLE_ADAPTER_HOLDERS; i++)
		if (!holder_has(a, h->of[i], number)) {
			adapters_note(h, endpoint.id, endpoint.generation, i);
			return;
		}
}

static void holders_note(struct loaded_adapters *a, struct pintle_ref endpoint)
{
	const struct pintle_adapters *row = &a->m->adapters[endpoint.id];

	for (uint32_t i = 1; i < PINTLE_MAX_ADAPTERS; i++)
		if (a->numbers[i].pool.generation &&
		    adapters_state(row, endpoint.generation, i) == ADAPTERS_LOADED)
			holder_note(a, endpoint, i);
}

/* A request that was placed before the page was asked for the last time is on it, or over. One that
 * was placed since may not be on it yet. */
void loaded_adapters_page(struct loaded_adapters *a, struct pintle_ref endpoint, size_t pool,
			  const char *page, size_t size)
{
	const struct placed *p = &a->placed[endpoint.id];
	struct pintle_adapters *row = loaded_adapters_row_of(a, endpoint);
	uint64_t loaded[WORDS] = {0}, others[WORDS] = {0};
	struct adapter_list list;

	adapter_list_read(page, size, &list);
	for (size_t i = 0; i < list.n; i++)
		adapter_seen(a, pool, list.id[i], i < list.loaded ? loaded : others);
	set_store(row->loaded, loaded);
	for (size_t i = 0; i < WORDS; i++)
		__atomic_fetch_and(&row->placed[i], ~(p->before[i] & p->now[i]), __ATOMIC_RELAXED);
	row->used = (uint16_t)list.used;
	row->slots = (uint16_t)list.slots;
	holders_note(a, endpoint);
}

void loaded_adapters_list(struct loaded_adapters *a, struct pintle_ref endpoint, size_t pool,
			  const struct model_list *list)
{
	struct pintle_adapters *row = loaded_adapters_row_of(a, endpoint);
	uint64_t listed[WORDS] = {0};

	for (size_t i = 0; i < list->n; i++)
		if (list->adapter[i])
			adapter_seen(a, pool, list->id[i], listed);
	set_store(row->listed, listed);
	__atomic_store_n(&row->flags, list->n && !list->more ? PINTLE_ADAPTERS_LISTED : 0,
			 __ATOMIC_RELEASE);
	holders_note(a, endpoint);
}

/* ---- life ---------------------------------------------------------------------------- */

int loaded_adapters_new(const struct maps *m, struct loaded_adapters **out)
{
	struct loaded_adapters *a = calloc(1, sizeof(*a));

	if (!a)
		return log_err_r(ENOMEM, "adapters");
	a->m = m;
	*out = a;
	return 0;
}

void loaded_adapters_free(struct loaded_adapters *a)
{
	if (!a)
		return;
	free(a->names);
	free(a);
}
