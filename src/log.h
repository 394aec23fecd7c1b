/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages on stderr: the thing, the reason, and what to do about it. */
#ifndef BPFW_LOG_H
#define BPFW_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Messages above this level are left out. */
extern enum log_level log_level;

void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_message(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                             \
	do {                                                       \
		if (log_level >= LOG_LEVEL_DEBUG)                  \
			log_message(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

#endif /* BPFW_LOG_H */
