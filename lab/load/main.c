// SPDX-License-Identifier: Apache-2.0
/* main.c - pintle-load: from options to a run and its report. */
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/fetch/fetch.h"
#include "../base/options.h"
#include "load_report.h"

#define MAX_SERVERS 1024

const char *argp_program_version = "pintle-load " PINTLE_VERSION;

struct options {
	const char *target, *workload, *trace, *source, *model, *log, *session_header;
	struct load_server servers[MAX_SERVERS];
	size_t server_count;
	double duration, warmup, rate, timeout; /* a duration or rate of 0: the workload's */
	uint32_t retries;
	double users, seed;
	uint32_t hash_block;
	bool json, natural_end, chat;
};

enum {
	OPT_RATE = 256,
	OPT_USERS,
	OPT_SEED,
	OPT_SOURCE,
	OPT_API,
	OPT_METRICS,
	OPT_TRACE,
	OPT_HASH_BLOCK,
	OPT_TIMEOUT,
	OPT_RETRIES,
	OPT_WARMUP,
	OPT_NATURAL_END,
	OPT_SESSION_HEADER,
	OPT_LOG,
	OPT_LIST,
	OPT_SHOW,
};

static const struct argp_option table[] = {
	{.name = NULL, .doc = "What is sent, and where:", .group = 1},
	{"target", 't', "URL", 0, "The server: http://HOST:PORT", 0},
	{"workload", 'w', "FILE|NAME", 0, "A workload's file, or one that is built in", 0},
	{"trace", OPT_TRACE, "FILE", 0, "Replay the requests of a JSON Lines or CSV file", 0},
	{"hash-block", OPT_HASH_BLOCK, "N", 0, "Tokens of one of a trace's hash_ids (512)", 0},
	{"api", OPT_API, "chat|completions", 0, "Which of OpenAI's (chat)", 0},
	{"model", 'm', "NAME", 0, "The model to name in requests (none is named)", 0},
	{"source", OPT_SOURCE, "PREFIX", 0,
	 "Give each session an address of this prefix, which must be routed to this machine; none: "
	 "let the kernel choose (as the workload says; for a target in 127.0.0.0/8: 127.1.0.0/16)",
	 0},
	{"session-header", OPT_SESSION_HEADER, "NAME", 0,
	 "Name the session in this header of each request, as a gateway could (none)", 0},
	{"natural-end", OPT_NATURAL_END, NULL, 0,
	 "Let answers end before max_tokens (no ignore_eos)", 0},
	{"list-workloads", OPT_LIST, NULL, 0, "Name those that are built in", 0},
	{"show-workload", OPT_SHOW, "NAME", 0, "Print one of them, to start from", 0},

	{.name = NULL, .doc = "How much, and for how long:", .group = 2},
	{"duration", 'd', "SECONDS", 0, "Time that is measured (60; of a trace: to its end)", 0},
	{"warmup", OPT_WARMUP, "SECONDS", 0, "Time before that, not measured (0)", 0},
	{"rate", OPT_RATE, "N", 0, "Sessions a second of all open-loop classes together", 0},
	{"users", OPT_USERS, "N", 0, "Users of all closed-loop classes together", 0},
	{"seed", OPT_SEED, "N", 0, "What is random follows from this (0)", 0},
	{"retries", OPT_RETRIES, "N", 0,
	 "Send a request that is told no (429, 503, refused) again so often (0)", 0},
	{"timeout", OPT_TIMEOUT, "SECONDS", 0,
	 "A request that is not over by then has failed (120)", 0},

	{.name = NULL, .doc = "What is told:", .group = 3},
	{"metrics", OPT_METRICS, "URL", 0,
	 "A server's metrics page, for the prefix-hit rate; once for each server", 0},
	{"log", OPT_LOG, "FILE", 0, "Write a line of JSON for each request that ended", 0},
	{"output", 'o', "text|json", 0, "Form of the report (text)", 0},
	{},
};

static void add_server(struct argp_state *state, const char *text, struct options *o)
{
	static const char scheme[] = "http://", secure[] = "https://";
	const char *path = NULL;
	char *url, *shown;

	if (!strncmp(text, scheme, strlen(scheme)))
		path = strchr(text + strlen(scheme), '/');
	else if (!strncmp(text, secure, strlen(secure)))
		path = strchr(text + strlen(secure), '/');
	else
		argp_error(state, "--metrics: that is no URL; write http://HOST:PORT/metrics");
	if (o->server_count == MAX_SERVERS)
		argp_error(state, "--metrics: given more than %d times", MAX_SERVERS);
	if (asprintf(&url, "%s%s", text, path ? "" : "/metrics") < 0)
		argp_failure(state, 1, ENOMEM, "--metrics");
	if (fetch_check_url(url, &shown))
		argp_error(state,
			   "--metrics: that is no valid URL; write http://HOST:PORT/metrics");
	o->servers[o->server_count].url = url;
	o->servers[o->server_count++].shown = shown;
}

static void list_workloads(void)
{
	for (size_t i = 0; i < workload_builtin_count; i++) {
		const struct workload_builtin *b = &workload_builtins[i];
		_cleanup_(workload_freep) struct workload *w = NULL;

		if (!workload_parse(b->name, b->text, (size_t)(b->end - b->text), &yaml_sink_stderr,
				    &w))
			printf("%-12s  %s\n", b->name, w->description ? w->description : "");
	}
}

static void show_workload(struct argp_state *state, const char *name)
{
	const struct workload_builtin *b = workload_find(name);

	if (!b)
		argp_error(state, "--show-workload: there is no '%s'; see --list-workloads", name);
	else
		fwrite(b->text, 1, (size_t)(b->end - b->text), stdout);
}

static void check_together(struct argp_state *state, const struct options *o)
{
	if (!o->target)
		argp_error(state, "--target is missing; write --target http://HOST:PORT");
	if (!o->workload && !o->trace)
		argp_error(state, "--workload is missing; name a file or one of --list-workloads, "
				  "or give a --trace");
	if (o->trace && (o->rate > 0 || o->users > 0))
		argp_error(state, "--rate and --users do not go with --trace, which says itself "
				  "when requests come");
}

static bool header_is_valid(const char *name)
{
	return *name && !name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					   "0123456789-")];
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 't':
		o->target = arg;
		break;
	case 'w':
		o->workload = arg;
		break;
	case 'm':
		o->model = option_name(state, "model", arg);
		break;
	case 'd':
		o->duration = option_number(state, "duration", arg, 0.1, 1e6);
		break;
	case 'o':
		o->json = option_choice(state, "output", arg, "text", "json");
		break;
	case OPT_WARMUP:
		o->warmup = option_number(state, "warmup", arg, 0, 1e6);
		break;
	case OPT_RATE:
		o->rate = option_number(state, "rate", arg, 1e-4, 1e5);
		break;
	case OPT_USERS:
		o->users = (double)option_count(state, "users", arg, 1, 100000);
		break;
	case OPT_SEED:
		o->seed = (double)option_count(state, "seed", arg, 0, 1ULL << 53);
		break;
	case OPT_RETRIES:
		o->retries = (uint32_t)option_count(state, "retries", arg, 0, 1000000);
		break;
	case OPT_TIMEOUT:
		o->timeout = option_number(state, "timeout", arg, 0.01, 1e6);
		break;
	case OPT_SOURCE:
		o->source = arg;
		break;
	case OPT_API:
		o->chat = !option_choice(state, "api", arg, "chat", "completions");
		break;
	case OPT_METRICS:
		add_server(state, arg, o);
		break;
	case OPT_TRACE:
		o->trace = arg;
		break;
	case OPT_HASH_BLOCK:
		o->hash_block = (uint32_t)option_count(state, "hash-block", arg, 1, 65536);
		break;
	case OPT_LOG:
		o->log = arg;
		break;
	case OPT_SESSION_HEADER:
		if (!header_is_valid(arg))
			argp_error(state,
				   "--session-header: '%s' is no name of a header; write "
				   "letters, digits and '-', such as x-session-id",
				   arg);
		o->session_header = arg;
		break;
	case OPT_NATURAL_END:
		o->natural_end = true;
		break;
	case OPT_LIST:
		list_workloads();
		exit(0);
	case OPT_SHOW:
		show_workload(state, arg);
		exit(0);
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is no option; see --help", arg);
		break;
	case ARGP_KEY_END:
		check_together(state, o);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* -- from options to a run -------------------------------------------------------- */

/* The class of a trace's requests, for all that a trace does not say. */
#define TEXT_OF(x)   #x
#define NUMBER_OF(x) TEXT_OF(x)
static const char trace_class[] =
	"classes: [{name: trace, arrival: {users: 1}, prompt: 1, output: 1, "
	"shared: {tokens: " NUMBER_OF(TRACE_SHARED_TOKENS) "}}]";

__attribute__((format(printf, 1, 2))) static int refuse(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "pintle-load: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry `pintle-load --help' for more information.\n");
	return -EINVAL;
}

static int read_workload(const struct options *o, struct workload **out)
{
	if (!o->workload)
		return workload_parse("trace", trace_class, strlen(trace_class), &yaml_sink_stderr,
				      out);
	return workload_open(o->workload, &yaml_sink_stderr, out);
}

static int override_workload(const struct options *o, struct workload *w)
{
	if (o->trace && w->class_count > 1)
		return refuse("--workload: %s has several classes; a trace goes with one",
			      o->workload);
	if (o->rate > 0 && !workload_set_rate(w, o->rate))
		return refuse("--rate: %s has no open-loop class", o->workload);
	if (o->users > 0 && !workload_set_users(w, (unsigned int)o->users))
		return refuse("--users: %s has no closed-loop class, or more of them than users",
			      o->workload);
	return 0;
}

#define BAD_TARGET "--target is '%s'; write http://HOST:PORT (there is no TLS here)"

/* Parses "http://HOST:PORT", which only a slash may follow. */
static int read_target(const char *text, char host[256], union load_address *out)
{
	static const char scheme[] = "http://";
	const char *whole = text;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char name[256], *port;
	size_t size;
	int err;

	if (strncmp(text, scheme, strlen(scheme)) != 0)
		return refuse(BAD_TARGET, whole);
	text += strlen(scheme);
	size = strcspn(text, "/");
	if (size >= sizeof(name) || (text[size] && text[size + 1]))
		return refuse(BAD_TARGET, whole);
	snprintf(host, sizeof(name), "%.*s", (int)size, text);
	snprintf(name, sizeof(name), "%s", host);
	port = strrchr(name, ':');
	if (!port || port == name || strspn(port + 1, "0123456789") != strlen(port + 1) || !port[1])
		return refuse(BAD_TARGET, whole);
	*port++ = '\0';
	size = strlen(name);
	if (name[0] == '[' && name[size - 1] == ']') {
		memmove(name, name + 1, size - 2);
		name[size - 2] = '\0';
	}
	err = getaddrinfo(name, port, &hints, &found);
	if (err) {
		log_error("--target: %s: %s", name, gai_strerror(err));
		return -EHOSTUNREACH;
	}
	memcpy(out, found->ai_addr, MIN(found->ai_addrlen, (socklen_t)sizeof(*out)));
	freeaddrinfo(found);
	return 0;
}

static bool is_loopback(const union load_address *a)
{
	return a->any.sa_family == AF_INET && ntohl(a->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static int choose_source(const struct options *o, const struct workload *w,
			 const union load_address *target, struct source_prefix *out)
{
	const char *what = "";
	bool v4 = target->any.sa_family == AF_INET;

	*out = w->source;
	if (!w->says_source && is_loopback(target))
		source_parse("127.1.0.0/16", out, NULL);
	if (o->source && source_parse(o->source, out, &what))
		return refuse("--source is '%s', which is no prefix; %s", o->source, what);
	if (out->set && v4 != addr_is_v4(&out->base))
		return refuse("the source is %s, the target %s", v4 ? "IPv6" : "IPv4",
			      v4 ? "IPv4" : "IPv6");
	return 0;
}

static int set_times(const struct options *o, struct run_config *c)
{
	uint64_t end;

	c->warmup_ns = (uint64_t)(o->warmup * 1e9);
	c->timeout_ns = (uint64_t)(o->timeout * 1e9);
	c->retries = o->retries;
	c->session_header = o->session_header;
	c->duration_ns = (uint64_t)((o->duration > 0 ? o->duration : 60) * 1e9);
	if (!c->trace || o->duration > 0)
		return 0;
	end = c->trace->requests[c->trace->count - 1].at_ns + 1;
	if (end <= c->warmup_ns)
		return refuse("--warmup is longer than the trace %s", o->trace);
	c->duration_ns = end - c->warmup_ns;
	return 0;
}

static int open_log(const struct options *o, FILE **out)
{
	if (!o->log)
		return 0;
	*out = fopen(o->log, "we");
	return *out ? 0 : log_err_r(errno, "--log: %s", o->log);
}

/* A write may have failed earlier, or fails now, when the last bytes are flushed. */
static int close_log(const struct options *o, FILE *f)
{
	int bad = f && ferror(f);

	if (f && (fclose(f) || bad))
		return log_err_r(bad ? EIO : errno, "--log: %s", o->log);
	return 0;
}

static int tell(const struct options *o, const struct run_config *config,
		const struct run_result *result)
{
	const struct report_names names = {.target = o->target,
					   .workload = o->workload ? o->workload : "trace",
					   .trace = o->trace};

	if (o->json)
		return report_json(stdout, &names, config, result);
	report_text(stdout, &names, config, result);
	return 0;
}

static uint64_t count_ok(const struct stats *s)
{
	uint64_t ok = 0;

	for (size_t i = 0; i < s->class_count; i++)
		ok += s->classes[i].outcomes[LOAD_OK];
	return ok;
}

/* Reads the files. Errors are mistakes on the command line or in the files, not in this program. */
static int read_input(const struct options *o, struct run_config *c, struct workload **w,
		      struct trace *trace)
{
	int err = read_workload(o, w);

	if (!err && o->trace)
		err = trace_load(o->trace, o->hash_block, &yaml_sink_stderr, trace);
	if (err)
		return err;
	c->workload = *w;
	c->trace = o->trace ? trace : NULL;
	err = override_workload(o, *w);
	return err ? err : set_times(o, c);
}

static int run_and_tell(const struct options *o, struct run_config *config)
{
	_cleanup_fclose_ FILE *log = NULL;
	struct run_result result;
	int err = open_log(o, &log);
	uint64_t ok;

	if (err)
		return 1;
	config->log = log;
	err = load_run(config, &result);
	if (err)
		return 1;
	ok = count_ok(&result.stats);
	err = tell(o, config, &result);
	stats_free(&result.stats);
	if (close_log(o, TAKE_PTR(log)))
		return 1;
	return err || !ok;
}

static int run(struct options *o)
{
	_cleanup_(workload_freep) struct workload *w = NULL;
	_cleanup_(trace_free) struct trace trace = {0};
	struct run_config config = {
		.form = {.chat = o->chat, .model = o->model, .natural_end = o->natural_end},
		.seed = (uint64_t)o->seed,
		.servers = o->servers,
		.server_count = o->server_count,
		.progress = isatty(STDERR_FILENO),
	};
	char host[256];
	int err = read_input(o, &config, &w, &trace);

	if (err)
		return 2;
	config.host = host;
	err = read_target(o->target, host, &config.target);
	if (!err)
		err = choose_source(o, w, &config.target, &config.source);
	if (err)
		return err == -EINVAL ? 2 : 1;
	return run_and_tell(o, &config);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse,
		.doc = "Clients of an LLM server: sends it what a workload says and measures what they "
		       "see.\vExit status: 0 done, 1 no request was answered well, 2 a mistake in "
		       "the command line, the workload or the trace.",
	};
	static struct options o = {.timeout = 120, .chat = true, .hash_block = TRACE_ID_TOKENS};
	int status;

	log_init("pintle-load", LOG_WARN);
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	signal(SIGPIPE, SIG_IGN);
	status = run(&o);
	for (size_t i = 0; i < o.server_count; i++) {
		free((char *)o.servers[i].url);
		free((char *)o.servers[i].shown);
	}
	return status;
}
