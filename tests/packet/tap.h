/* SPDX-License-Identifier: GPL-2.0-only */
/* Results in the Test Anything Protocol. */
#ifndef BPFW_TEST_TAP_H
#define BPFW_TEST_TAP_H

#include <stdbool.h>

/* One result. Returns `ok`. */
bool tap(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the next result is about cannot be tried here: it is skipped, whatever it says. */
void tap_skip_next(const char *reason);

/* A line of explanation. */
void tap_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Nothing of this program can run here. */
void tap_skip_all(const char *reason) __attribute__((noreturn));

/* The lab itself is broken: no result would mean anything. */
void tap_bail_out(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The plan. Returns the program's exit status. */
int tap_end(void);

#endif /* BPFW_TEST_TAP_H */
