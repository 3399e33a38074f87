// SPDX-License-Identifier: Apache-2.0
#include "notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../base/util.h"

#define MESSAGE_SIZE 512

/* A path, or '@' and a name in the abstract namespace. Returns the address's length; 0: none. */
static socklen_t manager_address(struct sockaddr_un *a)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (length < 2 || length >= sizeof(a->sun_path) || (*path != '/' && *path != '@'))
		return 0;
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(a->sun_path, path, length);
	if (*path == '@')
		a->sun_path[0] = '\0';
	/* An abstract name has no terminating NUL; every byte of its length counts. */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path == '/'));
}

static int send_message(const char *message)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un a;
	socklen_t length = manager_address(&a);

	if (!length)
		return 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
			     (struct sockaddr *)&a, length) < 0)
		return -errno;
	return 0;
}

/* `state`, and unless NULL the status in a line of its own: a newline in it would start another
 * assignment. */
static int send_state(const char *state, const char *status)
{
	char message[MESSAGE_SIZE];

	snprintf(message, sizeof(message), "%s%s%.*s", state, status ? "STATUS=" : "",
		 status ? (int)strcspn(status, "\n") : 0, status ? status : "");
	return send_message(message);
}

int notify_ready(const char *status)
{
	return send_state("READY=1\n", status);
}

int notify_reloading(void)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		 monotonic_ns() / 1000);
	return send_state(state, NULL);
}

int notify_stopping(const char *status)
{
	return send_state("STOPPING=1\n", status);
}

int notify_status(const char *status)
{
	return send_state("", status);
}

int notify_watchdog(void)
{
	return send_state("WATCHDOG=1\n", NULL);
}

static bool parse_u64(const char *text, uint64_t *out)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end;
}

uint64_t notify_watchdog_interval_ns(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t usec, watched;

	if (!parse_u64(getenv("WATCHDOG_USEC"), &usec) || usec > UINT64_MAX / 1000)
		return 0;
	if (pid && (!parse_u64(pid, &watched) || watched != (uint64_t)getpid()))
		return 0;
	return usec * 1000 / 2;
}
