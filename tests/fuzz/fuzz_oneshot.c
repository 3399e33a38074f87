// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the first ones of a connection, read by request.bpf.h and edited as by one-shot, and
 * compared with an independent parser of HTTP. The first byte of the input says what the pool
 * allows.
 *
 * sources:
 */
#include <string.h>

#include "../../userspace/base/util.h"
#include "handoff/oneshot_edit.bpf.h"
#include "fuzz.h"
#include "support_http.h"

/* ---- ours ------------------------------------------------------------------------ */

/* `beyond` is the byte behind the input, which in the kernel may be any. */
static void scan_bytes(struct request_scan *scan, const uint8_t *data, size_t size, int beyond,
		       const struct request_names *names)
{
	memset(scan->bytes, beyond, sizeof(scan->bytes));
	scan->size = (uint32_t)MIN(size, (size_t)REQUEST_MAX);
	memcpy(scan->bytes, data, scan->size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(scan, i, names))
			break;
}

static struct oneshot_edit read_first(const uint8_t *data, size_t size,
				      const struct pintle_rewrite *how, int beyond)
{
	static struct request_scan scan;
	static struct request_names names;
	struct oneshot_edit edit;

	oneshot_begin(&scan);
	scan_bytes(&scan, data, size, beyond, oneshot_names(how, &names));
	oneshot_decide(&scan, how, &edit);
	return edit;
}

/* The hand-off has read the request for other names. Where it says that those do not matter, the
 * edit is the same. */
static void check_other_names(const uint8_t *data, size_t size, const struct pintle_rewrite *how,
			      const struct oneshot_edit *want)
{
	static const struct request_names names = {{{"user-agent:"}, {"connection:"}, {"b:"}}};
	static struct request_scan scan;
	struct oneshot_edit edit;

	request_begin(&scan, 3, 8192);
	scan_bytes(&scan, data, size, 0, &names);
	if (oneshot_asks_names(&scan))
		return;
	oneshot_decide(&scan, how, &edit);
	PROMISE(!memcmp(&edit, want, sizeof(edit)));
}

/* The edit lies between the request line and the empty line, or is one byte of the request line. */
static void check_edit(const struct oneshot_edit *e, size_t size)
{
	PROMISE(e->result < PINTLE_ONESHOT_COUNT);
	if (e->kind == ONESHOT_NOTHING) {
		PROMISE(e->result > PINTLE_ONESHOT_REWRITTEN_VERSION);
		return;
	}
	PROMISE(e->result <= PINTLE_ONESHOT_REWRITTEN_VERSION);
	PROMISE(e->length >= 1 && e->length <= ONESHOT_LINE_MAX);
	PROMISE((size_t)e->offset + e->length + 4 <= MIN(size, (size_t)REQUEST_MAX));
}

/* ---- the independent parser ------------------------------------------------------- */

static bool same(const struct text *a, const struct text *b)
{
	return a->size == b->size && !memcmp(a->at ?: "", b->at ?: "", a->size);
}

/* The edited request differs in one header or in its version, and ends the connection with its
 * answer. */
static void check_request(const struct request *in, const struct request *out,
			  const struct oneshot_edit *e)
{
	size_t differ = 0;

	PROMISE(out->complete);
	PROMISE(in->method == out->method && same(&in->url, &out->url));
	PROMISE(in->body == out->body && in->names == out->names);
	PROMISE(in->major == 1 && in->minor == 1 && out->major == 1);
	PROMISE(out->minor == (e->kind == ONESHOT_DIGIT_0 ? 0 : 1));
	for (size_t i = 0; i < in->names; i++) {
		if (same(&in->name[i], &out->name[i]) && same(&in->value[i], &out->value[i]))
			continue;
		differ++;
		PROMISE(is(&out->name[i], "connection"));
		PROMISE(e->kind == ONESHOT_WORD_CLOSE ? is(&in->name[i], "connection")
						      : is(&out->value[i], "close"));
	}
	PROMISE(differ == (e->kind == ONESHOT_DIGIT_0 ? 0 : 1));
	PROMISE(!out->keep_alive && !out->upgrade);
}

/* ---- one input ------------------------------------------------------------------------ */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct pintle_rewrite pools[] = {
		{.headers = {{"accept-encoding:"}, {"user-agent:"}}},
		{.http10 = 1, .headers = {{"accept-encoding:"}, {"user-agent:"}}},
		{.http10 = 1},
		{.headers = {{"a:"}, {"x-request-identifier-of-it-all:"}, {"accept:"}, {"b:"}}},
	};
	static struct request in, out;
	static uint8_t bytes[1 << 16];
	const struct pintle_rewrite *how;
	struct oneshot_edit e, other;

	if (!size || size > sizeof(bytes))
		return 0;
	how = &pools[*data++ % ARRAY_SIZE(pools)];
	size--;
	e = read_first(data, size, how, 0);
	other = read_first(data, size, how, '\n');
	PROMISE(!memcmp(&e, &other, sizeof(e)));
	check_edit(&e, size);
	check_other_names(data, size, how, &e);
	if (e.kind == ONESHOT_NOTHING)
		return 0;
	memcpy(bytes, data, size);
	for (uint32_t i = 0; i < e.length; i++)
		bytes[e.offset + i] = oneshot_byte(&e, i);
	other = read_first(bytes, size, how, 0);
	PROMISE(other.kind == ONESHOT_NOTHING);
	parse(data, size, &in);
	if (!in.complete)
		return 0; /* no server would answer it */
	parse(bytes, size, &out);
	check_request(&in, &out, &e);
	return 0;
}
