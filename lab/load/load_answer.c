// SPDX-License-Identifier: Apache-2.0
#include "load_answer.h"

#include <cjson/cJSON.h>
#include <stdio.h>

#include "../../userspace/base/text.h"
#include "../../userspace/base/util.h"

static void json_freep(cJSON **json)
{
	cJSON_Delete(*json);
}

static enum answer_event answer_bad(struct answer *a, const char *what, const char *data,
				    size_t size)
{
	char quoted[TEXT_QUOTED_SIZE];

	snprintf(a->problem, sizeof(a->problem), "%s: %s", what, text_quote(data, size, quoted));
	return ANSWER_BAD;
}

static uint32_t usage_count(const cJSON *map, const char *name)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(map, name);

	return cJSON_IsNumber(n) && n->valuedouble >= 0 && n->valuedouble <= UINT32_MAX
		       ? (uint32_t)n->valuedouble
		       : 0;
}

static void read_usage(struct answer *a, const cJSON *event)
{
	const cJSON *usage = cJSON_GetObjectItemCaseSensitive(event, "usage");

	if (!cJSON_IsObject(usage))
		return;
	a->has_usage = true;
	a->prompt_tokens = usage_count(usage, "prompt_tokens");
	a->output_tokens = usage_count(usage, "completion_tokens");
	a->cached_tokens = usage_count(
		cJSON_GetObjectItemCaseSensitive(usage, "prompt_tokens_details"), "cached_tokens");
}

/* Whether the event has a text of this name. With `kept`, the text is part of the conversation, and
 * is kept for the next prompt. */
static bool take_text(struct answer *a, const cJSON *map, const char *name, bool kept)
{
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(map, name);

	if (!cJSON_IsString(text) || !*text->valuestring)
		return false;
	if (kept && a->keep_text)
		buf_puts(&a->text, text->valuestring);
	return true;
}

static bool read_choice(struct answer *a, const cJSON *choice)
{
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(choice, "delta");
	const cJSON *finish = cJSON_GetObjectItemCaseSensitive(choice, "finish_reason");
	bool text = take_text(a, choice, "text", true);

	text |= take_text(a, delta, "content", true);
	/* A token of reasoning takes as long as any other, but is not part of the next prompt. */
	text |= take_text(a, delta, "reasoning_content", false);
	text |= take_text(a, delta, "reasoning", false);
	a->aborted |= cJSON_IsString(finish) && !strcmp(finish->valuestring, "abort");
	return text;
}

enum answer_event answer_read(struct answer *a, const char *data, size_t size)
{
	_cleanup_(json_freep) cJSON *event = NULL;
	const cJSON *choices;

	if (size == strlen("[DONE]") && !memcmp(data, "[DONE]", size)) {
		a->done = true;
		return ANSWER_OTHER;
	}
	if (a->done)
		return answer_bad(a, "an event after [DONE]", data, size);
	event = cJSON_ParseWithLength(data, size + 1);
	if (!cJSON_IsObject(event))
		return answer_bad(a, "an event that is no JSON object", data, size);
	if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(event, "error")))
		return answer_bad(a, "an error in the stream", data, size);
	choices = cJSON_GetObjectItemCaseSensitive(event, "choices");
	if (!cJSON_IsArray(choices))
		return answer_bad(a, "an event without choices", data, size);
	read_usage(a, event);
	if (!choices->child || !read_choice(a, choices->child))
		return ANSWER_OTHER;
	if (a->text.failed || a->text.size > ANSWER_MAX)
		return answer_bad(a, "an answer without end", data, size);
	return ANSWER_TEXT;
}

void answer_free(struct answer *a)
{
	buf_free(&a->text);
}
