// SPDX-License-Identifier: Apache-2.0
/*
 * A page of metrics text: any bytes at all, read by the reader and by every engine's table.
 *
 * sources: userspace/base/expfmt.c userspace/policy/engines.c
 * sources: userspace/policy/adapter_list.c userspace/policy/outcomes.c
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "../../userspace/base/expfmt.h"
#include "../../userspace/base/util.h"
#include "../../userspace/policy/adapter_list.h"
#include "../../userspace/policy/engines.h"
#include "../../userspace/policy/outcomes.h"
#include "fuzz.h"

static const char *const names[] = {"vllm:num_requests_waiting", "vllm:num", "v", "a_total", "a"};

static bool want_names(const char *name, size_t len, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == len && !memcmp(names[i], name, len))
			return true;
	return false;
}

static bool want_all(const char *name, size_t len, void *arg)
{
	(void)name;
	(void)len;
	(void)arg;
	return true;
}

static void check_sample(const struct expfmt_sample *s, const char *page, size_t size)
{
	static const char *const labels[] = {"gpu", "engine", "dp_rank", "a"};
	char small[4], large[300];

	PROMISE(!s->what || isnan(s->value));
	PROMISE(s->name_len && s->name >= page && s->name + s->name_len <= page + size);
	if (s->labels)
		PROMISE(s->labels > s->name + s->name_len - 1 &&
			s->labels + s->labels_len < page + size && s->labels[s->labels_len] == '}');
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
		bool has = expfmt_label(s, labels[i], large, sizeof(large));

		PROMISE(expfmt_label(s, labels[i], small, sizeof(small)) == has);
		if (has)
			PROMISE(strlen(small) < sizeof(small) && strlen(large) < sizeof(large));
	}
}

static void check_reader(const char *page, size_t size)
{
	struct expfmt_reader r;
	struct expfmt_sample s;
	size_t samples = 0;

	expfmt_init(&r, page, size);
	while (expfmt_next(&r, want_all, NULL, &s)) {
		check_sample(&s, page, size);
		PROMISE(++samples <= r.line && r.at <= r.end);
	}
	PROMISE(r.at == r.end && !expfmt_next(&r, want_all, NULL, &s));
}

/* The filter never changes the samples, only the cost of reading them. */
static void check_filter(const char *page, size_t size)
{
	struct expfmt_reader plain, filtered;
	struct expfmt_filter filter = {};
	struct expfmt_sample a, b;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expfmt_filter_add(&filter, names[(i + size) % ARRAY_SIZE(names)]);
	expfmt_init(&plain, page, size);
	expfmt_init(&filtered, page, size);
	filtered.filter = &filter;
	while (expfmt_next(&plain, want_names, NULL, &a)) {
		PROMISE(expfmt_next(&filtered, want_names, NULL, &b));
		PROMISE(a.name == b.name && plain.line == filtered.line);
	}
	if (!plain.bad)
		PROMISE(!expfmt_next(&filtered, want_names, NULL, &b) && !filtered.bad);
}

static void check_engine(const struct engine *e, const char *page, size_t size)
{
	static const double max[SIGNAL_COUNT] = {1e9, 1e9, 1, 1e18, 1e18, 1e18, 1e18, 1e12, 1e9};
	struct signals a, b;
	char fault[FAULT_SIZE] = "";
	size_t cut = size / 2;
	int r;

	memset(&a, 0x55, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	r = engine_read(e, page, size, &a, fault);
	/* Messages about any page are printable: a terminal must not take bytes of it for commands.
	 */
	PROMISE((!r || *fault) && memchr(fault, 0, sizeof(fault)));
	for (const char *p = fault; *p; p++)
		PROMISE(*p >= ' ' && *p <= '~');
	PROMISE(r == 0 || r == -ENODATA || r == -EBADMSG);
	PROMISE(engine_read(e, page, size, &b, NULL) == r && !memcmp(&a, &b, sizeof(a)));
	for (int i = 0; i < SIGNAL_COUNT && !r; i++)
		PROMISE(a.value[i] >= 0 && a.value[i] <= max[i] && (a.present[i] || !a.value[i]));
	for (int i = 0; i < SIGNAL_COUNT && !r; i++)
		PROMISE(!a.spoiled[i] || (!a.present[i] && *fault));
	if (!r)
		PROMISE(a.present[SIGNAL_WAITING] || a.spoiled[SIGNAL_WAITING]);
	/* A page that is cut inside a line is never believed. After "# EOF" a cut loses only blank
	 * lines. */
	if (cut && page[cut - 1] != '\n' && !memmem(page, cut, "# EOF", 5))
		PROMISE(engine_read(e, page, cut, &b, NULL) == -EBADMSG);
}

static void check_dcgm(const char *page, size_t size)
{
	struct dcgm_gpu gpu[16];
	int n = dcgm_read(page, size, gpu, ARRAY_SIZE(gpu), NULL);

	PROMISE(n == -EBADMSG || (n >= 0 && n <= (int)ARRAY_SIZE(gpu)));
	for (int i = 0; i < n; i++) {
		PROMISE(gpu[i].index >= -1 && memchr(gpu[i].pod, 0, sizeof(gpu[i].pod)));
		PROMISE(gpu[i].utilization >= 0 && gpu[i].utilization <= 1);
		PROMISE(gpu[i].memory >= 0 && gpu[i].memory <= 1);
	}
}

static void check_adapters(const char *page, size_t size)
{
	struct adapter_list l;

	adapter_list_read(page, size, &l);
	PROMISE(l.loaded <= l.n && l.n <= ADAPTER_LIST_MAX);
	PROMISE(l.used <= l.slots && l.slots <= ADAPTER_SLOTS_MAX);
	for (size_t i = 0; i < l.n; i++)
		for (size_t k = 0; k < i; k++)
			PROMISE(l.id[i] != l.id[k]);
}

/* A metric as the configuration names it, and a page read by it. */
static void check_named(const char *page, size_t size)
{
	size_t length = size < 64 ? size : 64;
	struct expfmt_sample m;
	struct engine *e;
	char text[65];
	char *own[ENGINE_NAMES] = {"a", NULL, text};

	memcpy(text, page, length);
	text[length] = '\0';
	if (!expfmt_read_metric(text, &m)) {
		PROMISE(engine_named(engine_find("auto"), own, &e) == -EINVAL);
		return;
	}
	PROMISE(m.name_len && m.name >= text && m.name + m.name_len <= text + length);
	PROMISE(expfmt_has_labels(&m, &m));
	PROMISE(!engine_named(engine_find("auto"), own, &e));
	check_engine(e, page, size);
	engine_free(e);
}

static void check_outcomes(const char *page, size_t size)
{
	struct outcomes o;

	outcomes_read(page, size, &o);
	PROMISE(o.ok >= 0 && o.refused >= 0 && o.failed >= 0);
	PROMISE(isfinite(o.ok) && isfinite(o.refused) && isfinite(o.failed));
	PROMISE(o.told || !(o.ok + o.refused + o.failed > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* ASan guards the end of the input, so it reports any read behind the page. */
	const char *page = (const char *)data;

	check_reader(page, size);
	check_filter(page, size);
	for (size_t i = 0; engine_name(i); i++)
		check_engine(engine_find(engine_name(i)), page, size);
	check_named(page, size);
	check_dcgm(page, size);
	check_adapters(page, size);
	check_outcomes(page, size);
	return 0;
}
