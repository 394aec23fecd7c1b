/* SPDX-License-Identifier: GPL-2.0-only */
/* The arithmetic is that of net/netfilter/xt_hashlimit.c, revision 3. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <stdlib.h>
#include <string.h>

#include "filter/hashlimit.h"
#include "util.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define SCALE \
	UINT64_C(1000000) /* of average: a packet's part of a second (XT_HASHLIMIT_SCALE_v2) */

/* Of a table whose size nobody gives; as the kernel has it where there is 1 GB of memory or more. */
#define DEFAULT_GROUPS 65536
#define GROUPS_OF_SIZE 8 /* --hashlimit-htable-max, if it is not given, is so many times the size */
#define GROUPS_MIN 1024
#define GROUPS_MAX (1u << 20)

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static void set_mask(__be32 mask[4], bool counts, uint8_t prefix)
{
	for (unsigned int i = 0; i < 4 && counts; i++) {
		unsigned int bits = prefix > 32 * i ? prefix - 32 * i : 0;

		mask[i] = bits >= 32 ? UINT32_MAX : htonl(~(UINT32_MAX >> bits));
	}
}

/* rateinfo_init(), --hashlimit-rate-match: how much there may be in an interval */
static void set_rate(struct filter_hashlimit *table, const struct match_hashlimit *match)
{
	if (table->bytes) {
		uint64_t units = match->average ? UINT32_MAX / match->average : UINT32_MAX;

		table->rate = units ? (units - 1) << 4 : 0;
		table->most = match->burst ? multiply(match->burst, table->rate) : table->rate;
	} else {
		table->rate = match->average ? SCALE / match->average : 0;
		table->most = match->burst + table->rate;
	}
	table->interval = match->interval * NS_PER_SECOND;
}

/* rateinfo_init(), a bucket of tokens */
static void set_bucket(struct filter_hashlimit *table, const struct match_hashlimit *match)
{
	if (table->bytes) {
		table->cost = (uint32_t)match->average * FILTER_BYTES_SECOND >> 32;
		table->most = FILTER_BYTES_SECOND;
		table->full_after = NS_PER_SECOND;
		table->bursts = (uint32_t)match->burst;
		return;
	}
	table->cost = multiply(match->average, NS_PER_SECOND / SCALE);
	table->most = multiply(table->cost, match->burst);
	/* What is left of a bucket and what it is filled up by are added. */
	if (table->most > UINT64_MAX / 2)
		table->most = UINT64_MAX / 2;
	table->full_after = table->most;
}

static void set_table(struct filter_hashlimit *table, const struct match_hashlimit *match)
{
	memset(table, 0, sizeof(*table));
	table->bytes = !!(match->mode & XT_HASHLIMIT_BYTES);
	table->by_rate = !!(match->mode & XT_HASHLIMIT_RATE_MATCH);
	table->expire = match->expire * NS_PER_MS;
	set_mask(table->source_mask, match->mode & XT_HASHLIMIT_HASH_SIP, match->source_prefix);
	set_mask(table->destination_mask, match->mode & XT_HASHLIMIT_HASH_DIP,
		 match->destination_prefix);
	if (match->mode & XT_HASHLIMIT_HASH_SPT)
		table->port_mask |= 0xffff0000;
	if (match->mode & XT_HASHLIMIT_HASH_DPT)
		table->port_mask |= 0x0000ffff;
	if (table->by_rate)
		set_rate(table, match);
	else
		set_bucket(table, match);
}

int hashlimit_table(struct image *image, const struct match_hashlimit *match, uint32_t *number)
{
	struct filter_hashlimit table, *tables;
	const struct match_hashlimit **names;
	uint32_t room;
	int found = table_names_number(&image->hashlimit_names, match->name, number);

	set_table(&table, match);
	if (found < 0)
		return found;
	if (found)
		return memcmp(&image->hashlimits[*number], &table, sizeof(table)) ? -EEXIST : 0;
	room = table_names_grown(*number);
	if (room) {
		tables = reallocarray(image->hashlimits, room, sizeof(*tables));
		if (!tables)
			return -ENOMEM;
		image->hashlimits = tables;
		names = reallocarray(image->hashlimit_of, room, sizeof(*names));
		if (!names)
			return -ENOMEM;
		image->hashlimit_of = names;
	}
	image->hashlimits[*number] = table;
	image->hashlimit_of[*number] = match;
	image->hashlimit_count++;
	return 0;
}

uint32_t hashlimit_groups(const struct image *image)
{
	uint64_t groups = 0;

	if (!image->hashlimit_count)
		return 1;
	for (uint32_t i = 0; i < image->hashlimit_count; i++) {
		const struct match_hashlimit *match = image->hashlimit_of[i];

		if (match->max)
			groups += match->max;
		else
			groups += match->size ? multiply(match->size, GROUPS_OF_SIZE) :
						DEFAULT_GROUPS;
	}
	return (uint32_t)(groups < GROUPS_MIN ? GROUPS_MIN :
			  groups > GROUPS_MAX ? GROUPS_MAX :
						groups);
}
