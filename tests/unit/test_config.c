/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c - the configuration file. The table `refusals` reads as a specification: a file,
 * and every message about it with line and column.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>

#include "../../userspace/config/config_internal.h"
#include "../../userspace/maps/names.h"
#include "../../userspace/base/util.h"

/* ---- a sink that keeps messages -------------------------------------------- */

struct told {
	char *text; /* a line "LINE:COLUMN: [warning: ]message" for each */
	size_t size;
	FILE *stream;
	size_t errors, warnings;
};

static void keep(void *arg, const char *file, int line, int column, const char *message,
		 const char *kind)
{
	struct told *t = arg;

	assert_string_equal(file, "test.yaml");
	fprintf(t->stream, "%d:%d: %s%s\n", line, column, kind, message);
}

static void keep_error(void *arg, const char *file, int line, int column, const char *message)
{
	((struct told *)arg)->errors++;
	keep(arg, file, line, column, message, "");
}

static void keep_warning(void *arg, const char *file, int line, int column, const char *message)
{
	((struct told *)arg)->warnings++;
	keep(arg, file, line, column, message, "warning: ");
}

static int parse_bytes(struct told *t, const char *text, size_t size, struct config **out)
{
	struct yaml_sink sink = {keep_error, keep_warning, t};
	int err;

	t->stream = open_memstream(&t->text, &t->size);
	assert_non_null(t->stream);
	err = config_parse("test.yaml", text, size, &sink, out);
	fclose(t->stream);
	return err;
}

static void free_told(struct told *t)
{
	free(t->text);
}

#define _cleanup_told_   _cleanup_(free_told)
#define _cleanup_config_ _cleanup_(config_freep)

/* Loads a file that must give exactly these warnings (NULL: none). The caller frees the result. */
static struct config *load_text(const char *text, const char *warnings)
{
	_cleanup_told_ struct told t = {0};
	struct config *c = NULL;
	int err = parse_bytes(&t, text, strlen(text), &c);

	assert_string_equal(t.text, warnings ? warnings : "");
	assert_int_equal(err, 0);
	return c;
}

/* ---- errors and warnings --------------------------------------------------- */

#define HEAD     "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\n"
#define FRONTEND "  frontends: [\"10.77.0.1:8000\"]\n"
#define ENDPOINT "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n"
/* A case adds lines from 7 on: keys of the pool ("  mode: off"), or of the top. */
#define METRIC                                                                                     \
	"which is no metric's name; write a metric's name, or NAME{LABEL=\"VALUE\"} for series "   \
	"with that label, of at most 255 bytes\n"
#define POOL HEAD "pools:\n- name: a\n" FRONTEND ENDPOINT
#define POOL_OF(frontends, endpoints)                                                              \
	HEAD "pools:\n- name: a\n  frontends: " frontends "\n  endpoints: " endpoints "\n"
#define NO_DEFAULT                                                                                 \
	"warning: models has no default, so that a request whose model cannot be seen gets 404, "  \
	"as it does where a client writes the model behind a long prompt; write default: a, too, " \
	"unless that is meant\n"

#define CONNECT_POOL                                                                               \
	HEAD "pools:\n- name: a\n" FRONTEND                                                        \
	     "  endpoints: [{name: e, address: \"10.1.0.1:8000\"},\n"                              \
	     "    {name: f, address: \"10.1.0.2:8000\"}]\n"
#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define CGROUP                                                                                     \
	"write a path from / on, or a pattern that begins with / or *, of at most 255 bytes\n"
#define RULES "source, port, namespace, serviceAccount, cgroup or dscp\n"
#define ELSEWHERE                                                                                  \
	" is for endpoints with address: clients of endpoints with listen may be on other nodes; "
#define OF_REQUESTS                                                                                 \
	" is for endpoints with address and decide: connection: clients of endpoints with address " \
	"and decide: request may be on other nodes; "
#define ADDRESS   "write ADDRESS:PORT, [ADDRESS]:PORT or NAME:PORT, with the name's domain\n"
#define SERVERS   "write a list such as [\"10.0.0.53\", \"[fd00::53]:5353\"]\n"
#define NAME_RULE "write 1 to 331 of a-z, 0-9, \"-\" and \".\", beginning with a letter or digit\n"
#define DURATION  "write a duration from 10ms to 1h, in ms, s, m or h\n"
#define WEIGHT    "write a number from 0 to 1000\n"
#define LISTEN    "write ADDRESS:PORT or a port alone, as in 127.0.0.1:8001, [::1]:8001 or 8001\n"
#define FRONT     "write ADDRESS:PORT or PREFIX/LENGTH:PORT, as in 10.77.0.1:8000 or [fd77::/64]:8000\n"
#define SESSION                                                                                    \
	"write none, source, source/V4BITS, source/V4BITS/V6BITS, destination, client, cgroup, "   \
	"mark, hint, pod, namespace or serviceAccount"
#define GROUP SESSION "\n"
#define KEY                                                                                        \
	SESSION ", up to eight of agent, header/NAME, cookie/NAME, body/NAME and authorization "   \
		"before it\n"
/* Stands for "a list, each item a mapping of" and all keys of a pool, of which there will be more.
 */
#define POOL_LIST "\1"
#define HEADERS   "write up to 4 names of headers with commas between, or none\n"
#define OR_NONE                                                                                    \
	"; or [] for a pool that is only a canary or a fallback, or that only serves models, of "  \
	"another\n"
#define NAMES                                                                                      \
	"which has a name that no header or cookie has; write header/NAME or cookie/NAME, with a " \
	"NAME of 1 to 30 letters, digits and any of !#$%&'*+-.^_`|~, body/NAME, or "               \
	"authorization or agent alone\n"
#define MEMBERS                                                                                    \
	"which has a name that no member of a body has; write body/NAME, with a NAME of 1 to 31 "  \
	"letters, digits and any of _-, or two with a dot between\n"
#define SENDING                                                                                    \
	"which has a header that says how a request is sent, not whose it is; write a header by "  \
	"which clients name their sessions\n"
#define SPACES63 "                                                               "
#define A63      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A331     A63 A63 A63 A63 A63 "aaaaaaaaaaaaaaaa"

struct refusal {
	const char *name;
	const char *text;
	const char *messages;
};

static const struct refusal refusals[] = {
	/* the document */
	{"empty file", "",
	 "1:1: the file holds no document; begin with apiVersion: pintle.dev/v1alpha1\n"},
	{"only a comment", "# nothing\n",
	 "1:1: the file holds no document; begin with apiVersion: pintle.dev/v1alpha1\n"},
	{"empty document", "---\n",
	 "2:1: the file is one value; write a mapping: keys with values\n"},
	{"a list", "- a\n", "1:1: the file is a list; write a mapping: keys with values\n"},
	{"several documents", POOL "---\n" POOL,
	 "7:1: a second document begins; keep one configuration in one file\n"},
	{"several documents, and an error in the first", POOL "  mode: on\n---\n",
	 "7:9: mode is \"on\", which is not known; write one of off, baseline, enforce, shadow\n"
	 "8:1: a second document begins; keep one configuration in one file\n"},
	{"broken YAML", HEAD "pools: [\n",
	 "4:1: not YAML: while parsing a flow node, did not find expected node content; look at the "
	 "indentation, colons, quotes and brackets up to here\n"},
	{"a tab as indentation", HEAD "pools:\n\t- name: a\n",
	 "4:1: not YAML: while scanning for the next token, found character that cannot start any "
	 "token; look at the indentation, colons, quotes and brackets up to here\n"},
	{"bytes that are not text", HEAD "# \xc3\xa4\xff\n",
	 "3:4: not text: invalid leading UTF-8 octet; save the file as UTF-8\n"},
	{"an anchor and an alias", POOL "  scrape: &s {interval: 1s}\n  weights: *s\n",
	 "7:11: anchors (&name) are not supported; write each value where it is used\n"
	 "8:12: aliases (*name) are not supported; write the value itself\n"},
	{"a bomb of aliases", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
	 "1:1: unknown key \"a\" at the top; known here: apiVersion, kind, node, clients, audit, kubernetes, pools\n"
	 "1:1: \"apiVersion\" is missing at the top; add it: pintle.dev/v1alpha1\n"
	 "1:1: \"kind\" is missing at the top; add it: PintleConfig\n"
	 "1:1: \"pools\" is missing at the top; add it: " POOL_LIST "\n"
	 "1:4: anchors (&name) are not supported; write each value where it is used\n"
	 "2:1: unknown key \"b\" at the top; known here: apiVersion, kind, node, clients, audit, kubernetes, pools\n"
	 "2:4: anchors (&name) are not supported; write each value where it is used\n"
	 "2:8: aliases (*name) are not supported; write the value itself\n"
	 "2:12: aliases (*name) are not supported; write the value itself\n"
	 "3:1: unknown key \"c\" at the top; known here: apiVersion, kind, node, clients, audit, kubernetes, pools\n"
	 "3:5: aliases (*name) are not supported; write the value itself\n"
	 "3:9: aliases (*name) are not supported; write the value itself\n"},
	{"a tag", POOL "  mode: !!str off\n",
	 "7:9: tags (!type) are not supported; write the value without one\n"},
	{"nested deeper than anything here", "a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n",
	 "1:19: nested more than 16 deep; no key lies so deep\n"},
	{"a key that is a list", POOL "  [x]: 1\n", "7:3: a key is a list; write a name\n"},

	/* the top */
	{"nothing of what is required", "node: {}\n",
	 "1:1: \"apiVersion\" is missing at the top; add it: pintle.dev/v1alpha1\n"
	 "1:1: \"kind\" is missing at the top; add it: PintleConfig\n"
	 "1:1: \"pools\" is missing at the top; add it: " POOL_LIST "\n"},
	{"another apiVersion and kind",
	 "apiVersion: pintle.dev/v1\nkind: Config\npools: [{name: a, frontends: [\"10.0.0.1:80\"], "
	 "endpoints: [{name: e, listen: 81}]}]\n",
	 "1:13: apiVersion is \"pintle.dev/v1\", which is not known; write pintle.dev/v1alpha1\n"
	 "2:7: kind is \"Config\", which is not known; write PintleConfig\n"},
	{"unknown key, near", POOL "nodes: {}\n",
	 "7:1: unknown key \"nodes\" at the top; did you mean \"node\"?\n"},
	{"unknown key, far", POOL "x-extra: {}\n",
	 "7:1: unknown key \"x-extra\" at the top; known here: apiVersion, kind, node, clients, audit, kubernetes, pools\n"},
	{"pools empty", HEAD "pools: []\n", "3:8: pools is empty; write at least one\n"},
	{"pools a mapping", HEAD "pools: {name: a}\n",
	 "3:8: pools is a mapping; write " POOL_LIST "\n"},
	{"a pool that is text", HEAD "pools: [a]\n",
	 "3:9: pools[] is one value; write a mapping: keys with values\n"},
	{"a pool with nothing", HEAD "pools: [{}]\n",
	 "3:9: \"name\" is missing in pools[]; add it: 1 to 331 of a-z, 0-9, \"-\" and \".\", beginning "
	 "with a letter or digit\n"
	 "3:9: \"frontends\" is missing in pools[]; add it: a list such as [\"10.77.0.1:8000\", "
	 "\"[fd77::1]:8000\"]" OR_NONE
	 "3:9: \"endpoints\" is missing in pools[]; add it: a list, each item a mapping of name, "
	 "listen, address, allowPrefixes, user, cgroup, metrics, "
	 "drained, place, weight, gpu\n"},

	/* node */
	{"node a list", POOL "node: []\n",
	 "7:7: node is a list; write a mapping of bpffs, netns, cgroup, metrics, metricsDetail, group, "
	 "keyFile, xdp, overload, daemonless, nameservers, frontendPrefixes\n"},
	{"paths that begin nowhere", POOL "node: {bpffs: pintle, netns: \"\", cgroup: ./x}\n",
	 "7:15: node.bpffs is \"pintle\", which does not begin with /; write a path from / on, of at "
	 "most 127 bytes\n"
	 "7:30: node.netns is \"\", which does not begin with /; write a path from / on, of at most 127 "
	 "bytes\n"
	 "7:42: node.cgroup is \"./x\", which does not begin with /; write kubepods, or a path from / "
	 "on, of at most 127 bytes\n"},
	{"a path too long", POOL "node: {bpffs: /" A63 "/" A63 "}\n",
	 "7:15: node.bpffs is \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaa...\", which is too long; write a path from / on, of at most 127 "
	 "bytes\n"},
	{"metrics a port alone", POOL "node: {metrics: 9464}\n",
	 "7:17: node.metrics is \"9464\", which is a port without an address; write ADDRESS:PORT, "
	 "[ADDRESS]:PORT or off\n"},
	{"metrics a host name", POOL "node: {metrics: \"localhost:9464\"}\n",
	 "7:17: node.metrics is \"localhost:9464\", which is no address and port; write ADDRESS:PORT, "
	 "[ADDRESS]:PORT or off\n"},
	{"a group that cannot be", POOL "node: {group: \"a b\"}\n",
	 "7:15: node.group is \"a b\", which is no group's name; write the name or number of a group, of "
	 "at most 31 bytes\n"},

	/* names */
	{"a name with a slash", HEAD "pools:\n- name: a/b\n" FRONTEND ENDPOINT,
	 "4:9: name is \"a/b\", with a character that a name cannot have there; " NAME_RULE},
	{"a name in capitals", HEAD "pools:\n- name: Llama\n" FRONTEND ENDPOINT,
	 "4:9: name is \"Llama\", with a character that a name cannot have there; " NAME_RULE},
	{"a name that begins with a dash", HEAD "pools:\n- name: -a\n" FRONTEND ENDPOINT,
	 "4:9: name is \"-a\", with a character that a name cannot have there; " NAME_RULE},
	{"a name empty", HEAD "pools:\n- name: \"\"\n" FRONTEND ENDPOINT,
	 "4:9: name is \"\", which is empty; " NAME_RULE},
	{"a name null", HEAD "pools:\n- name:\n" FRONTEND ENDPOINT,
	 "4:8: name has no value; " NAME_RULE},
	{"a name too long", HEAD "pools:\n- name: a" A331 "\n" FRONTEND ENDPOINT,
	 "4:9: name is \"a" A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaa...\", which is too long; " NAME_RULE},
	{"a name that a terminal would obey",
	 HEAD "pools:\n- name: \"a\\e[2Jb\\0\\u202e\"\n" FRONTEND ENDPOINT,
	 "4:9: name is \"a\\x1b[2Jb\\x00\\xe2\\x80\\xae\", which holds a control character; " NAME_RULE},
	{"a name that is a list", HEAD "pools:\n- name: [a]\n" FRONTEND ENDPOINT,
	 "4:9: name is a list; " NAME_RULE},
	{"two pools of one name",
	 POOL
	 "- name: a\n  frontends: [\"10.77.0.2:8000\"]\n  endpoints: [{name: e, listen: 8002}]\n",
	 "7:9: the pool of line 4 has the name \"a\" already; choose another\n"},
	{"two endpoints of one name",
	 POOL_OF("[\"10.77.0.1:8000\"]", "[{name: e, listen: 8001},\n    {name: e, listen: 8002}]"),
	 "7:12: the endpoint of line 6 has the name \"e\" already; choose another\n"},

	/* keys */
	{"a key in the wrong mapping", POOL "  interval: 1s\n",
	 "7:3: unknown key \"interval\" in pools[]; the key that is read is pools[].scrape.interval\n"},
	{"a key in another spelling", POOL "  failure_mode: FailOpen\n",
	 "7:3: unknown key \"failure_mode\" in pools[]; did you mean \"failureMode\"?\n"},
	{"a key misspelt", POOL "  sticky-ness: {}\n  wieghts: {}\n",
	 "7:3: unknown key \"sticky-ness\" in pools[]; did you mean \"stickiness\"?\n"
	 "8:3: unknown key \"wieghts\" in pools[]; did you mean \"weights\"?\n"},
	{"a key of an endpoint misspelt",
	 POOL_OF("[\"10.77.0.1:8000\"]", "[{name: e, listen: 8001, metrcs: x}]"),
	 "6:39: unknown key \"metrcs\" in pools[].endpoints[]; did you mean \"metrics\"?\n"},
	{"a merge key", POOL "  scrape: {<<: {interval: 1s}}\n",
	 "7:12: unknown key \"<<\" in pools[].scrape; known here: interval, idle, timeout, path, scheme, authorization, tlsConfig\n"},
	{"a key twice", POOL "  engine: tgi\n  engine: vllm\n",
	 "8:3: \"engine\" stands here again; keep this or that of line 7\n"},
	{"a key three times, deep", POOL "  weights: {gpu: 0, gpu: 0,\n    gpu: 0}\n",
	 "7:21: \"gpu\" stands here again; keep this or that of line 7\n"
	 "8:5: \"gpu\" stands here again; keep this or that of line 7\n"},
	{"a mapping without value", POOL "  scrape:\n",
	 "7:10: scrape is one value; write a mapping of interval, idle, timeout, path, scheme, authorization, tlsConfig\n"},

	/* frontends */
	{"frontends empty", POOL_OF("[]", "[{name: e, listen: 8001}]"),
	 "5:14: frontends is empty, and the pool is no canary and no fallback of another, and serves "
	 "none of its models; write at least one\n"},
	{"frontends a text", POOL_OF("10.0.0.1:80", "[{name: e, listen: 8001}]"),
	 "5:14: frontends is one value; write a list such as [\"10.77.0.1:8000\", \"[fd77::1]:8000\"]\n"},
	{"frontends unquoted", HEAD "pools:\n- name: a\n  frontends:\n  - [fd77::1]\n" ENDPOINT,
	 "6:5: one of frontends is no text; write it in quotes, as in \"[fd77::1]:8000\"\n"},
	{"frontends of every wrong kind",
	 POOL_OF("[\"8000\", \"10.0.0.1\", \"10.0.0.1:0\", \"10.0.0.1/24:80\", \"10.0.0.0/40:80\",\n"
		 "    \"fd77::1:80\", \"0.0.0.0:80\", \"[::]:81\", \"224.0.0.1:80\", \"[ff02::1]:80\"]",
		 "[{name: e, listen: 8001}]"),
	 "5:15: frontends is \"8000\", which is no address and port; " FRONT
	 "5:23: frontends is \"10.0.0.1\", which is no address and port; " FRONT
	 "5:35: frontends is \"10.0.0.1:0\", which is no address and port; write a port from 1 to 65535, "
	 "without leading zeros\n"
	 "5:49: frontends is \"10.0.0.1/24:80\", which is no address and port; set no bit beyond the "
	 "prefix length, as in 10.77.0.0/24 or fd77::/64\n"
	 "5:67: frontends is \"10.0.0.0/40:80\", which is no address and port; write a prefix length from "
	 "0 to 32 (IPv4) or to 128 (IPv6)\n"
	 "6:5: frontends is \"fd77::1:80\", which is no address and port; write an IPv6 address in "
	 "brackets, as in [fd77::1]:8000\n"
	 "6:19: frontends is \"0.0.0.0:80\", which is no address to connect to; for every address write "
	 "0.0.0.0/0:80\n"
	 "6:33: frontends is \"[::]:81\", which is no address to connect to; for every address write "
	 "[::/0]:81\n"
	 "6:44: frontends is \"224.0.0.1:80\", which no TCP connection can have; "
	 "write a list such as [\"10.77.0.1:8000\", \"[fd77::1]:8000\"]\n"
	 "6:60: frontends is \"[ff02::1]:80\", which no TCP connection can have; "
	 "write a list such as [\"10.77.0.1:8000\", \"[fd77::1]:8000\"]\n"},
	{"frontends that overlap in one pool",
	 POOL_OF("[\"10.0.0.0/8:80\", \"10.1.0.1:80\", \"10.1.0.1:81\", \"10.1.0.1:81\"]",
		 "[{name: e, listen: 8001}]"),
	 "5:32: frontend 10.1.0.1:80 overlaps 10.0.0.0/8:80 of pool a (line 5); list each address and "
	 "port once\n"
	 "5:62: frontend 10.1.0.1:81 overlaps 10.1.0.1:81 of pool a (line 5); list each address and "
	 "port once\n"},
	{"frontends that overlap across pools",
	 POOL
	 "- name: b\n  frontends:\n  - \"[::/0]:8000\"\n  endpoints: [{name: e, listen: 8002}]\n",
	 "9:5: frontend [::/0]:8000 overlaps 10.77.0.1:8000 of pool a (line 5); list each address and "
	 "port once\n"},
	{"a frontend over its endpoint",
	 POOL_OF("[\"127.0.0.1:8001\"]", "[{name: e, listen: \"127.0.0.1:8001\"}]"),
	 "5:15: frontend 127.0.0.1:8001 covers where endpoint a/e (line 6) listens, so that its scrapes "
	 "would be steered; keep them apart by address or port\n"},
	{"a frontend over an endpoint that is a port alone",
	 POOL_OF("[\"10.0.0.1:8001\", \"[::1]:8001\"]", "[{name: e, listen: 8001}]"),
	 "5:32: frontend [::1]:8001 covers where endpoint a/e (line 6) listens, so that its scrapes "
	 "would be steered; keep them apart by address or port\n"},
	{"a frontend over an endpoint's metrics",
	 POOL_OF("[\"10.0.0.0/8:9000\"]",
		 "[{name: e, listen: 8001, metrics: \"http://10.1.1.1:9000/m\"}]"),
	 "5:15: frontend 10.0.0.0/8:9000 covers where endpoint a/e (line 6) has its metrics, so that its "
	 "scrapes would be steered; keep them apart by address or port\n"},
	{"a frontend over pintled's own page",
	 POOL_OF("[\"127.0.0.0/8:9464\"]", "[{name: e, listen: 8001}]"),
	 "5:15: frontend 127.0.0.0/8:9464 covers node.metrics; keep them apart by address or port\n"},
	{"a frontend over the overload responder",
	 "node: {overload: {listen: \"127.0.0.1:9465\"}}\n" POOL_OF("[\"127.0.0.0/8:9465\"]",
								    "[{name: e, listen: 8001}]"),
	 "6:15: frontend 127.0.0.0/8:9465 covers node.overload.listen; keep them apart by address or "
	 "port\n"},
	{"an endpoint, and pintled's own page, where the overload responder is",
	 "node: {overload: {listen: \"127.0.0.1:9464\"}}\n" POOL_OF("[\"10.0.0.1:80\"]",
								    "[{name: e, listen: 9464}]"),
	 "1:27: listen is node.metrics (127.0.0.1:9464), too; choose another port for one of them\n"
	 "7:33: listen is node.overload.listen (127.0.0.1:9464), where pintled itself listens; choose "
	 "another port for one of them\n"
	 "7:33: listen is node.metrics (127.0.0.1:9464), where pintled itself listens; choose another "
	 "port for one of them\n"},
	{"the overload responder at no address",
	 "node: {overload: {listen: \"0.0.0.0:9465\"}}\n" POOL_OF("[\"10.0.0.1:80\"]",
								  "[{name: e, listen: 8001}]"),
	 "1:27: node.overload.listen is \"0.0.0.0:9465\", which is no address to connect to; write "
	 "ADDRESS:PORT or [ADDRESS]:PORT\n"},
	{"a frontend over the DCGM exporter",
	 POOL_OF("[\"127.0.0.0/8:9400\"]",
		 "[{name: e, listen: 8001, gpu: {index: 0}}]") "  dcgm: {url: \"http://127.0.0.1:9400/metrics\"}\n",
	 "5:15: frontend 127.0.0.0/8:9400 covers dcgm.url of pool a; keep them apart by address or "
	 "port\n"},
	{"a frontend over an endpoint's own DCGM exporter",
	 POOL_OF("[\"127.0.0.0/8:9401\"]",
		 "[{name: e, listen: 8001, gpu: {index: 0, exporter: \"http://127.0.0.1:9401/\"}}]"),
	 "5:15: frontend 127.0.0.0/8:9401 covers gpu.exporter of endpoint e; keep them apart by "
	 "address or port\n"},
	{"an announced prefix that takes in the world",
	 POOL_OF("[\"0.0.0.0/0:80\", \"[2000::/3]:81\"]",
		 "[{name: e, listen: 8001}]") "  announce: true\n",
	 "5:15: announce would make all of 0.0.0.0/0:80 local to this node; announce prefixes of /8 or "
	 "longer\n"
	 "5:31: announce would make all of [2000::/3]:81 local to this node; announce prefixes of /16 or "
	 "longer\n"},

	/* endpoints */
	{"endpoints empty", POOL_OF("[\"10.0.0.1:80\"]", "[]"),
	 "6:14: endpoints is empty; write at least one\n"},
	{"endpoints without what they need", POOL_OF("[\"10.0.0.1:80\"]", "[{}, e]"),
	 "6:15: \"name\" is missing in pools[].endpoints[]; add it: 1 to 331 of a-z, 0-9, \"-\" and \".\", "
	 "beginning with a letter or digit\n"
	 "6:15: endpoint ? has neither listen nor address; write listen: ADDRESS:PORT or a port alone for "
	 "a server on this node, address: ADDRESS:PORT for one that runs anywhere\n"
	 "6:19: pools[].endpoints[] is one value; write a mapping: keys with values\n"},
	{"listen of every wrong kind",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, listen: localhost}\n  - {name: b, listen: 0}\n"
		 "  - {name: c, listen: \"0.0.0.0:8001\"}\n"
		 "  - {name: d, listen: {}}\n  - {name: e, listen: ~}\n"
		 "  - {name: f, listen: \"255.255.255.255:1\"}"),
	 "7:23: listen is \"localhost\", which is no address and port; " LISTEN
	 "8:23: listen is \"0\", which is no address and port; write a port from 1 to 65535, without "
	 "leading zeros\n"
	 "9:23: listen is \"0.0.0.0:8001\", which is no address to connect to; write the port alone: "
	 "\"8001\"\n"
	 "10:23: listen is a mapping; write ADDRESS:PORT, [ADDRESS]:PORT or a port alone\n"
	 "11:23: listen has no value; write ADDRESS:PORT, [ADDRESS]:PORT or a port alone\n"
	 "12:23: listen is \"255.255.255.255:1\", which is no address of one host; write ADDRESS:PORT, "
	 "[ADDRESS]:PORT or a port alone\n"},
	{"two endpoints that claim one listener",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: \"127.0.0.1:8001\"},\n"
				      "    {name: b, listen: \"[::ffff:127.0.0.1]:8001\"}]"),
	 "7:23: listen 127.0.0.1:8001 claims the listener of endpoint a/a (line 6, 127.0.0.1:8001); give "
	 "each endpoint its own\n"},
	{"a port alone claims every listener on it",
	 POOL
	 "- name: b\n  frontends: [\"10.77.0.2:8000\"]\n  endpoints: [{name: x, listen: 8001}]\n",
	 "9:33: listen 8001 claims the listener of endpoint a/e (line 6, 127.0.0.1:8001); give each "
	 "endpoint its own\n"},
	{"an endpoint where pintled listens",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: 9464}]"),
	 "6:33: listen is node.metrics (127.0.0.1:9464), where pintled itself listens; choose another "
	 "port for one of them\n"},
	{"metrics that are no URL",
	 POOL_OF("[\"10.0.0.1:80\"]", "\n  - {name: a, listen: 1, metrics: /metrics}\n"
				      "  - {name: b, listen: 2, metrics: \"file:///etc/passwd\"}\n"
				      "  - {name: c, listen: 3, metrics: \"http://\"}\n"
				      "  - {name: d, listen: 4, metrics: \"http://h:99999/\"}\n"
				      "  - {name: f, listen: 6, metrics: \"http://a b/\"}"),
	 "7:35: metrics is \"/metrics\", which is not http:// or https://; write an http:// or https:// "
	 "URL of at most 1023 bytes, or none\n"
	 "8:35: metrics is \"file:///etc/passwd\", which is not http:// or https://; write an http:// or "
	 "https:// URL of at most 1023 bytes, or none\n"
	 "9:35: metrics is \"http://\", which is no valid URL; write an http:// or "
	 "https:// URL of at most 1023 bytes, or none\n"
	 "10:35: metrics is \"http://h:99999/\", which is no valid URL; write an http:// or https:// URL of at most 1023 bytes, or none\n"
	 "11:35: metrics is \"http://a b/\", which is no valid URL; write "
	 "an http:// or https:// URL of at most 1023 bytes, or none\n"},
	{"secrets in what was meant as a URL or a file",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, listen: 1, metrics: \"http//u:SECRET@h/\"}\n"
		 "  - {name: b, listen: 2, metrics: \"http://u:SECRET@h:99999/m?token=SECRET\"}\n"
		 "  - {name: c, listen: 3, metrics: \"http://u:SEC?RET@h:99999/\"}\n"
		 "  - {name: d, listen: 4, metrics: \"http://h:99999/?t=SEC@RET\"}\n"
		 "  - {name: f, listen: 5, metrics: \"ftp://u:SEC//RET@h/\"}\n"
		 "  scrape: {path: \"m?token=SECRET\", authorization: {credentialsFile: SECRET}}"),
	 "7:35: metrics is \"...@h/\", which is not http:// or https://; write an http:// or https:// "
	 "URL of at most 1023 bytes, or none\n"
	 "8:35: metrics is \"http://...@h:99999/m?...\", which is no valid URL; write an http:// or "
	 "https:// URL of at most 1023 bytes, or none\n"
	 "9:35: metrics is \"http://...\", which is no valid URL; write an http:// or "
	 "https:// URL of at most 1023 bytes, or none\n"
	 "10:35: metrics is \"http://...\", which is no valid URL; write an http:// or "
	 "https:// URL of at most 1023 bytes, or none\n"
	 "11:35: metrics is \"...@h/\", which is not http:// or https://; write an http:// or https:// "
	 "URL of at most 1023 bytes, or none\n"
	 "12:18: scrape.path is \"m?...\", which does not begin with /; write a URL's path, from / on, "
	 "of at most 255 bytes\n"
	 "12:69: scrape.authorization.credentialsFile is (hidden), which does not begin with /; write a "
	 "path from / on, of at most 1023 bytes\n"},
	{"a certificate without its key",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: 1}]\n"
				      "  scrape: {scheme: https, tlsConfig: {certFile: /c}}"),
	 "7:38: tlsConfig has certFile alone; write certFile and keyFile, or neither\n"},
	{"credentials in the configuration itself",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: 1}]\n"
				      "  scrape: {authorization: {credentials: SECRET}}"),
	 "7:27: \"credentialsFile\" is missing in pools[].scrape.authorization; add it: a path from / "
	 "on, of at most 1023 bytes\n"
	 "7:28: unknown key \"credentials\" in pools[].scrape.authorization; did you mean "
	 "\"credentialsFile\"?\n"},
	{"a credential over the network",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "[{name: a, listen: 1}, {name: b, listen: \"10.0.0.2:2\"}]\n"
		 "  scrape: {authorization: {credentialsFile: /t}, tlsConfig: {caFile: /c}}"),
	 "7:27: warning: the credential goes to endpoint b unencrypted, so anybody on the path can "
	 "read it; read its page by https\n"
	 "7:61: warning: tlsConfig has no effect, because no page is read by https; write scheme: "
	 "https, or metrics: \"https://...\" of an endpoint\n"},
	{"a gpu without dcgm",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: 1, gpu: {index: 0}}]"),
	 "6:41: gpu of endpoint a has no page to be read from; add dcgm: {url: "
	 "\"http://127.0.0.1:9400/metrics\"} to the pool\n"},
	{"a gpu of both keys, of none, and wrong",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, listen: 1, gpu: {index: 0, pod: x}}\n  - {name: b, listen: 2, gpu: {}}\n"
		 "  - {name: c, listen: 3, gpu: {index: -1}}\n  - {name: d, listen: 4, gpu: {index: 0.5}}\n"
		 "  - {name: f, listen: 5, gpu: 0}\n"
		 "  - {name: h, listen: 6, gpu: {index: 0, namespace: x}}") "  dcgm: {url: \"http://127.0.0.1:9400/metrics\"}\n",
	 "7:31: gpu of endpoint a has index and pod; write one of them\n"
	 "8:31: gpu of endpoint b has neither index nor pod; write one of them\n"
	 "9:39: gpu.index is \"-1\", which is out of range; write a whole number from 0 to 1023\n"
	 "10:39: gpu.index is \"0.5\", which is not whole; write a whole number from 0 to 1023\n"
	 "11:31: gpu is one value; write a mapping of index, pod, namespace, exporter\n"
	 "12:31: gpu of endpoint h has a namespace, and no pod in it; add pod\n"},
	{"health without a path", POOL "  health: {interval: 5s}\n",
	 "7:11: \"path\" is missing in pools[].health; add it: a URL's path, from / on, of at most 255 "
	 "bytes\n"},
	{"a status that is no answer's", POOL "  health: {path: /health, expect: 100}\n",
	 "7:35: health.expect is \"100\", which is out of range; write a whole number from 200 to "
	 "599\n"},
	{"dcgm without a URL",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "[{name: a, listen: 1, gpu: {index: 0}}]") "  dcgm: {interval: 5s}\n",
	 "7:9: \"url\" is missing in pools[].dcgm; add it: an http:// or https:// URL of at most 1023 "
	 "bytes\n"},

	/* choices */
	{"an engine misspelt", POOL "  engine: vlm\n",
	 "7:11: engine is \"vlm\", which is not known; did you mean vllm?\n"},
	{"metrics' names",
	 POOL "  metrics: {waiting: 9a, running: 'a{b}', kv: \"\", outputTokens: \"a 1\"}\n",
	 "7:22: metrics.waiting is \"9a\", " METRIC "7:35: metrics.running is \"a{b}\", " METRIC
	 "7:47: metrics.kv is \"\", " METRIC "7:65: metrics.outputTokens is \"a 1\", " METRIC},
	{"pages that load models",
	 POOL_OF("[\"10.77.0.1:8000\"]",
		 "[{name: a, listen: 1, metrics: \"http://h/metrics?model=x&autoload=true\"}]") "  engine: llamacpp\n  scrape: {path: \"/metrics?autoload=1&model=x\"}\n"
												"  health: {path: \"/props?model=x&autoload=yes\"}\n",
	 "6:45: metrics has autoload, with which each request for it loads a model; leave it out\n"
	 "8:18: scrape.path has autoload, with which each request for it loads a model; leave it "
	 "out\n"
	 "9:18: health.path has autoload, with which each request for it loads a model; leave it "
	 "out\n"},
	{"pages that load none",
	 POOL_OF("[\"10.77.0.1:8000\"]",
		 "[{name: a, listen: 1, metrics: \"http://h/metrics?model=x&autoload=false\"}]") "  engine: llamacpp\n  scrape: {path: \"/metrics?model=autoload\"}\n",
	 ""},
	{"metrics' names, good ones",
	 POOL "  engine: auto\n  metrics: {waiting: 'a:b{c=\"d\"}', kv: '{\"e.f\"}'}\n", ""},
	{"metrics' names, and none for the load",
	 POOL "  engine: auto\n  metrics: {promptTokens: a}\n",
	 "8:12: metrics names none for the load, and engine: auto has no other; write waiting, "
	 "running or kv, or name the engine\n"},
	{"metrics' names, and one that is none", POOL "  metrics: {wating: a}\n",
	 "7:13: unknown key \"wating\" in pools[].metrics; did you mean \"waiting\"?\n"},
	{"a scheme unknown", POOL "  scrape: {scheme: gopher}\n",
	 "7:20: scrape.scheme is \"gopher\", which is not known; write one of http, https\n"},
	{"a mode unknown", POOL "  mode: [off]\n",
	 "7:9: mode is a list; write one of off, baseline, enforce, shadow\n"},
	{"requests in other words", POOL "  requests: one\n",
	 "7:13: requests is \"one\", which is not known; write one of as-they-come, "
	 "one-per-connection\n"},
	{"a header that is needed", POOL "  spareHeaders: Accept, host\n",
	 "7:17: spareHeaders is \"Accept, host\", with one that the answer needs; " HEADERS},
	{"no name of a header", POOL "  spareHeaders: \"A:\"\n",
	 "7:17: spareHeaders is \"A:\", with a name that no such header has; " HEADERS},
	{"two headers without a comma", POOL "  spareHeaders: Accept Cookie\n",
	 "7:17: spareHeaders is \"Accept Cookie\", with no comma between two names; " HEADERS},
	{"a comma at the end", POOL "  spareHeaders: \"Accept,\"\n",
	 "7:17: spareHeaders is \"Accept,\", with a name that is empty or too long; " HEADERS},
	{"a header twice", POOL "  spareHeaders: Accept,ACCEPT\n",
	 "7:17: spareHeaders is \"Accept,ACCEPT\", with one twice; " HEADERS},
	{"five headers", POOL "  spareHeaders: a,b,c,d,e\n",
	 "7:17: spareHeaders is \"a,b,c,d,e\", which are too many; " HEADERS},
	{"a long name", POOL "  spareHeaders: a234567890123456789012345678901\n",
	 "7:17: spareHeaders is \"a234567890123456789012345678901\", with a name that is empty or "
	 "too long; " HEADERS},
	{"a failure mode in small letters", POOL "  failureMode: failclose\n",
	 "7:16: failureMode is \"failclose\", which is not known; did you mean FailClose?\n"},
	{"announce yes", POOL "  announce: yes\n",
	 "7:13: announce is \"yes\", which is neither; write true or false\n"},
	{"announce in quotes", POOL "  announce: \"true\"\n",
	 "7:13: announce is \"true\", which is text in quotes; write true or false\n"},

	/* durations */
	{"a duration without unit", POOL "  scrape: {interval: 200}\n",
	 "7:22: scrape.interval is \"200\", without a unit; write 200 and ms, s, m or h, as in 200ms\n"},
	{"durations of every wrong kind",
	 POOL "  scrape: {interval: 200us, timeout: 1 s}\n  stickiness: {ttl: -1s}\n"
	      "  saturation: {staleness: fast}\n",
	 "7:22: scrape.interval is \"200us\", with a unit that is not known; " DURATION
	 "7:38: scrape.timeout is \"1 s\", with a unit that is not known; " DURATION
	 "8:21: stickiness.ttl is \"-1s\", which is out of range; write a duration from 0s to 720h, in "
	 "ms, s, m or h\n"
	 "9:27: saturation.staleness is \"fast\", which is no duration; " DURATION},
	{"durations out of range",
	 POOL "  scrape: {interval: 1ms, timeout: 61m}\n  saturation: {staleness: 1e300h}\n",
	 "7:22: scrape.interval is \"1ms\", which is out of range; " DURATION
	 "7:36: scrape.timeout is \"61m\", which is out of range; " DURATION
	 "8:27: saturation.staleness is \"1e300h\", which is out of range; " DURATION},
	{"durations that are no number", POOL "  scrape: {interval: nan, timeout: inf}\n",
	 "7:22: scrape.interval is \"nan\", which is not finite; " DURATION
	 "7:36: scrape.timeout is \"inf\", which is not finite; " DURATION},

	/* numbers */
	{"numbers that are not finite",
	 POOL "  weights: {queue: .nan, kvCache: -.inf, running: NaN, gpu: Infinity}\n",
	 "7:20: weights.queue is \".nan\", which is not finite; " WEIGHT
	 "7:35: weights.kvCache is \"-.inf\", which is not finite; " WEIGHT
	 "7:51: weights.running is \"NaN\", which is not finite; " WEIGHT
	 "7:61: weights.gpu is \"Infinity\", which is not finite; " WEIGHT},
	{"numbers out of range",
	 POOL "  weights: {queue: -1, kvCache: 1001, running: 1e999}\n"
	      "  saturation: {queueDepth: 0, kvCache: 1.01}\n",
	 "7:20: weights.queue is \"-1\", which is out of range; " WEIGHT
	 "7:33: weights.kvCache is \"1001\", which is out of range; " WEIGHT
	 "7:48: weights.running is \"1e999\", which is out of range; " WEIGHT
	 "8:28: saturation.queueDepth is \"0\", which is out of range; write a number from 1 to 1000000\n"
	 "8:40: saturation.kvCache is \"1.01\", which is out of range; write a number from 0.01 to 1\n"},
	{"numbers of another notation",
	 POOL "  weights: {queue: 0x10, kvCache: 1_000, running: 010, gpu: \"1\"}\n"
	      "  stickiness: {maxExtraLoad: 1e}\n  saturation: {queueDepth: five, kvCache: 80%}\n",
	 "7:20: weights.queue is \"0x10\", which is no number; " WEIGHT
	 "7:35: weights.kvCache is \"1_000\", which is no number; " WEIGHT
	 "7:51: weights.running is \"010\", which is no number; " WEIGHT
	 "7:61: weights.gpu is \"1\", which is text in quotes; " WEIGHT
	 "8:30: stickiness.maxExtraLoad is \"1e\", which is no number; write a number from 0 to 1000000, or auto\n"
	 "9:28: saturation.queueDepth is \"five\", which is no number; write a number from 1 to 1000000\n"
	 "9:43: saturation.kvCache is \"80%\", which is no number; write a number from 0.01 to 1\n"},

	/* session keys */
	{"a session key unknown", POOL "  stickiness: {key: header, group: source24}\n",
	 "7:21: stickiness.key is \"header\", which is not known; " KEY
	 "7:36: stickiness.group is \"source24\", which has no prefix length where one should be; " GROUP},
	{"prefix lengths that cannot be",
	 POOL "  stickiness: {key: source/33, group: source/24/129}\n",
	 "7:21: stickiness.key is \"source/33\", which is out of range; write V4BITS from 0 to 32, and "
	 "V6BITS from 0 to 128\n"
	 "7:39: stickiness.group is \"source/24/129\", which is out of range; write V4BITS from 0 to 32, "
	 "and V6BITS from 0 to 128\n"},
	{"prefix lengths that are none",
	 POOL "  stickiness: {key: source/, group: source/24/64/1}\n",
	 "7:21: stickiness.key is \"source/\", which has no prefix length where one should be; " KEY
	 "7:37: stickiness.group is \"source/24/64/1\", which has no prefix length where one should be; " GROUP},

	{"session keys that are no words", POOL "  stickiness: {key: [source, {a: b}]}\n",
	 "7:30: stickiness.key has a place without a word; write one word in each\n"},
	{"a session key with a comma in a list",
	 POOL "  stickiness: {key: [\"authorization,source\"]}\n",
	 "7:22: stickiness.key has a place without a word; write one word in each\n"},
	{"an empty list of session keys", POOL "  stickiness: {key: []}\n",
	 "7:21: stickiness.key is an empty list; " KEY},
	{"a session key that is a mapping", POOL "  stickiness: {key: {a: b}}\n",
	 "7:21: stickiness.key is a mapping; " KEY},
	{"a session key misspelt", POOL "  stickiness: {key: destinaton}\n",
	 "7:21: stickiness.key is \"destinaton\", which is not known; did you mean destination?\n"},
	{"session keys that only connect() shows", POOL "  stickiness: {key: mark, group: hint}\n",
	 "7:21: stickiness.key is mark, which Pintle cannot see for endpoints with listen; write "
	 "one of "
	 "none, source, destination\n"
	 "7:34: stickiness.group is hint, which Pintle cannot see for endpoints with listen; write "
	 "one of "
	 "none, source, destination\n"},

	{"hints shared that are none", POOL "  stickiness: {key: source, shared: true}\n",
	 "7:37: stickiness.shared is for sessions that clients name, but the key is source; write "
	 "decide: request and key: agent, or remove shared\n"},
	{"hints shared that are none, of endpoints with address",
	 CONNECT_POOL "  stickiness: {key: client, shared: true}\n",
	 "8:37: stickiness.shared is for sessions that clients name, but the key is client; write "
	 "key: hint, or remove shared\n"},
	{"sessions shared that no request names",
	 POOL
	 "  decide: request\n  models: {default: a}\n  stickiness: {key: source, shared: true}\n",
	 "9:37: stickiness.shared is for sessions that clients name, but the key is source; write "
	 "key: agent, or remove shared\n"},
	{"sessions shared that agents name",
	 POOL "  decide: request\n  stickiness: {shared: true}\n", ""},
	{"a session key before what requests name",
	 POOL "  decide: request\n  stickiness: {key: [source/24, header/a], shared: true}\n",
	 "8:21: stickiness.key is \"source/24, header/a\", which has a key of the connection before "
	 "another; write agent, header/NAME, cookie/NAME, body/NAME and authorization first, and one "
	 "other key behind them\n"},
	{"two session keys of the connection",
	 POOL "  decide: request\n  stickiness: {key: \"header/a, source, destination\"}\n",
	 "8:21: stickiness.key is \"header/a, source, destination\", which has a key of the "
	 "connection before another; write agent, header/NAME, cookie/NAME, body/NAME and "
	 "authorization first, and one other key behind them\n"},
	{"a name that no header has",
	 POOL "  decide: request\n  stickiness: {key: \"header/x:y\"}\n",
	 "8:21: stickiness.key is \"header/x:y\", " NAMES},
	{"names of every character",
	 POOL "  decide: request\n  stickiness: {key: [\"header/x_y\", "
	      "\"cookie/__Host-a.b!#$%&'*+^`|~\"]}\n",
	 ""},
	{"a name behind authorization",
	 POOL "  decide: request\n  stickiness: {key: authorization/x}\n",
	 "8:21: stickiness.key is \"authorization/x\", " NAMES},
	{"a word that begins as authorization",
	 POOL "  decide: request\n  stickiness: {key: authorizations}\n",
	 "8:21: stickiness.key is \"authorizations\", " NAMES},
	{"a header that says how the request is sent",
	 POOL "  decide: request\n  stickiness: {key: [header/Content-Length, source]}\n",
	 "8:21: stickiness.key is \"header/Content-Length, source\", " SENDING},
	{"the header that one-shot changes",
	 POOL "  decide: request\n  stickiness: {key: header/connection}\n",
	 "8:21: stickiness.key is \"header/connection\", " SENDING},
	{"the other header that says how the request is sent",
	 POOL "  decide: request\n  stickiness: {key: header/transfer-encoding}\n",
	 "8:21: stickiness.key is \"header/transfer-encoding\", " SENDING},
	{"a cookie of that name",
	 POOL "  decide: request\n  stickiness: {key: cookie/connection}\n", ""},
	{"when it is decided, misspelt, of a pool that wants requests",
	 POOL "  decide: requests\n  models: {default: a}\n"
	      "  stickiness: {key: \"header/x, source\", prefix: true}\n",
	 "7:11: decide is \"requests\", which is not known; did you mean request?\n"},
	{"the same, of endpoints with address",
	 CONNECT_POOL "  decide: Request\n  models: {default: a}\n"
		      "  stickiness: {key: \"header/x, source\", prefix: true}\n",
	 "8:11: decide is \"Request\", which is not known; did you mean request?\n"},
	{"the same, of a pool that wants none", POOL "  decide: conection\n",
	 "7:11: decide is \"conection\", which is not known; did you mean connection?\n"},
	{"the same, by a word that is near to nothing",
	 POOL "  decide: late\n  stickiness: {key: \"header/x, source\"}\n",
	 "7:11: decide is \"late\", which is not known; write one of connection, request\n"},
	{"the same, and nothing else", POOL "  decide: late\n",
	 "7:11: decide is \"late\", which is not known; write one of connection, request\n"},
	{"a session key in the list that is unknown",
	 POOL "  decide: request\n  stickiness: {key: [sni, source], shared: true}\n",
	 "8:21: stickiness.key is \"sni, source\", which is not known; " KEY},
	{"nine names of a session",
	 POOL "  decide: request\n  stickiness: {key: [header/a, header/b, header/c, cookie/d, "
	      "body/e, body/f.g, agent, authorization, header/h]}\n",
	 "8:21: stickiness.key is \"header/a, header/b, header/c, cookie/d, body/e, body/f.g, agent, "
	 "authorization, header/h\", which has too many names; write at most eight of agent, "
	 "header/NAME, cookie/NAME, body/NAME and authorization\n"},
	{"eight names of a session, and a key of the connection",
	 POOL "  decide: request\n  stickiness: {key: [header/a, header/b, header/c, cookie/d, "
	      "body/e, body/f.g, agent, authorization, source/24]}\n",
	 ""},
	{"agent twice", POOL "  decide: request\n  stickiness: {key: [agent, header/a, agent]}\n",
	 "8:21: stickiness.key is \"agent, header/a, agent\", which has agent twice; write each "
	 "once\n"},
	{"names that agent has, before it and behind it",
	 POOL "  decide: request\n  stickiness: {key: [body/user, header/session-id, agent, "
	      "header/x-session-id, body/prompt_cache_key, authorization, source]}\n",
	 ""},
	{"a word that begins as agent", POOL "  decide: request\n  stickiness: {key: agents}\n",
	 "8:21: stickiness.key is \"agents\", " NAMES},
	{"a name behind agent", POOL "  decide: request\n  stickiness: {key: agent/x}\n",
	 "8:21: stickiness.key is \"agent/x\", " NAMES},
	{"agent of connections", POOL "  stickiness: {key: agent}\n",
	 "7:21: stickiness.key has what only a request says, but connections are decided before it "
	 "comes; write decide: request, or leave out what names it\n"},
	{"members of a body",
	 POOL "  decide: request\n  stickiness: {key: [body/a, body/A, body/a_b-1.C, "
	      "body/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]}\n",
	 ""},
	{"a member with a name that is too long",
	 POOL "  decide: request\n  stickiness: {key: body/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n",
	 "8:21: stickiness.key is \"body/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", " MEMBERS},
	{"a member of a member of a member",
	 POOL "  decide: request\n  stickiness: {key: body/a.b.c}\n",
	 "8:21: stickiness.key is \"body/a.b.c\", " MEMBERS},
	{"a member of nothing", POOL "  decide: request\n  stickiness: {key: body/.b}\n",
	 "8:21: stickiness.key is \"body/.b\", " MEMBERS},
	{"nothing of a member", POOL "  decide: request\n  stickiness: {key: body/a.}\n",
	 "8:21: stickiness.key is \"body/a.\", " MEMBERS},
	{"a member without a name",
	 POOL "  decide: request\n  stickiness: {key: \"body/, source\"}\n",
	 "8:21: stickiness.key is \"body/, source\", " MEMBERS},
	{"a member that would be escaped",
	 POOL "  decide: request\n  stickiness: {key: 'body/a\"b'}\n",
	 "8:21: stickiness.key is \"body/a\"b\", " MEMBERS},
	{"a member twice", POOL "  decide: request\n  stickiness: {key: [body/a.b, body/a.b]}\n",
	 "8:21: stickiness.key is \"body/a.b, body/a.b\", which has a name twice; write each once\n"},
	{"a name of a session twice",
	 POOL "  decide: request\n  stickiness: {key: [header/A, header/a]}\n",
	 "8:21: stickiness.key is \"header/A, header/a\", which has a name twice; write each once\n"},
	{"a cookie twice", POOL "  decide: request\n  stickiness: {key: [cookie/a, cookie/a]}\n",
	 "8:21: stickiness.key is \"cookie/a, cookie/a\", which has a name twice; write each once\n"},
	{"a cookie that is another to some servers",
	 POOL "  decide: request\n  stickiness: {key: [cookie/sid, cookie/SID]}\n",
	 "8:21: stickiness.key is \"cookie/sid, cookie/SID\", which has a cookie in small and in "
	 "capital letters, and servers do not agree whether these are two; write the one that clients send\n"},
	{"requests that say nothing to a pool with a frontend, of which another's models are",
	 POOL
	 "  decide: request\n  models: {default: a, y: b}\n"
	 "- {name: b, decide: request, stickiness: {key: source}, frontends: [\"10.0.0.1:81\"], "
	 "endpoints: [{name: e, listen: 8002}]}\n",
	 "9:21: decide: request, but stickiness.key names nothing of a request; write it as in "
	 "\"agent, source\", or models, or stickiness.prefix: true, or remove "
	 "decide\n"},
	{"the same without one",
	 POOL "  decide: request\n  models: {default: a, y: b}\n"
	      "- {name: b, decide: request, stickiness: {key: source}, frontends: [], endpoints: "
	      "[{name: e, listen: 8002}]}\n",
	 ""},

	{"prompts of a pool that is decided by connection", POOL "  stickiness: {prefix: true}\n",
	 "7:24: stickiness.prefix needs the prompt, but connections are decided before it comes; "
	 "write decide: request, or remove prefix\n"},
	{"a request's session, and connections that are decided before",
	 POOL "  stickiness: {key: \"header/x, source\"}\n",
	 "7:21: stickiness.key has what only a request says, but connections are decided before it "
	 "comes; write decide: request, or leave out what names it\n"},
	{"what rests nowhere",
	 CONNECT_POOL
	 "  decide: connection\n  stickiness: {key: \"header/x, client\", prefix: true}\n",
	 "9:21: stickiness.key has what only a request says, but connections are decided before it "
	 "comes; write decide: request, or leave out what names it\n"
	 "9:49: stickiness.prefix needs the prompt, but connections are decided before it comes; "
	 "write decide: request, or remove prefix\n"},
	{"models that would rest", POOL "  decide: connection\n  models: {x: a}\n",
	 "8:11: models needs requests, but connections are decided before one comes; write decide: "
	 "request, or remove models\n"},
	{"prompts that weigh nothing",
	 POOL "  decide: request\n  stickiness: {prefix: true, maxExtraLoad: 7}\n",
	 "8:44: with stickiness.prefix prompts weigh, but with maxExtraLoad 7 they do not; write "
	 "maxExtraLoad: auto, or remove prefix\n"},
	{"requests of agents", POOL "  decide: request\n", ""},
	{"requests that say nothing", POOL "  decide: request\n  stickiness: {key: source}\n",
	 "7:11: decide: request, but stickiness.key names nothing of a request; write it as in "
	 "\"agent, source\", or models, or stickiness.prefix: true, or remove decide\n"},
	{"what a prompt weighs", POOL "  weights: {prefix: -0.1}\n",
	 "7:21: weights.prefix is \"-0.1\", which is out of range; write a number from 0 to 100\n"},
	{"a prompt that weighs nothing",
	 POOL "  decide: request\n  stickiness: {prefix: true}\n  weights: {prefix: 0}\n", ""},

	/* endpoints anywhere */
	{"addresses of every wrong kind",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, address: pod-0}\n  - {name: b, address: 8000}\n"
		 "  - {name: c, address: \"0.0.0.0:8000\"}\n  - {name: d, address: \"10.0.0.7\"}\n"
		 "  - {name: e, address: \"[ff02::1]:1\"}\n  - {name: f, address: }"),
	 "7:24: address is \"pod-0\", which is no address and port; " ADDRESS
	 "8:24: address is \"8000\", which is a port without an address; " ADDRESS
	 "9:24: address is \"0.0.0.0:8000\", which is no address to connect to; " ADDRESS
	 "10:24: address is \"10.0.0.7\", which is no address and port; " ADDRESS
	 "11:24: address is \"[ff02::1]:1\", which is no address of one host; " ADDRESS
	 "12:24: address has no value; " ADDRESS},
	{"an endpoint of both kinds, and one of neither",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, listen: 1, address: \"10.0.0.7:1\"}\n  - {name: b}"),
	 "7:35: endpoint a has both listen and address; write listen for a server on this node, address "
	 "for one that runs anywhere\n"
	 "8:5: endpoint b has neither listen nor address; write listen: ADDRESS:PORT or a port alone for "
	 "a server on this node, address: ADDRESS:PORT for one that runs anywhere\n"},
	{"endpoints of two hooks in one pool",
	 POOL_OF("[\"10.0.0.1:80\"]", "\n  - {name: a, listen: 1}\n  - {name: b, listen: 2}\n"
				      "  - {name: c, address: \"10.0.0.7:1\"}"),
	 "9:24: endpoint c has address, but endpoint a (line 7) of this pool has listen; one hook "
	 "decides a pool: make two pools of them\n"},
	{"two endpoints at one address",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, address: \"10.0.0.7:1\"},\n"
				      "    {name: b, address: \"10.0.0.7:1\"}]"),
	 "7:24: address 10.0.0.7:1 claims the address of endpoint a/a (line 6, 10.0.0.7:1); give each "
	 "endpoint its own\n"},
	{"a frontend over an endpoint's address",
	 POOL_OF("[\"10.0.0.0/8:80\"]", "[{name: a, address: \"10.0.0.7:80\"}]"),
	 "5:15: frontend 10.0.0.0/8:80 covers where endpoint a/a (line 6) is, so that its scrapes would "
	 "be steered; keep them apart by address or port\n"},
	{"announced, where clients are steered in connect()", CONNECT_POOL "  announce: true\n",
	 "8:13: announce is for endpoints with listen: clients of endpoints with address are "
	 "steered before a route matters; remove announce\n"},
	{"left to others, where servers listen",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n  daemonless: 30s\n",
	 "7:15: daemonless is for endpoints with address: listeners of this node are known without "
	 "pintled; remove daemonless\n"},
	{"spliced, by connection", CONNECT_POOL "  splice: true\n",
	 "8:11: splice is for connections that are decided by their first request; write decide: "
	 "request, or remove splice\n"},
	{"spliced, where servers listen",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n  decide: request\n"
	      "  stickiness: {key: header/x-a}\n  splice: true\n",
	 "9:11: splice is for servers anywhere, with address; the listeners of this node get "
	 "connections without it: remove splice\n"},
	{"intercepted, where servers listen",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n  intercept: endpoints\n",
	 "7:14: intercept is for endpoints with address: a connection to a listener's own address is "
	 "the server's; remove intercept\n"},
	{"classes that say too little, or too much",
	 CONNECT_POOL
	 "  classes:\n  - {name: a, priority: x}\n  - {name: b, limit: 0, admission: no}\n"
	 "  - {name: b, admission: refuse, maxExtraLoad: auto}\n",
	 "9:25: priority is \"x\", which is no number; write a whole number from -1000 to 1000\n"
	 "10:22: limit is \"0\", which is out of range; write a number from 0.001 to 1000000\n"
	 "10:36: admission is \"no\", which is not known; write one of proceed, refuse, "
	 "spill, divert\n"
	 "11:12: the class of line 10 has the name \"b\" already; choose another\n"
	 "11:26: warning: admission has no effect, because no endpoint can be full for the class; "
	 "write limit, the load from which on one is, or connections\n"
	 "11:48: maxExtraLoad is \"auto\", which is no number; write a number from 0 to 1000000\n"},
	{"shares that cannot be",
	 CONNECT_POOL
	 "  classes:\n  - {name: a, connections: 0, poolConnections: many, reserve: 0}\n"
	 "  - {name: b, reserve: 100%}\n  - {name: c, reserve: 1.5}\n  - {name: d, reserve: all}\n",
	 "9:28: connections is \"0\", which is out of range; write a whole number from 1 to 1000000\n"
	 "9:48: poolConnections is \"many\", which is no number; write a whole number from 1 to "
	 "100000000\n"
	 "9:63: reserve is \"0\", which is out of range; write a number of endpoints, such as 2, or a "
	 "percentage, such as \"25%\"\n"
	 "10:24: reserve is \"100%\", which is out of range; write a number of endpoints, such as 2, "
	 "or a percentage, such as \"25%\"\n"
	 "11:24: reserve is \"1.5\", which is no number of endpoints, and no percentage; write a "
	 "number of endpoints, such as 2, or a percentage, such as \"25%\"\n"
	 "12:24: reserve is \"all\", which is no number of endpoints, and no percentage; write a "
	 "number of endpoints, such as 2, or a percentage, such as \"25%\"\n"},
	{"quotas that cannot be", CONNECT_POOL "  tenants: {by: hint, connections: 1}\n",
	 "8:17: tenants.by is hint, which tells no tenants apart for endpoints with address; write one "
	 "of source, cgroup, namespace, serviceAccount\n"},
	{"quotas of a pool of listeners",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n  tenants: {by: namespace}\n",
	 "7:17: tenants.by is namespace, which tells no tenants apart for endpoints with listen; write "
	 "source, source/V4BITS or source/V4BITS/V6BITS\n"},
	{"what is not known of clients, where a pool of pods is decided by request",
	 CONNECT_POOL
	 "  decide: request\n  stickiness: {key: [header/x, source]}\n  trustHints: true\n"
	 "  tenants: {by: namespace}\n  access: {allow: [{cgroup: /a}]}\n"
	 "  classes: [{name: a}, {name: b, priority: -1, rules: [{namespace: jobs}]}]\n"
	 "  ejection: {failures: 1}\n  intercept: endpoints\n",
	 "10:15: trustHints" OF_REQUESTS "remove it\n"
	 "11:17: tenants.by is namespace, which tells no tenants apart for endpoints with address and "
	 "decide: request; write source, source/V4BITS or source/V4BITS/V6BITS\n"
	 "12:29: cgroup" OF_REQUESTS "write source or port\n"
	 "13:68: namespace" OF_REQUESTS "write source or port\n"
	 "15:14: intercept is for endpoints with address and decide: connection: a connection to a listener's own "
	 "address is the server's; remove intercept\n"},
	{"tenants that are none",
	 CONNECT_POOL
	 "  tenants:\n    by: source/24\n    rate: fast\n    rules:\n"
	 "    - {tenant: 10.9.0.7}\n    - {tenant: 10.9.0.0/24, rate: 2000000/s}\n    - {tenant: jobs}\n"
	 "    - {connections: 3}\n",
	 "10:11: tenants.rate is \"fast\", which is no rate; write a number for each second, minute or hour, "
	 "such as 10/s, 5/m or 100/h\n"
	 "12:16: tenant 10.9.0.7 is longer or shorter than a tenant, which has /24 (IPv4) or /64 "
	 "(IPv6); write one of that length, or another `by`\n"
	 "13:35: rate is \"2000000/s\", which is out of range; write a number for each second, minute "
	 "or hour, such as 10/s, 5/m or 100/h\n"
	 "14:16: tenant is \"jobs\", which is no address, and no prefix of addresses; write one, such "
	 "as 10.9.0.7\n"
	 "15:7: \"tenant\" is missing in pools[].tenants.rules[]; add it: a tenant as `by` has it: a "
	 "namespace, say, or an address\n"},
	{"tenants by account",
	 CONNECT_POOL
	 "  tenants:\n    by: serviceAccount\n    burst: 3\n    rules: [{tenant: run}]\n",
	 "10:12: warning: burst has no effect without rate; write rate, such as 10/s\n"
	 "11:22: tenant is \"run\", which is no service account; write NAMESPACE/NAME\n"},
	{"tenants told apart by nothing", CONNECT_POOL "  tenants: {by: none, connections: 1}\n",
	 "8:17: tenants.by is none, which tells no tenants apart for endpoints with address; write one "
	 "of source, cgroup, namespace, serviceAccount\n"},
	{"tenants of two rules, and of no client",
	 HEAD "clients: [{name: batch, cgroup: /batch.slice}]\n"
	      "pools:\n- name: a\n  frontends: [\"10.96.0.1:80\"]\n"
	      "  endpoints: [{name: e, address: \"10.0.0.1:80\"}]\n"
	      "  tenants:\n    by: cgroup\n    rules:\n    - {tenant: batch}\n"
	      "    - {tenant: batch, rate: 1/s}\n    - {tenant: bacth}\n    - {tenant: pod/0a1b}\n"
	      "    - {tenant: /a.slice}\n    - {tenant: /a.slice}\n    - {tenant: /batch.slice}\n"
	      "    - {tenant: /jobs.slice/a}\n    - {tenant: /jobs.slice/*}\n"
	      "    - {tenant: /jobs.slice/?}\n    - {tenant: /jobs.slice/b}\n"
	      "    - {tenant: /" FIFTY "/45678901234}\n    - {tenant: /" FIFTY "/456789012345}\n",
	 "12:16: tenant batch has a rule already; write each tenant once\n"
	 "13:16: warning: the rule is nobody's, because clients has no bacth; write the name of an "
	 "entry of clients\n"
	 "16:16: tenant /a.slice has a rule already; write each tenant once\n"
	 "17:16: warning: the rule is nobody's, because /batch.slice is batch by clients; write batch\n"
	 "20:16: warning: the rule is nobody's, because /jobs.slice/? is a tenant by a rule before, "
	 "/jobs.slice/*; write that one after this\n"
	 "21:16: warning: the rule is nobody's, because /jobs.slice/b is a tenant by a rule before, "
	 "/jobs.slice/*; write that one after this\n"
	 "23:16: tenant is \"/" FIFTY
	 "/456789012345\", a path of more than 63 bytes; name that cgroup in "
	 "clients, as in {name: batch, cgroup: /" FIFTY "/456789012345}, and write the name\n"},
	{"classes to which nothing leads",
	 CONNECT_POOL
	 "  classes:\n  - {name: batch, priority: -1}\n  - {name: chat}\n"
	 "  - {name: idle, priority: -2}\n  - {name: jobs, priority: -1, rules: [{port: 8000}]}\n",
	 "10:5: warning: no rule and no hint leads to class chat, so that only `pintle classify` puts "
	 "a session there; write rules\n"},
	{"classes of listeners to which nothing leads",
	 POOL
	 "  classify: true\n  classes:\n  - {name: all}\n  - {name: batch}\n  - {name: other}\n",
	 "11:5: warning: no rule and no hint leads to class other, so that only `pintle classify` puts "
	 "a session there; write rules\n"},
	{"a rule for addresses that no client has",
	 CONNECT_POOL "  access: {allow: [{source: \"fd00::/8\"}, {source: 10.0.0.0/8}]}\n",
	 "8:29: warning: the rule matches nobody, because the pool has no IPv6 frontend; write one, or "
	 "remove the rule\n"},
	{"rules that are tried in vain",
	 CONNECT_POOL
	 "  classes:\n"
	 "  - {name: chat, rules: [{source: 10.1.0.0/16}, {dscp: 8, namespace: run}]}\n"
	 "  - name: batch\n    priority: -1\n    rules:\n"
	 "    - {source: 10.1.2.0/24}\n    - {source: 10.0.0.0/8}\n    - {namespace: run}\n"
	 "    - {serviceAccount: run/a, port: 8000}\n    - {dscp: 8, source: 10.9.0.0/16}\n"
	 "    - {cgroup: /a}\n    - {cgroup: /a, trustHints: true}\n"
	 "  access: {allow: [{namespace: run}, {serviceAccount: run/a}]}\n",
	 "13:7: warning: this rule decides nothing, because the rule of line 9 is tried before and "
	 "matches the same clients; remove this one, or narrow that one\n"
	 "16:7: warning: this rule decides nothing, because the rule of line 15 is tried before and "
	 "matches the same clients; remove this one, or narrow that one\n"
	 "17:7: warning: this rule decides nothing, because the rule of line 14 is tried before and "
	 "matches the same clients; remove this one, or narrow that one\n"
	 "19:7: warning: this rule decides nothing, because the rule of line 18 is tried before and "
	 "matches the same clients; remove this one, or narrow that one\n"
	 "20:38: warning: this rule lets nobody in whom the rule of line 20 does not let in; remove "
	 "one of them\n"},
	{"a responder that no pod reaches",
	 HEAD "node: {overload: {listen: \"127.0.0.1:9465\"}}\n"
	      "pools:\n- name: a\n  frontends: [\"10.96.0.1:80\"]\n"
	      "  endpoints: [{name: e, address: \"10.0.0.1:80\"}]\n"
	      "  classes: [{name: all, limit: 1, admission: divert}]\n",
	 "3:27: warning: listen is a loopback address, and a pod that is sent there finds its own; "
	 "write an address of this node that pods reach\n"},
	{"other pools that take nothing",
	 CONNECT_POOL
	 "  fallback: [b, c]\n"
	 "- {name: b, mode: \"off\", frontends: [], endpoints: [{name: e, address: \"10.0.0.2:80\"}]}\n"
	 "- {name: c, mode: shadow, frontends: [], endpoints: [{name: e, address: \"10.0.0.3:80\"}]}\n",
	 "8:14: warning: fallback is pool b, which takes nothing of others in mode off; write mode: "
	 "enforce there\n"
	 "8:17: warning: fallback is pool c, which takes nothing of others in mode shadow; write mode: "
	 "enforce there\n"},
	{"an audit in a word", "audit: /var/log/audit\n" POOL,
	 "1:8: audit is one value; write a mapping of file, journald, all\n"},
	{"a key that stands at the top", POOL "  clients: [{namespace: chat}]\n",
	 "7:3: unknown key \"clients\" in pools[]; the key that is read is clients, at the top\n"},
	{"a reserve that leaves nothing",
	 CONNECT_POOL "  classes:\n  - {name: a, reserve: 60%}\n  - {name: b, priority: -1}\n",
	 "9:24: 2 endpoints would be reserved, of 2, so that none would be left for classes of lower "
	 "priority; reserve fewer\n"},
	{"other pools that there are not",
	 CONNECT_POOL "  fallback: [a, b, c, a]\n  canary: {pool: d, percent: 101}\n",
	 "8:14: fallback is the pool itself; write the name of another pool\n"
	 "8:17: fallback is \"b\", and this file has no pool of that name; write the name of another "
	 "pool of this file\n"
	 "8:20: fallback is \"c\", and this file has no pool of that name; write the name of another "
	 "pool of this file\n"
	 "8:23: fallback: more than 3 in one list; remove some\n"
	 "9:18: canary.pool is \"d\", and this file has no pool of that name; write the name of "
	 "another pool of this file\n"
	 "9:30: canary.percent is \"101\", which is out of range; write a number from 0 to 100\n"},
	{"other pools that cannot take its connections",
	 CONNECT_POOL
	 "  fallback: [b, b]\n"
	 "- {name: b, frontends: [\"10.0.0.2:80\"], endpoints: [{name: e, listen: 8001}]}\n",
	 "8:14: fallback is pool b, whose endpoints have listen, and those of a have address; name a "
	 "pool whose endpoints are reached in the same way\n"
	 "8:17: fallback is pool b, whose endpoints have listen, and those of a have address; name a "
	 "pool whose endpoints are reached in the same way\n"
	 "8:17: fallback names b twice; write each pool once\n"},
	{"a class that spills to nowhere, and a pool that nobody reaches",
	 CONNECT_POOL
	 "  classes: [{name: a, limit: 3, admission: spill}]\n"
	 "- {name: b, frontends: [], endpoints: [{name: e, address: \"10.0.0.8:1\"}]}\n",
	 "8:44: admission is spill, and the pool has no fallback; write fallback, or admission: "
	 "refuse\n"
	 "9:24: frontends is empty, and the pool is no canary and no fallback of another, and serves "
	 "none of its models; write at least one\n"},
	{"models that go nowhere, or twice",
	 POOL "  decide: request\n"
	      "  models:\n"
	      "    x: b\n"
	      "    y: c\n"
	      "    \"a b\": a\n"
	      "    z: [a]\n"
	      "    w: a\n"
	      "    w: a\n"
	      "- {name: c, frontends: [], endpoints: [{name: e, address: \"10.0.0.8:1\"}]}\n",
	 "9:5: models: x goes to \"b\", and this file has no pool of that name; write the name of a "
	 "pool of this file\n"
	 "9:5: " NO_DEFAULT
	 "10:5: models: y goes to pool c, whose endpoints have address, and those of a have listen; "
	 "name a pool whose endpoints are reached in the same way\n"
	 "11:5: models has a key that is no name of a model; write 1 to 127 characters of ASCII "
	 "without blanks\n"
	 "12:8: models: \"z\" goes to no pool; write a pool's name behind it\n"
	 "14:5: models has w in line 13 already; write each name once\n"},
	{"models without a default", POOL "  decide: request\n  models: {x: a}\n",
	 "8:11: " NO_DEFAULT},
	{"models with one", POOL "  decide: request\n  models: {x: a, default: a}\n", ""},
	{"models of a pool that is off",
	 POOL "  decide: request\n  models: {x: a, y: b, default: a}\n"
	      "- {name: b, frontends: [], mode: \"off\", endpoints: [{name: f, listen: 8009}]}\n",
	 "8:18: warning: models: y goes to pool b, which has mode off, so that its requests are reset "
	 "where nothing else listens at the frontend; write mode: baseline for b to serve them without "
	 "the rule\n"},
	{"models of a pool that is off, as this one is",
	 POOL "  mode: \"off\"\n  decide: request\n  models: {x: a, y: b, default: a}\n"
	      "- {name: b, frontends: [], mode: \"off\", endpoints: [{name: f, listen: 8009}]}\n",
	 ""},
	{"models without requests", POOL "  models: {x: a}\n",
	 "7:11: models needs requests, but connections are decided before one comes; write decide: "
	 "request, or remove models\n"},
	{"models of the wrong kind", POOL "  decide: request\n  models: [a]\n",
	 "8:11: models is a list; write models with their pools, such as {llama-8b: llama-8b, "
	 "default: llama-8b}\n"},
	{"no models", POOL "  decide: request\n  models: {}\n",
	 "8:11: models has 0 names; write 1 to 256, and the others for another pool's frontend\n"},
	{"rules that say too little, or too much",
	 CONNECT_POOL "  classes:\n  - name: a\n    rules:\n    - {}\n    - {trustHints: true}\n"
		      "    - {source: 10.9.0.0/33}\n    - {source: 224.0.0.1}\n"
		      "    - {serviceAccount: a}\n    - {dscp: 64}\n    - {port: 0}\n",
	 "11:7: this rule matches every connection; write which it is for: " RULES
	 "12:7: this rule matches every connection; write which it is for: " RULES
	 "13:16: source is \"10.9.0.0/33\", which is no prefix of addresses; write a prefix length from "
	 "0 to 32 (IPv4) or to 128 (IPv6)\n"
	 "14:16: source is \"224.0.0.1\", which no TCP connection can have; write an address, or a "
	 "prefix such as 10.9.0.0/16\n"
	 "15:24: serviceAccount is \"a\", which is no service account; write NAMESPACE/NAME\n"
	 "16:14: dscp is \"64\", which is out of range; write a whole number from 0 to 63\n"
	 "17:14: port is \"0\", which is out of range; write a whole number from 1 to 65535\n"},
	{"who is trusted",
	 CONNECT_POOL
	 "  classes:\n  - name: a\n  - name: b\n    priority: -1\n    rules:\n"
	 "    - {dscp: 46, trustHints: true}\n    - {dscp: 46, cgroup: /a, trustHints: true}\n",
	 "13:30: warning: every client may set this DSCP, and is trusted then; say who is: source, "
	 "namespace, serviceAccount or cgroup\n"
	 "14:7: warning: this rule decides nothing, because the rule of line 13 is tried before and "
	 "matches the same clients; remove this one, or narrow that one\n"},
	{"classified without sessions",
	 CONNECT_POOL "  classes: auto\n  stickiness: {key: none}\n  follow: false\n",
	 "8:12: the pool keeps no sessions that could be classified; write stickiness.key and a ttl, "
	 "or classify: false\n"
	 "8:12: sessions are classified by their requests, which are not followed; remove follow: "
	 "false, or write classify: false\n"},
	{"classified, into no class",
	 CONNECT_POOL "  classify: true\n  classes: [{name: a}, {name: b}]\n",
	 "8:13: warning: classify has no effect, because the pool has none of the classes interactive, "
	 "agent and batch; write classes: auto, or some of these\n"},
	{"rules that match nobody",
	 CONNECT_POOL
	 "  trustHints: true\n  classes:\n  - name: a\n    rules:\n"
	 "    - {namespace: a, serviceAccount: ab/c}\n"
	 "    - {namespace: a, serviceAccount: a/c}\n    - {port: 79}\n    - {port: 8000}\n"
	 "    - {source: 10.9.0.1/16}\n",
	 "8:15: warning: trustHints has no effect, because there are no classes to be raised to; write "
	 "classes\n"
	 "12:38: no client is of service account ab/c and of namespace a; remove one of them\n"
	 "14:14: warning: the rule matches nobody, because no frontend of the pool has port 79; write a "
	 "frontend's port\n"
	 "16:16: source is \"10.9.0.1/16\", which is no prefix of addresses; set no bit beyond the "
	 "prefix length, as in 10.77.0.0/24 or fd77::/64\n"},
	{"rules that the servers' node cannot judge",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n  trustHints: true\n"
	      "  classes:\n  - name: a\n    rules:\n    - {namespace: a}\n"
	      "    - {serviceAccount: a/b, port: 8000}\n    - {cgroup: /a}\n    - {dscp: 6}\n"
	      "    - {source: 10.0.0.0/8, trustHints: true}\n",
	 "7:15: trustHints" ELSEWHERE "remove it\n"
	 "11:19: namespace" ELSEWHERE "write source or port\n"
	 "12:24: serviceAccount" ELSEWHERE "write source or port\n"
	 "13:16: cgroup" ELSEWHERE "write source or port\n"
	 "14:14: dscp" ELSEWHERE "write source or port\n"
	 "15:40: trustHints" ELSEWHERE "write source or port\n"},
	{"an audit that goes nowhere", CONNECT_POOL "audit: {all: true, journald: false}\n",
	 "8:8: audit goes nowhere; write file: /var/log/pintle/audit.jsonl, or journald: true\n"},
	{"an audit of a relative path", CONNECT_POOL "audit: {file: audit.jsonl}\n",
	 "8:15: audit.file is \"audit.jsonl\", which does not begin with /; write a path from / on, of "
	 "at most 1023 bytes\n"},
	{"access without anybody", CONNECT_POOL "  access: {}\n",
	 "8:11: \"allow\" is missing in pools[].access; add it: a list, each item a mapping of "
	 "source, port, namespace, serviceAccount, cgroup\n"},
	{"access of rules that say too little, or too much",
	 CONNECT_POOL "  access:\n    allow:\n    - {}\n    - {dscp: 6}\n    - {port: 79}\n"
		      "    - {cgroup: \"*/a\"}\n    - {namespace: a, serviceAccount: b/c}\n",
	 "10:7: this rule lets everybody in; write who may connect: source, port, namespace, "
	 "serviceAccount or cgroup\n"
	 "11:8: unknown key \"dscp\" in pools[].access.allow[]; the key that is read is "
	 "pools[].classes[].rules[].dscp\n"
	 "12:14: warning: the rule matches nobody, because no frontend of the pool has port 79; write a "
	 "frontend's port\n"
	 "13:16: warning: a local user may make a cgroup that matches */a, and so may connect; write "
	 "the path from / on\n"
	 "14:38: no client is of service account b/c and of namespace a; remove one of them\n"},
	{"access that the servers' node cannot judge",
	 HEAD "pools:\n- name: a\n" FRONTEND
	      "  endpoints: [{name: e, listen: \"127.0.0.1:8001\"}]\n"
	      "  access: {allow: [{cgroup: /a}, {namespace: a}]}\n",
	 "7:29: cgroup" ELSEWHERE "write source or port\n"
	 "7:46: namespace" ELSEWHERE "write source or port\n"},
	{"no names of clients", CONNECT_POOL "  interceptExcept: [\"a b\", \"\"]\n",
	 "8:21: interceptExcept is \"a b\", which is no name of a client; write a list of clients "
	 "such as [prometheus, pod/UID]\n8:28: interceptExcept is \"\", which is no name of a client; "
	 "write a list of clients such as [prometheus, pod/UID]\n"},
	{"names of every wrong kind",
	 POOL_OF("[\"10.0.0.1:80\"]",
		 "\n  - {name: a, address: \"api.test:0\"}\n"
		 "  - {name: b, address: \"api.test:443\", metrics: \"http://h/\", gpu: {index: 1}}\n"
		 "  - {name: c, address: \"API.test:443\"}\n"
		 "  - {name: d, address: \"10.0.0.300:443\"}\n"
		 "  - {name: e, address: \"10.0.0.3:443\", allowPrefixes: [10.0.0.0/8]}\n"
		 "  - {name: f, address: \"-a.test:443\"}\n"
		 "  - {name: g, address: \"a..test:443\"}\n"
		 "  dcgm: {url: \"http://h/\"}"),
	 "7:24: address is \"api.test:0\", which has no port; write a port from 1 to 65535 behind the "
	 "name, without leading zeros\n"
	 "8:49: endpoint b has metrics, and a name as its address, which may stand for several "
	 "servers; remove metrics\n"
	 "8:67: endpoint b has gpu, and a name as its address, which may stand for several servers; "
	 "remove gpu\n"
	 "9:24: address api.test:443 is that of endpoint a/b (line 8), too; write it once\n"
	 "10:24: address is \"10.0.0.300:443\", which is no address and port; " ADDRESS
	 "11:55: endpoint e has allowPrefixes, which is for the addresses of a name; write a name as "
	 "its address, or remove allowPrefixes\n"
	 "12:24: address is \"-a.test:443\", which is no address and port; " ADDRESS
	 "13:24: address is \"a..test:443\", which is no address and port; " ADDRESS},
	{"a name where a listener should be",
	 POOL_OF("[\"10.0.0.1:80\"]", "[{name: a, listen: \"api.test:443\"}]"),
	 "6:33: listen is \"api.test:443\", which is a name; write address: for a server that has a "
	 "name\n"},
	{"DNS servers by name",
	 "node: {nameservers: [dns.test, 0.0.0.0, \"::1\", 10.0.0.0/8]}\n" POOL,
	 "1:22: node.nameservers is \"dns.test\", which is no address and port; " SERVERS
	 "1:32: node.nameservers is \"0.0.0.0\", which is no address to connect to; " SERVERS
	 "1:48: node.nameservers is \"10.0.0.0/8\", which is no address and port; " SERVERS},
	{"whose listeners, of an address",
	 POOL_OF("[\"10.96.0.10:80\"]",
		 "[{name: a, address: \"10.1.0.1:8000\", user: vllm, cgroup: /vllm}]"),
	 "6:57: endpoint a has user, which is for listeners on this node, and address; remove one "
	 "of them\n"
	 "6:71: endpoint a has cgroup, which is for listeners on this node, and address; remove "
	 "one of them\n"},
	{"no page of a listener",
	 POOL_OF("[\"10.77.0.1:8000\"]", "[{name: a, listen: \"127.0.0.1:8001\", metrics: none}]"),
	 ""},
	{"pods of this node",
	 CONNECT_POOL "  decide: request\n  stickiness: {key: header/x-id}\n"
		      "  announce: true\n",
	 ""},
	{"pods of this node that say too little",
	 POOL_OF("[\"10.77.0.1:8000\"]",
		 "[{name: a, address: \"10.1.0.1:80\", metrics: none}]") "  decide: request\n  stickiness: {key: [header/x-id, cgroup]}\n",
	 "8:21: stickiness.key is cgroup, which Pintle cannot see for endpoints with address; write "
	 "one of none, source, destination\n"},
	{"pods of this node and other servers",
	 CONNECT_POOL
	 "  decide: request\n  stickiness: {key: header/x-id}\n  fallback: [b]\n"
	 "  models: {x: b, default: a}\n"
	 "- {name: b, frontends: [\"10.0.0.2:80\"], endpoints: [{name: e, listen: 8001}]}\n",
	 "10:14: fallback is pool b, whose endpoints have listen, and those of a have address and "
	 "decide: request; name a pool whose endpoints are reached in the same way\n"
	 "11:12: models: x goes to pool b, whose endpoints have listen, and those of a have address "
	 "and decide: request; name a pool whose endpoints are reached in the same way\n"},
	{"whose listeners, as they are not written",
	 POOL_OF("[\"10.77.0.1:8000\"]",
		 "[{name: a, listen: \"127.0.0.1:8001\", user: \"a b\", cgroup: vllm}]"),
	 "6:57: user is \"a b\", which is no user's name; write the name or number of a user, of at most "
	 "31 bytes\n"
	 "6:72: cgroup is \"vllm\", which does not begin with /; " CGROUP},
	{"ejection out of range",
	 CONNECT_POOL "  ejection: {failures: -1, time: 1ms, maxTime: 25h, maxShare: 2}\n",
	 "8:24: ejection.failures is \"-1\", which is out of range; write a whole number from 0 to "
	 "1000000\n"
	 "8:34: ejection.time is \"1ms\", which is out of range; write a duration from 10ms to 24h, in "
	 "ms, s, m or h\n"
	 "8:48: ejection.maxTime is \"25h\", which is out of range; write a duration from 10ms to 24h, "
	 "in ms, s, m or h\n"
	 "8:63: ejection.maxShare is \"2\", which is out of range; write a number from 0 to 1\n"},
	{"clients without what they need", POOL "clients:\n- {name: A/b}\n- {name: b, cgroup: x}\n",
	 "8:1: warning: clients has no effect, because no pool's key or group is cgroup; write "
	 "stickiness: "
	 "{key: cgroup}\n"
	 "8:3: \"cgroup\" is missing in clients[]; add it: a path from / on, or a pattern that "
	 "begins with / or *, of at most 255 bytes\n"
	 "8:10: name is \"A/b\", with a character that a name cannot have there; write 1 to 63 of a-z, "
	 "0-9, \"-\" and \".\", beginning with a letter or digit\n"
	 "9:21: cgroup is \"x\", which does not begin with /; " CGROUP},

	/* the metrics' path */
	{"a path that is none", POOL "  scrape: {path: metrics}\n",
	 "7:18: scrape.path is \"metrics\", which does not begin with /; write a URL's path, from / on, of "
	 "at most 255 bytes\n"},
	{"a path with a space", POOL "  scrape: {path: /me trics}\n",
	 "7:18: scrape.path is \"/me trics\", which is no valid URL; write "
	 "a URL's path, from / on, of at most 255 bytes\n"},

	/* several at once, errors and warnings, in the order of the file */
	{"all at once, in the order of the file",
	 HEAD "node: {metrics: x}\npools:\n- weights: {running: 0, queue: x}\n  name: B\n"
	      "  endpoints: [{name: e, listen: x}]\n",
	 "3:17: node.metrics is \"x\", which is no address and port; write ADDRESS:PORT, [ADDRESS]:PORT "
	 "or off\n"
	 "5:3: \"frontends\" is missing in pools[]; add it: a list such as [\"10.77.0.1:8000\", "
	 "\"[fd77::1]:8000\"]" OR_NONE
	 "5:22: warning: with weights.running 0, running requests weigh nothing, and without fresh "
	 "scores no load is known; the default is 1\n"
	 "5:32: weights.queue is \"x\", which is no number; " WEIGHT
	 "6:9: name is \"B\", with a character that a name cannot have there; " NAME_RULE
	 "7:33: listen is \"x\", which is no address and port; " LISTEN},

	/* warnings alone: the file loads */
	{"warning: weights.running 0", POOL "  weights: {running: 0}\n",
	 "7:22: warning: with weights.running 0, running requests weigh nothing, and without fresh "
	 "scores no load is known; the default is 1\n"},
	{"warning: a ttl of 0", POOL "  stickiness: {ttl: 0s}\n",
	 "7:21: warning: with stickiness.ttl 0 every binding is forgotten at once; write key: none "
	 "if that is intended\n"},
	{"warning: scores always too old", POOL "  scrape: {interval: 5s}\n",
	 "4:3: warning: saturation.staleness is shorter than scrape.interval: scores are too old most of "
	 "the time; make it several intervals\n"},
	{"warning: a time-out beyond staleness", POOL "  scrape: {timeout: 3s}\n",
	 "7:21: warning: scrape.timeout is longer than saturation.staleness: a score is too old before a "
	 "slow page counts as a failure; make it shorter\n"},
	{"warning: endpoints that cannot take IPv6 clients",
	 POOL_OF("[\"10.0.0.1:80\", \"[fd77::1]:80\"]",
		 "[{name: e, listen: \"127.0.0.1:8001\"}, {name: f, listen: 8002}]"),
	 "5:30: warning: frontend [fd77::1]:80 is IPv6: its clients never reach 1 of 2 endpoints of pool a, on "
	 "IPv4 alone (first e); have the servers listen on [::] and write their "
	 "ports alone\n"},
	{"warning: endpoints that cannot take IPv4 clients",
	 POOL_OF("[\"10.0.0.1:80\", \"[fd77::1]:80\"]", "[{name: e, listen: \"[::1]:8001\"}]"),
	 "5:15: warning: frontend 10.0.0.1:80 is IPv4: its clients never reach 1 of 1 endpoint of pool a, on "
	 "IPv6 alone (first e); have the servers listen on [::] and write their "
	 "ports alone\n"},
	{"warning: requests that rest",
	 POOL "  decide: connection\n  stickiness: {key: \"header/x, source\", prefix: true}\n",
	 "7:11: warning: decide: connection, so that what stickiness says of requests rests; write "
	 "decide: request to have it\n"},
	{"warning: a GPU weight, and no GPU", POOL "  weights: {gpu: 1}\n",
	 "7:18: warning: weights.gpu has no effect, because no endpoint names its gpu; give them "
	 "gpu: "
	 "{index: 0}\n"},
	{"warning: endpoints anywhere that cannot take IPv6 clients",
	 POOL_OF("[\"10.0.0.1:80\", \"[fd77::1]:80\"]", "[{name: e, address: \"10.1.0.1:8001\"}]"),
	 "5:30: warning: frontend [fd77::1]:80 is IPv6: its clients never reach 1 of 1 endpoint of pool a, on "
	 "IPv4 alone (first e); make a pool for each family\n"},
	{"warning: a destination that tells nothing apart",
	 POOL "  stickiness: {key: destination}\n",
	 "7:21: warning: stickiness.key is destination, but no frontend is a prefix, so it tells "
	 "no sessions apart; write one as in \"[fd77::/64]:8000\"\n"},
	{"warning: ejections of nobody, and odd times",
	 CONNECT_POOL "  ejection: {time: 1m, maxTime: 1s, maxShare: 0.4}\n",
	 "8:33: warning: ejection.maxTime is shorter than ejection.time, and limits it; make it "
	 "longer\n"
	 "8:47: warning: ejection.maxShare 0.4 of 2 endpoints is less than one: none is ever "
	 "ejected; write failures: 0 if that is intended\n"},
	{"warning: passing while the daemon runs", CONNECT_POOL "node: {daemonless: 500ms}\n",
	 "8:20: warning: node.daemonless is so short that pools with address pass while pintled runs; "
	 "write 1s or longer, or 0s for never\n"},
	{"warning: clients that no key asks for",
	 POOL "clients: [{name: b, cgroup: /system.slice/b.service}]\n",
	 "7:10: warning: clients has no effect, because no pool's key or group is cgroup; write "
	 "stickiness: "
	 "{key: cgroup}\n"},
	{"warning: DCGM, and no GPU", POOL "  dcgm: {url: \"http://127.0.0.1:9400/metrics\"}\n",
	 "7:9: warning: dcgm has no effect, because no endpoint names its gpu; give endpoints "
	 "their gpu: {index: 0}\n"},
};

static void shorten_pool_list(char *text)
{
	char list[YAML_WANTS_SIZE], *at;
	size_t i = 0;

	while (strcmp(config_table.keys[i].path, "pools") != 0)
		i++;
	yaml_key_wants(&config_table, &config_table.keys[i], list);
	assert_non_null(strstr(list, "frontends, "));
	while ((at = strstr(text, list))) {
		*at = *POOL_LIST;
		memmove(at + 1, at + strlen(list), strlen(at + strlen(list)) + 1);
	}
}

static void refuse(void **state)
{
	const struct refusal *refusal = *state;
	_cleanup_told_ struct told t = {0};
	_cleanup_config_ struct config *c = NULL;
	int err = parse_bytes(&t, refusal->text, strlen(refusal->text), &c);

	shorten_pool_list(t.text);
	assert_string_equal(t.text, refusal->messages);
	assert_int_equal(err, t.errors ? -EINVAL : 0);
	assert_true(t.errors ? !c : !!c);
}

/* ---- what loads ------------------------------------------------------------ */

static void minimal_has_the_defaults(void **state)
{
	_cleanup_config_ struct config *c = load_text(POOL, NULL);
	const struct config_pool *p = &c->pools[0];
	const struct config_endpoint *e = &p->endpoints[0];

	(void)state;
	assert_string_equal(c->path, "test.yaml");
	assert_string_equal(c->bpffs, "/sys/fs/bpf/pintle");
	assert_string_equal(c->netns, "/proc/self/ns/net");
	assert_null(c->cgroup);
	assert_string_equal(c->metrics, "127.0.0.1:9464");
	assert_null(c->group);
	assert_int_equal(c->pool_count, 1);

	assert_string_equal(p->name, "a");
	assert_string_equal(p->engine, "vllm");
	assert_int_equal(p->frontend_count, 1);
	assert_int_equal(p->frontends[0].port, 8000);
	assert_false(p->announce);
	assert_int_equal(p->mode, PINTLE_MODE_ENFORCE);
	assert_int_equal(p->failure_mode, PINTLE_FAIL_OPEN);
	assert_int_equal(p->scrape.interval_ns, 200 * NSEC_PER_MSEC);
	assert_int_equal(p->scrape.idle_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(p->scrape.timeout_ns, NSEC_PER_SEC);
	assert_string_equal(p->scrape.path, "/metrics");
	assert_int_equal(p->stickiness.key_kind, PINTLE_KEY_SOURCE);
	assert_int_equal(p->stickiness.key_bits_v4, 32);
	assert_int_equal(p->stickiness.key_bits_v6, 64);
	assert_int_equal(p->stickiness.group_kind, PINTLE_KEY_NONE);
	assert_int_equal(p->stickiness.ttl_ns, 300 * NSEC_PER_SEC);
	assert_true(p->stickiness.max_extra_load == CONFIG_EXTRA_AUTO);
	assert_int_equal(p->requests, PINTLE_REQUESTS_AS_THEY_COME);
	assert_false(p->http10);
	assert_string_equal(p->spare_headers[0].name, "accept-encoding:");
	assert_string_equal(p->spare_headers[1].name, "user-agent:");
	assert_string_equal(p->spare_headers[2].name, "");
	assert_true(p->weights.queue == 2 && p->weights.kv_cache == 2 && p->weights.running == 1 &&
		    p->weights.gpu == 0);
	assert_true(p->saturation.queue_depth == 5 && p->saturation.kv_cache == 0.8);
	assert_int_equal(p->saturation.staleness_ns, 2 * NSEC_PER_SEC);
	assert_null(p->dcgm_url);
	assert_int_equal(p->line, 4);

	assert_int_equal(p->endpoint_count, 1);
	assert_string_equal(e->name, "e");
	assert_int_equal(e->listen.port, 8001);
	assert_string_equal(e->metrics_url, "http://127.0.0.1:8001/metrics");
	assert_false(e->metrics_fallback_v6);
	assert_int_equal(e->gpu_index, -1);
	assert_null(e->gpu_pod);
	assert_int_equal(e->line, 6);
}

static const char all_keys[] = HEAD
	"node:\n"
	"  bpffs: /run/pintle/bpf\n"
	"  netns: /run/netns/blue\n"
	"  cgroup: /sys/fs/cgroup/serving\n"
	"  metrics: \"[::]:9465\"\n"
	"  group: pintle\n"
	"  daemonless: 0s\n"
	"clients:\n"
	"- {name: batch, cgroup: \"/system.slice/batch-*.service\"}\n"
	"- {name: web, cgroup: /web}\n"
	"pools:\n"
	"- name: one\n"
	"  engine: triton-trtllm\n"
	"  frontends: [10.77.0.0/24:8000, \"[fd77::/64]:8000\"]\n"
	"  announce: true\n"
	"  mode: off\n"
	"  failureMode: FailClose\n"
	"  endpoints:\n"
	"  - {name: a, listen: \"[::1]:8001\", user: vllm, gpu: {index: 3}}\n"
	"  - {name: b, listen: 8002, user: 1000, cgroup: \"/vllm-*\", gpu: {pod: vllm-0}}\n"
	"  - {name: c, listen: '8003', metrics: https://example.test/m}\n"
	"  scrape: {interval: 0.5s, timeout: 1.5e3ms, path: /stats?all=1, scheme: https,\n"
	"    authorization: {credentialsFile: /run/t},\n"
	"    tlsConfig: {caFile: /a, certFile: /c, keyFile: /k, serverName: one.test}}\n"
	"  stickiness: {key: source/24, group: source/16/48, ttl: 2h,\n"
	"    maxExtraLoad: 2.5}\n"
	"  requests: one-per-connection\n"
	"  http10: true\n"
	"  spareHeaders: X-Request-Id ,a, Accept\n"
	"  weights: {queue: +3, kvCache: .5, running: 1e-1, gpu: 4}\n"
	"  saturation: {queueDepth: 10, kvCache: 1, staleness: 1m}\n"
	"  dcgm: {url: \"http://127.0.0.1:9400/metrics\", interval: 10s}\n"
	"  health: {path: \"/health?deep=1\", interval: 3s, timeout: 1s, expect: 204, failures: 4}\n"
	"  startup: 20m\n"
	"- name: two.b-1\n"
	"  mode: baseline\n"
	"  frontends: [\"10.78.0.1:8000\"]\n"
	"  endpoints: [{name: a, listen: \"10.0.0.9:8001\"}]\n"
	"  stickiness: {key: none, group: source/24}\n"
	"- name: three\n"
	"  frontends: [\"10.96.0.10:80\"]\n"
	"  endpoints: [{name: a, address: \"10.0.3.17:8000\"},\n"
	"    {name: b, address: \"10.0.3.18:8000\", metrics: \"http://10.0.3.18:9/m\"}]\n"
	"  stickiness: {key: cgroup, group: hint}\n"
	"  ejection: {failures: 5, time: 1s, maxTime: 1m, maxShare: 1}\n";

static void every_key_is_read(void **state)
{
	_cleanup_config_ struct config *c = load_text(
		all_keys,
		"16:15: warning: frontend 10.77.0.0/24:8000 is IPv4: its clients never reach 1 of 3 endpoints of pool one, on "
		"IPv6 alone (first a); have the servers listen on "
		"[::] and write their ports alone\n");
	const struct config_pool *p = &c->pools[0], *two = &c->pools[1], *three = &c->pools[2];
	char text[ADDR_TEXT_SIZE];

	(void)state;
	assert_string_equal(c->bpffs, "/run/pintle/bpf");
	assert_string_equal(c->netns, "/run/netns/blue");
	assert_string_equal(c->cgroup, "/sys/fs/cgroup/serving");
	assert_string_equal(c->metrics, "[::]:9465");
	assert_string_equal(c->group, "pintle");
	assert_int_equal(c->daemonless_ns, 0);
	assert_int_equal(c->client_count, 2);
	assert_string_equal(c->clients[0].name, "batch");
	assert_string_equal(c->clients[0].cgroup, "/system.slice/batch-*.service");
	assert_string_equal(c->clients[1].cgroup, "/web");
	assert_int_equal(c->pool_count, 3);

	assert_int_equal(p->decided_by, PINTLE_HOOK_LOOKUP);
	assert_string_equal(p->engine, "triton-trtllm");
	assert_int_equal(p->frontend_count, 2);
	assert_string_equal(addr_format_frontend(&p->frontends[0], text), "10.77.0.0/24:8000");
	assert_string_equal(addr_format_frontend(&p->frontends[1], text), "[fd77::/64]:8000");
	assert_true(p->announce);
	assert_int_equal(p->mode, PINTLE_MODE_OFF);
	assert_int_equal(p->failure_mode, PINTLE_FAIL_CLOSE);
	assert_int_equal(p->endpoint_count, 3);
	assert_int_equal(p->endpoints[0].gpu_index, 3);
	assert_null(p->endpoints[0].gpu_pod);
	assert_string_equal(p->endpoints[0].metrics_url, "https://[::1]:8001/stats?all=1");
	assert_int_equal(p->endpoints[1].gpu_index, -1);
	assert_string_equal(p->endpoints[1].gpu_pod, "vllm-0");
	assert_string_equal(p->endpoints[0].user, "vllm");
	assert_null(p->endpoints[0].cgroup);
	assert_string_equal(p->endpoints[1].user, "1000");
	assert_string_equal(p->endpoints[1].cgroup, "/vllm-*");
	assert_null(p->endpoints[2].user);
	assert_true(p->endpoints[1].listen.any_ip && p->endpoints[1].metrics_fallback_v6);
	assert_string_equal(p->endpoints[1].metrics_url, "https://127.0.0.1:8002/stats?all=1");
	assert_true(p->endpoints[2].listen.any_ip && !p->endpoints[2].metrics_fallback_v6);
	assert_string_equal(p->endpoints[2].metrics_url, "https://example.test/m");
	assert_int_equal(p->scrape.interval_ns, 500 * NSEC_PER_MSEC);
	assert_int_equal(p->scrape.timeout_ns, 1500 * NSEC_PER_MSEC);
	assert_string_equal(p->scrape.credentials_file, "/run/t");
	assert_string_equal(p->scrape.ca_file, "/a");
	assert_string_equal(p->scrape.cert_file, "/c");
	assert_string_equal(p->scrape.key_file, "/k");
	assert_string_equal(p->scrape.server_name, "one.test");
	assert_null(two->scrape.credentials_file);
	assert_int_equal(p->stickiness.key_bits_v4, 24);
	assert_int_equal(p->stickiness.key_bits_v6, 64);
	assert_int_equal(p->stickiness.group_kind, PINTLE_KEY_SOURCE);
	assert_int_equal(p->stickiness.group_bits_v4, 16);
	assert_int_equal(p->stickiness.group_bits_v6, 48);
	assert_int_equal(p->stickiness.ttl_ns, 7200 * NSEC_PER_SEC);
	assert_true(p->stickiness.max_extra_load == 2.5);
	assert_int_equal(p->requests, PINTLE_REQUESTS_ONE_PER_CONNECTION);
	assert_true(p->http10);
	assert_string_equal(p->spare_headers[0].name, "x-request-id:");
	assert_string_equal(p->spare_headers[1].name, "a:");
	assert_string_equal(p->spare_headers[2].name, "accept:");
	assert_string_equal(p->spare_headers[3].name, "");
	assert_true(p->weights.queue == 3 && p->weights.kv_cache == 0.5 &&
		    p->weights.running == 0.1 && p->weights.gpu == 4);
	assert_true(p->saturation.queue_depth == 10 && p->saturation.kv_cache == 1);
	assert_int_equal(p->saturation.staleness_ns, 60 * NSEC_PER_SEC);
	assert_string_equal(p->dcgm_url, "http://127.0.0.1:9400/metrics");
	assert_int_equal(p->dcgm_interval_ns, 10 * NSEC_PER_SEC);
	assert_string_equal(p->health.path, "/health?deep=1");
	assert_int_equal(p->health.interval_ns, 3 * NSEC_PER_SEC);
	assert_int_equal(p->health.timeout_ns, NSEC_PER_SEC);
	assert_int_equal(p->health.expect, 204);
	assert_int_equal(p->health.failures, 4);
	assert_int_equal(p->startup_ns, 1200 * NSEC_PER_SEC);
	assert_null(two->health.path);
	assert_int_equal(two->startup_ns, 600 * NSEC_PER_SEC);

	assert_string_equal(two->name, "two.b-1");
	assert_int_equal(two->mode, PINTLE_MODE_BASELINE);
	assert_int_equal(two->stickiness.key_kind, PINTLE_KEY_NONE);
	assert_int_equal(two->stickiness.group_bits_v4, 24);
	assert_int_equal(two->stickiness.group_bits_v6, 64);
	assert_int_equal(two->dcgm_interval_ns, 5 * NSEC_PER_SEC);

	assert_int_equal(three->decided_by, PINTLE_HOOK_CONNECT);
	assert_string_equal(addr_format_endpoint(&three->endpoints[0].address, text),
			    "10.0.3.17:8000");
	assert_ptr_equal(config_endpoint_at(&three->endpoints[0]), &three->endpoints[0].address);
	assert_int_equal(three->endpoints[0].listen.port, 0);
	assert_string_equal(three->endpoints[0].metrics_url, "http://10.0.3.17:8000/metrics");
	assert_string_equal(three->endpoints[1].metrics_url, "http://10.0.3.18:9/m");
	assert_true(three->endpoints[0].metrics_own);
	assert_false(three->endpoints[1].metrics_own);
	assert_int_equal(three->stickiness.key_kind, PINTLE_KEY_CGROUP);
	assert_int_equal(three->stickiness.group_kind, PINTLE_KEY_HINT);
	assert_int_equal(three->ejection.failures, 5);
	assert_int_equal(three->ejection.time_ns, NSEC_PER_SEC);
	assert_int_equal(three->ejection.max_time_ns, 60 * NSEC_PER_SEC);
	assert_true(three->ejection.max_share == 1);
}

/* Behind those of the file, in the order of the rules, each once. */
static void paths_of_tenants_are_clients(void **state)
{
	static const char *const cgroups[] = {"/web", "/a.slice", "/b\\x2d*"};
	static const char two[] =
		"  tenants: {by: cgroup, rules: [{tenant: /a.slice}, {tenant: web},"
		" {tenant: '/b\\x2d*'}]}\n"
		"- name: b\n  frontends: [\"10.77.0.2:80\"]\n"
		"  endpoints: [{name: e, address: \"10.1.0.3:8000\"}]\n"
		"  tenants: {by: namespace, rules: [{tenant: /c}]}\n"
		"- name: c\n  frontends: [\"10.77.0.3:80\"]\n"
		"  endpoints: [{name: e, address: \"10.1.0.4:8000\"}]\n"
		"  tenants: {by: cgroup, rules: [{tenant: /a.slice}]}\n"
		"clients: [{name: web, cgroup: /web, steer: false}]\n";
	_cleanup_free_ char *text = NULL;
	_cleanup_config_ struct config *c = NULL;

	(void)state;
	assert_true(asprintf(&text, "%s%s", CONNECT_POOL, two) > 0);
	c = load_text(text, NULL);
	assert_int_equal(c->client_count, ARRAY_SIZE(cgroups));
	for (size_t i = 0; i < c->client_count; i++) {
		assert_string_equal(c->clients[i].cgroup, cgroups[i]);
		assert_string_equal(c->clients[i].name, i ? cgroups[i] : "web");
		assert_true(c->clients[i].steer == !!i);
	}
}

static void paths_of_tenants_are_bounded(void **state)
{
	_cleanup_told_ struct told t = {0};
	_cleanup_free_ char *text = NULL;
	struct config *c = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	fprintf(f, "%s  tenants: {by: cgroup, rules: [{tenant: /a}, {tenant: /b}]}\nclients:\n",
		CONNECT_POOL);
	for (int i = 1; i < CONFIG_CLIENTS; i++)
		fprintf(f, "- {name: c%d, cgroup: /c%d}\n", i, i);
	fclose(f);
	assert_int_equal(parse_bytes(&t, text, size, &c), -EINVAL);
	assert_string_equal(
		t.text, "8:56: tenant /b is one too many, because clients and paths of tenants are "
			"256 at most, together; write a pattern that means several\n");
}

static void connect_pool_has_the_defaults(void **state)
{
	_cleanup_config_ struct config *c = load_text(CONNECT_POOL, NULL);
	const struct config_pool *p = &c->pools[0];

	(void)state;
	assert_int_equal(c->daemonless_ns, 600 * NSEC_PER_SEC);
	assert_int_equal(c->client_count, 0);
	assert_int_equal(p->decided_by, PINTLE_HOOK_CONNECT);
	assert_int_equal(p->stickiness.key_kind, PINTLE_KEY_CLIENT);
	assert_int_equal(p->stickiness.group_kind, PINTLE_KEY_NONE);
	assert_int_equal(p->ejection.failures, 3);
	assert_int_equal(p->ejection.time_ns, 10 * NSEC_PER_SEC);
	assert_int_equal(p->ejection.max_time_ns, 300 * NSEC_PER_SEC);
	assert_true(p->ejection.max_share == 0.5);
}

/* A server may be in a pool of the lookup hook for remote clients, and in a pool of the connect
 * hook for clients on its own node. */
static void one_server_of_two_hooks(void **state)
{
	_cleanup_config_ struct config *c = load_text(
		POOL_OF("[\"10.0.0.1:80\"]",
			"[{name: a, listen: \"10.1.0.1:8000\"}]") "- name: b\n  frontends: [\"10.0.0.2:80\"]\n"
								  "  endpoints: [{name: a, address: \"10.1.0.1:8000\"}]\n",
		NULL);

	(void)state;
	assert_int_equal(c->pools[0].decided_by, PINTLE_HOOK_LOOKUP);
	assert_int_equal(c->pools[0].reach, PINTLE_REACH_LISTENER);
	assert_int_equal(c->pools[1].decided_by, PINTLE_HOOK_CONNECT);
	assert_int_equal(c->pools[1].reach, PINTLE_REACH_ADDRESS);
}

static void metrics_off(void **state)
{
	_cleanup_config_ struct config *c = load_text(POOL "node: {metrics: off}\n", NULL);

	(void)state;
	assert_null(c->metrics);
}

static void unlike_listeners_live_together(void **state)
{
	_cleanup_config_ struct config *c = load_text(
		POOL_OF("[\"10.0.0.1:8001\", \"10.0.0.1:8002\"]",
			"[{name: a, listen: \"127.0.0.1:8001\"}, {name: b, listen: \"127.0.0.2:8001\"},\n"
			"    {name: c, listen: 8002}, {name: d, listen: \"[::1]:8001\"}]"),
		"5:15: warning: frontend 10.0.0.1:8001 is IPv4: its clients never reach 1 of 4 endpoints of pool a, on "
		"IPv6 alone (first d); have the servers listen on [::] and "
		"write their ports alone\n"
		"5:32: warning: frontend 10.0.0.1:8002 is IPv4: its clients never reach 1 of 4 endpoints of pool a, on "
		"IPv6 alone (first d); have the servers listen on [::] and "
		"write their ports alone\n");

	(void)state;
	assert_int_equal(c->pools[0].endpoint_count, 4);
}

/* ---- sizes ----------------------------------------------------------------- */

static void free_stream_text(char **text)
{
	free(*text);
}

static void write_pools(FILE *f, int pools, int endpoints_each)
{
	fputs(HEAD "pools:\n", f);
	for (int p = 0; p < pools; p++) {
		fprintf(f, "- name: p%d\n  frontends: [\"10.0.0.1:%d\"]\n  endpoints:\n", p, p + 1);
		for (int e = 0; e < endpoints_each; e++)
			fprintf(f, "  - {name: e%d, listen: \"10.1.%d.%d:%d\"}\n", e, e / 250,
				e % 250 + 1, p + 1);
	}
}

static void expect_sized(int pools, int endpoints_each, const char *messages)
{
	_cleanup_(free_stream_text) char *text = NULL;
	_cleanup_told_ struct told t = {0};
	_cleanup_config_ struct config *c = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int err;

	write_pools(f, pools, endpoints_each);
	fclose(f);
	err = parse_bytes(&t, text, size, &c);
	assert_string_equal(t.text, messages);
	assert_int_equal(err, messages[0] ? -EINVAL : 0);
	if (c)
		assert_int_equal(c->pool_count, pools);
}

static void as_many_as_the_maps_hold(void **state)
{
	(void)state;
	expect_sized(PINTLE_MAX_POOLS, PINTLE_MAX_ENDPOINTS / PINTLE_MAX_POOLS, "");
	expect_sized(PINTLE_MAX_ENDPOINTS / PINTLE_MAX_MEMBERS, PINTLE_MAX_MEMBERS, "");
}

static void too_many_pools(void **state)
{
	(void)state;
	expect_sized(PINTLE_MAX_POOLS + 2, 1,
		     "1028:3: pools: more than 256 in the file; remove some\n");
}

static void too_many_endpoints(void **state)
{
	(void)state;
	expect_sized(1, PINTLE_MAX_MEMBERS + 1,
		     "1031:5: endpoints: more than 1024 in one list; remove some\n");
	expect_sized(8, PINTLE_MAX_ENDPOINTS / 8 + 1,
		     "4124:5: endpoints: more than 4096 in the file; remove some\n");
}

static void too_many_frontends(void **state)
{
	_cleanup_(free_stream_text) char *text = NULL;
	_cleanup_told_ struct told t = {0};
	struct config *c = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	fputs(HEAD "pools:\n- name: a\n" ENDPOINT "  frontends:\n", f);
	for (int i = 0; i < PINTLE_MAX_FRONTENDS + 3; i++)
		fprintf(f, "  - 10.0.%d.%d:80\n", i / 250, i % 250 + 1);
	fclose(f);
	assert_int_equal(parse_bytes(&t, text, size, &c), -EINVAL);
	assert_string_equal(t.text, "4103:5: frontends: more than 4096 in the file; remove some\n");
}

static void expect_repeated(const char *head, const char *each, size_t times, const char *message)
{
	_cleanup_(free_stream_text) char *text = NULL;
	_cleanup_told_ struct told t = {0};
	struct config *c = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fputs(head, f);
	for (size_t i = 0; i < times; i++)
		fputs(each, f);
	fclose(f);
	assert_int_equal(parse_bytes(&t, text, size, &c), -EINVAL);
	if (!strstr(t.text, message))
		fail_msg("want \"%s\" in:\n%.2000s", message, t.text);
}

static void huge_files_end_soon(void **state)
{
	(void)state;
	expect_repeated("", "# padding\n", 120000,
			"1:1: the file is larger than 1 MiB; remove some");
	expect_repeated("", "[", 1000000, "1:17: nested more than 16 deep");
	expect_repeated("a: [", "x,", 500000, "the file holds more than 65536 values; remove some");
	expect_repeated("", "b: 1\n", 30000,
			"too many messages to show more; fix these and check again");
	expect_repeated("", "? ", 500000, "nested more than 16 deep");
}

/* ---- files ----------------------------------------------------------------- */

/* The top of the repository, from the path of this program, build/tests/unit/test_config. */
static FILE *open_source(const char *path)
{
	char self[PATH_MAX], whole[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	FILE *f;

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(whole, sizeof(whole), "%s/../../../%s", dirname(self), path);
	f = fopen(whole, "re");
	if (!f)
		fail_msg("%s: %s", whole, strerror(errno));
	return f;
}

static char *read_source(const char *path)
{
	_cleanup_fclose_ FILE *f = open_source(path);
	char *text = calloc(1, 1 << 20);

	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	return text;
}

static void sample_loads_as_it_stands(void **state)
{
	_cleanup_free_ char *text = read_source("tests/data/config/sample.yaml");
	_cleanup_config_ struct config *c = load_text(text, "");
	const struct config_pool *p = &c->pools[0];

	(void)state;
	assert_string_equal(p->name, "llama-8b");
	assert_int_equal(p->endpoint_count, 3);
	assert_string_equal(p->endpoints[1].metrics_url, "http://127.0.0.1:8002/metrics");
	assert_string_equal(p->endpoints[2].metrics_url, "http://127.0.0.1:9003/metrics");
	assert_true(p->endpoints[2].listen.any_ip);
	assert_true(p->announce);
	assert_int_equal(c->pools[1].decided_by, PINTLE_HOOK_CONNECT);
	assert_string_equal(c->pools[1].endpoints[1].metrics_url, "http://10.0.7.21:8000/metrics");
}

static void documentation_holds_the_sample(void **state)
{
	_cleanup_free_ char *sample = read_source("tests/data/config/sample.yaml");
	_cleanup_free_ char *page = read_source("docs/configuration.md");

	(void)state;
	assert_non_null(strstr(page, sample));
}

static void never_called(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	fail_msg("%s:%d:%d: %s", file, line, column, message);
}

static void count_error(void *arg, const char *file, int line, int column, const char *message)
{
	(void)file;
	assert_int_equal(line, 1);
	assert_int_equal(column, 1);
	*(const char **)arg = strdup(message);
}

static void files_that_cannot_be_read(void **state)
{
	char *message = NULL;
	struct yaml_sink sink = {count_error, never_called, &message};
	struct config *c = NULL;

	(void)state;
	assert_int_equal(config_load("/nonexistent/pintle.yaml", &sink, &c), -ENOENT);
	assert_string_equal(message, "cannot be read: No such file or directory; name a "
				     "configuration file that can");
	free(message);
	assert_null(c);
}

/* A FIFO would wait for another process: it must be refused without a hang. */
static void files_that_are_none(void **state)
{
	char dir[] = "/tmp/pintle-test-config.XXXXXX", path[64], said[64];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct {
		const char *name, *what;
	} cases[] = {
		{"/dev/null", "a device"}, {"/dev/zero", "a device"},      {dir, "a directory"},
		{path, "a FIFO"},          {address.sun_path, "a socket"},
	};
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct config *c = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *message = NULL;
		struct yaml_sink sink = {count_error, never_called, &message};

		assert_int_equal(config_load(cases[i].name, &sink, &c), -EINVAL);
		snprintf(said, sizeof(said), "is %s; name a regular file", cases[i].what);
		assert_string_equal(message, said);
		free(message);
	}
	assert_null(c);
	unlink(path);
	unlink(address.sun_path);
	rmdir(dir);
}

static void files_that_load(void **state)
{
	char path[] = "/tmp/pintle-test-config.XXXXXX";
	struct yaml_sink sink = {never_called, never_called, NULL};
	int fd = mkstemp(path);
	_cleanup_config_ struct config *c = NULL;
	ssize_t written;
	int err;

	(void)state;
	assert_true(fd >= 0);
	written = write(fd, POOL, strlen(POOL));
	close(fd);
	err = config_load(path, &sink, &c);
	unlink(path);
	assert_int_equal(written, strlen(POOL));
	assert_int_equal(err, 0);
	assert_string_equal(c->path, path);
}

static void names_both_ways(void **state)
{
	uint32_t value = 77;

	(void)state;
	for (uint32_t i = 0; i < PINTLE_MODE_COUNT; i++) {
		assert_int_equal(mode_parse(mode_name(i), &value), 0);
		assert_int_equal(value, i);
	}
	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++) {
		assert_int_equal(outcome_parse(outcome_name(i), &value), 0);
		assert_int_equal(value, i);
	}
	value = 77;
	assert_int_equal(mode_parse("Off", &value), -EINVAL);
	assert_int_equal(outcome_parse("", &value), -EINVAL);
	assert_int_equal(value, 77);
	assert_string_equal(mode_name(PINTLE_MODE_COUNT), "unknown");
	assert_string_equal(outcome_name(UINT32_MAX), "unknown");
	assert_string_equal(mode_help(UINT32_MAX), "");
	assert_string_equal(outcome_name(PINTLE_OUTCOME_LEAST_LOADED), "least_loaded");
}

static void classes_of_their_own(void **state)
{
	static const struct {
		const char *text;
		size_t count;
		bool classify;
	} rows[] = {
		{CONNECT_POOL, 0, false},
		{CONNECT_POOL "  classes: auto\n", 3, true},
		{CONNECT_POOL "  classes: \"auto\"\n  classify: false\n", 3, false},
		{CONNECT_POOL "  classes: [{name: chat}, {name: batch}]\n", 2, false},
		{CONNECT_POOL "  classes: [{name: chat}, {name: batch}]\n  classify: true\n", 2,
		 true},
	};
	const struct config_class *k;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_config_ struct config *c = load_text(rows[i].text, NULL);

		assert_int_equal(c->pools[0].class_count, rows[i].count);
		assert_int_equal(c->pools[0].classify, rows[i].classify);
		k = c->pools[0].classes;
		if (rows[i].count < 3)
			continue;
		assert_string_equal(k[0].name, "interactive");
		assert_string_equal(k[1].name, "agent");
		assert_string_equal(k[2].name, "batch");
		assert_int_equal(k[0].priority, 0);
		assert_int_equal(k[2].priority, -1);
		assert_true(k[2].max_extra_load == CONFIG_EXTRA_POOL);
		assert_int_equal(k[2].line, 8);
	}
}

static void classes_and_rules(void **state)
{
	static const char text[] = CONNECT_POOL
		"  trustHints: true\n  classes:\n  - {name: chat}\n"
		"  - name: batch\n    priority: -1\n    limit: 10.5\n    admission: refuse\n"
		"    connections: 4\n    poolConnections: 9\n    maxExtraLoad: 0\n    rules:\n"
		"    - {source: 10.9.0.0/16, port: 8000}\n"
		"    - {namespace: jobs, serviceAccount: jobs/run, cgroup: \"*/batch-*\", dscp: 0,"
		" trustHints: true}\n";
	_cleanup_config_ struct config *c = load_text(text, NULL);
	char prefix[ADDR_TEXT_SIZE];
	const struct config_class *k;
	const struct config_rule *r;

	(void)state;
	assert_true(c->pools[0].hints_trusted);
	assert_int_equal(c->pools[0].class_count, 2);
	k = c->pools[0].classes;
	assert_string_equal(k->name, "chat");
	assert_int_equal(k->priority, 0);
	assert_true(k->limit == 0 && k->max_extra_load == CONFIG_EXTRA_POOL);
	assert_int_equal(k->admission, PINTLE_ADMISSION_PROCEED);
	assert_int_equal(k->rule_count, 0);
	k++;
	assert_string_equal(k->name, "batch");
	assert_int_equal(k->priority, -1);
	assert_true(k->limit == 10.5 && k->max_extra_load == 0);
	assert_true(k->connections == 4 && k->pool_connections == 9 && !k->reserve.number);
	assert_int_equal(k->admission, PINTLE_ADMISSION_REFUSE);
	assert_int_equal(k->rule_count, 2);
	r = k->rules;
	assert_true(r->has_source && !r->space && !r->account && !r->cgroup && !r->hints_trusted);
	addr_format(&r->source.prefix, 1, prefix);
	assert_string_equal(prefix, "10.9.0.0:1");
	assert_int_equal(r->source.prefix_bits, 96 + 16);
	assert_int_equal(r->port, 8000);
	assert_int_equal(r->dscp, -1);
	r++;
	assert_true(!r->has_source && r->hints_trusted);
	assert_string_equal(r->space, "jobs");
	assert_string_equal(r->account, "jobs/run");
	assert_string_equal(r->cgroup, "*/batch-*");
	assert_int_equal(r->dscp, 0);
	assert_int_equal(r->port, 0);
	assert_true(config_rules_of_pods(&c->pools[0]));
}

static void who_may_connect(void **state)
{
	static const char text[] =
		CONNECT_POOL "  access:\n    allow:\n    - {source: 10.9.0.0/16, port: 8000}\n"
			     "    - {namespace: jobs, cgroup: /a/*}\n";
	_cleanup_config_ struct config *c = load_text(text, NULL);
	const struct config_rule *r = c->pools[0].allowed;

	(void)state;
	assert_int_equal(c->pools[0].allow_count, 2);
	assert_true(r->has_source && r->source.prefix_bits == 96 + 16 && r->port == 8000);
	assert_int_equal(r->dscp, -1);
	r++;
	assert_true(!r->has_source && !r->port && !r->account);
	assert_string_equal(r->space, "jobs");
	assert_string_equal(r->cgroup, "/a/*");
	assert_true(config_rules_of_pods(&c->pools[0]));
}

static void rules_of_a_pool(void **state)
{
	char text[8192];
	size_t n;

	(void)state;
	for (int more = 0; more < 2; more++) {
		_cleanup_told_ struct told t = {0};
		_cleanup_config_ struct config *c = NULL;

		n = (size_t)snprintf(text, sizeof(text), "%s", CONNECT_POOL "  classes:\n");
		for (int i = 0; i < 2; i++) {
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "  - name: c%d\n    rules:\n", i);
			for (int j = 0; j < PINTLE_MAX_RULES / 2 + (more && i); j++)
				n += (size_t)snprintf(text + n, sizeof(text) - n,
						      "    - {dscp: %d}\n", 1 + j + 20 * i);
		}
		assert_int_equal(parse_bytes(&t, text, n, &c), more ? -EINVAL : 0);
		assert_string_equal(t.text,
				    more ? "9:3: the classes have 33 rules together; a pool "
					   "has room for 32\n"
					 : "");
	}
}

/* A page of one of several models is asked for so that it loads none. */
static void pages_of_models(void **state)
{
	static const struct {
		const char *engine, *metrics, *path, *url;
	} pages[] = {
		{"llamacpp", NULL, "/metrics?model=a%2Fb",
		 "http://127.0.0.1:1/metrics?model=a%2Fb&autoload=false"},
		{"auto", "http://h:2/metrics?x=1&model=b", "/metrics",
		 "http://h:2/metrics?x=1&model=b&autoload=false"},
		{"llamacpp", "http://h:2/metrics?model=b&autoload=0", "/metrics",
		 "http://h:2/metrics?model=b&autoload=0"},
		{"llamacpp", "http://h:2/metrics?submodel=b", "/metrics",
		 "http://h:2/metrics?submodel=b"},
		{"vllm", "http://h:2/metrics?model=b", "/metrics", "http://h:2/metrics?model=b"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		_cleanup_(free_told) struct told t = {0};
		char text[1024];

		snprintf(text, sizeof(text),
			 "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\npools:\n"
			 "- name: a\n  engine: %s\n  frontends: [\"10.77.0.1:8000\"]\n"
			 "  scrape: {path: \"%s\"}\n  health: {path: \"/props?model=c\"}\n"
			 "  endpoints: [{name: a, listen: 1%s%s%s}]\n",
			 pages[i].engine, pages[i].path, pages[i].metrics ? ", metrics: \"" : "",
			 pages[i].metrics ?: "", pages[i].metrics ? "\"" : "");
		assert_int_equal(parse_bytes(&t, text, strlen(text), &c), 0);
		assert_string_equal(c->pools[0].endpoints[0].metrics_url, pages[i].url);
		assert_string_equal(c->pools[0].health.path,
				    strcmp(pages[i].engine, "vllm")
					    ? "/props?model=c&autoload=false"
					    : "/props?model=c");
	}
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(minimal_has_the_defaults),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(paths_of_tenants_are_clients),
		cmocka_unit_test(paths_of_tenants_are_bounded),
		cmocka_unit_test(connect_pool_has_the_defaults),
		cmocka_unit_test(one_server_of_two_hooks),
		cmocka_unit_test(metrics_off),
		cmocka_unit_test(unlike_listeners_live_together),
		cmocka_unit_test(as_many_as_the_maps_hold),
		cmocka_unit_test(too_many_pools),
		cmocka_unit_test(too_many_endpoints),
		cmocka_unit_test(too_many_frontends),
		cmocka_unit_test(huge_files_end_soon),
		cmocka_unit_test(sample_loads_as_it_stands),
		cmocka_unit_test(documentation_holds_the_sample),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(files_that_are_none),
		cmocka_unit_test(files_that_load),
		cmocka_unit_test(names_both_ways),
		cmocka_unit_test(classes_and_rules),
		cmocka_unit_test(classes_of_their_own),
		cmocka_unit_test(rules_of_a_pool),
		cmocka_unit_test(who_may_connect),
		cmocka_unit_test(pages_of_models),
	};
	struct CMUnitTest tests[ARRAY_SIZE(refusals) + ARRAY_SIZE(others)] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		tests[i] = (struct CMUnitTest){.name = refusals[i].name,
					       .test_func = refuse,
					       .initial_state = (void *)&refusals[i]};
	memcpy(tests + ARRAY_SIZE(refusals), others, sizeof(others));
	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
