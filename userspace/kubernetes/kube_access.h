/* SPDX-License-Identifier: Apache-2.0 */
/* kube_access.h - where the Kubernetes API server is, and how pintled and the API server prove to
 * each other who they are: as a pod, or by a kubeconfig file. */
#ifndef PINTLE_KUBE_ACCESS_H
#define PINTLE_KUBE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* The files of the service account that a kubelet puts into each pod. */
#define KUBE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/** Returns whether this process runs in a pod with a service account's token. */
static inline bool kube_in_pod(void)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");

	return host && *host && port && *port && !access(KUBE_ACCOUNT "/token", F_OK);
}

/* A PEM text: in a file, or given itself. */
struct kube_pem {
	char *file; /* NULL: none */
	char *data; /* NULL: none */
	size_t size;
};

struct kube_access {
	char *server; /* "https://10.96.0.1:443", without a path's last "/" */
	struct kube_pem ca, cert, key;
	char *token;      /* NULL: none */
	char *token_file; /* NULL: none; the file is replaced while pintled runs */
	char space[64];   /* the namespace that pintled is in, for its Lease */
};

/** Finds the access by a kubeconfig file; without one (NULL) as the pod that pintled runs in.
 * Returns 0 with *out (kube_access_free() it), which is NULL where pintled runs in no pod; or
 * -errno, logged. */
int kube_access_find(const char *kubeconfig, struct kube_access **out);
void kube_access_free(struct kube_access *a);

#endif
