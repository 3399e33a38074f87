/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_objects.h - reads what the Kubernetes API server sends: pages of lists, events of watches,
 * and of the objects in them what Pintle needs. Any bytes are safe input (fuzzed).
 *
 * A Service and its EndpointSlices, in the API's own words, are written by whoever has rights in
 * their namespace: texts come out checked, and an object that breaks the API's rules is refused as
 * a whole.
 */
#ifndef PINTLE_KUBE_OBJECTS_H
#define PINTLE_KUBE_OBJECTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../net/addr.h"

/* The label that makes a Service Pintle's. */
#define KUBE_LABEL_MODE "pintle.dev/mode"
/* The annotation that makes it a frontend of an InferencePool. */
#define KUBE_ANNOTATION_POOL "pintle.dev/pool"
/* By which an EndpointSlice names its Service. */
#define KUBE_LABEL_SERVICE "kubernetes.io/service-name"
/* The annotation of a Service that says which connections, besides those to its ClusterIP, are
 * steered: "endpoints", those to its pods' own addresses. */
#define KUBE_INTERCEPT "pintle.dev/intercept"
/* The annotation that names, by their labels, pods whose connections are left alone then. */
#define KUBE_STEER            "pintle.dev/steer" /* of a pod or a namespace: `off` or `on` */
#define KUBE_INTERCEPT_EXCEPT "pintle.dev/intercept-except"

/* Bytes with the NUL. */
#define KUBE_LABEL_SIZE  64  /* a namespace, a Service, a label's value */
#define KUBE_NAME_SIZE   254 /* a pod, an EndpointSlice */
#define KUBE_PORT_SIZE   64  /* a port's name, which the API limits to 63 */
#define KUBE_TARGET_SIZE 64  /* a targetPort, a number or a port's name, as text */
#define KUBE_TIME_SIZE   32  /* "2026-11-21T07:20:25Z" */
#define KUBE_RV_SIZE     64  /* a resourceVersion */
#define KUBE_ZONE_SIZE   64
#define KUBE_UID_SIZE    64 /* "f6fb0d0c-..." */
#define KUBE_WHY_SIZE    512
#define KUBE_EXCEPT_SIZE 512 /* selectors of clients */
#define KUBE_HINT_SIZE   512 /* zones or nodes of an endpoint */
#define KUBE_MAX_LABELS  64  /* of a selector, or a pod; a pod's further ones are left out */

/* ---- pages and events ------------------------------------------------------------ */

enum kube_event_type {
	KUBE_ADDED,
	KUBE_MODIFIED,
	KUBE_DELETED,
	KUBE_BOOKMARK, /* only its resourceVersion counts */
	KUBE_ERROR,    /* `code` and `reason` say which */
};

struct kube_event {
	enum kube_event_type type;
	cJSON *object;              /* the caller frees it (cJSON_Delete()) */
	char version[KUBE_RV_SIZE]; /* the object's; "": it has none */
	int code;                   /* ERROR: 410: the resourceVersion is too old */
	char reason[KUBE_WHY_SIZE]; /* ERROR: printable */
};

/** Reads one line of a watch. Returns 0 with *out, -EBADMSG or -ENOMEM (which cJSON does not tell
 * apart from wrong text: -EBADMSG then). */
int kube_event_read(const char *line, size_t size, struct kube_event *out);

struct kube_page {
	cJSON *root;                /* the caller frees it (cJSON_Delete()) */
	cJSON *items;               /* an array in it */
	char version[KUBE_RV_SIZE]; /* from which a watch goes on */
	char *more; /* the token of the next page, in `root`; NULL: this is the last page */
};

/** Reads a page of a list. Returns 0 with *out, or -EBADMSG. */
int kube_page_read(const char *text, size_t size, struct kube_page *out);

/** Writes an object's name, "NAMESPACE/NAME"; false: it has none that the API allows. */
#define KUBE_KEY_SIZE (KUBE_LABEL_SIZE + KUBE_NAME_SIZE)
bool kube_object_key(const cJSON *object, char key[KUBE_KEY_SIZE]);

/* Names an object in conditions and Events about it. */
struct kube_meta {
	char uid[KUBE_UID_SIZE];      /* "": it has none that the API allows */
	char created[KUBE_TIME_SIZE]; /* the same */
	int64_t generation;           /* counts changes of what was asked for; 0: unknown */
};
void kube_object_meta(const cJSON *object, struct kube_meta *out);

/* ---- Services --------------------------------------------------------------------- */

struct kube_port {
	char name[KUBE_PORT_SIZE];     /* "": the only port may have none */
	char target[KUBE_TARGET_SIZE]; /* "8000" or "http" */
	uint16_t port;
};

#define KUBE_MAX_PORTS 128 /* of a Service; further ones are left out */

/* How a Service is reached besides by its ClusterIP. */
#define KUBE_BY_NODE_PORT     0x1
#define KUBE_BY_LOAD_BALANCER 0x2
#define KUBE_BY_EXTERNAL_IP   0x4

struct kube_service {
	char space[KUBE_LABEL_SIZE], name[KUBE_LABEL_SIZE];
	char mode[KUBE_LABEL_SIZE]; /* the label's value, whatever it is; "": no label */
	char pool[KUBE_NAME_SIZE];  /* of which InferencePool it is a frontend; "": of none */
	struct addr addresses[2];   /* ClusterIPs, one for each family */
	size_t address_count;       /* 0: headless, or ExternalName */
	uint32_t outside;           /* KUBE_BY_*: connections to these are kube-proxy's */
	bool local;                 /* internalTrafficPolicy: Local */
	/* trafficDistribution: whose hints its slices have; "": nobody's */
	char distribution[KUBE_LABEL_SIZE];
	char intercept[KUBE_LABEL_SIZE];        /* the annotation, whatever it is; "": none */
	char except[KUBE_EXCEPT_SIZE];          /* likewise */
	char *selector;                         /* as a query, of its pods; NULL: it has none */
	struct kube_port ports[KUBE_MAX_PORTS]; /* of TCP */
	size_t port_count;
};

/** Returns 0 with *out (kube_service_clear() it); -EBADMSG with the reason in `why`; or -ENOMEM,
 * too. */
int kube_service_read(const cJSON *object, struct kube_service *out, char why[KUBE_WHY_SIZE]);
void kube_service_clear(struct kube_service *s);

/* ---- nodes ------------------------------------------------------------------------------- */

struct kube_node {
	char zone[KUBE_ZONE_SIZE]; /* "": it has none, or none that can be a label's value */
};

/** Returns 0. */
int kube_node_read(const cJSON *object, struct kube_node *out);

/* ---- EndpointSlices ------------------------------------------------------------------ */

struct kube_endpoint {
	struct addr address;
	char name[KUBE_NAME_SIZE]; /* the pod's; "": the address belongs to no pod */
	char uid[KUBE_UID_SIZE];   /* the same */
	char node[KUBE_NAME_SIZE]; /* "": unknown */
	char zone[KUBE_ZONE_SIZE]; /* the same */
	/* The zones and nodes whose clients the endpoint is meant for, by the controller's hints,
	 * each as "\nNAME\n"; "": it has none, or too many. */
	char for_zones[KUBE_HINT_SIZE], for_nodes[KUBE_HINT_SIZE];
	bool ready; /* unknown counts as ready, as the API says */
	bool serving, terminating;
};

struct kube_slice_port {
	char name[KUBE_PORT_SIZE]; /* the Service's port's */
	uint16_t port;             /* at the endpoints */
};

#define KUBE_MAX_ENDPOINTS 1000 /* of a slice, as the API has it */

struct kube_slice {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	char service[KUBE_LABEL_SIZE];
	struct kube_slice_port ports[KUBE_MAX_PORTS]; /* of TCP */
	size_t port_count;
	struct kube_endpoint *endpoints;
	size_t endpoint_count;
};

/** Returns 0 with *out (kube_slice_clear() it); -EBADMSG with the reason in `why`; or -ENOMEM, too.
 * A slice of addressType FQDN has no endpoints. */
int kube_slice_read(const cJSON *object, struct kube_slice *out, char why[KUBE_WHY_SIZE]);
void kube_slice_clear(struct kube_slice *s);

/* ---- Pods ------------------------------------------------------------------------------ */

/* What the annotation KUBE_STEER says. */
enum kube_steer {
	KUBE_STEER_NOT_SAID,
	KUBE_STEER_OFF,
	KUBE_STEER_ON,
};

/* A namespace. */
struct kube_namespace {
	enum kube_steer steer; /* its pods, but for those that say something themselves */
};

/** Returns 0. */
int kube_namespace_read(const cJSON *object, struct kube_namespace *out);

struct kube_pod {
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];
	char account[KUBE_NAME_SIZE]; /* its service account */
	char uid[KUBE_UID_SIZE];      /* by which the kubelet names its cgroup */
	char node[KUBE_NAME_SIZE];    /* "": it has none yet */
	char zone[KUBE_ZONE_SIZE];    /* of its node; "": unknown */
	char *labels;                 /* each as "\nKEY=VALUE\n", together */
	struct addr addresses[2];     /* one for each family */
	size_t address_count;         /* 0: none yet */
	bool host_network;            /* these are its node's */
	bool running;                 /* phase Running: it has a cgroup */
	enum kube_steer steer;        /* what it says itself */
	bool meshed;                  /* a mesh's proxy takes its connections */
	bool ready;
	bool terminating; /* if it is ready, it serves until it ends */
};

/** Returns 0 with *out (kube_pod_clear() it); -EBADMSG with the reason in `why`; or -ENOMEM, too.
 */
int kube_pod_read(const cJSON *object, struct kube_pod *out, char why[KUBE_WHY_SIZE]);
void kube_pod_clear(struct kube_pod *p);
/** Reads, and clears, a struct kube_pod as struct kube_kind wants it. */
int kube_pod_read_into(const cJSON *object, void *to, char why[KUBE_WHY_SIZE]);
void kube_pod_clear_at(void *now);

/** Returns whether the pod's connections go on as they came, in a namespace that says this. */
bool kube_pod_left_alone(const struct kube_pod *p, enum kube_steer space);

/* ---- labels ---------------------------------------------------------------------------- */

/** Makes of the labels of a selector, a JSON object, the query for kube_store_new():
 * "labelSelector=app%3Dvllm". Returns 0 with *out, which the caller frees; -EBADMSG: it has no
 * label, or one that is none; or -ENOMEM. */
int kube_selector(const cJSON *labels, char **out);

/** Returns whether the pod carries all labels of one of these selectors: "app=prometheus
 * role=gw,tier=2". */
bool kube_selects(const char *selectors, const struct kube_pod *p);
/** Returns whether the text is a list of selectors, as kube_selects() takes it. */
bool kube_is_selectors(const char *text);

#endif
