/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - whether a server that is alive also serves: pure functions, fed by the passes over
 * its connections and by its metrics pages.
 *
 *   stopped, a fact     what came is not read, nor accepted, for PROGRESS_STOPPED_NS: the process
 *                       stands still. Or nobody accepts what waits for that for
 *                       PROGRESS_STALLED_NS, though connections from before are read. Only the
 *                       servers' own node sees that. It lasts until something is read or accepted,
 *                       whether or not those who waited have left meanwhile
 *   stalled, a finding  requests wait, or answers are under way; no byte beyond an answer's head
 *                       came out, and none of the page's counters of tokens moved, for twice the
 *                       longest silence that this server came back from: a front end may accept,
 *                       read, send heads and serve its page while the engine behind it stands still
 *
 * A long prefill is silent, too. vLLM's counters of tokens move only when it is over, but the cache
 * in use grows with each of its steps, so that signal counts as one that moves.
 *
 * One client can make neither last: it may send half a request, or a body that the server reads
 * late. A request counts for `stopped` while the server has read nothing of it, and for `stalled`
 * until one that came after it is answered.
 *
 * A head without more may also be a whole short answer. Three of them at once are taken for
 * requests that wait. One or two are so only after a longer time, and only if the page counts
 * tokens.
 */
#ifndef PINTLE_PROGRESS_H
#define PINTLE_PROGRESS_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "../base/util.h"
#include "engines.h"

/* On a busy machine (two cores, ten processes that could run) a server that serves was without CPU
 * for up to 300 ms. */
#define PROGRESS_STOPPED_NS (500 * NSEC_PER_MSEC)
/* Passes are seldom further apart. If they are, the machine itself stood still or had no time for
 * the daemon, and the server may have had none either: a virtual machine was paused for half a
 * second, say, just when a request had arrived. No more than this counts of the time between two
 * passes. */
#define PROGRESS_GAP_NS (250 * NSEC_PER_MSEC)
/* No silence is taken for a stall that is shorter; nor for an engine whose page has no counter. */
#define PROGRESS_STALLED_NS (2 * NSEC_PER_SEC)
#define PROGRESS_ALONE_NS   (10 * NSEC_PER_SEC)
/* A head without more may be a whole short answer: of so many at once not all are. */
#define PROGRESS_HEADS 3
/*
 * One or two heads are judged, too, on an endpoint that has nothing else to do, if the page counts
 * tokens, and either counted none since one of them came, or says that requests run or queue: the
 * tokens of a whole short answer are on a page by then, or soon. The wait leaves time for the
 * prompt at 500 bytes, or 125 tokens, a second, slower than a small model on one core: 2 s for 1
 * kB, 50 s for 25 kB.
 *
 * PROGRESS_LONE_NS more is waited where the page does not show the cache in use, or was not read
 * since. The engines that show it (vLLM, SGLang, TensorRT-LLM) write a head and a body apart, so
 * that a whole answer is seldom taken for a head. Elsewhere an error may be an answer of one
 * segment, for which no token is counted. The wait must end before a pass takes the head for a
 * whole answer (REQUEST_FORGOTTEN_NS in bpf/pass/pass.bpf.c, 120 s).
 */
#define PROGRESS_LONE_NS      (10 * NSEC_PER_SEC)
#define PROGRESS_LONE_BYTE_NS (NSEC_PER_SEC / 500)
#define PROGRESS_LONE_MAX_NS  (110 * NSEC_PER_SEC)
/* A pass may see a request by so much later than a page counts its tokens. */
#define PROGRESS_LAG_NS (500 * NSEC_PER_MSEC)
/* The longest silence is remembered for six to seven of these: an hour. */
#define PROGRESS_SLOT_NS (600 * NSEC_PER_SEC)
#define PROGRESS_SLOTS   7

/* What passes and pages showed of one endpoint. Must begin as zeros. */
struct progress {
	uint32_t verdict;    /* enum pintle_standing */
	uint64_t since_ns;   /* when what the verdict says began */
	uint64_t stalled_ns; /* while it is stopped: since when it had stalled before; 0: it had not
			      */
	uint64_t passed_ns;  /* of the pass before */
	uint64_t stuck_ns;   /* since when untouched requests or a backlog is there; 0: none is */
	uint64_t
		silent_ns; /* since when nothing came out though something should; 0: it need not */
	uint64_t moved_ns; /* when the page's counters moved last */
	uint64_t token_ns; /* when the page last counted tokens that came out, or was first read */
	uint64_t head_ns;  /* when the first head after that came; 0: none has */
	uint64_t out_ns;   /* as of the pass before, like read_ns and headed */
	uint64_t read_ns;
	uint32_t headed;
	uint32_t backlog;
	uint64_t told_ns;   /* when something that no client asked for was seen to be served last */
	uint64_t probed_ns; /* when the newest probe that was answered began; 0: none was */
	uint64_t probed_until_ns; /* probes tell until then; 0: none does */
	bool own_page; /* its page comes from the server's own port. Set from outside, like the next
			*/
	bool sealed; /* its connections are TLS: a handshake may look like a head. Set from outside
		      */
	bool counts; /* the page has counters that tell */
	struct signals page; /* the newest page */
	uint64_t page_ns;    /* when it was read */
	bool paged;
	uint64_t longest_ns[PROGRESS_SLOTS]; /* silences that ended, by the time when they did */
	uint64_t slot;                       /* of the newest entry: time / PROGRESS_SLOT_NS */
};

/** Takes in a good page that was read at `now`. */
void progress_page(struct progress *p, const struct signals *page, uint64_t now);

/** Takes in what a pass at `now` found. Returns whether p->verdict changed. */
bool progress_pass(struct progress *p, const struct pintle_work *work, uint64_t now);

/** Takes in that a probe, which pintled itself began at begun_ns, was answered as a request is, or
 * was not, at `now`; the next one's result will be known by until_ns. A good one ends any verdict
 * that began before it, with the next pass. While probes tell, no client is asked to. */
void progress_probe(struct progress *p, bool good, uint64_t begun_ns, uint64_t until_ns);

/** Returns whether something else than a client's request will tell that the endpoint, which stands
 * still, serves again: what waits at it is accepted or read, its page says that it has requests and
 * counts what they do, or probes ask it. */
bool progress_will_tell(const struct progress *p, const struct pintle_work *work, uint64_t now);

/** Returns how long nothing may come out before that is a stall, in nanoseconds. */
uint64_t progress_limit(const struct progress *p);
/** Returns that limit where one or two requests are all that wait, and since `lone` heads are all
 * that is out. */
uint64_t progress_limit_lone(const struct progress *p, const struct pintle_work *work,
			     uint64_t lone);

#endif
