/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top_screen.c - the terminal of `pintle top`.
 *
 * The signals that end, stop or resize are blocked but for the wait, so none of them meets ncurses
 * in the middle of its work; and the terminal is given back before the program ends or stops.
 */
#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "../../base/log.h"
#include "top.h"
#include "top_screen.h"

#define ESCAPE_MSEC 25 /* an ESC alone is the key, if nothing follows for so long */

static SCREEN *screen;
static sigset_t outer; /* the signals that were blocked before */
static volatile sig_atomic_t ending, stopping, resized;

static void screen_on_signal(int number)
{
	if (number == SIGTSTP)
		stopping = 1;
	else if (number == SIGWINCH)
		resized = 1;
	else
		ending = 1;
}

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

static void screen_signals_take(void)
{
	struct sigaction a = {.sa_handler = screen_on_signal};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
		sigaddset(&set, caught[i]);
		sigaction(caught[i], &a, NULL);
	}
	sigprocmask(SIG_BLOCK, &set, &outer);
}

/* ---- the terminal -------------------------------------------------------------------- */

static const short tone_colors[] = {
	[TONE_GOOD] = COLOR_GREEN,
	[TONE_WARN] = COLOR_YELLOW,
	[TONE_BAD] = COLOR_RED,
};

static bool colors_begin(void)
{
	const char *no = getenv("NO_COLOR"); /* as for the nouns: any value but the empty one */

	if ((no && *no) || !has_colors() || start_color() == ERR || use_default_colors() == ERR)
		return false;
	for (enum tone i = 0; i < ARRAY_SIZE(tone_colors); i++)
		if (tone_colors[i])
			init_pair((short)i, tone_colors[i], -1);
	return true;
}

int screen_attribute(const struct top *t, enum tone tone)
{
	bool colored = t->color && tone < ARRAY_SIZE(tone_colors) && tone_colors[tone];

	if (colored)
		return (int)COLOR_PAIR(tone);
	if (tone == TONE_FAINT)
		return (int)A_DIM;
	return tone == TONE_HEADING || tone == TONE_BAD ? (int)A_BOLD : (int)A_NORMAL;
}

int screen_begin(struct top *t)
{
	int status = terminal_check();

	if (status)
		return status;
	setlocale(LC_CTYPE, "");
	t->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	/* Before newterm(), which leaves handlers alone that are there. */
	screen_signals_take();
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		sigprocmask(SIG_SETMASK, &outer, NULL);
		log_error("the terminal cannot be used; `pintle top --once` prints one frame");
		return EXIT_FAILED;
	}
	log_hush(true);
	t->color = colors_begin();
	set_escdelay(ESCAPE_MSEC);
	cbreak();
	noecho();
	nonl();
	curs_set(0);
	keypad(stdscr, true);
	nodelay(stdscr, true);
	return 0;
}

/* After Ctrl-S, endwin() would wait for Ctrl-Q. Without IXON the terminal takes output again;
 * endwin() then restores that flag with all others. */
static void give_back(void)
{
	struct termios now;

	if (!tcgetattr(STDOUT_FILENO, &now)) {
		now.c_iflag &= ~(tcflag_t)IXON;
		tcsetattr(STDOUT_FILENO, TCSANOW, &now);
	}
	endwin();
}

void screen_end(void)
{
	if (!screen)
		return;
	give_back();
	delscreen(screen);
	screen = NULL;
	log_hush(false);
	sigprocmask(SIG_SETMASK, &outer, NULL);
}

bool screen_takes(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) > 0;
}

/* ---- waiting ------------------------------------------------------------------------ */

/* Stops as any program does at Ctrl-Z, with the terminal as it was; then comes back. */
static void stop_here(void)
{
	struct sigaction own, standard = {.sa_handler = SIG_DFL};
	sigset_t set, before;

	give_back();
	sigaction(SIGTSTP, &standard, &own);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, &before); /* it stops here */
	sigprocmask(SIG_SETMASK, &before, NULL);
	sigaction(SIGTSTP, &own, NULL);
	resized = 1; /* the window may have another size by now */
	clearok(stdscr, true);
}

static void resize(void)
{
	struct winsize w;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row && w.ws_col)
		resizeterm(w.ws_row, w.ws_col);
}

/* TOP_KEY stands for nothing that happened. */
static enum top_event signals_done(void)
{
	if (ending)
		return TOP_STOPPED;
	if (stopping) {
		stopping = 0;
		stop_here();
	}
	if (!resized)
		return TOP_KEY;
	resized = 0;
	resize();
	return TOP_RESIZED;
}

enum top_event screen_wait(uint64_t until_ns, int *key)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

	for (;;) {
		uint64_t now = monotonic_ns(), left = until_ns > now ? until_ns - now : 0;
		struct timespec wait = {(time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC)};
		enum top_event event;

		*key = getch();
		if (*key != ERR && *key != KEY_RESIZE)
			return TOP_KEY;
		if (until_ns && !left)
			return TOP_TIME;
		ppoll(&p, 1, until_ns ? &wait : NULL, &outer);
		event = signals_done();
		if (event != TOP_KEY)
			return event;
		/* A terminal that is gone would be readable for ever. */
		if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
			return TOP_STOPPED;
	}
}
