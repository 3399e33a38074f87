/* SPDX-License-Identifier: Apache-2.0 */
/* top_terminal.c - whether the terminal can show a full screen. */
#include "../../base/log.h"
#include "top_screen.h"

#include <curses.h>
#include <term.h> /* last, in a file of its own: it defines macros such as `columns` and `tone` */

static int terminal_refuse(const char *term, const char *why)
{
	log_error("the terminal (TERM=%s) %s; use another, such as TERM=vt100, or "
		  "`pintle top --once`",
		  term, why);
	return EXIT_FAILED;
}

int terminal_check(void)
{
	const char *term = getenv("TERM");
	char shown[64];
	bool moves;
	int found;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		log_error("top needs a terminal; without one use `pintle top --once`");
		return EXIT_FAILED;
	}
	state_text(shown, sizeof(shown), term ?: "", strlen(term ?: ""));
	if (!term || !*term)
		return terminal_refuse("", "is not named");
	if (setupterm(NULL, STDOUT_FILENO, &found) == ERR)
		return terminal_refuse(shown, found == 0  ? "is not known here"
					      : found < 0 ? "is not known: no terminfo is here"
							  : "prints on paper");
	/* Without it nothing can be drawn anywhere but at the end. */
	moves = cursor_address;
	del_curterm(cur_term);
	return moves ? 0 : terminal_refuse(shown, "cannot move its cursor");
}
