/* SPDX-License-Identifier: Apache-2.0 */
/* top_screen.h - tones as ncurses draws them. Apart from top.h, so that only the files that draw
 * include <curses.h>, whose macros have common names. */
#ifndef PINTLE_TOP_SCREEN_H
#define PINTLE_TOP_SCREEN_H

#include "top.h"

/** Returns the attributes of a tone: colours where the terminal has them. */
int screen_attribute(const struct top *t, enum tone tone);

/** Returns 0; or EXIT_FAILED after logging why the terminal will not do, and what would. */
int terminal_check(void);

#endif
