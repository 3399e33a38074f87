// SPDX-License-Identifier: Apache-2.0
/* What pages count as done, refused and failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../userspace/base/file.h"
#include "../../userspace/base/util.h"
#include "../../userspace/policy/outcomes.h"

static const struct {
	const char *page;
	bool told;
	double ok, refused, failed;
} pages[] = {
	{"", false, 0, 0, 0},
	{"http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"} 3.0\n"
	 "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"4xx\"} 5\n"
	 "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"5xx\"} 7\n"
	 "http_requests_total{handler=\"/v1/models\",method=\"GET\",status=\"2xx\"} 1\n"
	 "http_requests_total{handler=\"/health\",method=\"GET\",status=\"5xx\"} 99\n"
	 "vllm:request_success_total{finished_reason=\"stop\"} 2\n",
	 true, 4, 5, 7},
	/* Without statuses, what the engine counts. */
	{"vllm:request_success_total{finished_reason=\"stop\"} 2\n"
	 "vllm:request_success_total{finished_reason=\"length\"} 4\n"
	 "vllm:request_success_total{finished_reason=\"abort\"} 8\n"
	 "vllm:request_success_total{finished_reason=\"error\"} 16\n",
	 true, 6, 0, 16},
	{"sglang:http_responses_total{endpoint=\"/generate\",method=\"POST\",status_code=\"200\"} 9\n"
	 "sglang:http_responses_total{endpoint=\"/generate\",method=\"POST\",status_code=\"401\"} 2\n"
	 "sglang:http_responses_total{endpoint=\"/generate\",method=\"POST\",status_code=\"503\"} 1\n"
	 "sglang:http_responses_total{endpoint=\"/metrics\",method=\"GET\",status_code=\"200\"} 45\n",
	 true, 9, 2, 1},
	{"trtllm_request_success_total{finished_reason=\"stop\"} 3\n", true, 3, 0, 0},
	{"tgi_request_success 19\ntgi_request_failure{err=\"validation\"} 4\n"
	 "tgi_request_failure{err=\"overloaded\"} 3\ntgi_request_failure{err=\"generation\"} 2\n"
	 "tgi_request_failure{err=\"incomplete\"} 1\n",
	 true, 19, 7, 3},
	{"nv_inference_request_success{model=\"a\"} 640\n"
	 "nv_inference_request_failure{model=\"a\",reason=\"OTHER\"} 1\n"
	 "nv_inference_request_failure{model=\"a\",reason=\"BACKEND\"} 2\n"
	 "nv_inference_request_failure{model=\"a\",reason=\"CANCELED\"} 4\n"
	 "nv_inference_request_failure{model=\"a\",reason=\"REJECTED\"} 8\n",
	 true, 640, 8, 3},
	/* A value that is none costs that value alone; so does a status that is none. */
	{"http_requests_total{status=\"2xx\"} NaN\nhttp_requests_total{status=\"5xx\"} 2\n"
	 "http_requests_total{status=\"4xx\"} -1\nhttp_requests_total{status=\"\"} 8\n"
	 "http_requests_total 9\nhttp_requests_total{status=\"2xx\"} 1e30\n",
	 true, 0, 0, 2},
	{"llamacpp:tokens_predicted_total 7\n", false, 0, 0, 0},
	{"<html>", false, 0, 0, 0},
};

/* A status of what the engine works on is a promise; the engine's own count says what became of it.
 */
static void test_promises(void **state)
{
	static const char page[] =
		"http_requests_total{handler=\"/v1/chat/completions\",status=\"2xx\"} 5\n"
		"http_requests_total{handler=\"/v1/chat/completions\",status=\"5xx\"} 1\n"
		"http_requests_total{handler=\"/v1/completions\",status=\"2xx\"} 2\n"
		"http_requests_total{handler=\"/tokenize\",status=\"2xx\"} 3\n"
		"vllm:request_success_total{finished_reason=\"stop\"} 4\n"
		"vllm:request_success_total{finished_reason=\"error\"} 6\n";
	struct outcomes o;

	(void)state;
	outcomes_read(page, strlen(page), &o);
	assert_true(o.ok == 10 && o.failed == 6 && o.promised == 7 && o.made == 4);
}

static void test_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		struct outcomes o;

		outcomes_read(pages[i].page, strlen(pages[i].page), &o);
		if (o.told != pages[i].told || o.ok != pages[i].ok ||
		    o.refused != pages[i].refused || o.failed != pages[i].failed)
			fail_msg("page %zu: %d %g %g %g", i, o.told, o.ok, o.refused, o.failed);
	}
}

/* As the servers wrote them. */
static void test_recorded_pages(void **state)
{
	static const struct {
		const char *file;
		bool told;
		double ok;
	} recorded[] = {
		{"tests/data/pages/vllm-0.32.0-after.txt", true, 21},
		{"tests/data/pages/sglang-0.5.23-after.txt", true, 20},
		{"tests/data/pages/tgi-3.3.7-after.txt", true, 19},
		{"tests/data/pages/triton-2.51.0-after.txt", true, 640},
		{"tests/data/pages/llamacpp-0.5.0-dev-after.txt", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(recorded); i++) {
		static char page[1 << 20];
		const char *odd;
		_cleanup_close_ int fd = file_open(recorded[i].file, &odd);
		struct outcomes o;
		ssize_t size;

		assert_true(fd >= 0);
		size = file_read(fd, page, sizeof(page));
		assert_true(size > 0);
		outcomes_read(page, (size_t)size, &o);
		if (o.told != recorded[i].told || o.ok != recorded[i].ok || o.failed != 0)
			fail_msg("%s: %d %g %g %g", recorded[i].file, o.told, o.ok, o.refused,
				 o.failed);
	}
}

static void test_table(void **state)
{
	struct outcome_metric m;
	size_t n = 0;

	(void)state;
	while (outcome_metric(n, &m)) {
		assert_non_null(m.engine);
		assert_true(m.ok || m.failed);
		n++;
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_promises),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_recorded_pages),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
