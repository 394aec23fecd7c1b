/* SPDX-License-Identifier: GPL-2.0-only */
/* Scalars of the rules' language: numbers, ports, addresses. False: text is none. */
#ifndef BPFW_FILTER_VALUE_H
#define BPFW_FILTER_VALUE_H

#include "filter/names.h"
#include "filter/ruleset.h"

/* Decimal, hexadecimal (0x) or octal (0), up to max */
bool value_number(struct slice text, uint64_t max, uint64_t *number);

/* Decimal without a leading zero, up to max, as far as there are digits: *text is what follows */
bool value_decimal(struct slice *text, uint64_t max, uint64_t *number);

/* "5", "5:7", ":7", "5:" of numbers up to max; low may not be above high */
bool value_range(struct slice text, uint32_t max, uint32_t *low, uint32_t *high);

/* A number or the name of a service. A leading zero is octal for some options: none is taken. */
bool value_port(struct slice text, uint16_t *port);

/* The same as a range */
bool value_port_range(struct slice text, uint16_t *low, uint16_t *high);

/* A number below 256 or a name */
bool value_protocol(struct slice text, uint8_t *protocol);

bool value_address(struct slice text, uint8_t family, union ruleset_address *address);

/* The length of a prefix or a mask, which need not be one of a prefix */
bool value_mask(struct slice text, uint8_t family, union ruleset_address *mask);

/* address[/mask] */
bool value_network(struct slice text, uint8_t family, union ruleset_address *address,
		   union ruleset_address *mask);

/* The length of the prefix that a mask is; -1 if it is none */
int value_prefix(const union ruleset_address *mask, uint8_t family);

/* The usual text of an address; buffer has VALUE_ADDRESS bytes. Returns it. */
#define VALUE_ADDRESS 48
const char *value_print_address(const union ruleset_address *address, uint8_t family, char *buffer);

/* value[/mask], 32 bits; without a mask it is all ones */
bool value_mark(struct slice text, uint32_t *value, uint32_t *mask);

#endif /* BPFW_FILTER_VALUE_H */
