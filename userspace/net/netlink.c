/* SPDX-License-Identifier: Apache-2.0 */
#include "netlink.h"

#include <netlink/netlink.h>
#include <sys/socket.h>

#include "../base/log.h"
#include "netns.h"
#include "../base/util.h"

struct question {
	netlink_fn each;
	void *arg;
	bool answered;
	int result;
};

static void nl_socket_freep(struct nl_sock **sk)
{
	nl_socket_free(*sk);
}

static void nl_cb_putp(struct nl_cb **cb)
{
	nl_cb_put(*cb);
}

static int answer(struct question *q, int result)
{
	q->answered = true;
	q->result = result;
	return NL_STOP;
}

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct question *q = arg;
	int r = q->each ? q->each(nlmsg_hdr(msg), q->arg) : 0;

	return r ? answer(q, r) : NL_OK;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	(void)msg;
	return answer(arg, 0);
}

/* The message that ends a dump holds its error, which libnl ignores. */
static int on_finish(struct nl_msg *msg, void *arg)
{
	const struct nlmsghdr *h = nlmsg_hdr(msg);

	return answer(arg,
		      nlmsg_datalen(h) >= (int)sizeof(int) ? MIN(*(int *)nlmsg_data(h), 0) : 0);
}

/* libnl's own codes would lose the kernel's errno. */
static int netlink_on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
	(void)from;
	return answer(arg, e->error);
}

static int from_libnl(int code)
{
	switch (-code) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	default:
		log_debug("libnl: %s", nl_geterror(code));
		return -EIO;
	}
}

static int netlink_open_socket(int netns_fd, int protocol, struct nl_sock **out)
{
	_cleanup_close_ int fd = netns_socket(netns_fd, AF_NETLINK, SOCK_RAW, protocol);
	_cleanup_(nl_socket_freep) struct nl_sock *sk = NULL;
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	int r;

	if (fd < 0)
		return fd;
	/* libnl takes the port number from the bound socket. */
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)))
		return -errno;
	sk = nl_socket_alloc();
	if (!sk)
		return -ENOMEM;
	r = nl_socket_set_fd(sk, protocol, fd);
	if (r < 0)
		return from_libnl(r);
	/* Asks the kernel to filter dumps of routes; callers filter, too, for kernels that do
	 * not. */
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &(int){1}, sizeof(int));
	TAKE_FD(fd); /* nl_socket_free() closes it from now on */
	*out = TAKE_PTR(sk);
	return 0;
}

int netlink_ask(int netns_fd, int protocol, struct nl_msg *msg, netlink_fn each, void *arg)
{
	_cleanup_(nl_socket_freep) struct nl_sock *sk = NULL;
	_cleanup_(nl_cb_putp) struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct question q = {.each = each, .arg = arg};
	int r = netlink_open_socket(netns_fd, protocol, &sk);

	if (r)
		return r;
	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, &q);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, &q);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, &q);
	nl_cb_err(cb, NL_CB_CUSTOM, netlink_on_error, &q);
	r = nl_send_auto(sk, msg); /* also requests the acknowledgement */
	while (r >= 0 && !q.answered)
		r = nl_recvmsgs(sk, cb);
	/* A disturbed dump has failed, although its end was read. */
	if (r < 0 && !(q.answered && q.result))
		return from_libnl(r);
	return q.result;
}
