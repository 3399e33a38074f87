/* SPDX-License-Identifier: Apache-2.0 */
#include "secret.h"

#include <assert.h>
#include <sys/stat.h>

#include "../base/file.h"
#include "../base/util.h"

#define SECRET_MAX 16384 /* bytes; a Kubernetes token has one or two thousand */
#define LOOK_NS    NSEC_PER_SEC

struct secret {
	LIST_ENTRY(secret) all;
	unsigned int users;
	char *path;
	char *text; /* NULL: not read, for the reason in `why` */
	char why[256];
	struct stat seen; /* the file, when it was last read */
	uint64_t looked_ns;
};

static void forget_text(struct secret *s)
{
	if (s->text)
		explicit_bzero(s->text, strlen(s->text));
	free(TAKE_PTR(s->text));
}

struct secret *secret_get(struct secrets *all, const char *path)
{
	struct secret *s;

	LIST_FOREACH(s, all, all)
	{
		if (!strcmp(s->path, path)) {
			s->users++;
			return s;
		}
	}
	s = calloc(1, sizeof(*s));
	if (!s || !(s->path = strdup(path))) {
		free(s);
		return NULL;
	}
	s->users = 1;
	LIST_INSERT_HEAD(all, s, all);
	return s;
}

void secret_put(struct secret *s)
{
	assert(!s || s->users > 0);
	if (!s || --s->users)
		return;
	LIST_REMOVE(s, all);
	forget_text(s);
	free(s->path);
	free(s);
}

static void secret_refuse(struct secret *s, const char *what)
{
	snprintf(s->why, sizeof(s->why), "no credential in %.180s: %s", s->path, what);
}

/* A line end would let the file's writer add headers to the request. */
static bool is_one_word(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return size > 0;
}

static void take_text(struct secret *s, const char *text, size_t size)
{
	while (size && strchr(" \t\r\n", text[size - 1]))
		size--;
	while (size && strchr(" \t\r\n", *text)) {
		text++;
		size--;
	}
	if (!is_one_word(text, size))
		secret_refuse(s, "it holds something else than one token; write that alone");
	else if (!(s->text = strndup(text, size)))
		secret_refuse(s, strerror(ENOMEM));
}

static void read_file(struct secret *s)
{
	char text[SECRET_MAX + 1];
	const char *odd;
	_cleanup_close_ int fd = file_open(s->path, &odd);
	ssize_t size = fd < 0 ? fd : file_read(fd, text, sizeof(text));

	forget_text(s);
	if (odd)
		secret_refuse(s, "it is no regular file");
	else if (size < 0)
		secret_refuse(s, strerror((int)-size));
	else if (size > SECRET_MAX)
		secret_refuse(s, "it is larger than 16 KiB");
	else
		take_text(s, text, (size_t)size);
	explicit_bzero(text, sizeof(text));
}

/* Kubernetes replaces the file; others write into it. */
static bool secret_is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

const char *secret_text(struct secret *s, const char **why)
{
	uint64_t now = monotonic_ns();
	struct stat st = {0};

	if (!s->looked_ns || now - s->looked_ns >= LOOK_NS) {
		/* A missing file is all zeros here, and so never the same as a file that was
		 * read. */
		bool there = !stat(s->path, &st);

		if (!there || !s->text || !secret_is_same(&st, &s->seen))
			read_file(s);
		s->seen = st;
		s->looked_ns = now;
	}
	*why = s->why;
	return s->text;
}
