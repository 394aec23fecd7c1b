/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

void unit_seed(void)
{
	const char *given = getenv("BPFW_TEST_SEED");

	state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	printf("# seed: BPFW_TEST_SEED=%llu\n", (unsigned long long)state);
	fflush(stdout);
}

/* splitmix64 */
uint32_t unit_random(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

uint32_t unit_below(uint32_t limit)
{
	return (uint32_t)((uint64_t)unit_random() * limit >> 32);
}
