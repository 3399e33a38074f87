/* SPDX-License-Identifier: Apache-2.0 */
#include "pin.h"

#include <bpf/bpf.h>

#include "../base/util.h"

const char *pin_path(const char *dir, const char *name, char path[PIN_PATH_SIZE])
{
	snprintf(path, PIN_PATH_SIZE, "%s/%s", dir, name);
	return path;
}

bool pin_is_there(const char *dir, const char *name)
{
	char path[PIN_PATH_SIZE];

	return !access(pin_path(dir, name, path), F_OK);
}

int pin_open(const char *dir, const char *name, unsigned int flags)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);
	char path[PIN_PATH_SIZE];

	return bpf_obj_get_opts(pin_path(dir, name, path), &opts);
}
