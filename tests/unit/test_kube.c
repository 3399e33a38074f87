// SPDX-License-Identifier: Apache-2.0
/* The Kubernetes API as a client sees it: recorded answers of a real API server (1.36.3), answers
 * in pieces of every size, wrong ones, and a server that breaks off, refuses, lies and falls
 * silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/kubernetes/kube_access.h"
#include "../../userspace/kubernetes/kube_lines.h"
#include "../../userspace/kubernetes/kube_objects.h"
#include "../../userspace/kubernetes/kube_pools.h"
#include "../../userspace/kubernetes/kube_watch.h"

#define DATA "tests/data/kubernetes/" /* tests run in the top directory */

static char *slurp(const char *path, size_t *size)
{
	char *text = malloc(1 << 20);
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_non_null(text);
	*size = fread(text, 1, (1 << 20) - 1, f);
	text[*size] = '\0';
	fclose(f);
	return text;
}

/* ---- lines ------------------------------------------------------------------------------------
 */

struct heard {
	char text[4096];
	size_t size, lines, longest;
};

static bool on_line(const char *line, size_t size, void *arg)
{
	struct heard *h = arg;

	h->lines++;
	h->longest = MAX(h->longest, size);
	h->size += (size_t)snprintf(h->text + h->size, sizeof(h->text) - h->size, "%.*s|",
				    (int)MIN(size, (size_t)16), line);
	return true;
}

static void test_lines_in_pieces(void **state)
{
	static const char stream[] = "one\n\ntwo two\nthree\n\n\nfour";

	(void)state;
	for (size_t piece = 1; piece <= sizeof(stream); piece++) {
		struct kube_lines l = {0};
		struct heard h = {0};

		for (size_t at = 0; at < sizeof(stream) - 1; at += piece)
			assert_int_equal(kube_lines_feed(&l, stream + at,
							 MIN(piece, sizeof(stream) - 1 - at),
							 on_line, &h),
					 0);
		assert_string_equal(h.text, "one|two two|three|");
		assert_int_equal(kube_lines_feed(&l, "\n", 1, on_line, &h), 0);
		assert_string_equal(h.text, "one|two two|three|four|");
		kube_lines_free(&l);
	}
}

/* A line of 1.6 MB comes whole; one that is too long is left out, and the next one is not. */
static void test_long_lines(void **state)
{
	size_t size = KUBE_MAX_TEXT + 2;
	_cleanup_free_ char *text = malloc(size);
	struct kube_lines l = {0};
	struct heard h = {0};
	int err = 0;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', size);
	text[1600000] = '\n';
	for (size_t at = 0; at <= 1600000; at += 16384)
		assert_int_equal(kube_lines_feed(&l, text + at, MIN((size_t)16384, 1600001 - at),
						 on_line, &h),
				 0);
	assert_int_equal(h.longest, 1600000);
	text[1600000] = 'a';
	for (size_t at = 0; at < size; at += 16384)
		err = kube_lines_feed(&l, text + at, MIN((size_t)16384, size - at), on_line, &h)
			      ?: err;
	assert_int_equal(err, -EFBIG);
	assert_int_equal(kube_lines_feed(&l, "aaa\nnext\n", 9, on_line, &h), 0);
	assert_int_equal(h.lines, 2);
	assert_non_null(strstr(h.text, "|next|"));
	kube_lines_free(&l);
}

/* ---- pages and events --------------------------------------------------------------------------
 */

static const struct {
	const char *line, *version;
	int error; /* 0: it is an event */
	enum kube_event_type type;
	int code;
} events[] = {
	{"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}", "7", 0,
	 KUBE_ADDED, 0},
	{"{\"type\":\"DELETED\",\"object\":{}}\r", "", 0, KUBE_DELETED, 0},
	{"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"8\"}}}", "8", 0,
	 KUBE_BOOKMARK, 0},
	{"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
	 "\"status\":\"Failure\",\"message\":\"too old resource version: 1 (302)\","
	 "\"reason\":\"Expired\",\"code\":410}}",
	 "", 0, KUBE_ERROR, 410},
	/* It would add a header, or another parameter, to the next request. */
	{"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"7&watch=0\"}}}", "",
	 0, KUBE_ADDED, 0},
	{"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":7}}}", "", 0,
	 KUBE_ADDED, 0},
	{"{\"type\":\"NEW\",\"object\":{}}", NULL, -EBADMSG, 0, 0},
	{"{\"type\":\"ADDED\"}", NULL, -EBADMSG, 0, 0},
	{"{\"type\":\"ADDED\",\"object\":[]}", NULL, -EBADMSG, 0, 0},
	{"{\"type\":\"ADDED\",\"object\":{}", NULL, -EBADMSG, 0, 0},
	{"{\"type\":\"ADDED\",\"object\":{}}{}", NULL, -EBADMSG, 0, 0},
	{"404 page not found", NULL, -EBADMSG, 0, 0},
	{"[]", NULL, -EBADMSG, 0, 0},
	{"", NULL, -EBADMSG, 0, 0},
};

static void test_events(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		size_t size = strlen(events[i].line);
		/* Without a NUL behind it: a sanitizer reports reading on. */
		_cleanup_free_ char *line = malloc(size + !size);
		struct kube_event e;

		memcpy(line, events[i].line, size);
		if (kube_event_read(line, size, &e) != events[i].error)
			fail_msg("%s", events[i].line);
		if (events[i].error)
			continue;
		assert_int_equal(e.type, events[i].type);
		assert_string_equal(e.version, events[i].version);
		assert_int_equal(e.code, events[i].code);
		cJSON_Delete(e.object);
	}
}

static void test_pages(void **state)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"404 page not found",
		"{\"metadata\":{},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"1\"}}",
		"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":{}}",
	};
	static const char more[] = "{\"items\":null,\"metadata\":{\"resourceVersion\":\"1\","
				   "\"continue\":\"abc\"}}";
	struct kube_page p;
	size_t size;
	_cleanup_free_ char *text = slurp(DATA "services.json", &size);

	(void)state;
	assert_int_equal(kube_page_read(text, size, &p), 0);
	assert_string_equal(p.version, "303");
	assert_null(p.more);
	assert_int_equal(cJSON_GetArraySize(p.items), 2);
	cJSON_Delete(p.root);
	for (size_t cut = 0; cut < size - 1; cut++)
		assert_int_equal(kube_page_read(text, cut, &p), -EBADMSG);
	assert_int_equal(kube_page_read(more, strlen(more), &p), 0);
	assert_string_equal(p.more, "abc");
	cJSON_Delete(p.root);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(kube_page_read(bad[i], strlen(bad[i]), &p), -EBADMSG);
}

/* ---- Services and slices into pools
 * -------------------------------------------------------------- */

#define META(labels)                                                                               \
	"\"metadata\":{\"namespace\":\"a\",\"name\":\"s\",\"labels\":{" labels                     \
	"},\"creationTimestamp\":\"2026-11-21T07:45:09Z\"}"
#define ENFORCE "\"pintle.dev/mode\":\"enforce\""
#define IP4     "\"clusterIP\":\"10.96.0.5\",\"clusterIPs\":[\"10.96.0.5\"]"
#define BOTH    "\"clusterIP\":\"10.96.0.5\",\"clusterIPs\":[\"10.96.0.5\",\"fd96::5\"]"
#define PORT80  "\"ports\":[{\"port\":80,\"targetPort\":8000}]"
#define TWO                                                                                        \
	"\"ports\":[{\"name\":\"a\",\"port\":80,\"targetPort\":\"web\"},"                          \
	"{\"name\":\"b\",\"port\":81,\"targetPort\":9000}]"
#define SLICE(name, type, ports, endpoints)                                                        \
	"{\"metadata\":{\"namespace\":\"a\",\"name\":\"" name                                      \
	"\",\"labels\":{\"kubernetes.io/service-name\":\"s\"}},\"addressType\":\"" type            \
	"\",\"ports\":" ports ",\"endpoints\":" endpoints "}"
#define INTERCEPTED(more)                                                                          \
	"{\"metadata\":{\"namespace\":\"a\",\"name\":\"s\",\"labels\":{" ENFORCE                   \
	"},\"annotations\":{\"pintle.dev/intercept\":\"endpoints\"," more "}},\"spec\":{" IP4      \
	"," PORT80 "}}"
#define OWN(uid, node, ip, spec)                                                                   \
	"{\"metadata\":{\"namespace\":\"a\",\"name\":\"p\",\"uid\":\"" uid                         \
	"\"},\"spec\":{\"nodeName\":\"" node "\"" spec "},\"status\":{\"podIPs\":[{\"ip\":\"" ip   \
	"\"}]}}"
#define AT8000          "[{\"port\":8000}]"
#define TRUE_TRUE_FALSE "{\"ready\":true,\"serving\":true,\"terminating\":false}"
#define POD(name, ip, is)                                                                          \
	"{\"addresses\":[\"" ip "\"],\"conditions\":" is ",\"targetRef\":"                         \
	"{\"kind\":\"Pod\",\"name\":\"" name "\"}}"
#define OWNED(name, ip, ready, node, uid)                                                          \
	"{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":" ready "},\"nodeName\":\"" node    \
	"\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"" name "\",\"uid\":\"" uid "\"}}"
#define PLACED(name, ip, node, zone)                                                               \
	"{\"addresses\":[\"" ip "\"],\"nodeName\":\"" node "\",\"zone\":\"" zone                   \
	"\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"" name "\"}}"
#define HINTED(name, ip, node, zone, hints)                                                        \
	"{\"addresses\":[\"" ip "\"],\"nodeName\":\"" node "\",\"zone\":\"" zone                   \
	"\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"" name "\"},\"hints\":{" hints "}}"
#define FOR_ZONE(zone) "\"forZones\":[{\"name\":\"" zone "\"}]"
#define FOR_NODE(node) "\"forNodes\":[{\"name\":\"" node "\"}]"
#define AT_PLACE(name, ip, place)                                                                  \
	"{\"name\":\"" name "\",\"address\":\"" ip "\",\"place\":\"" place "\"}"
#define ENDPOINT(name, ip) "{\"name\":\"" name "\",\"address\":\"" ip "\"}"
#define DRAINED(name, ip)  "{\"name\":\"" name "\",\"address\":\"" ip "\",\"drained\":true}"
#define POOL(name, mode, frontends, endpoints)                                                     \
	"{\"name\":\"" name "\",\"engine\":\"auto\",\"mode\":\"" mode                              \
	"\",\"frontends\":[" frontends "],\"endpoints\":[" endpoints "]}"
#define F4 "\"10.96.0.5:80\""

/* Two clients on this node; the second has not all of the labels. */
static char gateway[] = "\nrole=gw\n\ntier=2\n", other[] = "\nrole=gw\n\ntier=3\n";
static const struct kube_pod clients[] = {{.uid = "00c3", .labels = gateway},
					  {.uid = "00d4", .labels = other}};
static const struct kube_pod *const on_node[] = {&clients[0], &clients[1]};
static const struct kube_here here = {.node = "here",
				      .zone = "z1",
				      .pods = on_node,
				      .pod_count = ARRAY_SIZE(on_node)},
			      nowhere = {.zone = ""};

static const struct {
	const char *what, *service, *slices[3];
	const char *pools[3]; /* NULL: no further one */
	const char *why;
	const char *pods_own[3]; /* of the Service's selector */
	const char *direct;      /* why pods' own addresses are left alone; NULL: nothing */
} cases[] = {
	{"one port, one ready pod",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000, "[" POD("p0", "10.9.0.2", TRUE_TRUE_FALSE) "]")},
	 {POOL("a/s", "enforce", F4, ENDPOINT("p0", "10.9.0.2:8000"))},
	 .why = ""},
	{"not ready, terminating, conditions unknown, twice in two slices, in the order of names",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" POD("p3", "10.9.0.3", "{}") "," POD("p1", "10.9.0.1", "{\"ready\":false}") "," POD(
			"p2", "10.9.0.2",
			"{\"ready\":false,\"serving\":false,\"terminating\":true}") "]"),
	  SLICE("y", "IPv4", AT8000,
		"[" POD("p0", "10.9.0.9", "{\"ready\":null}") "," POD("p3", "10.9.0.3",
								      TRUE_TRUE_FALSE) "]")},
	 {POOL("a/s", "enforce", F4,
	       ENDPOINT("p0", "10.9.0.9:8000") "," ENDPOINT("p3", "10.9.0.3:8000"))},
	 .why = ""},
	{"a pod that terminates and serves is drained, also where pods are published that are not ready",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" POD("p0", "10.9.0.2", TRUE_TRUE_FALSE) "," POD("p1", "10.9.0.3", "{\"ready\":false,\"serving\":true,\"terminating\":true}") "," POD(
			"p2", "10.9.0.4",
			"{\"ready\":true,\"serving\":false,\"terminating\":true}") "]")},
	 {POOL("a/s", "enforce", F4,
	       ENDPOINT("p0", "10.9.0.2:8000") "," DRAINED("p1", "10.9.0.3:8000") "," DRAINED(
		       "p2", "10.9.0.4:8000"))},
	 .why = ""},
	{"pods' own addresses are intercepted, but for the Service's own pods of this node, and "
	 "those that it names",
	 INTERCEPTED("\"pintle.dev/intercept-except\":\"app=none role=gw,tier=2\""),
	 {SLICE("x", "IPv4", AT8000,
		"[" OWNED("p0", "10.9.0.2", "true", "here", "u-0") "," OWNED(
			"p1", "10.9.0.3", "false", "here",
			"u-1") "," OWNED("p2", "10.9.0.4", "true", "there", "u-2") "]"),
	  SLICE("y", "IPv4", AT8000, "[" OWNED("p0", "10.9.0.2", "true", "here", "u-0") "]")},
	 {"{\"name\":\"a/s\",\"engine\":\"auto\",\"mode\":\"enforce\",\"frontends\":[" F4
	  "],\"endpoints\":[" AT_PLACE("p0", "10.9.0.2:8000", "node") "," AT_PLACE(
		  "p2", "10.9.0.4:8000",
		  "zone") "],\"intercept\":\"endpoints\",\"interceptExcept\":"
			  "[\"pod/00a0\",\"pod/00b1\",\"pod/00c3\"]}"},
	 .why = "",
	 .pods_own = {OWN("00a0", "here", "10.9.0.2", ""), OWN("00b1", "here", "10.9.0.3", ""),
		      OWN("00c2", "there", "10.9.0.4", "")}},
	{"somebody else's address in a slice, or a node's: no connection to a pod is drawn",
	 INTERCEPTED("\"a\":\"b\""),
	 {SLICE("x", "IPv4", AT8000,
		"[" OWNED("p0", "10.9.0.2", "true", "here",
			  "u-0") "," OWNED("p1", "10.9.0.3", "true", "here", "u-1") "]")},
	 {POOL("a/s", "enforce", F4,
	       AT_PLACE("p0", "10.9.0.2:8000", "node") "," AT_PLACE("p1", "10.9.0.3:8000",
								    "node"))},
	 .why = "",
	 .pods_own = {OWN("00a0", "here", "10.9.0.2", ""),
		      OWN("00b1", "here", "10.9.0.3", ",\"hostNetwork\":true")},
	 .direct =
		 "10.9.0.3:8000 is the address of no pod that its selector finds in its namespace and that "
		 "has a network of its own"},
	{"selectors that are none",
	 INTERCEPTED("\"pintle.dev/intercept-except\":\"app\""),
	 {NULL},
	 {NULL},
	 .why = "its annotation pintle.dev/intercept-except names no pods by their labels; write such as "
		"app=prometheus"},
	{"a word that intercepts nothing",
	 "{\"metadata\":{\"namespace\":\"a\",\"name\":\"s\",\"labels\":{" ENFORCE
	 "},\"annotations\":{\"pintle.dev/intercept\":\"pods\"}},\"spec\":{" IP4 "," PORT80 "}}",
	 {NULL},
	 {NULL},
	 .why = "its annotation pintle.dev/intercept is 'pods', which is no such word; write endpoints, or "
		"remove it"},
	{"on this node, in its zone, elsewhere, and on a node whose zone is not known",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" PLACED("p0", "10.9.0.1", "here", "z1") "," PLACED(
			"p1", "10.9.0.2", "there",
			"z1") "," PLACED("p2", "10.9.0.3", "there",
					 "z2") "," PLACED("p3", "10.9.0.4", "there", "") "]")},
	 {POOL("a/s", "enforce", F4,
	       AT_PLACE("p0", "10.9.0.1:8000", "node") "," AT_PLACE(
		       "p1", "10.9.0.2:8000",
		       "zone") "," AT_PLACE("p2", "10.9.0.3:8000",
					    "away") "," AT_PLACE("p3", "10.9.0.4:8000", "zone"))},
	 .why = ""},
	{"hints of zones: those for this node's zone",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" HINTED("p0", "10.9.0.1", "there", "z1", FOR_ZONE("z1")) "," HINTED(
			"p1", "10.9.0.2", "far", "z2", FOR_ZONE("z2")) "]")},
	 {POOL("a/s", "enforce", F4, AT_PLACE("p0", "10.9.0.1:8000", "zone"))},
	 .why = ""},
	{"one endpoint has no hint: none counts",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" HINTED("p0", "10.9.0.1", "there", "z1",
			   FOR_ZONE("z1")) "," HINTED("p1", "10.9.0.2", "far", "z2", "") "]")},
	 {POOL("a/s", "enforce", F4,
	       AT_PLACE("p0", "10.9.0.1:8000", "zone") "," AT_PLACE("p1", "10.9.0.2:8000",
								    "away"))},
	 .why = ""},
	{"no hint is for this node's zone: none counts",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" HINTED("p0", "10.9.0.1", "there", "z1", FOR_ZONE("z")) "," HINTED(
			"p1", "10.9.0.2", "far", "z2", FOR_ZONE("z11")) "]")},
	 {POOL("a/s", "enforce", F4,
	       AT_PLACE("p0", "10.9.0.1:8000", "zone") "," AT_PLACE("p1", "10.9.0.2:8000",
								    "away"))},
	 .why = ""},
	{"hints of nodes count before those of zones",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" HINTED("p0", "10.9.0.1", "here", "z1",
			   FOR_NODE("here") "," FOR_ZONE(
				   "z1")) "," HINTED("p1", "10.9.0.2", "there", "z1",
						     FOR_NODE("there") "," FOR_ZONE("z1")) "]")},
	 {POOL("a/s", "enforce", F4, AT_PLACE("p0", "10.9.0.1:8000", "node"))},
	 .why = ""},
	{"each target is a pool; a named one differs from slice to slice",
	 "{" META("\"pintle.dev/mode\":\"baseline\"") ",\"spec\":{" IP4 "," TWO "}}",
	 {SLICE("x", "IPv4", "[{\"name\":\"b\",\"port\":9000},{\"name\":\"a\",\"port\":8000}]",
		"[" POD("p0", "10.9.0.2", TRUE_TRUE_FALSE) "]"),
	  SLICE("y", "IPv4", "[{\"name\":\"b\",\"port\":9000},{\"name\":\"a\",\"port\":8001}]",
		"[" POD("p1", "10.9.0.3", TRUE_TRUE_FALSE) "]")},
	 {POOL("a/s:a", "baseline", F4,
	       ENDPOINT("p0", "10.9.0.2:8000") "," ENDPOINT("p1", "10.9.0.3:8001")),
	  POOL("a/s:b", "baseline", "\"10.96.0.5:81\"",
	       ENDPOINT("p0", "10.9.0.2:9000") "," ENDPOINT("p1", "10.9.0.3:9000"))},
	 .why = ""},
	{"a pod in both families; the second has a suffix",
	 "{" META(ENFORCE) ",\"spec\":{" BOTH "," PORT80 "}}",
	 {SLICE("x", "IPv6", AT8000, "[" POD("p0", "fd09::2", TRUE_TRUE_FALSE) "]"),
	  SLICE("y", "IPv4", AT8000, "[" POD("p0", "10.9.0.2", TRUE_TRUE_FALSE) "]")},
	 {POOL("a/s", "enforce", F4 ",\"[fd96::5]:80\"",
	       ENDPOINT("p0", "10.9.0.2:8000") "," ENDPOINT("p0..ipv6", "[fd09::2]:8000"))},
	 .why = ""},
	{"addresses of no pod; a family that the Service has not; a foreign name",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"10.9.0.7\"]}]"),
	  SLICE("y", "IPv6", AT8000, "[{\"addresses\":[\"fd00::\"]}]"),
	  SLICE("z", "FQDN", AT8000, "[{\"addresses\":[\"example.com\"]}]")},
	 {POOL("a/s", "enforce", F4, ENDPOINT("10.9.0.7", "10.9.0.7:8000"))},
	 .why = ""},
	{"no pod is ready",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", "null", "null")},
	 {NULL},
	 .why = "port 80 has no ready endpoint"},
	{"off",
	 "{" META("\"pintle.dev/mode\":\"off\"") ",\"spec\":{" IP4 "," PORT80 "}}",
	 {NULL},
	 {NULL},
	 .why = "its label pintle.dev/mode says off"},
	{"an unknown mode",
	 "{" META("\"pintle.dev/mode\":\"on\"") ",\"spec\":{" IP4 "," PORT80 "}}",
	 {NULL},
	 {NULL},
	 .why = "its label pintle.dev/mode is 'on', which is no mode; write enforce, shadow, baseline "
		"or off"},
	{"shadow",
	 "{" META("\"pintle.dev/mode\":\"shadow\"") ",\"spec\":{" IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000, "[" POD("p0", "10.9.0.2", TRUE_TRUE_FALSE) "]")},
	 {POOL("a/s", "shadow", F4, ENDPOINT("p0", "10.9.0.2:8000"))},
	 .why = ""},
	{"headless",
	 "{" META(ENFORCE) ",\"spec\":{\"clusterIP\":\"None\",\"clusterIPs\":[\"None\"]," PORT80
			   "}}",
	 {NULL},
	 {NULL},
	 .why = "it has no ClusterIP: clients of a headless Service, or of an "
		"ExternalName, dial other addresses"},
	{"internalTrafficPolicy",
	 "{" META(ENFORCE) ",\"spec\":{\"internalTrafficPolicy\":\"Local\"," IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000,
		"[" OWNED("p0", "10.9.0.2", "true", "there",
			  "u-0") "," OWNED("p1", "10.9.0.3", "true", "here", "u-1") "]")},
	 {POOL("a/s", "enforce", F4, AT_PLACE("p1", "10.9.0.3:8000", "node"))},
	 .why = ""},
	{"no pod on this node",
	 "{" META(ENFORCE) ",\"spec\":{\"internalTrafficPolicy\":\"Local\"," IP4 "," PORT80 "}}",
	 {SLICE("x", "IPv4", AT8000, "[" OWNED("p0", "10.9.0.2", "true", "there", "u-0") "]")},
	 {NULL},
	 .why = "port 80 has no ready endpoint on node here"},
	{"UDP alone",
	 "{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":53,\"protocol\":\"UDP\"}]}}",
	 {NULL},
	 {NULL},
	 .why = "it has no TCP port"},
};

static cJSON *json(const char *text)
{
	cJSON *o = cJSON_Parse(text);

	if (!o)
		fail_msg("no JSON: %s", text);
	return o;
}

static void read_service(const char *text, struct kube_service *s)
{
	cJSON *o = json(text);
	char why[KUBE_WHY_SIZE];

	if (kube_service_read(o, s, why))
		fail_msg("%s: %s", text, why);
	cJSON_Delete(o);
}

static void test_pools(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kube_slice slices[3] = {0};
		const struct kube_slice *const all[] = {&slices[0], &slices[1], &slices[2]};
		struct kube_pod pods[3] = {0};
		const struct kube_pod *const own[] = {&pods[0], &pods[1], &pods[2]};
		struct kube_parts parts = {.here = &here, .slices = all, .pods = own};
		struct config_founds f = {0};
		struct kube_service s;
		struct kube_whys whys;
		char why[KUBE_WHY_SIZE];
		size_t n = 0;

		read_service(cases[i].service, &s);
		for (; n < ARRAY_SIZE(slices) && cases[i].slices[n]; n++) {
			cJSON *o = json(cases[i].slices[n]);

			assert_int_equal(kube_slice_read(o, &slices[n], why), 0);
			cJSON_Delete(o);
		}
		parts.slice_count = n;
		for (size_t k = 0; k < ARRAY_SIZE(pods) && cases[i].pods_own[k]; k++) {
			cJSON *o = json(cases[i].pods_own[k]);

			assert_int_equal(kube_pod_read(o, &pods[k], why), 0);
			parts.pod_count++;
			cJSON_Delete(o);
		}
		assert_int_equal(kube_pools_add(&f, &s, &parts, NULL, &whys), 0);
		assert_string_equal(whys.left, cases[i].why);
		assert_string_equal(whys.direct, cases[i].direct ?: "");
		for (size_t k = 0; k < ARRAY_SIZE(cases[i].pools) && cases[i].pools[k]; k++) {
			if (k >= f.count)
				fail_msg("%s: only %zu pools", cases[i].what, f.count);
			assert_string_equal(f.all[k].text, cases[i].pools[k]);
		}
		assert_true(f.count == ARRAY_SIZE(cases[i].pools) || !cases[i].pools[f.count]);
		for (size_t k = 0; k < n; k++)
			kube_slice_clear(&slices[k]);
		for (size_t k = 0; k < ARRAY_SIZE(pods); k++)
			kube_pod_clear(&pods[k]);
		kube_service_clear(&s);
		config_founds_free(&f);
	}
}

/* How a Service is reached besides by its ClusterIP. */
static void test_outside(void **state)
{
	static const struct {
		const char *spec;
		uint32_t by;
	} rows[] = {
		{"\"type\":\"ClusterIP\"", 0},
		{"\"type\":\"ClusterIP\",\"ports\":[{\"port\":80,\"nodePort\":30080}]", 0},
		{"\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30080}]",
		 KUBE_BY_NODE_PORT},
		{"\"type\":\"LoadBalancer\",\"ports\":[{\"port\":80,\"nodePort\":30080}]",
		 KUBE_BY_NODE_PORT | KUBE_BY_LOAD_BALANCER},
		/* allocateLoadBalancerNodePorts: false */
		{"\"type\":\"LoadBalancer\",\"ports\":[{\"port\":80}]", KUBE_BY_LOAD_BALANCER},
		{"\"externalIPs\":[\"192.0.2.1\"]", KUBE_BY_EXTERNAL_IP},
		{"\"type\":7,\"externalIPs\":{},\"ports\":[{\"port\":80,\"nodePort\":-1}]", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct kube_service s;
		char text[512];

		snprintf(text, sizeof(text), "{" META(ENFORCE) ",\"spec\":{%s}}", rows[i].spec);
		read_service(text, &s);
		assert_int_equal(s.outside, rows[i].by);
		kube_service_clear(&s);
	}
}

/* Which Services are frontends of one pool. */
static void test_alike(void **state)
{
	static const struct {
		const char *spec;
		bool alike; /* to one with `a` as selector and nothing else */
	} others[] = {
		{"\"selector\":{\"app\":\"a\"}", true},
		{"\"selector\":{\"app\":\"b\"}", false},
		{"\"ports\":[]", false},
		{"\"selector\":{\"app\":\"a\"},\"internalTrafficPolicy\":\"Cluster\"", true},
		{"\"selector\":{\"app\":\"a\"},\"internalTrafficPolicy\":\"Local\"", false},
		{"\"selector\":{\"app\":\"a\"},\"trafficDistribution\":\"PreferSameZone\"", false},
		{"\"selector\":{\"app\":\"a\"},\"trafficDistribution\":\"PreferSameNode\"", false},
	};
	struct kube_service one, two, near, zone;

	(void)state;
	read_service("{" META(ENFORCE) ",\"spec\":{\"selector\":{\"app\":\"a\"}}}", &one);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		char text[512];

		snprintf(text, sizeof(text), "{" META(ENFORCE) ",\"spec\":{%s}}", others[i].spec);
		read_service(text, &two);
		assert_int_equal(kube_pools_alike(&one, &two), others[i].alike);
		assert_int_equal(kube_pools_alike(&two, &one), others[i].alike);
		kube_service_clear(&two);
	}
	read_service("{" META(ENFORCE) ",\"spec\":{\"selector\":{\"app\":\"a\"},"
				       "\"trafficDistribution\":\"PreferClose\"}}",
		     &near);
	read_service("{" META(ENFORCE) ",\"spec\":{\"selector\":{\"app\":\"a\"},"
				       "\"trafficDistribution\":\"PreferSameZone\"}}",
		     &zone);
	assert_true(kube_pools_alike(&near, &zone));
	kube_service_clear(&one);
	kube_service_clear(&near);
	kube_service_clear(&zone);
}

/* The recorded Service with two targets, while a pod of it terminates. */
static void test_recorded(void **state)
{
	struct kube_service s;
	struct kube_slice slice;
	const struct kube_slice *const all[] = {&slice};
	const struct kube_parts parts = {.here = &nowhere, .slices = all, .slice_count = 1};
	struct config_founds f = {0};
	struct kube_page services, slices;
	char why[KUBE_WHY_SIZE];
	struct kube_whys whys;
	size_t size;
	_cleanup_free_ char *one = slurp(DATA "services.json", &size), *two = NULL;

	(void)state;
	assert_int_equal(kube_page_read(one, size, &services), 0);
	two = slurp(DATA "slices.json", &size);
	assert_int_equal(kube_page_read(two, size, &slices), 0);
	assert_int_equal(kube_service_read(cJSON_GetArrayItem(services.items, 0), &s, why), 0);
	assert_int_equal(kube_slice_read(cJSON_GetArrayItem(slices.items, 0), &slice, why), 0);
	assert_string_equal(slice.service, "two");
	assert_int_equal(kube_pools_add(&f, &s, &parts, NULL, &whys), 0);
	assert_string_equal(whys.left, "");
	assert_int_equal(f.count, 2);
	assert_string_equal(
		f.all[0].text,
		POOL("llm/two:http", "baseline", "\"10.96.251.191:80\",\"10.96.251.191:8080\"",
		     ENDPOINT("vllm-0", "10.9.0.2:8000") "," ENDPOINT(
			     "vllm-1", "10.9.0.3:8000") "," DRAINED("vllm-2", "10.9.0.4:8000")));
	assert_string_equal(
		f.all[1].text,
		POOL("llm/two:metrics", "baseline", "\"10.96.251.191:9000\"",
		     ENDPOINT("vllm-0", "10.9.0.2:9001") "," ENDPOINT(
			     "vllm-1", "10.9.0.3:9001") "," DRAINED("vllm-2", "10.9.0.4:9001")));
	assert_true(kube_pool_is_of("llm/two:http", "llm/two"));
	assert_false(kube_pool_is_of("llm/two2", "llm/two"));
	config_founds_free(&f);
	kube_slice_clear(&slice);
	kube_service_clear(&s);
	cJSON_Delete(services.root);
	cJSON_Delete(slices.root);
}

/* Objects that the API server would not have accepted. */
static void test_refused_objects(void **state)
{
	static const char *const services[] = {
		"{}",
		"{\"metadata\":{\"namespace\":\"a/b\",\"name\":\"s\"}}",
		"{\"metadata\":{\"namespace\":\"a\",\"name\":\"S\"}}",
		"{" META(ENFORCE) ",\"spec\":{\"clusterIPs\":[\"1.2.3\"]," PORT80 "}}",
		"{" META(ENFORCE) ",\"spec\":{\"clusterIPs\":[\"1.2.3.4\",\"::1\",\"::2\"]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":0}]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":65536}]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":80.5}]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":\"80\"}]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4
				  ",\"ports\":[{\"port\":80,\"targetPort\":{}}]}}",
		"{" META(ENFORCE) ",\"spec\":{" IP4 ",\"ports\":[{\"port\":80,\"name\":\"a b\"}]}}",
	};
	static const char *const slices[] = {
		"{}",
		"{\"metadata\":{\"namespace\":\"a\",\"name\":\"x\"}}",
		SLICE("x", "IPv4", "[{\"port\":-1}]", "[]"),
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[]}]"),
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"example.com\"]}]"),
		/* Addresses that no pod can have; pintled would read a cloud's metadata there. */
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"169.254.169.254\"]}]"),
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"127.0.0.53\"]}]"),
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"0.0.0.0\"]}]"),
		SLICE("x", "IPv4", AT8000, "[{\"addresses\":[\"224.0.0.251\"]}]"),
		SLICE("x", "IPv6", AT8000, "[{\"addresses\":[\"::ffff:169.254.169.254\"]}]"),
		SLICE("x", "IPv6", AT8000, "[{\"addresses\":[\"fe80::1\"]}]"),
		SLICE("x", "IPv6", AT8000, "[{\"addresses\":[\"::1\"]}]"),
		SLICE("x", "IPv6", AT8000, "[{\"addresses\":[\"::\"]}]"),
		SLICE("x", "IPv4", AT8000, "[" POD("A b", "10.0.0.1", "{}") "]"),
	};
	static struct kube_service s;
	struct kube_slice slice;
	char why[KUBE_WHY_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
		cJSON *o = json(services[i]);

		why[0] = '\0';
		if (kube_service_read(o, &s, why) != -EBADMSG || !why[0])
			fail_msg("%s", services[i]);
		cJSON_Delete(o);
	}
	for (size_t i = 0; i < ARRAY_SIZE(slices); i++) {
		cJSON *o = json(slices[i]);

		why[0] = '\0';
		if (kube_slice_read(o, &slice, why) != -EBADMSG || !why[0])
			fail_msg("%s", slices[i]);
		cJSON_Delete(o);
	}
}

/* ---- Pods ------------------------------------------------------------------------------- */

#define POD_META(more) "\"metadata\":{\"namespace\":\"llm\",\"name\":\"chat-0\"" more "}"
#define IS_READY(word) "\"conditions\":[{\"type\":\"Ready\",\"status\":\"" word "\"}]"
#define UID            "7d1c2b3a-0000-4000-8000-000000000001"

static void test_pods(void **state)
{
	static const struct {
		const char *text, *uid, *account;
		size_t addresses;
		bool running, ready;
	} rows[] = {
		{"{" POD_META(",\"uid\":\"" UID "\"") "}", UID, "default", 0, false, false},
		{"{" POD_META(
			 ",\"uid\":\"" UID
			 "\"") ",\"spec\":{\"serviceAccountName\":\"batch\"},"
			       "\"status\":{\"phase\":\"Running\",\"podIPs\":[{\"ip\":\"10.9.0.2\"},"
			       "{\"ip\":\"fd09::2\"}]," IS_READY("True") "}}",
		 UID, "batch", 2, true, true},
		{"{" POD_META(",\"uid\":\"" UID
			      "\"") ",\"status\":{\"phase\":\"Running\"," IS_READY("False") "}}",
		 UID, "default", 0, true, false},
		{"{" POD_META(",\"uid\":\"" UID
			      "\"") ",\"status\":{\"phase\":\"Failed\"," IS_READY("True") "}}",
		 UID, "default", 0, false, false},
		{"{" POD_META(",\"uid\":\"" UID "\"") ",\"status\":{\"podIP\":\"10.0.0.1\"}}", UID,
		 "default", 1, false, false},
		/* A static pod's cgroup is named by the hash of its file. */
		{"{" POD_META(
			 ",\"uid\":\"" UID "\",\"annotations\":{"
			 "\"kubernetes.io/config.hash\":\"0123456789abcdef0123456789abcdef\"}") "}",
		 "0123456789abcdef0123456789abcdef", "default", 0, false, false},
		{"{}", NULL, NULL, 0, false, false},
		{"{" POD_META("") "}", NULL, NULL, 0, false, false},
		{"{" POD_META(",\"uid\":\"../..\"") "}", NULL, NULL, 0, false, false},
		{"{" POD_META(",\"uid\":\"" UID "\"") ",\"spec\":{\"serviceAccountName\":\"A b\"}}",
		 NULL, NULL, 0, false, false},
		{"{" POD_META(",\"uid\":\"" UID "\"") ",\"status\":{\"podIP\":\"127.0.0.1\"}}",
		 NULL, NULL, 0, false, false},
		{"{" POD_META(",\"uid\":\"" UID "\"") ",\"status\":{\"podIP\":\"ten\"}}", NULL,
		 NULL, 0, false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char why[KUBE_WHY_SIZE] = "";
		cJSON *o = json(rows[i].text);
		struct kube_pod p = {0};
		int err = kube_pod_read(o, &p, why);

		cJSON_Delete(o);
		if (!rows[i].uid) {
			assert_int_equal(err, -EBADMSG);
			assert_int_not_equal(why[0], '\0');
			continue;
		}
		assert_int_equal(err, 0);
		assert_string_equal(p.space, "llm");
		assert_string_equal(p.name, "chat-0");
		assert_string_equal(p.uid, rows[i].uid);
		assert_string_equal(p.account, rows[i].account);
		assert_int_equal(p.address_count, rows[i].addresses);
		assert_int_equal(p.running, rows[i].running);
		assert_int_equal(p.ready, rows[i].ready);
		kube_pod_clear(&p);
	}
}

/* Pods whose connections a mesh's proxy takes, by what the mesh writes on them, or by their own
 * word. */
static void test_pods_that_are_left_alone(void **state)
{
	static const struct {
		const char *annotations;
		bool alone;
	} rows[] = {
		{"", false},
		{"\"sidecar.istio.io/status\":\"{}\"", true},
		{"\"sidecar.istio.io/inject\":\"true\"", false}, /* a wish, not what came of it */
		{"\"ambient.istio.io/redirection\":\"enabled\"", true},
		{"\"ambient.istio.io/redirection\":\"disabled\"", false},
		{"\"linkerd.io/proxy-version\":\"edge-25.1.1\"", true},
		{"\"kuma.io/sidecar-injected\":\"true\"", true},
		{"\"kuma.io/sidecar-injected\":\"false\"", false},
		{"\"consul.hashicorp.com/connect-inject-status\":\"injected\"", true},
		{"\"pintle.dev/steer\":\"off\"", true},
		{"\"pintle.dev/steer\":\"on\"", false},
		{"\"pintle.dev/steer\":\"maybe\"", false},
		{"\"pintle.dev/steer\":false", false},
		{"\"pintle.dev/steer\":\"on\",\"sidecar.istio.io/status\":\"{}\"", false},
		{"\"pintle.dev/steer\":\"\",\"sidecar.istio.io/status\":\"{}\"", true},
		{"\"sidecar.istio.io/status\":7", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char why[KUBE_WHY_SIZE], text[512];
		struct kube_pod p;
		cJSON *o;

		snprintf(text, sizeof(text),
			 "{" POD_META(",\"uid\":\"" UID "\",\"annotations\":{%s}") "}",
			 rows[i].annotations);
		o = json(text);
		assert_int_equal(kube_pod_read(o, &p, why), 0);
		assert_int_equal(kube_pod_left_alone(&p, KUBE_STEER_NOT_SAID), rows[i].alone);
		/* What the pod itself says counts for more than its namespace's word, and that for
		 * more than a mesh's mark. */
		assert_int_equal(kube_pod_left_alone(&p, KUBE_STEER_OFF), p.steer != KUBE_STEER_ON);
		assert_int_equal(kube_pod_left_alone(&p, KUBE_STEER_ON), p.steer == KUBE_STEER_OFF);
		kube_pod_clear(&p);
		cJSON_Delete(o);
	}
}

/* Pods by their labels: one of the selectors, with all of its labels. */
static void test_selectors(void **state)
{
	static const struct {
		const char *selectors;
		bool good, selects;
	} rows[] = {
		{"app=gw", true, true},
		{"app=gw,tier=2", true, true},
		{"app=gw,tier=3", true, false},
		{"app=g", true, false},
		{"app=other tier=2", true, true},
		{"app=other,tier=2 a.b/c=", true, true},
		{"app=other", true, false},
		{"", true, false},
		{"app", false, false},
		{"=gw", false, false},
		{"app=gw,,tier=2", false, false},
		{"app = gw", false, false},
		{"app=gw&watch=1", false, false},
		{"app=gw\n", false, false},
	};
	cJSON *o = json("{\"metadata\":{\"namespace\":\"a\",\"name\":\"p\",\"uid\":\"1\","
			"\"labels\":{\"app\":\"gw\",\"tier\":\"2\",\"a.b/c\":\"\",\"odd\":7}}}");
	char why[KUBE_WHY_SIZE];
	struct kube_pod p;

	(void)state;
	assert_int_equal(kube_pod_read(o, &p, why), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(kube_is_selectors(rows[i].selectors), rows[i].good);
		if (rows[i].good)
			assert_int_equal(kube_selects(rows[i].selectors, &p), rows[i].selects);
	}
	kube_pod_clear(&p);
	cJSON_Delete(o);
}

/* ---- where the API server is
 * ------------------------------------------------------------------------ */

#define KUBECONFIG(cluster, user)                                                                  \
	"apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {" cluster                    \
	"}}]\nusers: [{name: u, user: {" user                                                      \
	"}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
#define HTTPS "server: \"https://10.0.0.1:6443\""

static struct kube_access *access_by(const char *text)
{
	char path[] = "/tmp/pintle-test-kube.XXXXXX";
	struct kube_access *a = NULL;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	if (kube_access_find(path, &a))
		a = NULL;
	unlink(path);
	return a;
}

static void test_kubeconfig(void **state)
{
	static const char *const bad[] = {
		"{}",
		"current-context: x\n",
		KUBECONFIG("server: \"http://10.0.0.1:6443\"", "token: a"),
		KUBECONFIG("server: \"10.0.0.1\"", "token: a"),
		KUBECONFIG(HTTPS ", insecure-skip-tls-verify: true", "token: a"),
		KUBECONFIG(HTTPS, "exec: {command: aws}"),
		KUBECONFIG(HTTPS, "token: \"a\\r\\nX: y\""),
		KUBECONFIG(HTTPS ", certificate-authority-data: \"a$b\"", "token: a"),
	};
	struct kube_access *a = access_by(
		KUBECONFIG("server: \"https://10.0.0.1:6443/\", certificate-authority: ca.crt",
			   "client-certificate-data: aGVsbG8=, client-key: /k, tokenFile: t"));

	(void)state;
	assert_non_null(a);
	assert_string_equal(a->server, "https://10.0.0.1:6443");
	assert_string_equal(a->ca.file, "/tmp/ca.crt"); /* beside the file */
	assert_string_equal(a->cert.data, "hello");
	assert_int_equal(a->cert.size, 5);
	assert_string_equal(a->key.file, "/k");
	assert_string_equal(a->token_file, "/tmp/t");
	assert_null(a->token);
	kube_access_free(a);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if ((a = access_by(bad[i])))
			fail_msg("%s", bad[i]);
	unsetenv("KUBERNETES_SERVICE_HOST");
	assert_int_equal(kube_access_find(NULL, &a), 0);
	assert_null(a);
}

/* ---- a watch, and a server that answers as it is told
 * --------------------------------------------------- */

#define OK_UNTIL_CLOSED "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
#define EVENT(type, name, rv)                                                                      \
	"{\"type\":\"" type "\",\"object\":{\"metadata\":{\"namespace\":\"a\",\"name\":\"" name    \
	"\",\"resourceVersion\":\"" rv "\"}}}\n"
#define ITEM(name) "{\"metadata\":{\"namespace\":\"a\",\"name\":\"" name "\"}}"
#define PAGE(rv, more, items)                                                                      \
	OK_UNTIL_CLOSED "{\"metadata\":{\"resourceVersion\":\"" rv "\"" more "},\"items\":[" items \
			"]}"

/* What the server does with one request. */
struct answer {
	const char *wants; /* in the request's first line */
	const char *text;
	bool stays;   /* the connection is left open: silence */
	size_t piece; /* bytes of a write, 0: all at once */
};

struct talk {
	uv_loop_t loop;
	uv_tcp_t server;
	uv_timer_t limit;
	const struct answer *answers;
	size_t count, at;
	char told[1024]; /* what the watch told its user */
	struct kube_client *client;
	struct kube_watch *watch;
};

struct peer {
	uv_tcp_t tcp;
	struct talk *talk;
	char request[4096];
	size_t size, sent;
	uv_timer_t timer;
	const struct answer *answer;
	char *text;
	int handles;
};

static void talk_say(struct talk *t, const char *sign, const char *what)
{
	size_t n = strlen(t->told);

	snprintf(t->told + n, sizeof(t->told) - n, "%s%s ", sign, what);
}

static void on_begin(void *arg)
{
	talk_say(arg, "", "begin");
}

static void on_object(void *arg, const cJSON *object, bool gone)
{
	char key[KUBE_KEY_SIZE] = "?";

	kube_object_key(object, key);
	talk_say(arg, gone ? "-" : "+", key);
}

static void on_listed(void *arg)
{
	struct talk *t = arg;

	assert_null(kube_watch_missing(t->watch));
	talk_say(t, "", "listed");
}

static void on_missing(void *arg)
{
	struct talk *t = arg;

	talk_say(t, "", kube_watch_missing(t->watch));
	assert_string_equal(kube_client_missing(t->client, 0), kube_watch_missing(t->watch));
	assert_null(kube_client_missing(t->client, 1));
	assert_null(kube_client_trouble(t->client));
}

static void peer_closed(uv_handle_t *h)
{
	struct peer *p = h->data;

	if (--p->handles)
		return;
	free(p);
}

static void peer_close(struct peer *p)
{
	if (uv_is_closing((uv_handle_t *)&p->tcp))
		return;
	uv_close((uv_handle_t *)&p->tcp, peer_closed);
	uv_close((uv_handle_t *)&p->timer, peer_closed);
}

static void on_wrote(uv_write_t *w, int status)
{
	(void)status;
	free(w);
}

/* Sends the next piece. */
static void peer_send(uv_timer_t *t)
{
	struct peer *p = t->data;
	size_t all = strlen(p->answer->text), piece = p->answer->piece ?: all;
	size_t n = MIN(piece, all - p->sent);
	uv_buf_t b = uv_buf_init((char *)p->answer->text + p->sent, (unsigned int)n);
	uv_write_t *w = malloc(sizeof(*w));

	uv_write(w, (uv_stream_t *)&p->tcp, &b, 1, on_wrote);
	p->sent += n;
	if (p->sent < all)
		uv_timer_start(&p->timer, peer_send, 1, 0);
	else if (!p->answer->stays)
		peer_close(p);
}

static void on_room(uv_handle_t *h, size_t wanted, uv_buf_t *b)
{
	struct peer *p = h->data;

	(void)wanted;
	*b = uv_buf_init(p->request + p->size, (unsigned int)(sizeof(p->request) - 1 - p->size));
}

static void on_request(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct peer *p = s->data;
	struct talk *t = p->talk;

	(void)b;
	if (n < 0) {
		peer_close(p);
		return;
	}
	p->size += (size_t)n;
	p->request[p->size] = '\0';
	if (p->answer || !strstr(p->request, "\r\n\r\n"))
		return;
	/* After the last answer the test is over. */
	if (t->at == t->count) {
		uv_stop(&t->loop);
		return;
	}
	p->answer = &t->answers[t->at++];
	*strchr(p->request, '\r') = '\0';
	if (!strstr(p->request, p->answer->wants))
		fail_msg("request %zu is '%s', wanted '%s'", t->at, p->request, p->answer->wants);
	peer_send(&p->timer);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct talk *t = server->data;

	assert_int_equal(status, 0);
	p->talk = t;
	p->handles = 2;
	uv_tcp_init(&t->loop, &p->tcp);
	uv_timer_init(&t->loop, &p->timer);
	p->tcp.data = p->timer.data = p;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&p->tcp), 0);
	uv_read_start((uv_stream_t *)&p->tcp, on_room, on_request);
}

static void on_limit(uv_timer_t *timer)
{
	struct talk *t = timer->data;

	fail_msg("request %zu never came; told: %s", t->at + 1, t->told);
}

static void close_peer(uv_handle_t *h, void *arg)
{
	struct talk *t = arg;

	if (uv_is_closing(h))
		return;
	if (h == (uv_handle_t *)&t->server || h == (uv_handle_t *)&t->limit)
		uv_close(h, NULL);
	else
		uv_close(h, peer_closed);
}

static const struct kube_times quick = {
	.retry = 4,
	.retry_max = 20,
	.connect = 2000,
	.list_silence = 300,
	.watch_silence = 300,
	.lifetime = 4000,
};

/* Runs a watch against these answers, until it asks once more. */
static void talk(const struct answer *answers, size_t count, const char *told, bool may_miss)
{
	static const struct kube_watch_callbacks callbacks = {on_begin, on_object, on_listed, NULL};
	static const struct kube_watch_callbacks optional = {on_begin, on_object, on_listed,
							     on_missing};
	struct talk t = {.answers = answers, .count = count};
	struct kube_access *a = calloc(1, sizeof(*a));
	struct sockaddr_in at;
	int size = sizeof(at);

	uv_loop_init(&t.loop);
	uv_tcp_init(&t.loop, &t.server);
	uv_timer_init(&t.loop, &t.limit);
	t.server.data = t.limit.data = &t;
	uv_ip4_addr("127.0.0.1", 0, &at);
	assert_int_equal(uv_tcp_bind(&t.server, (struct sockaddr *)&at, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&t.server, 8, on_connection), 0);
	uv_tcp_getsockname(&t.server, (struct sockaddr *)&at, &size);
	uv_timer_start(&t.limit, on_limit, 30000, 0);
	assert_true(asprintf(&a->server, "http://127.0.0.1:%d", ntohs(at.sin_port)) > 0);
	assert_int_equal(kube_client_new(&t.loop, a, &quick, &t.client), 0);
	t.watch = kube_watch_new(t.client, "things", "/api/v1/things", "labelSelector=a%2Fb",
				 may_miss ? &optional : &callbacks, &t);
	assert_non_null(t.watch);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	kube_watch_free(t.watch);
	kube_client_free(t.client);
	uv_run(&t.loop, UV_RUN_NOWAIT);
	uv_walk(&t.loop, close_peer, &t);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	assert_string_equal(t.told, told);
}

#define TALK(told, ...)                                                                            \
	do {                                                                                       \
		static const struct answer answers[] = {__VA_ARGS__};                              \
		talk(answers, ARRAY_SIZE(answers), told, false);                                   \
	} while (0)
#define TALK_OPTIONAL(told, ...)                                                                   \
	do {                                                                                       \
		static const struct answer answers[] = {__VA_ARGS__};                              \
		talk(answers, ARRAY_SIZE(answers), told, true);                                    \
	} while (0)

#define LIST  "GET /api/v1/things?limit="
#define WATCH "GET /api/v1/things?watch=1&"
#define FIRST                                                                                      \
	{                                                                                          \
		.wants = LIST, .text = PAGE("5", "", ITEM("x"))                                    \
	}

static void test_watch_goes_on(void **state)
{
	(void)state;
	/* Pages; then each watch from the newest version, a bookmark's too. */
	TALK("begin +a/x +a/y listed +a/z -a/x ",
	     {.wants = "&labelSelector=a%2Fb HTTP",
	      .text = PAGE("5", ",\"continue\":\"c+/=\"", ITEM("x"))},
	     {.wants = "&continue=c%2B%2F%3D&", .text = PAGE("5", "", ITEM("y"))},
	     {.wants = WATCH "allowWatchBookmarks=true&resourceVersion=5&timeoutSeconds=",
	      .text = OK_UNTIL_CLOSED EVENT("ADDED", "z", "6") EVENT("BOOKMARK", "z", "9")},
	     {.wants = "resourceVersion=9&", .text = OK_UNTIL_CLOSED EVENT("DELETED", "x", "10")},
	     {.wants = "resourceVersion=10&", .text = OK_UNTIL_CLOSED});
	/* The same in pieces of 7 bytes. */
	TALK("begin +a/x listed +a/y +a/z ", FIRST,
	     {.wants = WATCH,
	      .text = OK_UNTIL_CLOSED EVENT("ADDED", "y", "6") EVENT("MODIFIED", "z", "7"),
	      .piece = 7},
	     {.wants = "resourceVersion=7&", .text = OK_UNTIL_CLOSED});
}

static void test_watch_that_breaks(void **state)
{
	(void)state;
	/* Half a line is no event; the watch goes on from the whole ones. */
	TALK("begin +a/x listed +a/y ", FIRST,
	     {.wants = WATCH,
	      .text = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" EVENT(
		      "ADDED", "y", "6") "{\"type\":\"ADD"},
	     {.wants = "resourceVersion=6&", .text = OK_UNTIL_CLOSED});
	/* A list that breaks off begins again, and nothing was listed meanwhile. */
	TALK("begin begin +a/x listed ",
	     {.wants = LIST,
	      .text = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"metadata\":"},
	     FIRST, {.wants = WATCH, .text = OK_UNTIL_CLOSED});
	/* So it does between two pages. */
	TALK("begin +a/x begin +a/x listed ",
	     {.wants = LIST, .text = PAGE("5", ",\"continue\":\"c\"", ITEM("x"))},
	     {.wants = "&continue=c&", .text = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"},
	     FIRST, {.wants = WATCH, .text = OK_UNTIL_CLOSED});
	/* A hanging server: neither list nor watch ends by itself. */
	TALK("begin begin +a/x listed ",
	     {.wants = LIST, .text = OK_UNTIL_CLOSED "{", .stays = true}, FIRST,
	     {.wants = WATCH, .text = OK_UNTIL_CLOSED, .stays = true},
	     {.wants = "resourceVersion=5&", .text = OK_UNTIL_CLOSED});
}

static void test_watch_refused(void **state)
{
#define STATUS(text) "HTTP/1.1 " text "\r\nContent-Length: 3\r\n\r\nno\n"
	(void)state;
	/* None of these is final, and none empties what is known. */
	TALK("begin begin begin begin +a/x listed ",
	     {.wants = LIST, .text = STATUS("403 Forbidden")},
	     {.wants = LIST, .text = STATUS("404 Not Found")},
	     {.wants = LIST, .text = STATUS("401 Unauthorized")}, FIRST,
	     {.wants = WATCH, .text = STATUS("403 Forbidden")},
	     {.wants = "resourceVersion=5&", .text = STATUS("503 Service Unavailable")},
	     {.wants = "resourceVersion=5&", .text = OK_UNTIL_CLOSED});
	/* Too old, as an event and as a status. */
	TALK("begin +a/x listed begin +a/y listed begin +a/x listed ", FIRST,
	     {.wants = WATCH,
	      .text = OK_UNTIL_CLOSED "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":"
				      "\"too old\"}}\n"},
	     {.wants = LIST, .text = PAGE("7", "", ITEM("y"))},
	     {.wants = WATCH, .text = STATUS("410 Gone")}, FIRST,
	     {.wants = WATCH, .text = OK_UNTIL_CLOSED});
	/* A line that is no event: nobody knows what it said. */
	TALK("begin +a/x listed +a/y begin +a/x listed ", FIRST,
	     {.wants = WATCH,
	      .text = OK_UNTIL_CLOSED EVENT("ADDED", "y", "6") "{\"type\":\n" EVENT("ADDED", "z",
										    "7")},
	     FIRST, {.wants = WATCH, .text = OK_UNTIL_CLOSED});
	/* A page that is no JSON. */
	TALK("begin begin +a/x listed ", {.wants = LIST, .text = OK_UNTIL_CLOSED "<html>"}, FIRST,
	     {.wants = WATCH, .text = OK_UNTIL_CLOSED});
}

/* A kind that Pintle does without: not there (404) is an answer, and so is a right that is missing
 * for longer than a restart of the API server takes. */
static void test_watch_missing(void **state)
{
	(void)state;
	TALK_OPTIONAL(
		"begin things: HTTP status 404, the API server does not have them begin begin +a/x listed ",
		{.wants = LIST, .text = STATUS("404 Not Found")},
		{.wants = LIST, .text = STATUS("404 Not Found")}, FIRST,
		{.wants = WATCH, .text = OK_UNTIL_CLOSED});
	TALK_OPTIONAL(
		"begin begin begin things: HTTP status 403, the right to list or watch them is missing begin +a/x listed ",
		{.wants = LIST, .text = STATUS("403 Forbidden")},
		{.wants = LIST, .text = STATUS("403 Forbidden")},
		{.wants = LIST, .text = STATUS("403 Forbidden")}, FIRST,
		{.wants = WATCH, .text = OK_UNTIL_CLOSED});
	TALK_OPTIONAL("begin begin begin begin +a/x listed ",
		      {.wants = LIST, .text = STATUS("403 Forbidden")},
		      {.wants = LIST, .text = STATUS("503 Service Unavailable")},
		      {.wants = LIST, .text = STATUS("403 Forbidden")}, FIRST,
		      {.wants = WATCH, .text = OK_UNTIL_CLOSED});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_in_pieces),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_pools),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_alike),
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_refused_objects),
		cmocka_unit_test(test_pods),
		cmocka_unit_test(test_pods_that_are_left_alone),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_kubeconfig),
		cmocka_unit_test(test_watch_goes_on),
		cmocka_unit_test(test_watch_that_breaks),
		cmocka_unit_test(test_watch_refused),
		cmocka_unit_test(test_watch_missing),
	};

	log_init("test_kube", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
