/* SPDX-License-Identifier: Apache-2.0 */
#include "pod_cgroup.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static bool is_uid(const char *text, size_t length)
{
	/* 8-4-4-4-12 digits, joined by '-' or '_'; 32 digits for a static pod. */
	if (length != 36 && length != 32)
		return false;
	for (size_t i = 0; i < length; i++) {
		bool joint = length == 36 && (i == 8 || i == 13 || i == 18 || i == 23);

		if (joint ? text[i] != '-' && text[i] != '_' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

bool pod_cgroup(const char *path, char name[PINTLE_CLIENT_NAME_SIZE])
{
	const char *base = strrchr(path, '/'), *pod;
	size_t length;

	if (!base || !strstr(path, "kubepods"))
		return false;
	/* "podUID" of the cgroupfs driver, "kubepods-burstable-podUID.slice" of the systemd one */
	pod = strstr(++base, "-pod");
	pod = pod ? pod + 4 : !strncmp(base, "pod", 3) ? base + 3 : NULL;
	if (!pod)
		return false;
	length = strcspn(pod, ".");
	if ((pod[length] && strcmp(pod + length, ".slice") != 0) || !is_uid(pod, length))
		return false;
	snprintf(name, PINTLE_CLIENT_NAME_SIZE, "pod/%.*s", (int)length, pod);
	for (char *p = name; *p; p++)
		if (*p == '_')
			*p = '-';
	return true;
}

bool pod_cgroup_above(const char *path, char name[PINTLE_CLIENT_NAME_SIZE])
{
	char above[PATH_MAX];

	for (size_t i = 1; path[0] && i <= strlen(path) && i < sizeof(above); i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(above, path, i);
		above[i] = '\0';
		if (pod_cgroup(above, name))
			return true;
	}
	return false;
}
