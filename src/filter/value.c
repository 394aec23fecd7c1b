/* SPDX-License-Identifier: GPL-2.0-only */
/* Scalars of the rules' language; see value.h. */
#include "filter/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

static int digit_of(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	character = (char)(character | 0x20);
	return character >= 'a' && character <= 'f' ? character - 'a' + 10 : 16;
}

static bool digits(struct slice text, unsigned int base, uint64_t max, uint64_t *number)
{
	uint64_t value = 0;

	if (!text.length)
		return false;
	for (; text.length; text.at++, text.length--) {
		unsigned int digit = (unsigned int)digit_of(*text.at);

		if (digit >= base || digit > max || value > (max - digit) / base)
			return false;
		value = value * base + digit;
	}
	*number = value;
	return true;
}

bool value_number(struct slice text, uint64_t max, uint64_t *number)
{
	unsigned int base = 10;

	if (text.length > 2 && text.at[0] == '0' && (text.at[1] | 0x20) == 'x') {
		text.at += 2;
		text.length -= 2;
		base = 16;
	} else if (text.length > 1 && text.at[0] == '0') {
		base = 8;
	}
	return digits(text, base, max, number);
}

bool value_decimal(struct slice *text, uint64_t max, uint64_t *number)
{
	struct slice part = { .at = text->at };

	while (part.length < text->length && isdigit((unsigned char)part.at[part.length]))
		part.length++;
	text->at += part.length;
	text->length -= part.length;
	if (part.length > 1 && *part.at == '0')
		return false;
	return digits(part, 10, max, number);
}

bool value_range(struct slice text, uint32_t max, uint32_t *low, uint32_t *high)
{
	struct slice first;
	uint64_t from = 0, to = max;

	slice_next(&text, ':', &first);
	if (first.length && !value_number(first, max, &from))
		return false;
	if (!text.at)
		to = from;
	else if (text.length && !value_number(text, max, &to))
		return false;
	*low = (uint32_t)from;
	*high = (uint32_t)to;
	return (first.length || text.at) && from <= to;
}

bool value_port(struct slice text, uint16_t *port)
{
	const struct name *service;
	uint64_t number;

	if (value_number(text, UINT16_MAX, &number)) {
		*port = (uint16_t)number;
		return text.length == 1 || text.at[0] != '0' || (text.at[1] | 0x20) == 'x';
	}
	service = name_find(service_names, text, false);
	if (service)
		*port = service->value;
	return service;
}

bool value_port_range(struct slice text, uint16_t *low, uint16_t *high)
{
	struct slice first;

	slice_next(&text, ':', &first);
	*low = 0;
	*high = UINT16_MAX;
	if (first.length && !value_port(first, low))
		return false;
	if (!text.at)
		*high = *low;
	else if (text.length && !value_port(text, high))
		return false;
	return (first.length || text.at) && *low <= *high;
}

bool value_protocol(struct slice text, uint8_t *protocol)
{
	const struct name *name;
	uint64_t number;

	if (value_number(text, UINT8_MAX, &number)) {
		*protocol = (uint8_t)number;
		return true;
	}
	name = name_find(protocol_names, text, false);
	if (name)
		*protocol = (uint8_t)name->value;
	return name;
}

bool value_address(struct slice text, uint8_t family, union ruleset_address *address)
{
	char buffer[INET6_ADDRSTRLEN];

	memset(address, 0, sizeof(*address));
	if (text.length >= sizeof(buffer))
		return false;
	memcpy(buffer, text.at, text.length);
	buffer[text.length] = '\0';
	return inet_pton(family, buffer, address) == 1;
}

const char *value_print_address(const union ruleset_address *address, uint8_t family, char *buffer)
{
	return inet_ntop(family, address, buffer, VALUE_ADDRESS);
}

static unsigned int bits_of(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

bool value_mask(struct slice text, uint8_t family, union ruleset_address *mask)
{
	struct slice rest = text;
	uint64_t length;

	if (!value_decimal(&rest, bits_of(family), &length) || rest.length)
		return value_address(text, family, mask);
	memset(mask, 0, sizeof(*mask));
	memset(mask, 0xff, length / 8);
	if (length % 8)
		mask->bytes[length / 8] = (uint8_t)(0xff00 >> length % 8);
	return true;
}

bool value_network(struct slice text, uint8_t family, union ruleset_address *address,
		   union ruleset_address *mask)
{
	static const struct slice all[] = { { "32", 2 }, { "128", 3 } };
	struct slice first;

	slice_next(&text, '/', &first);
	return value_address(first, family, address) &&
	       value_mask(text.at ? text : all[family == AF_INET6], family, mask);
}

int value_prefix(const union ruleset_address *mask, uint8_t family)
{
	unsigned int length = 0, bits = bits_of(family), i;

	while (length < bits && mask->bytes[length / 8] & 0x80 >> length % 8)
		length++;
	for (i = length; i < bits; i++) {
		if (mask->bytes[i / 8] & 0x80 >> i % 8)
			return -1;
	}
	return (int)length;
}

bool value_mark(struct slice text, uint32_t *value, uint32_t *mask)
{
	struct slice first;
	uint64_t number;

	slice_next(&text, '/', &first);
	if (!value_number(first, UINT32_MAX, &number))
		return false;
	*value = (uint32_t)number;
	*mask = UINT32_MAX;
	if (!text.at)
		return true;
	if (!value_number(text, UINT32_MAX, &number))
		return false;
	*mask = (uint32_t)number;
	return true;
}
