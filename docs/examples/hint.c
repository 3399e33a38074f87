/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint.c - connects to a frontend on behalf of a session, sends one GET and prints the answer.
 *
 *	cc -o hint hint.c && ./hint 10.96.0.10 8000 user-4711 /v1/models
 *
 * Pintle's header is <pintle/hint.h>. A program that must build without it copies the numbers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pintle/hint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char text[4096];
	ssize_t n;
	int fd;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: hint IPV4-ADDRESS PORT SESSION PATH\n");
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		return fail("socket");
	/* A session may be named by at most 64 bytes: hash or cut a longer name. ENOPROTOOPT says
	 * that nothing takes hints here; the connection works all the same. */
	if (setsockopt(fd, PINTLE_HINT_LEVEL, PINTLE_HINT_SESSION, argv[3],
		       (socklen_t)strlen(argv[3])) &&
	    errno != ENOPROTOOPT)
		perror("hint");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return fail("connect");
	n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		     argv[4], argv[1]);
	if (write(fd, text, (size_t)n) != n)
		return fail("write");
	while ((n = read(fd, text, sizeof(text))) > 0)
		fwrite(text, 1, (size_t)n, stdout);
	close(fd);
	return n ? fail("read") : 0;
}
