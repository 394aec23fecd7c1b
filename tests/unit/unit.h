/* SPDX-License-Identifier: GPL-2.0-only */
/* What every unit test includes first: cmocka and seeded random numbers. */
#ifndef BPFW_TEST_UNIT_H
#define BPFW_TEST_UNIT_H

/* cmocka.h wants these before it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* Seed from BPFW_TEST_SEED, else from the clock; the seed is printed. */
void unit_seed(void);
uint32_t unit_random(void);
uint32_t unit_below(uint32_t limit);

#endif /* BPFW_TEST_UNIT_H */
