// SPDX-License-Identifier: Apache-2.0
#include "kube_event.h"

#include <stdio.h>
#include <string.h>

#include "../base/util.h"
#include "kube_request.h"

static const char *event_name(const struct kube_event_said *said, uint64_t hash,
			      char name[KUBE_NAME_SIZE])
{
	snprintf(name, KUBE_NAME_SIZE, "%.200s", said->name);
	while (strchr("-.", name[strlen(name) - 1]))
		name[strlen(name) - 1] = '\0';
	snprintf(name + strlen(name), 18, ".%016jx", (uintmax_t)hash);
	return name;
}

void kube_event_path(const struct kube_event_said *said, uint64_t hash,
		     char path[KUBE_EVENT_PATH_SIZE])
{
	char name[KUBE_NAME_SIZE];

	snprintf(path, KUBE_EVENT_PATH_SIZE, "/api/v1/namespaces/%s/events/%s", said->space,
		 event_name(said, hash, name));
}

static bool add_involved(cJSON *event, const struct kube_event_said *said)
{
	cJSON *to = cJSON_AddObjectToObject(event, "involvedObject");

	return cJSON_AddStringToObject(to, "apiVersion", said->api_version) &&
	       cJSON_AddStringToObject(to, "kind", said->kind) &&
	       cJSON_AddStringToObject(to, "namespace", said->space) &&
	       cJSON_AddStringToObject(to, "name", said->name) &&
	       cJSON_AddStringToObject(to, "uid", said->uid);
}

static bool kube_event_add_source(cJSON *event, const struct kube_event_said *said)
{
	cJSON *source = cJSON_AddObjectToObject(event, "source");

	return cJSON_AddStringToObject(source, "component", "pintle") &&
	       (!said->node || cJSON_AddStringToObject(source, "host", said->node)) &&
	       cJSON_AddStringToObject(event, "reportingComponent", "pintle.dev/pintled") &&
	       cJSON_AddStringToObject(event, "reportingInstance", said->instance);
}

char *kube_event_body(const struct kube_event_said *said, uint64_t hash)
{
	char now[KUBE_NOW_SIZE], first[KUBE_NOW_SIZE], name[KUBE_NAME_SIZE], *text = NULL;
	cJSON *event = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(event, "metadata");
	struct tm tm;

	kube_now(now);
	strftime(first, sizeof(first), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&said->since, &tm));
	if (cJSON_AddStringToObject(event, "apiVersion", "v1") &&
	    cJSON_AddStringToObject(event, "kind", "Event") &&
	    cJSON_AddStringToObject(metadata, "namespace", said->space) &&
	    cJSON_AddStringToObject(metadata, "name", event_name(said, hash, name)) &&
	    add_involved(event, said) &&
	    cJSON_AddStringToObject(event, "type", said->normal ? "Normal" : "Warning") &&
	    cJSON_AddStringToObject(event, "reason", said->reason) &&
	    cJSON_AddStringToObject(event, "message", said->why) &&
	    cJSON_AddStringToObject(event, "firstTimestamp", first) &&
	    cJSON_AddStringToObject(event, "lastTimestamp", now) &&
	    cJSON_AddNumberToObject(event, "count", said->count) &&
	    kube_event_add_source(event, said))
		text = cJSON_PrintUnformatted(event);
	cJSON_Delete(event);
	return text;
}
