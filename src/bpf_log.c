/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>

#include "bpf_log.h"
#include "log.h"

static int print(enum libbpf_print_level level, const char *format, va_list args)
{
	/* The verifier's log comes at the level of a warning. */
	if (log_level < LOG_LEVEL_DEBUG || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, format, args);
}

void bpf_log_take(void)
{
	libbpf_set_print(print);
}
