/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets as text: what `ipset save` prints (lines of `create` and `add`), read and written. What is
 * not supported is refused by name, with file, line, column and token; nothing that would change
 * what a set holds is skipped.
 */
#ifndef BPFW_SET_PARSE_H
#define BPFW_SET_PARSE_H

#include <stddef.h>
#include <stdio.h>

#include "filter/set.h"

const char *set_kind_name(uint8_t kind);
void set_entries_free(struct set_entry *entries, size_t count);

/* Room for a message. */
#define SET_ERROR 512

/* A set that a file makes or adds to. */
struct set_part {
	struct set_info info;
	bool create; /* there is a `create` line */
	struct set_entry *entries;
	size_t count, room;
};

struct set_file {
	struct set_part *parts;
	size_t count;
};

/* What a set is that the file adds to but does not create; NULL if there is none. */
typedef const struct set_info *(*set_known)(void *context, const char *name);

/*
 * Read a file's text. 0, or -EINVAL with a message, or -ENOMEM. `file` is for messages. What
 * was read is given up by set_file_free(), also after an error.
 */
int set_parse(const char *file, const char *text, size_t len, set_known known, void *context,
	      struct set_file *out, char error[SET_ERROR]);

/*
 * The same for a plain list, an entry and its options in a line ("192.0.2.0/24 timeout 60"): the
 * first part of the result is for the IPv4 ones, of the set infos[0], the second for IPv6.
 */
int set_parse_plain(const char *file, const char *text, size_t len, const struct set_info infos[2],
		    struct set_file *out, char error[SET_ERROR]);
void set_file_free(struct set_file *file);

/* The words of a `create` line behind that word, or of an `add` line behind the set's name. */
int set_parse_create(int argc, char *const argv[], struct set_info *info, char error[SET_ERROR]);
int set_parse_entry(const struct set_info *info, int argc, char *const argv[],
		    struct set_entry *entry, char error[SET_ERROR]);

/* "192.0.2.0/24,tcp:80": what stands behind the name in an `add` line, without options. */
#define SET_ENTRY_TEXT 80
void set_print_entry(const struct set_info *info, const struct set_entry *entry,
		     char text[SET_ENTRY_TEXT]);

/* Lines as `ipset save` prints them. */
void set_print_create(FILE *to, const struct set_info *info);
void set_print_add(FILE *to, const struct set_info *info, const struct set_entry *entry);

#endif /* BPFW_SET_PARSE_H */
