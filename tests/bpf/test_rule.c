/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule as a table: the facts about the endpoints, where the connection goes, and why. Each row
 * is decided on the host and in the kernel, by the same header, with many seeds; both must agree.
 * Loads are in requests. A connection that came since the scrape adds one, and one that ended takes
 * one off.
 */
#define PROGRAMS "pintle_rule"
#include "support_loaded.h"

#define SEEDS        6400 /* for each row on the host; the kernel follows for KERNEL_SEEDS of them */
#define KERNEL_SEEDS 640

/* The weight of a connection in milli-requests. */
#define WEIGHT 1000

/* ---- the words of the table ------------------------------------------------------- */

/* An endpoint: the scraped load, then its count at the scrape and now. */
#define FRESH(requests, ...)                                                                       \
	{                                                                                          \
		.published = (uint32_t)((requests)*1000 + 0.5), .arrival = WEIGHT, .fresh = 1,     \
		__VA_ARGS__                                                                        \
	}
/* The same with a score that is too old. */
#define OLD(requests, ...)                                                                         \
	{                                                                                          \
		.published = (uint32_t)((requests)*1000 + 0.5), .arrival = WEIGHT, __VA_ARGS__     \
	}
/* It has been so for long. */
#define LOST(requests, ...)  OLD(requests, .lost = 1, __VA_ARGS__)
#define IN_FLIGHT(now, then) .inflight = (now), .inflight_at_scrape = (then)
#define PENDING(now, then)   .pending = (now), .pending_at_scrape = (then)
/* What a pass found: requests, and prompts that wait, as requests. */
#define PASS(requests, prompts)                                                                    \
	.passed = 1, .floor = (uint32_t)((requests)*1000), .prompt = (uint32_t)((prompts)*1000)
#define AT_PASS(n)        .inflight_at_pass = (n)
#define OPENED(now, then) .opened = (now), .opened_at_pass = (then)
#define IDLE(n)           .idle = (n)
#define NEWCOMER(n)       .newcomer = (n)*1000

#define ENDPOINTS(...)                                                                             \
	.facts = {__VA_ARGS__},                                                                    \
	.count = sizeof((struct decide_facts[]){__VA_ARGS__}) / sizeof(struct decide_facts)

#define RATE(n) .rate = (n)

#define NOBODY      .preferred = -1
#define BOUND_TO(i) .preferred = (i), .preferred_outcome = PINTLE_OUTCOME_STICKY
#define HOME_IS(i)  .preferred = (i), .preferred_outcome = PINTLE_OUTCOME_HOME

#define LIMIT(requests, then)                                                                      \
	.limit = (uint32_t)((requests)*1000), .admission = PINTLE_ADMISSION_##then

/* Of each endpoint: why it is full besides its load. */
#define C         DECIDE_FULL_CONNECTIONS
#define R         DECIDE_FULL_RESERVED
#define B         DECIDE_FULL_BEFORE
#define ARE(...)  .full = {__VA_ARGS__}
#define POOL_FULL .pool_full = 1

/* What it costs each endpoint to compute the part of the prompt that it lacks, in milli-requests.
 */
#define LACK(...) .prompts = 1, .missing = {__VA_ARGS__}

/* The endpoints that may be chosen, each equally often. */
#define TO(...) .to = {__VA_ARGS__}, .n_to = sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)
#define NOWHERE .n_to = 0

#define GOES(where, why) where, .outcome = PINTLE_OUTCOME_##why

struct row {
	const char *says;
	int preferred;
	uint32_t preferred_outcome;
	uint32_t baseline;
	uint64_t max_extra_load; /* milli-requests; 0: 8 requests */
	uint32_t no_extra_load;  /* 1: no extra load is allowed */
	uint32_t extra;          /* milli-requests, by the session's context */
	uint32_t limit;          /* milli-requests, of the class; 0: none */
	uint32_t admission;      /* enum pintle_admission */
	uint8_t full[DECIDE_CASE_MAX];
	uint32_t pool_full;
	uint32_t prompts;
	uint32_t missing[DECIDE_CASE_MAX]; /* milli-requests */
	uint32_t count;
	struct decide_facts facts[DECIDE_CASE_MAX];
	uint32_t to[DECIDE_CASE_MAX];
	uint32_t n_to;
	uint32_t outcome;
};

/* clang-format off: a row is said, given, expected */
static const struct row rows[] = {
	/* -- nothing is preferred ----------------------------------------------------------- */
	{"no preference: the least loaded", NOBODY, ENDPOINTS(FRESH(3), FRESH(1), FRESH(2)),
	 GOES(TO(1), LEAST_LOADED)},
	{"a thousandth of a request less is less", NOBODY,
	 ENDPOINTS(FRESH(1.001), FRESH(1.000), FRESH(1.001)), GOES(TO(1), LEAST_LOADED)},
	{"one endpoint: that one, whatever its load", NOBODY, ENDPOINTS(FRESH(1000000)),
	 GOES(TO(0), LEAST_LOADED)},
	{"ties of two are broken evenly", NOBODY, ENDPOINTS(FRESH(1), FRESH(2), FRESH(1)),
	 GOES(TO(0, 2), LEAST_LOADED)},
	{"ties of eight idle ones are broken evenly", NOBODY,
	 ENDPOINTS(FRESH(0), FRESH(0), FRESH(0), FRESH(0), FRESH(0), FRESH(0), FRESH(0), FRESH(0)),
	 GOES(TO(0, 1, 2, 3, 4, 5, 6, 7), LEAST_LOADED)},
	{"a tie of published load and of load that came since", NOBODY,
	 ENDPOINTS(FRESH(5), FRESH(3, IN_FLIGHT(9, 7)), FRESH(6)), GOES(TO(0, 1), LEAST_LOADED)},
	{"nobody to go to", NOBODY, .count = 0, GOES(NOWHERE, NO_ENDPOINT)},

	/* -- what came since the scrape ------------------------------------------------------ */
	{"what is in flight beyond the scrape counts", NOBODY,
	 ENDPOINTS(FRESH(1, IN_FLIGHT(12, 10)), FRESH(2)), GOES(TO(1), LEAST_LOADED)},
	{"what was in flight at the scrape is in the score already", NOBODY,
	 ENDPOINTS(FRESH(1, IN_FLIGHT(500, 500)), FRESH(2)), GOES(TO(0), LEAST_LOADED)},
	{"a placement counts before it is established", NOBODY,
	 ENDPOINTS(FRESH(1, PENDING(2, 0)), FRESH(2)), GOES(TO(1), LEAST_LOADED)},
	{"a SYN never completed weighs nothing after the next scrape", NOBODY,
	 ENDPOINTS(FRESH(1, PENDING(10000, 10000)), FRESH(2)), GOES(TO(0), LEAST_LOADED)},
	{"connections that ended since are taken off the score", NOBODY,
	 ENDPOINTS(FRESH(9, IN_FLIGHT(43, 50)), FRESH(2.001)), GOES(TO(0), LEAST_LOADED)},
	{"no more of them than there were", NOBODY,
	 ENDPOINTS(FRESH(9, IN_FLIGHT(44, 50)), FRESH(2.999)), GOES(TO(1), LEAST_LOADED)},
	{"as many ended as came: the score as it is", NOBODY,
	 ENDPOINTS(FRESH(3, IN_FLIGHT(50, 50)), FRESH(3)), GOES(TO(0, 1), LEAST_LOADED)},
	{"ended and placed since: each counts", NOBODY,
	 ENDPOINTS(FRESH(5, IN_FLIGHT(6, 10), PENDING(2, 0)), FRESH(3)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"no load is below zero, however many ended", NOBODY,
	 ENDPOINTS(FRESH(3, IN_FLIGHT(0, 50)), FRESH(0)), GOES(TO(0, 1), LEAST_LOADED)},
	{"placements that opened, or were given up, take nothing off the score", NOBODY,
	 ENDPOINTS(FRESH(3, PENDING(0, 50)), FRESH(2)), GOES(TO(1), LEAST_LOADED)},
	{"what a connection weighs that came is the endpoint's own", NOBODY,
	 ENDPOINTS({.published = 1000, .arrival = 100, .fresh = 1, IN_FLIGHT(9, 0)}, FRESH(2)),
	 GOES(TO(0), LEAST_LOADED)},
	{"what one weighs that ended is the pool's", NOBODY,
	 ENDPOINTS({.published = 9000, .arrival = 9000, .fresh = 1, IN_FLIGHT(0, 2)}, FRESH(7)),
	 GOES(TO(0, 1), LEAST_LOADED)},

	/* -- what a pass found ----------------------------------------------------------------- */
	{"a page that says 0 hides no request of this node", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(10, 0)), FRESH(9)), GOES(TO(1), LEAST_LOADED)},
	{"what this node has there is on the page, too: it counts once", NOBODY,
	 ENDPOINTS(FRESH(10, PASS(10, 0)), FRESH(10)), GOES(TO(0, 1), LEAST_LOADED)},
	{"what opened since the pass adds to it", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(2, 0), IN_FLIGHT(3, 3), AT_PASS(1), OPENED(9, 7)), FRESH(4),
		   FRESH(5)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"what closed since takes off", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(3, 0), IN_FLIGHT(1, 1), AT_PASS(3)), FRESH(1), FRESH(2)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"one that opened and one that closed are not the same as none", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(3, 0), IN_FLIGHT(3, 3), AT_PASS(3), OPENED(9, 8), NEWCOMER(2)),
		   FRESH(5), FRESH(6)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"those that opened and closed since the pass leave nothing", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(2, 0), IN_FLIGHT(1, 1), AT_PASS(1), OPENED(90, 40), NEWCOMER(1)),
		   FRESH(3), FRESH(4)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"but no load is below what the page says", NOBODY,
	 ENDPOINTS(FRESH(5, PASS(3, 0), IN_FLIGHT(1, 1), AT_PASS(30)), FRESH(4)),
	 GOES(TO(1), LEAST_LOADED)},
	{"prompts that wait count beside requests", NOBODY,
	 ENDPOINTS(FRESH(1, PASS(1, 75)), FRESH(70)), GOES(TO(1), LEAST_LOADED)},
	{"one whose request nobody has seen yet is an average one", NOBODY,
	 ENDPOINTS(FRESH(0, PASS(0, 0), IN_FLIGHT(1, 0), OPENED(1, 0), NEWCOMER(3)), FRESH(4),
		   FRESH(5)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"a pass that is too old, or none, says nothing", NOBODY,
	 ENDPOINTS(FRESH(0, .floor = 9000, .prompt = 9000, NEWCOMER(9), IN_FLIGHT(1, 0),
			 OPENED(1, 0)),
		   FRESH(2)),
	 GOES(TO(0), LEAST_LOADED)},
	{"the bound endpoint's prompts count, too", BOUND_TO(0),
	 ENDPOINTS(FRESH(1, PASS(1, 9)), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"nobody fresh: idle connections weigh nothing", NOBODY,
	 ENDPOINTS(OLD(0, PASS(1, 0), IDLE(8), IN_FLIGHT(9, 9)), OLD(0, IN_FLIGHT(2, 2))),
	 GOES(TO(0), STALE)},
	{"nobody fresh: all are idle, and one more than there are", NOBODY,
	 ENDPOINTS(OLD(0, PASS(0, 0), IDLE(9), IN_FLIGHT(8, 8)), OLD(0, IN_FLIGHT(1, 0))),
	 GOES(TO(0), STALE)},
	{"nobody fresh: idle as of an old pass counts", NOBODY,
	 ENDPOINTS(OLD(0, IDLE(8), IN_FLIGHT(9, 9)), OLD(0, IN_FLIGHT(2, 2))), GOES(TO(1), STALE)},
	{"nobody fresh: prompts count", NOBODY,
	 ENDPOINTS(OLD(0, PASS(1, 5), IN_FLIGHT(1, 1)), OLD(0, IN_FLIGHT(2, 2))),
	 GOES(TO(1), STALE)},
	{"too old a page, beside a fresh one: prompts count", NOBODY,
	 ENDPOINTS(OLD(0, PASS(1, 1)), FRESH(3)), GOES(TO(1), LEAST_LOADED)},

	/* -- sticky until saturated ----------------------------------------------------------- */
	{"bound: sticky", BOUND_TO(1), ENDPOINTS(FRESH(1), FRESH(4), FRESH(2)),
	 GOES(TO(1), STICKY)},
	{"bound, and ahead by just what is allowed: sticky", BOUND_TO(0),
	 ENDPOINTS(FRESH(9), FRESH(1)), GOES(TO(0), STICKY)},
	{"bound, and ahead by a thousandth more: escaped", BOUND_TO(0),
	 ENDPOINTS(FRESH(9.001), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"escaped: to the least loaded, ties evenly", BOUND_TO(1),
	 ENDPOINTS(FRESH(1), FRESH(20), FRESH(1), FRESH(1.5)), GOES(TO(0, 2), ESCAPED)},
	{"bound to the least loaded among equals: sticky, always", BOUND_TO(2),
	 ENDPOINTS(FRESH(1), FRESH(1), FRESH(1)), GOES(TO(2), STICKY)},
	{"no extra load allowed, and equal: sticky", BOUND_TO(0), .no_extra_load = 1,
	 ENDPOINTS(FRESH(1), FRESH(1)), GOES(TO(0), STICKY)},
	{"no extra load allowed, and a thousandth ahead: escaped", BOUND_TO(0), .no_extra_load = 1,
	 ENDPOINTS(FRESH(1.001), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"what came since drives a session away too", BOUND_TO(0),
	 ENDPOINTS(FRESH(1, IN_FLIGHT(9, 0)), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"placements that are not established drive no session away: anybody can make some",
	 BOUND_TO(0), ENDPOINTS(FRESH(1, PENDING(200, 0)), FRESH(1)), GOES(TO(0), STICKY)},
	{"and earn it nothing where it is too loaded", BOUND_TO(0),
	 ENDPOINTS(FRESH(9.001, PENDING(0, 200)), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"nor do they hold one that has another reason to leave", BOUND_TO(0),
	 ENDPOINTS(FRESH(1, IN_FLIGHT(10, 0), PENDING(1, 0)), FRESH(1, PENDING(1, 0))),
	 GOES(TO(1), ESCAPED)},
	{"placements elsewhere count", BOUND_TO(0), ENDPOINTS(FRESH(10), FRESH(1, PENDING(1, 0))),
	 GOES(TO(0), STICKY)},
	{"from its home placements drive it away", HOME_IS(0),
	 ENDPOINTS(FRESH(1, PENDING(9, 0)), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"what ended since keeps one", BOUND_TO(0), ENDPOINTS(FRESH(10, IN_FLIGHT(3, 4)), FRESH(1)),
	 GOES(TO(0), STICKY)},
	{"bound, and nobody else there: sticky, whatever its load", BOUND_TO(0),
	 ENDPOINTS(FRESH(1000000)), GOES(TO(0), STICKY)},
	{"the home of its group: home", HOME_IS(1), ENDPOINTS(FRESH(1), FRESH(4)),
	 GOES(TO(1), HOME)},
	{"the home is too far ahead: escaped", HOME_IS(1), ENDPOINTS(FRESH(1), FRESH(9.001)),
	 GOES(TO(0), ESCAPED)},
	{"its context may be worth less than maxExtraLoad", BOUND_TO(0), .extra = 4000,
	 ENDPOINTS(FRESH(6.001), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"the best one's load comes on top of it", BOUND_TO(0), .extra = 4000,
	 ENDPOINTS(FRESH(6), FRESH(1)), GOES(TO(0), STICKY)},
	{"or more than maxExtraLoad", BOUND_TO(0), .extra = 12000, ENDPOINTS(FRESH(14), FRESH(1)),
	 GOES(TO(0), STICKY)},
	{"a home is held by the session's context, too", HOME_IS(0), .extra = 12000,
	 ENDPOINTS(FRESH(14), FRESH(1)), GOES(TO(0), HOME)},
	{"the most by context, without overflow", BOUND_TO(0), .extra = UINT32_MAX,
	 ENDPOINTS(FRESH(1000000), FRESH(1000000), FRESH(0)), GOES(TO(0), STICKY)},
	{"any extra load allowed: sticky, without overflow", BOUND_TO(0),
	 .max_extra_load = UINT64_MAX, ENDPOINTS(FRESH(1000), FRESH(1)), GOES(TO(0), STICKY)},

	/* -- nobody's score is fresh ------------------------------------------------------------
	 */
	{"nobody fresh: the fewest in flight, whatever was published", NOBODY,
	 ENDPOINTS(OLD(1, IN_FLIGHT(5, 0)), OLD(900, IN_FLIGHT(2, 0)), OLD(0, IN_FLIGHT(3, 0))),
	 GOES(TO(1), STALE)},
	{"nobody fresh: all that is in flight, not only what came since", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(5, 5)), OLD(0, IN_FLIGHT(2, 0))), GOES(TO(1), STALE)},
	{"nobody fresh: what is pending does not count", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(1, 0)), OLD(0, PENDING(99, 0))), GOES(TO(1), STALE)},
	{"nobody fresh: ties evenly", NOBODY, ENDPOINTS(OLD(7), OLD(1), OLD(3)),
	 GOES(TO(0, 1, 2), STALE)},
	{"nobody fresh: counts below zero are zero", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(-50, 0)), OLD(0), OLD(0, IN_FLIGHT(1, 0))),
	 GOES(TO(0, 1), STALE)},
	{"nobody fresh, bound: kept by connections in flight, and said to be stale", BOUND_TO(0),
	 ENDPOINTS(OLD(900, IN_FLIGHT(8, 0)), OLD(0)), GOES(TO(0), STALE)},
	{"nobody fresh, bound, too many in flight: left, and said to be stale", BOUND_TO(0),
	 ENDPOINTS(OLD(0, IN_FLIGHT(9, 0)), OLD(0)), GOES(TO(1), STALE)},
	{"nobody fresh, with a home: kept, and said to be stale", HOME_IS(1),
	 ENDPOINTS(OLD(0), OLD(0, IN_FLIGHT(3, 0))), GOES(TO(1), STALE)},
	{"nobody fresh: the weight is the pool's, not the model's", NOBODY,
	 ENDPOINTS({.arrival = 1, IN_FLIGHT(5, 0)}, {.arrival = 1000000, IN_FLIGHT(4, 0)}),
	 GOES(TO(1), STALE)},

	/* -- some scores are fresh ----------------------------------------------------------------
	 */
	{"too old counts as the highest fresh one", NOBODY, ENDPOINTS(OLD(0), FRESH(3), FRESH(7)),
	 GOES(TO(1), LEAST_LOADED)},
	{"too old is not better than the only fresh one, and not worse", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(3)), GOES(TO(0, 1), LEAST_LOADED)},
	{"two too old and one fresh, all equal: evenly", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(3), OLD(900)), GOES(TO(0, 1, 2), LEAST_LOADED)},
	{"too old, plus what came since: worse than the highest fresh one", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(1, 0)), FRESH(3)), GOES(TO(1), LEAST_LOADED)},
	{"too old, but the fresh one has been given more since", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(3, PENDING(1, 0))), GOES(TO(0), LEAST_LOADED)},
	{"too old: what ended since earns nothing, for it was on another page", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(0, 50), PENDING(1, 0)), FRESH(3)), GOES(TO(1), LEAST_LOADED)},
	{"what ended at a fresh one is not taken off what the too old is held at", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(3, IN_FLIGHT(0, 2))), GOES(TO(1), LEAST_LOADED)},
	{"what came since to a fresh one is not what the too old is held at", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(3), FRESH(3, PENDING(5, 0))), GOES(TO(0, 1), LEAST_LOADED)},
	{"of two too old the one with less come since", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(3, 1)), OLD(9, IN_FLIGHT(9, 8)), FRESH(3, PENDING(5, 0))),
	 GOES(TO(1), LEAST_LOADED)},
	{"bound to one too old, within what is allowed of the best: sticky", BOUND_TO(0),
	 ENDPOINTS(OLD(900), FRESH(1), FRESH(9)), GOES(TO(0), STICKY)},
	{"bound to one too old, held at the highest fresh: escaped", BOUND_TO(0),
	 ENDPOINTS(OLD(0), FRESH(1), FRESH(9.001)), GOES(TO(1), ESCAPED)},
	{"the bound one's own fresh score is among the highest", BOUND_TO(0),
	 ENDPOINTS(FRESH(9.001), OLD(0), FRESH(1)), GOES(TO(2), ESCAPED)},
	{"bound to one too old for long: left for the least loaded fresh one", BOUND_TO(0),
	 ENDPOINTS(LOST(0), FRESH(3), FRESH(1)), GOES(TO(2), LEAST_LOADED)},
	{"nor is it drawn again where it would be the best", BOUND_TO(0),
	 ENDPOINTS(LOST(0), FRESH(0), FRESH(0)), GOES(TO(1, 2), LEAST_LOADED)},
	{"nor is another one too old", BOUND_TO(0),
	 ENDPOINTS(LOST(0), FRESH(3, PENDING(9, 0)), OLD(0)), GOES(TO(1), LEAST_LOADED)},
	{"the home of its group, too old for long: left", HOME_IS(1), ENDPOINTS(FRESH(9), LOST(0)),
	 GOES(TO(0), LEAST_LOADED)},
	{"another one too old for long: sticky", BOUND_TO(1),
	 ENDPOINTS(LOST(0), FRESH(3), FRESH(1)), GOES(TO(1), STICKY)},
	{"too old for long is as good as too old for who has no session there", NOBODY,
	 ENDPOINTS(LOST(0), FRESH(3)), GOES(TO(0, 1), LEAST_LOADED)},
	{"nobody fresh, bound to one too old for long: kept", BOUND_TO(0),
	 ENDPOINTS(LOST(0, IN_FLIGHT(8, 0)), OLD(0), LOST(0)), GOES(TO(0), STALE)},
	{"the bound one alone is fresh: the others count as it does", BOUND_TO(0),
	 ENDPOINTS(FRESH(50), OLD(0)), GOES(TO(0), STICKY)},
	{"the bound one alone is fresh and has been given more since than allowed", BOUND_TO(0),
	 ENDPOINTS(FRESH(50, IN_FLIGHT(9, 0)), OLD(0)), GOES(TO(1), ESCAPED)},

	/* -- weights ------------------------------------------------------------------------- */
	{"twice the weight: half the load", NOBODY, ENDPOINTS(FRESH(4, RATE(200)), FRESH(2.001)),
	 GOES(TO(0), LEAST_LOADED)},
	{"and no more than that", NOBODY, ENDPOINTS(FRESH(4.002, RATE(200)), FRESH(2)),
	 GOES(TO(1), LEAST_LOADED)},
	{"a tenth of the weight, of one that warms up", NOBODY,
	 ENDPOINTS(FRESH(1, RATE(10)), FRESH(9.999)), GOES(TO(1), LEAST_LOADED)},
	{"but it gets something", NOBODY, ENDPOINTS(FRESH(1, RATE(10)), FRESH(10.001)),
	 GOES(TO(0), LEAST_LOADED)},
	{"no weight is weight 1", NOBODY, ENDPOINTS(FRESH(2, RATE(0)), FRESH(2, RATE(100))),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"a weight that cannot be is weight 1", NOBODY,
	 ENDPOINTS(FRESH(2, RATE(10001)), FRESH(2, RATE(100))), GOES(TO(0, 1), LEAST_LOADED)},
	{"a session may be ahead by so much of the weighed load", BOUND_TO(0),
	 ENDPOINTS(FRESH(20, RATE(200)), FRESH(2)), GOES(TO(0), STICKY)},
	{"and not by more", BOUND_TO(0), ENDPOINTS(FRESH(20.002, RATE(200)), FRESH(2)),
	 GOES(TO(1), ESCAPED)},
	{"the limit holds by weight", NOBODY, LIMIT(2, REFUSE),
	 ENDPOINTS(FRESH(3.998, RATE(200)), FRESH(3)), GOES(TO(0), LEAST_LOADED)},
	{"the highest fresh one is the highest by weight", NOBODY,
	 ENDPOINTS(OLD(0), FRESH(6, RATE(200)), FRESH(3.001)), GOES(TO(1), LEAST_LOADED)},
	{"nobody fresh: connections in flight by weight", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(2, 0), RATE(300)), OLD(0, IN_FLIGHT(1, 0))),
	 GOES(TO(0), STALE)},
	{"the most loaded one of the least weight is no overflow", NOBODY,
	 ENDPOINTS(FRESH(1000000, RATE(1)), FRESH(999999)), GOES(TO(1), LEAST_LOADED)},

	/* -- the limit of the class ---------------------------------------------------------- */
	{"below the limit: as without it", NOBODY, LIMIT(2, REFUSE),
	 ENDPOINTS(FRESH(1.999), FRESH(3)), GOES(TO(0), LEAST_LOADED)},
	{"at the limit is full: refused", NOBODY, LIMIT(2, REFUSE), ENDPOINTS(FRESH(2), FRESH(3)),
	 GOES(NOWHERE, REFUSED)},
	{"or spilled", NOBODY, LIMIT(2, SPILL), ENDPOINTS(FRESH(2), FRESH(3)),
	 GOES(NOWHERE, SPILLED)},
	{"or diverted", NOBODY, LIMIT(2, DIVERT), ENDPOINTS(FRESH(2), FRESH(3)),
	 GOES(NOWHERE, DIVERTED)},
	{"below the limit nobody is diverted", NOBODY, LIMIT(2, DIVERT), ENDPOINTS(FRESH(1.999)),
	 GOES(TO(0), LEAST_LOADED)},
	{"or goes where it would", NOBODY, LIMIT(2, PROCEED), ENDPOINTS(FRESH(2), FRESH(3)),
	 GOES(TO(0), LEAST_LOADED)},
	{"no limit: never full", NOBODY, LIMIT(0, REFUSE), ENDPOINTS(FRESH(1000000)),
	 GOES(TO(0), LEAST_LOADED)},
	{"nobody to go to is not full", NOBODY, LIMIT(2, REFUSE), .count = 0,
	 GOES(NOWHERE, NO_ENDPOINT)},
	{"what came since the scrape fills", NOBODY, LIMIT(3, REFUSE),
	 ENDPOINTS(FRESH(1, IN_FLIGHT(12, 10)), FRESH(3)), GOES(NOWHERE, REFUSED)},
	{"bound to a full one, another is not: escaped", BOUND_TO(0), LIMIT(3, REFUSE),
	 ENDPOINTS(FRESH(3), FRESH(2.999)), GOES(TO(1), ESCAPED)},
	{"the home is full, another one is not: escaped", HOME_IS(1), LIMIT(3, PROCEED),
	 ENDPOINTS(FRESH(1), FRESH(3)), GOES(TO(0), ESCAPED)},
	{"bound, and all are full: refused", BOUND_TO(0), LIMIT(3, REFUSE),
	 ENDPOINTS(FRESH(3), FRESH(4)), GOES(NOWHERE, REFUSED)},
	{"bound, all full, and it may proceed: sticky", BOUND_TO(0), LIMIT(3, PROCEED),
	 ENDPOINTS(FRESH(9), FRESH(3)), GOES(TO(0), STICKY)},
	{"bound, all full, and too far ahead: escaped", BOUND_TO(0), LIMIT(3, PROCEED),
	 ENDPOINTS(FRESH(11.001), FRESH(3)), GOES(TO(1), ESCAPED)},
	{"bound to one that is not full: sticky, though another is idle", BOUND_TO(0),
	 LIMIT(3, REFUSE), ENDPOINTS(FRESH(2.999), FRESH(0)), GOES(TO(0), STICKY)},
	{"one too old counts as the highest fresh one, and is full as that is", NOBODY,
	 LIMIT(7, PROCEED), ENDPOINTS(OLD(0), FRESH(6.5, PENDING(9, 0)), FRESH(7)),
	 GOES(TO(0, 2), LEAST_LOADED)},
	{"or not, where that is not", NOBODY, LIMIT(7, REFUSE),
	 ENDPOINTS(OLD(0), FRESH(6.5, PENDING(9, 0))), GOES(TO(0), LEAST_LOADED)},
	{"nobody fresh: connections in flight fill", NOBODY, LIMIT(2, REFUSE),
	 ENDPOINTS(OLD(0, IN_FLIGHT(2, 0)), OLD(0, IN_FLIGHT(3, 0))), GOES(NOWHERE, REFUSED)},
	{"nobody fresh: to the one that they have not filled", BOUND_TO(1), LIMIT(2, REFUSE),
	 ENDPOINTS(OLD(900, IN_FLIGHT(1, 0)), OLD(0, IN_FLIGHT(2, 0))), GOES(TO(0), STALE)},
	{"baseline: the limit says nothing", NOBODY, .baseline = 1, LIMIT(2, REFUSE),
	 ENDPOINTS(FRESH(3), FRESH(1)), GOES(TO(0, 1), RANDOM)},

	/* -- baseline
	   --------------------------------------------------------------------------------- */
	{"baseline: any, evenly, whatever the loads", NOBODY, .baseline = 1,
	 ENDPOINTS(FRESH(0), FRESH(1000), OLD(0), OLD(0, IN_FLIGHT(9, 0)), FRESH(3)),
	 GOES(TO(0, 1, 2, 3, 4), RANDOM)},
	{"baseline: nobody fresh is random all the same", NOBODY, .baseline = 1,
	 ENDPOINTS(OLD(0), OLD(9, IN_FLIGHT(9, 0)), OLD(5)), GOES(TO(0, 1, 2), RANDOM)},
	{"baseline: sixteen, evenly", NOBODY, .baseline = 1,
	 ENDPOINTS(FRESH(0), FRESH(1), FRESH(2), FRESH(3), FRESH(4), FRESH(5), FRESH(6), FRESH(7),
		   FRESH(8), FRESH(9), FRESH(8), FRESH(7), FRESH(6), FRESH(5), FRESH(4), FRESH(3)),
	 GOES(TO(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), RANDOM)},
	{"baseline: nobody to go to", NOBODY, .baseline = 1, .count = 0,
	 GOES(NOWHERE, NO_ENDPOINT)},

	{"the most that a pass can find still adds up", NOBODY,
	 ENDPOINTS({.published = UINT32_MAX,
		    .arrival = UINT32_MAX,
		    .fresh = 1,
		    .passed = 1,
		    .floor = UINT32_MAX,
		    .prompt = UINT32_MAX,
		    .newcomer = UINT32_MAX,
		    OPENED(INT64_MAX, 0),
		    IN_FLIGHT(INT64_MAX, 0)},
		   {.arrival = UINT32_MAX,
		    .passed = 1,
		    .prompt = UINT32_MAX,
		    .newcomer = UINT32_MAX,
		    OPENED(INT64_MAX, 0),
		    IN_FLIGHT(INT64_MAX, 0)},
		   FRESH(1000000)),
	 GOES(TO(2), LEAST_LOADED)},
	/* -- numbers at their ends
	   ------------------------------------------------------------------------ */
	{"published beyond the most is held at the most", NOBODY,
	 ENDPOINTS({.published = UINT32_MAX, .fresh = 1},
		   {.published = PINTLE_MAX_LOAD, .fresh = 1}),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"the most published and the most come since still add up", NOBODY,
	 ENDPOINTS({.published = PINTLE_MAX_LOAD,
		    .arrival = UINT32_MAX,
		    .fresh = 1,
		    IN_FLIGHT(INT64_MAX, 0),
		    PENDING(INT64_MAX, 0)},
		   FRESH(1000000)),
	 GOES(TO(1), LEAST_LOADED)},
	{"counts far apart: their difference wraps, as counters do", NOBODY,
	 ENDPOINTS(FRESH(1, IN_FLIGHT(INT64_MIN, INT64_MAX)), FRESH(3), FRESH(1.5)),
	 GOES(TO(2), LEAST_LOADED)},
	{"the most that can end leaves no load, and no less", NOBODY,
	 ENDPOINTS({.published = UINT32_MAX,
		    .fresh = 1,
		    IN_FLIGHT(-INT64_MAX, 0),
		    PENDING(INT64_MIN, 0)},
		   FRESH(0)),
	 GOES(TO(0, 1), LEAST_LOADED)},
	{"nobody fresh, with the most in flight everywhere but one", NOBODY,
	 ENDPOINTS(OLD(0, IN_FLIGHT(INT64_MAX, 0)), OLD(0, IN_FLIGHT(1000, 0)),
		   OLD(0, IN_FLIGHT(INT64_MAX, INT64_MIN))),
	 GOES(TO(1), STALE)},
	{"bound to the most loaded that there can be: escaped", BOUND_TO(0),
	 ENDPOINTS({.published = UINT32_MAX,
		    .arrival = UINT32_MAX,
		    .fresh = 1,
		    IN_FLIGHT(INT64_MAX, 0)},
		   FRESH(0)),
	 GOES(TO(1), ESCAPED)},

	/* -- prompts ------------------------------------------------------------------------- */
	{"what is missing of the prompt counts like load", NOBODY, LACK(0, 3001),
	 ENDPOINTS(FRESH(4), FRESH(1)), GOES(TO(0), LEAST_LOADED)},
	{"and no more than that", NOBODY, LACK(0, 2999), ENDPOINTS(FRESH(4), FRESH(1)),
	 GOES(TO(1), LEAST_LOADED)},
	{"a tie of load and of what is missing", NOBODY, LACK(0, 3000, 9000),
	 ENDPOINTS(FRESH(4), FRESH(1), FRESH(0)), GOES(TO(0, 1), LEAST_LOADED)},
	{"where all lack the same, load decides", NOBODY, LACK(90000, 90000),
	 ENDPOINTS(FRESH(4), FRESH(1)), GOES(TO(1), LEAST_LOADED)},
	{"who has the prompt holds more than its own session", BOUND_TO(0), LACK(9000, 0),
	 ENDPOINTS(FRESH(1), FRESH(1)), GOES(TO(1), ESCAPED)},
	{"by more than what is allowed", BOUND_TO(0), LACK(8000, 0), ENDPOINTS(FRESH(1), FRESH(1)),
	 GOES(TO(0), STICKY)},
	{"a session goes where its prompt is for longer", BOUND_TO(0), LACK(0, 9000),
	 ENDPOINTS(FRESH(17), FRESH(0)), GOES(TO(0), STICKY)},
	{"but not for ever", BOUND_TO(0), LACK(0, 9000), ENDPOINTS(FRESH(17.001), FRESH(0)),
	 GOES(TO(1), ESCAPED)},
	{"a home lacks what it lacks", HOME_IS(0), LACK(9000, 0), ENDPOINTS(FRESH(1), FRESH(1)),
	 GOES(TO(1), ESCAPED)},
	{"what is missing reaches no limit", NOBODY, LACK(90000), LIMIT(2, REFUSE),
	 ENDPOINTS(FRESH(1)), GOES(TO(0), LEAST_LOADED)},
	{"who has the prompt and is full comes after who lacks it", NOBODY, LACK(0, 90000),
	 LIMIT(2, REFUSE), ENDPOINTS(FRESH(2), FRESH(1)), GOES(TO(1), LEAST_LOADED)},
	{"nobody fresh: what is missing counts, too", NOBODY, LACK(3000, 0),
	 ENDPOINTS(OLD(0, IN_FLIGHT(1, 0)), OLD(0, IN_FLIGHT(3, 0))), GOES(TO(1), STALE)},
	{"too old: held at the highest load, without what is missing there", NOBODY,
	 LACK(0, 90000, 3000), ENDPOINTS(OLD(0), FRESH(7), FRESH(5)), GOES(TO(0), LEAST_LOADED)},
	{"the most that can be missing, of the most loaded, is no overflow", NOBODY,
	 LACK(DECIDE_MAX_MISSING, 0), ENDPOINTS(FRESH(1000000), FRESH(1000000)),
	 GOES(TO(1), LEAST_LOADED)},
	{"mode baseline knows no prompts", NOBODY, .baseline = 1, LACK(9000, 0),
	 ENDPOINTS(FRESH(1), FRESH(1)), GOES(TO(0, 1), RANDOM)},

	/* -- a class beside others ------------------------------------------------------------- */
	{"closed to the class: to another one, whatever its load", NOBODY, ARE(R),
	 ENDPOINTS(FRESH(0), FRESH(900)), GOES(TO(1), LEAST_LOADED)},
	{"has all its connections there: to another one", NOBODY, ARE(C),
	 ENDPOINTS(FRESH(0), FRESH(900)), GOES(TO(1), LEAST_LOADED)},
	{"all closed: refused", NOBODY, ARE(R, C), LIMIT(0, REFUSE), ENDPOINTS(FRESH(0), FRESH(1)),
	 GOES(NOWHERE, REFUSED)},
	{"all closed, and it proceeds: the least loaded", NOBODY, ARE(R, C), LIMIT(0, PROCEED),
	 ENDPOINTS(FRESH(0), FRESH(1)), GOES(TO(0), LEAST_LOADED)},
	{"one closed, the other one over the limit: refused", NOBODY, ARE(R), LIMIT(5, REFUSE),
	 ENDPOINTS(FRESH(0), FRESH(5)), GOES(NOWHERE, REFUSED)},
	{"and if it proceeds, what is reserved stays so", NOBODY, ARE(R), LIMIT(5, PROCEED),
	 ENDPOINTS(FRESH(0), FRESH(5)), GOES(TO(1), LEAST_LOADED)},
	{"a session leaves what is closed to it", BOUND_TO(0), ARE(R),
	 ENDPOINTS(FRESH(1), FRESH(4)), GOES(TO(1), ESCAPED)},
	{"also where all are full", BOUND_TO(0), ARE(R), LIMIT(3, PROCEED),
	 ENDPOINTS(FRESH(1), FRESH(4)), GOES(TO(1), ESCAPED)},
	{"unless all are closed", BOUND_TO(1), ARE(R, R), ENDPOINTS(FRESH(1), FRESH(4)),
	 GOES(TO(1), STICKY)},
	{"a session leaves no endpoint because the pool is full", BOUND_TO(1), POOL_FULL,
	 LIMIT(0, PROCEED), ENDPOINTS(FRESH(1), FRESH(4)), GOES(TO(1), STICKY)},
	{"the pool is full: refused", NOBODY, POOL_FULL, LIMIT(0, REFUSE),
	 ENDPOINTS(FRESH(1), FRESH(4)), GOES(NOWHERE, REFUSED)},
	{"was full, and is below the limit: still full", NOBODY, ARE(B), LIMIT(8, REFUSE),
	 ENDPOINTS(FRESH(7)), GOES(NOWHERE, REFUSED)},
	{"was full, and is below 7/8 of it: has room", NOBODY, ARE(B), LIMIT(8, REFUSE),
	 ENDPOINTS(FRESH(6.999)), GOES(TO(0), LEAST_LOADED)},
	{"was not full: has room up to the limit", NOBODY, LIMIT(8, REFUSE),
	 ENDPOINTS(FRESH(7.999)), GOES(TO(0), LEAST_LOADED)},
	{"one that was full comes after one that was not", NOBODY, ARE(B), LIMIT(8, PROCEED),
	 ENDPOINTS(FRESH(7.1), FRESH(7.5)), GOES(TO(1), LEAST_LOADED)},
	{"without a limit nothing was full", NOBODY, ARE(B), ENDPOINTS(FRESH(7), FRESH(9)),
	 GOES(TO(0), LEAST_LOADED)},
	{"a limit of a thousandth of a request", NOBODY, ARE(B), LIMIT(0.001, REFUSE),
	 ENDPOINTS(FRESH(0)), GOES(TO(0), LEAST_LOADED)},
	{"nobody fresh: was full holds for connections in flight", NOBODY, ARE(B), LIMIT(8, REFUSE),
	 ENDPOINTS(OLD(0, IN_FLIGHT(7, 0))), GOES(NOWHERE, REFUSED)},
	{"too old, beside a fresh one: what was full says nothing", NOBODY, ARE(B),
	 LIMIT(8, REFUSE), ENDPOINTS(OLD(0), FRESH(7.5, PENDING(1, 0))), GOES(TO(0), LEAST_LOADED)},
	{"too old and closed", NOBODY, ARE(R), LIMIT(8, REFUSE),
	 ENDPOINTS(OLD(0), FRESH(7.5, PENDING(1, 0))), GOES(NOWHERE, REFUSED)},
	{"mode baseline knows none of it", NOBODY, .baseline = 1, ARE(R, C), POOL_FULL,
	 LIMIT(1, REFUSE), ENDPOINTS(FRESH(9), FRESH(9)), GOES(TO(0, 1), RANDOM)},
};
/* clang-format on */

/* ---- decisions on both sides --------------------------------------------------------- */

/* Decides in the kernel; the result is in k. */
static void decide_in_kernel(struct decide_case *k)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	memcpy(&skel->bss->rule_case, k, sizeof(*k));
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pintle_rule), &opts),
			 0);
	assert_int_equal(opts.retval, 0);
	memcpy(k, &skel->bss->rule_case, sizeof(*k));
}

static void assert_same_in_kernel(const struct decide_case *host)
{
	struct decide_case k = *host;

	memset(&k.result, 0xff, sizeof(k.result));
	decide_in_kernel(&k);
	assert_memory_equal(&k.result, &host->result, sizeof(k.result));
}

static struct decide_case case_of(const struct row *row)
{
	struct decide_case k = {
		.max_extra_load = row->max_extra_load
					  ?: row->no_extra_load ? 0
								: 8000,
		.baseline = row->baseline,
		.count = row->count,
		.preferred = row->preferred,
		.preferred_outcome = row->preferred_outcome,
		.departure = WEIGHT,
		.extra = row->extra,
		.limit = row->limit,
		.admission = row->admission,
		.pool_full = row->pool_full,
	};

	memcpy(k.facts, row->facts, sizeof(k.facts));
	memcpy(k.full, row->full, sizeof(k.full));
	memcpy(k.missing, row->missing, sizeof(k.missing));
	k.prompts = row->prompts;
	return k;
}

static void test_row(void **state)
{
	const struct row *row = *state;
	uint32_t counts[DECIDE_CASE_MAX] = {0}, to[DECIDE_CASE_MAX] = {0};
	struct decide_case k = case_of(row);

	for (uint32_t i = 0; i < SEEDS; i++) {
		k.seed = random_at(i);
		decide_case_run(&k);
		if (i < KERNEL_SEEDS)
			assert_same_in_kernel(&k);
		assert_int_equal(k.result.outcome, row->outcome);
		assert_int_equal(k.result.generation, row->n_to ? 1 : 0);
		assert_in_range(k.result.endpoint, 0, DECIDE_CASE_MAX - 1);
		counts[k.result.endpoint]++;
	}
	if (!row->n_to)
		return;
	for (uint32_t i = 0; i < row->n_to; i++)
		to[i] = counts[row->to[i]];
	assert_even(to, row->n_to, SEEDS);
}

/* Equal loads are broken by weight, also in mode baseline. */
static void test_ties_by_weight(void **state)
{
	for (uint32_t baseline = 0; baseline < 2; baseline++) {
		struct decide_case k = {.count = 3, .preferred = -1, .baseline = baseline};
		uint32_t counts[DECIDE_CASE_MAX] = {0}, to[6] = {0};

		(void)state;
		for (uint32_t i = 0; i < k.count; i++)
			k.facts[i] = (struct decide_facts){.fresh = 1, .rate = 100 * (1 + i)};
		for (uint32_t i = 0; i < SEEDS; i++) {
			k.seed = random_at(i);
			decide_case_run(&k);
			if (i < KERNEL_SEEDS)
				assert_same_in_kernel(&k);
			counts[k.result.endpoint]++;
		}
		/* 1 + 2 + 3 shares of each weight's; the last one also has what is left over. */
		for (uint32_t e = 0, at = 0; e < k.count; e++)
			for (uint32_t i = 0; i <= e; i++, at++)
				to[at] = i < e ? counts[e] / (1 + e)
					       : counts[e] - e * (counts[e] / (1 + e));
		assert_even(to, 6, SEEDS);
	}
}

/* ---- the rule written again, in the plainest way --------------------------------------- */

static long double more(int64_t now, int64_t then)
{
	/* Counters wrap, so only their difference counts. */
	int64_t n = (int64_t)((uint64_t)now - (uint64_t)then);

	return n < 0 ? 0 : fminl(n, DECIDE_MAX_MORE);
}

static long double rated(const struct decide_facts *f, long double load, long double most)
{
	if (!f->rate || f->rate == 100 || f->rate > 10000)
		return load;
	return fminl(floorl(load * 100 / f->rate), most);
}

static long double published(const struct decide_facts *f)
{
	return fminl(f->published, PINTLE_MAX_LOAD);
}

static long double capped(long double load)
{
	return fminl(load, DECIDE_MAX_CORRECTION);
}

/* The load of endpoint e as docs/load.md defines it. */
static long double load_of(const struct decide_case *k, uint32_t e, bool any_fresh,
			   long double highest)
{
	const struct decide_facts *f = &k->facts[e];
	bool bound = k->preferred == (int32_t)e && k->preferred_outcome == PINTLE_OUTCOME_STICKY;
	long double came, ended, own = 0, prompts = 0, opened, closed;

	if (f->passed) {
		opened = fminl(more((int64_t)f->opened, (int64_t)f->opened_at_pass),
			       more(f->inflight, 0));
		closed = more((int64_t)((uint64_t)f->inflight_at_pass + (uint64_t)opened),
			      f->inflight);
		own = fminl(f->floor, PINTLE_MAX_LOAD) + capped(opened * f->arrival) -
		      capped(closed * k->departure);
		prompts = fminl(f->prompt + opened * f->newcomer, PINTLE_MAX_LOAD);
	}
	if (!any_fresh)
		return rated(f,
			     capped(more(f->inflight, f->passed ? f->idle : 0) * k->departure) +
				     prompts,
			     3 * PINTLE_MAX_LOAD);
	came = capped((more(f->inflight, f->inflight_at_scrape) +
		       (bound ? 0 : more(f->pending, f->pending_at_scrape))) *
		      f->arrival);
	if (!f->fresh)
		return highest + rated(f, came + prompts, 3 * PINTLE_MAX_LOAD);
	ended = capped(more(f->inflight_at_scrape, f->inflight) * k->departure);
	return rated(f, fmaxl(fmaxl(published(f) + came - ended, own), 0) + prompts,
		     3 * PINTLE_MAX_LOAD);
}

/* The load, and what of the prompt is missing there. */
static long double cost_of(const struct decide_case *k, uint32_t e, bool any_fresh,
			   long double highest)
{
	return load_of(k, e, any_fresh, highest) + (k->prompts ? k->missing[e] : 0);
}

/* 0: it has room for the class; 1: it is full; 2: it is closed. */
static int rank_by(const struct decide_case *k, uint32_t e, bool any_fresh, long double load)
{
	long double limit = k->limit;

	if (k->full[e] & (C | R))
		return 2;
	if (k->full[e] & B && (k->facts[e].fresh || !any_fresh))
		limit -= floorl(limit / 8);
	return k->pool_full || (k->limit && load >= limit);
}

/* What is missing counts towards no limit, except beside fresh scores, of a candidate with an old
 * one. */
static int rank_of(const struct decide_case *k, uint32_t e, bool any_fresh, long double highest)
{
	bool old = any_fresh && !k->facts[e].fresh;

	return rank_by(k, e, any_fresh, (old ? cost_of : load_of)(k, e, any_fresh, highest));
}

static void assert_follows_the_rule(const struct decide_case *k)
{
	long double highest = 0, best = INFINITY, preferred = INFINITY, extra;
	const struct decide_result *r = &k->result;
	bool any_fresh = false, keep, prefers;
	int rank = 2;
	uint32_t outcome;

	for (uint32_t i = 0; i < k->count; i++) {
		if (!k->facts[i].fresh)
			continue;
		any_fresh = true;
		highest = fmaxl(highest,
				rated(&k->facts[i], published(&k->facts[i]), PINTLE_MAX_LOAD));
	}
	prefers = k->preferred >= 0 && !(any_fresh && k->facts[k->preferred].lost);
	for (uint32_t i = 0; i < k->count; i++) {
		int this_rank = rank_of(k, i, any_fresh, highest);

		if (!prefers && k->preferred >= 0 && !k->facts[i].fresh)
			continue;
		if (this_rank < rank)
			best = INFINITY;
		rank = MIN(rank, this_rank);
		if (this_rank == rank)
			best = fminl(best, cost_of(k, i, any_fresh, highest));
	}
	if (!k->count) {
		assert_int_equal(r->generation, 0);
		assert_int_equal(r->outcome, PINTLE_OUTCOME_NO_ENDPOINT);
		return;
	}
	if (k->baseline) {
		assert_int_equal(r->generation, 1);
		assert_in_range(r->endpoint, 0, k->count - 1);
		assert_int_equal(r->outcome, PINTLE_OUTCOME_RANDOM);
		return;
	}
	if (prefers)
		preferred = cost_of(k, (uint32_t)k->preferred, any_fresh, highest);
	extra = k->extra ? k->extra + best : (long double)k->max_extra_load;
	if (rank && k->admission != PINTLE_ADMISSION_PROCEED) {
		assert_int_equal(r->generation, 0);
		assert_int_equal(r->outcome, k->admission == PINTLE_ADMISSION_REFUSE
						     ? PINTLE_OUTCOME_REFUSED
					     : k->admission == PINTLE_ADMISSION_SPILL
						     ? PINTLE_OUTCOME_SPILLED
						     : PINTLE_OUTCOME_DIVERTED);
		return;
	}
	keep = prefers && preferred <= best + extra &&
	       rank_by(k, (uint32_t)k->preferred, any_fresh,
		       load_of(k, (uint32_t)k->preferred, any_fresh, highest)) <= rank;
	assert_int_equal(r->generation, 1);
	assert_in_range(r->endpoint, 0, k->count - 1);
	outcome = !any_fresh ? PINTLE_OUTCOME_STALE
		  : keep     ? k->preferred_outcome
		  : !prefers ? PINTLE_OUTCOME_LEAST_LOADED
			     : PINTLE_OUTCOME_ESCAPED;
	assert_int_equal(r->outcome, outcome);
	if (keep)
		assert_int_equal(r->endpoint, k->preferred);
	else
		assert_true(cost_of(k, r->endpoint, any_fresh, highest) == best &&
			    rank_of(k, r->endpoint, any_fresh, highest) == rank);
}

/* Small numbers make ties and fall on both sides of thresholds; large ones reach the limits of
 * their types. */
static int64_t random_count(uint64_t r)
{
	switch (r & 7) {
	case 0:
		return (int64_t)random_at(r);
	case 1:
		return -(int64_t)(r >> 32 & 0xff);
	default:
		return (int64_t)(r >> 32 & 0xf);
	}
}

static uint32_t random_load(uint64_t r)
{
	return r & 7 ? (uint32_t)(r >> 40 & 0xf) * 1000 : (uint32_t)(r >> 32);
}

static struct decide_case random_case(uint64_t *at, bool followed);

/* The same, of a class that shares the pool with others. */
static struct decide_case random_shared(uint64_t *at)
{
	struct decide_case k = random_case(at, true);
	uint64_t r = random_at(++*at);

	for (uint32_t i = 0; i < k.count; i++)
		k.full[i] = random_at(++*at) % 3 ? 0 : random_at(++*at) % 8;
	if (r % 16 == 0)
		memset(k.full, r >> 8 & 7, sizeof(k.full));
	k.pool_full = r % 5 == 0;
	return k;
}

/* The same where prompts are known. */
static struct decide_case random_prompt(uint64_t *at)
{
	struct decide_case k = random_shared(at);

	k.prompts = 1;
	for (uint32_t i = 0; i < k.count; i++)
		k.missing[i] = random_load(random_at(++*at)) % (DECIDE_MAX_MISSING + 1);
	return k;
}

static struct decide_case random_case(uint64_t *at, bool followed)
{
	struct decide_case k = {
		.seed = random_at(++*at),
		.count = random_at(++*at) % (DECIDE_CASE_MAX + 1),
		.baseline = !(random_at(++*at) % 8),
		.departure = random_load(random_at(++*at)),
		.preferred = -1,
	};
	uint64_t r = random_at(++*at);

	k.max_extra_load = r & 15 ? (r >> 32 & 0xf) * 1000 : random_at(r);
	if (k.count && !k.baseline && r & 0x100) {
		k.preferred = (int32_t)(random_at(++*at) % k.count);
		k.preferred_outcome = r & 0x200 ? PINTLE_OUTCOME_STICKY : PINTLE_OUTCOME_HOME;
	}
	for (uint32_t i = 0; i < k.count; i++) {
		struct decide_facts *f = &k.facts[i];

		f->inflight = random_count(random_at(++*at));
		f->pending = random_count(random_at(++*at));
		f->inflight_at_scrape = random_count(random_at(++*at));
		f->pending_at_scrape = random_count(random_at(++*at));
		f->published = random_load(random_at(++*at));
		f->arrival = random_load(random_at(++*at));
		f->fresh = (r >> (16 + i)) & 1;
		if (!followed)
			continue;
		f->lost = !f->fresh && random_at(++*at) % 2;
		f->passed = random_at(++*at) % 4 != 0;
		f->inflight_at_pass = random_count(random_at(++*at));
		f->idle = (uint32_t)random_count(random_at(++*at));
		f->floor = random_load(random_at(++*at));
		f->prompt = random_load(random_at(++*at));
		f->newcomer = random_load(random_at(++*at));
		f->opened = (uint64_t)random_count(random_at(++*at));
		f->opened_at_pass = (uint64_t)random_count(random_at(++*at));
		f->rate = random_at(++*at) % 2 ? (uint32_t)(random_at(*at) % 12000) : 0;
	}
	if (followed && random_at(++*at) % 2)
		k.extra = random_load(random_at(++*at));
	if (followed && random_at(++*at) % 2) {
		k.limit = random_load(random_at(++*at));
		k.admission = random_at(++*at) % PINTLE_ADMISSION_COUNT;
	}
	return k;
}

static void test_random_cases(void **state)
{
	uint64_t at = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct decide_case k = i % 4 == 3   ? random_prompt(&at)
				       : i % 4 == 2 ? random_shared(&at)
						    : random_case(&at, i % 4);

		decide_case_run(&k);
		assert_follows_the_rule(&k);
		assert_same_in_kernel(&k);
	}
}

static uint64_t digest_of_decisions(int n, bool followed)
{
	uint64_t at = 1ULL << 40, digest = 0;

	for (int i = 0; i < n; i++) {
		struct decide_case k = random_case(&at, followed);

		decide_case_run(&k);
		digest = digest_add(digest, (uint64_t)k.result.endpoint << 32 | k.result.outcome);
	}
	return digest;
}

/* The requests are not followed: the decisions are those that they were before there were passes.
 */
static void test_a_million_decisions(void **state)
{
	(void)state;
	assert_digest(digest_of_decisions(1000000, false), 0x7df5655f0780df44);
}

static void test_decisions_with_passes_and_limits(void **state)
{
	(void)state;
	assert_digest(digest_of_decisions(250000, true), 0x94b3f501af6845a);
}

/* ---- the session ------------------------------------------------------------------------- */

static void test_a_crowd_has_more_than_eight_busy_connections(void **state)
{
	static const struct {
		uint32_t open, idle;
		bool passed, crowded;
	} cases[] = {
		{0, 0, true, false},  {8, 0, true, false},         {9, 0, true, true},
		{12, 4, true, false}, {12, 3, true, true},         {9, 9, false, true},
		{2, 9, true, false},  {UINT32_MAX, 0, true, true}, {0, UINT32_MAX, true, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_affinity a = {.open = cases[i].open, .idle = cases[i].idle};

		assert_int_equal(decide_crowded(&a, cases[i].passed), cases[i].crowded);
	}
}

static void test_more_context_may_be_further_ahead(void **state)
{
	(void)state;
	assert_int_equal(decide_extra(0, 200), 0);
	assert_int_equal(decide_extra(4000, 0), 0);
	assert_int_equal(decide_extra(1, 2000000), 1);
	assert_int_equal(decide_extra(4096, 400), 11520); /* 10.24 x (1 + 1/8) */
	assert_int_equal(decide_extra(32768, 400), 163840);
	assert_int_equal(decide_extra(1 << 24, UINT32_MAX), 2003);
	assert_int_equal(decide_extra(UINT32_MAX, UINT32_MAX), 2003);
	assert_int_equal(decide_extra(UINT32_MAX, 1), DECIDE_MAX_EXTRA);
}

/* ---- the sample ------------------------------------------------------------------------- */

/* Draws from a pool of which the daemon knew the first `ready` members to be eligible. By now one
 * of them in `rarity` is, and so is one of the others in `rarity`. */
static void draw(uint32_t members, uint32_t ready, uint32_t size, uint32_t rarity, uint64_t seed)
{
	bool large = members > size, drawn[PINTLE_MAX_MEMBERS] = {false}, enough = false;
	uint32_t first = large && ready && ready < members ? ready : members, i, eligible = 0;
	struct decide_sample s;

	assert_int_equal(decide_sample_needed(members, size), large);
	if (large)
		decide_sample_draw(&s, members, ready, (uint32_t)random_at(seed),
				   (uint32_t)random_at(seed + 1));
	else
		decide_sample_all(&s, members);
	for (i = 0; i < members && !enough; i++) {
		uint32_t at = decide_sample_member(&s, members, i);

		assert_in_range(at, 0, members - 1);
		assert_false(drawn[at]);
		assert_true((i < first) == (at < first));
		drawn[at] = true;
		if (random_at(seed ^ at) % rarity == 0)
			s.taken = ++eligible;
		enough = decide_sample_done(&s, members, size, i);
		/* Not too many, and not too few. */
		assert_int_equal(enough,
				 large && (eligible == size ||
					   (eligible && (i + 1 == 2 * size || i + 1 >= first))));
	}
	assert_true(enough || i == members);
}

static void test_samples(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t r = random_at(i);
		uint32_t most = r & 1 ? 20 : PINTLE_MAX_MEMBERS;
		uint32_t members = 1 + (r >> 8) % most;

		draw(members, r & 4 ? random_at(r) % (members + 2) : 0,
		     r & 2 ? PINTLE_SAMPLE : 1 + (r >> 20 & 15), 1U << (r >> 32 & 15), r);
	}
}

/* ---- one connection after the other ------------------------------------------------------ */

/* The counters behind the facts, as the hooks keep them. */
static uint32_t place(struct decide_case *k, uint64_t seed)
{
	k->seed = random_at(seed);
	decide_case_run(k);
	assert_same_in_kernel(k);
	assert_int_equal(k->result.generation, 1);
	k->facts[k->result.endpoint].pending++;
	return k->result.endpoint;
}

static void establish(struct decide_case *k, uint32_t e)
{
	k->facts[e].pending--;
	k->facts[e].inflight++;
}

static void end(struct decide_case *k, uint32_t e)
{
	k->facts[e].inflight--;
}

static void test_forty_short_ones_are_no_load(void **state)
{
	const struct row row = {NULL, NOBODY, ENDPOINTS(FRESH(2), FRESH(1), FRESH(1.5))};
	struct decide_case k = case_of(&row);

	(void)state;
	for (uint64_t i = 0; i < 40; i++) {
		uint32_t e = place(&k, i);

		assert_int_equal(e, 1);
		establish(&k, e);
		end(&k, e);
	}
}

static void test_forty_at_once_spread(void **state)
{
	const struct row row = {NULL, NOBODY, ENDPOINTS(FRESH(0), FRESH(4), FRESH(8), FRESH(0))};
	struct decide_case k = case_of(&row);
	uint32_t got[4] = {0};

	(void)state;
	/* Every other connection is established at once: it is counted in either state. */
	for (uint64_t i = 0; i < 40; i++) {
		uint32_t e = place(&k, i);

		if (i & 1)
			establish(&k, e);
		got[e]++;
	}
	/* All end up at 13 requests: 52 together, 12 of them from before. */
	assert_int_equal(got[0], 13);
	assert_int_equal(got[1], 9);
	assert_int_equal(got[2], 5);
	assert_int_equal(got[3], 13);
}

static void test_a_burst_of_one_session_escapes_in_time(void **state)
{
	const struct row row = {NULL, BOUND_TO(1), ENDPOINTS(FRESH(0), FRESH(0))};
	struct decide_case k = case_of(&row);

	(void)state;
	for (uint64_t i = 0; i < 9; i++) {
		assert_int_equal(place(&k, i), 1);
		assert_int_equal(k.result.outcome, PINTLE_OUTCOME_STICKY);
		establish(&k, 1);
	}
	assert_int_equal(place(&k, 9), 0);
	assert_int_equal(k.result.outcome, PINTLE_OUTCOME_ESCAPED);
}

/* Connections that never open do not make their own session leave, but keep other sessions away. */
static void test_a_burst_that_comes_to_nothing_moves_no_session(void **state)
{
	const struct row row = {NULL, BOUND_TO(1), ENDPOINTS(FRESH(0), FRESH(0))};
	struct decide_case k = case_of(&row);

	(void)state;
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(place(&k, i), 1);
	k.preferred = -1;
	assert_int_equal(place(&k, 200), 0);
}

/* ---- all tests ---------------------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_ties_by_weight),
		cmocka_unit_test(test_random_cases),
		cmocka_unit_test(test_a_million_decisions),
		cmocka_unit_test(test_decisions_with_passes_and_limits),
		cmocka_unit_test(test_a_crowd_has_more_than_eight_busy_connections),
		cmocka_unit_test(test_more_context_may_be_further_ahead),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_forty_short_ones_are_no_load),
		cmocka_unit_test(test_forty_at_once_spread),
		cmocka_unit_test(test_a_burst_of_one_session_escapes_in_time),
		cmocka_unit_test(test_a_burst_that_comes_to_nothing_moves_no_session),
	};
	struct CMUnitTest tests[ARRAY_SIZE(rows) + ARRAY_SIZE(others)] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].says,
			.test_func = test_row,
			.initial_state = (void *)&rows[i],
		};
	memcpy(tests + ARRAY_SIZE(rows), others, sizeof(others));
	return cmocka_run_group_tests(tests, load, unload);
}
