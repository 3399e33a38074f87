/* SPDX-License-Identifier: Apache-2.0 */
#include "node_key.h"

#include <errno.h>
#include <string.h>

#include "../base/file.h"
#include "../base/log.h"
#include "../base/util.h"

#define KEY_SIZE 16

int node_key_read(const char *path, __u64 key[2])
{
	char text[KEY_SIZE + 1];
	const char *odd;
	_cleanup_close_ int fd = file_open(path, &odd);
	ssize_t n;

	if (fd < 0 && odd)
		return log_err_r(-fd, "node.keyFile %s is %s; write the path of a file of %d bytes",
				 path, odd, KEY_SIZE);
	n = fd < 0 ? fd : file_read(fd, text, sizeof(text));
	if (n < 0)
		return log_err_r((int)-n, "failed to read node.keyFile %s", path);
	if (n != KEY_SIZE)
		log_error("node.keyFile %s has %s than %d bytes; make it by: head -c %d "
			  "/dev/urandom > %s",
			  path, n < KEY_SIZE ? "fewer" : "more", KEY_SIZE, KEY_SIZE, path);
	else
		memcpy(key, text, KEY_SIZE);
	explicit_bzero(text, sizeof(text));
	return n == KEY_SIZE ? 0 : -EINVAL;
}
