/* SPDX-License-Identifier: GPL-2.0-only */
/* Texts in JSON. What surrounds them is printed by those who know what it is. */
#ifndef BPFW_JSON_H
#define BPFW_JSON_H

#include <stdio.h>

/*
 * A text in quotes. UTF-8 stays as it is; a byte that is none becomes the character of its number
 * (\u0080 to \u00ff), so that the document is valid whatever the text holds.
 */
void json_string(FILE *to, const char *text);

/* "name":"text", or "name":null */
void json_member(FILE *to, const char *name, const char *text);

#endif /* BPFW_JSON_H */
