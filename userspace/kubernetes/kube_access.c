// SPDX-License-Identifier: Apache-2.0
#include "kube_access.h"

#include <limits.h>
#include <stdint.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../net/url.h"
#include "../yaml/yaml_read.h"

/* ---- memory ------------------------------------------------------------------------------ */

static void pem_free(struct kube_pem *p)
{
	free(p->file);
	if (p->data)
		explicit_bzero(p->data, p->size);
	free(p->data);
}

void kube_access_free(struct kube_access *a)
{
	if (!a)
		return;
	pem_free(&a->ca);
	pem_free(&a->cert);
	pem_free(&a->key);
	if (a->token)
		explicit_bzero(a->token, strlen(a->token));
	free(a->token);
	free(a->token_file);
	free(a->server);
	free(a);
}

static void access_freep(struct kube_access **a)
{
	kube_access_free(*a);
}

/* Anything that is no namespace's name counts as none. */
static void take_space(struct kube_access *a, const char *text)
{
	size_t length = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
	bool good = length && length < sizeof(a->space) && !text[length];

	snprintf(a->space, sizeof(a->space), "%s", good ? text : "pintle");
}

/* ---- in a pod ------------------------------------------------------------------------------ */

static void kube_access_read_space(struct kube_access *a)
{
	char text[sizeof(a->space)] = "";
	FILE *f = fopen(KUBE_ACCOUNT "/namespace", "re");

	if (f && !fgets(text, sizeof(text), f))
		text[0] = '\0';
	if (f)
		fclose(f);
	text[strcspn(text, "\r\n")] = '\0';
	take_space(a, text);
}

static int access_of_pod(struct kube_access **out)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	_cleanup_(access_freep) struct kube_access *a = NULL;

	*out = NULL;
	if (!kube_in_pod())
		return 0;
	a = calloc(1, sizeof(*a));
	if (!a)
		return log_err_r(ENOMEM, "Kubernetes");
	a->ca.file = strdup(KUBE_ACCOUNT "/ca.crt");
	a->token_file = strdup(KUBE_ACCOUNT "/token");
	if (asprintf(&a->server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host,
		     port) < 0)
		a->server = NULL;
	if (!a->ca.file || !a->token_file || !a->server)
		return log_err_r(ENOMEM, "Kubernetes");
	kube_access_read_space(a);
	*out = TAKE_PTR(a);
	return 0;
}

/* ---- a kubeconfig file ----------------------------------------------------------------------- */

/* RFC 4648, section 4. Returns the bytes, with a NUL behind them, which the caller frees; NULL: the
 * text is no base64, or there is no memory. */
static char *base64(const char *text, size_t *size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	_cleanup_free_ char *out = malloc(strlen(text) / 4 * 3 + 4);
	uint32_t bits = 0;
	size_t n = 0, pads = 0, all = 0;

	for (; out && *text; text++) {
		const char *digit = strchr(digits, *text);

		if (strchr(" \t\r\n", *text))
			continue;
		if (*text == '=' ? ++pads > 2 : (!digit || pads))
			return NULL;
		bits = bits << 6 | (uint32_t)(digit ? digit - digits : 0);
		if (++all % 4)
			continue;
		out[n++] = (char)(bits >> 16);
		out[n++] = (char)(bits >> 8);
		out[n++] = (char)bits;
	}
	if (!out || all % 4 || !all)
		return NULL;
	*size = n - pads;
	out[*size] = '\0';
	return TAKE_PTR(out);
}

struct reading {
	const char *path;
	struct kube_access *access;
};

/* The mapping's text; NULL: it has none. */
static const char *kube_access_text_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_node_get(map, key);

	return n && n->kind == YAML_SCALAR && n->length && !memchr(n->text, '\0', n->length)
		       ? n->text
		       : NULL;
}

/* In the list `list`, the mapping `part` of the element of that name. Reports if there is none. */
static const struct yaml_node *named(struct yaml_report *r, const struct yaml_node *root,
				     const char *list, const char *part, const char *name)
{
	const struct yaml_node *n = yaml_node_at(yaml_node_get(root, list), 0);

	for (; name && n; n = n->next) {
		const char *own = kube_access_text_of(n, "name");

		if (own && !strcmp(own, name))
			return yaml_node_get(n, part);
	}
	n = yaml_node_towards(root, list, NULL);
	yaml_report_error(r, n->line, n->column,
			  "the current context names no %s that the file has; write one with "
			  "`kubectl config`",
			  part);
	return NULL;
}

/* A path, which counts from the file's directory on. */
static char *kube_access_path_of(const struct reading *in, const char *text)
{
	const char *slash = strrchr(in->path, '/');
	char *path = NULL;

	if (!text)
		return NULL;
	if (text[0] == '/' || !slash)
		return strdup(text);
	if (asprintf(&path, "%.*s/%s", (int)(slash - in->path), in->path, text) < 0)
		return NULL;
	return path;
}

static void read_pem(struct yaml_report *r, const struct reading *in, const struct yaml_node *map,
		     const char *key, struct kube_pem *out)
{
	char data_key[64];
	const char *file = kube_access_text_of(map, key), *data;

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	data = kube_access_text_of(map, data_key);
	if (data && !(out->data = base64(data, &out->size)))
		yaml_report_error(r, map->line, map->column, "%s is no base64", data_key);
	else if (!data && file && !(out->file = kube_access_path_of(in, file)))
		r->out_of_memory = true;
}

/* A line end in a token would add headers to each request. */
static bool kube_access_is_token(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static void read_user(struct yaml_report *r, const struct reading *in, const struct yaml_node *user)
{
	static const char *const foreign[] = {"exec", "auth-provider", "username", "as"};
	struct kube_access *a = in->access;
	const char *token = kube_access_text_of(user, "token"),
		   *file = kube_access_text_of(user, "tokenFile");

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		const struct yaml_node *n = yaml_node_get(user, foreign[i]);

		if (n)
			yaml_report_error(r, n->line, n->column,
					  "%s is not supported; write token, tokenFile or "
					  "client-certificate and client-key",
					  foreign[i]);
	}
	read_pem(r, in, user, "client-certificate", &a->cert);
	read_pem(r, in, user, "client-key", &a->key);
	if (file && !(a->token_file = kube_access_path_of(in, file)))
		r->out_of_memory = true;
	if (file || !token)
		return;
	if (!kube_access_is_token(token))
		yaml_report_error(r, user->line, user->column,
				  "token holds something else than one token");
	else if (!(a->token = strdup(token)))
		r->out_of_memory = true;
}

/* Without TLS anybody on the path could steer this node's clients, so http is for this machine:
 * `kubectl proxy`, or a test. */
static bool is_safe(const char *server)
{
	struct addr ip;
	uint16_t port;

	if (!strncmp(server, "https://", 8))
		return !url_check(server);
	return url_address(server, &ip, &port) && addr_is_v4(&ip) && ip.bytes[12] == 127;
}

static void read_cluster(struct yaml_report *r, const struct reading *in,
			 const struct yaml_node *cluster)
{
	static const char *const foreign[] = {"insecure-skip-tls-verify", "tls-server-name",
					      "proxy-url"};
	const char *server = kube_access_text_of(cluster, "server");
	struct kube_access *a = in->access;

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		const char *value = kube_access_text_of(cluster, foreign[i]);

		if (value && strcmp(value, "false") != 0)
			yaml_report_error(r, cluster->line, cluster->column,
					  "%s is not supported; remove it", foreign[i]);
	}
	if (!server || !is_safe(server)) {
		yaml_report_error(
			r, cluster->line, cluster->column,
			"server is no https:// URL; write one as in https://10.0.0.1:6443");
		return;
	}
	read_pem(r, in, cluster, "certificate-authority", &a->ca);
	a->server = strdup(server);
	if (!a->server)
		r->out_of_memory = true;
	else if (a->server[strlen(a->server) - 1] == '/')
		a->server[strlen(a->server) - 1] = '\0';
}

static int read_kubeconfig(struct yaml_report *r, const char *name, const struct yaml_node *root,
			   void *arg)
{
	const char *current = kube_access_text_of(root, "current-context");
	const struct yaml_node *context = named(r, root, "contexts", "context", current), *n;

	(void)name;
	n = context ? named(r, root, "clusters", "cluster", kube_access_text_of(context, "cluster"))
		    : NULL;
	if (n)
		read_cluster(r, arg, n);
	n = context ? named(r, root, "users", "user", kube_access_text_of(context, "user")) : NULL;
	if (n)
		read_user(r, arg, n);
	take_space(((struct reading *)arg)->access, kube_access_text_of(context, "namespace"));
	return r->out_of_memory ? -ENOMEM : r->errors ? -EINVAL : 0;
}

static int access_of_file(const char *path, struct kube_access **out)
{
	static const struct yaml_document document = {
		.file = "kubeconfig file that can",
		.begin = "apiVersion: v1",
		.read = read_kubeconfig,
	};
	_cleanup_(access_freep) struct kube_access *a = calloc(1, sizeof(*a));
	struct reading in = {.path = path, .access = a};
	int err;

	if (!a)
		return log_err_r(ENOMEM, "Kubernetes");
	err = yaml_load(&document, path, &yaml_sink_stderr, &in);
	if (err)
		return err;
	*out = TAKE_PTR(a);
	return 0;
}

int kube_access_find(const char *kubeconfig, struct kube_access **out)
{
	return kubeconfig ? access_of_file(kubeconfig, out) : access_of_pod(out);
}
