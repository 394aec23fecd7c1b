/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/compile.h"
#include "filter/set_parse.h"
#include "filter/set_use.h"
#include "util.h"

static int remember(struct set_use *use, uint32_t number)
{
	uint32_t *numbers;

	if (use->count == use->room) {
		use->room = use->room ? use->room * 2 : 16;
		numbers = reallocarray(use->numbers, use->room, sizeof(*numbers));
		if (!numbers)
			return -ENOMEM;
		use->numbers = numbers;
	}
	use->numbers[use->count++] = number;
	return 0;
}

static int find(struct set_use *use, const struct rule *rule, struct set_reference *reference,
		unsigned int column, const struct ruleset_report *report)
{
	int number = use->is_open ? set_find(&use->store, reference->name) : -ENOENT;
	uint8_t family;

	if (number < 0)
		return rule_refuse(report, rule, column, number,
				   "set '%s' does not exist: make it by 'bpfw set'",
				   reference->name);
	family = use->store.info[number].family; /* 0: ports only */
	if (family && family != use->family)
		return rule_refuse(report, rule, column, -EINVAL,
				   "set '%s' is of the other family: it holds %s addresses",
				   reference->name, family == AF_INET6 ? "IPv6" : "IPv4");
	reference->number = (uint32_t)number;
	return remember(use, reference->number);
}

/* Prefixes are in forms that only bpfw set can change. */
static int find_changed(struct set_use *use, const struct rule *rule,
			struct set_reference *reference, const struct ruleset_report *report)
{
	const unsigned int column = rule->target.column;
	int err = reference->name[0] ? find(use, rule, reference, column, report) : 0;
	uint8_t kind;

	if (err || !reference->name[0])
		return err;
	kind = use->store.info[reference->number].kind;
	if (kind == SET_HASH_NET || kind == SET_HASH_NET_PORT)
		return rule_refuse(report, rule, column, -EOPNOTSUPP,
				   "rules cannot change set '%s': its type is %s (hash:ip, "
				   "hash:ip,port and bitmap:port are supported)",
				   reference->name, set_kind_name(kind));
	return 0;
}

static int find_of_rule(struct set_use *use, struct rule *rule, const struct ruleset_report *report)
{
	int err = 0;

	for (unsigned int i = 0; i < rule->match_count && !err; i++)
		if (rule->matches[i].kind == MATCH_SET)
			err = find(use, rule, &rule->matches[i].set.set, rule->matches[i].column,
				   report);
	if (rule->target.kind != TARGET_SET)
		return err;
	err = err ? err : find_changed(use, rule, &rule->target.set->add, report);
	return err ? err : find_changed(use, rule, &rule->target.set->del, report);
}

static bool names_sets(const struct ruleset *ruleset)
{
	for (uint32_t i = 0; i < ruleset->rule_count; i++) {
		const struct rule *rule = &ruleset->rules[i];

		if (rule->target.kind == TARGET_SET)
			return true;
		for (unsigned int k = 0; k < rule->match_count; k++)
			if (rule->matches[k].kind == MATCH_SET)
				return true;
	}
	return false;
}

static int open_store(struct set_use *use)
{
	int err = set_store_open(&use->store, false);

	use->is_open = !err;
	for (size_t i = 0; i < SET_MAX && !err; i++)
		use->flags[i] = use->store.info[i].flags;
	return err == -ENOENT ? 0 : err;
}

int set_use_begin(struct set_use *use, struct ruleset *ruleset, bool look,
		  const struct ruleset_report *report)
{
	int err;

	*use = (struct set_use){ .family = ruleset->family };
	if (look && !names_sets(ruleset))
		return 0;
	err = open_store(use);
	for (uint32_t i = 0; i < ruleset->rule_count && !err; i++)
		err = find_of_rule(use, &ruleset->rules[i], report);
	if (err)
		set_use_end(use, false);
	else if (use->is_open && !look)
		set_hold(&use->store, use->family, use->numbers, use->count, false);
	return err;
}

void set_use_end(struct set_use *use, bool in_force)
{
	if (use->is_open && in_force)
		set_hold(&use->store, use->family, use->numbers, use->count, true);
	for (size_t i = 0; i < SET_MAX && use->is_open && !in_force; i++)
		use->store.info[i].flags = use->flags[i];
	if (use->is_open)
		set_store_close(&use->store);
	free(use->numbers);
	*use = (struct set_use){ 0 };
}
