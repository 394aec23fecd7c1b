/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/inforce.h"
#include "filter/mark.h"
#include "filter/pins.h"
#include "filter/ruleset.h"
#include "log.h"
#include "util.h"

static bool attaches_xdp(const struct stage_options *options)
{
	return options->hook == STAGE_XDP && options->interface_count;
}

static void say_nothing(void *context, bool warning, const char *message)
{
	(void)context;
	(void)warning;
	(void)message;
}

uint32_t mark_of_other_family(uint8_t family, const struct stage_options *options)
{
	const struct ruleset_report report = { say_nothing, NULL, "rules in force" };
	const uint8_t other = family == AF_INET6 ? AF_INET : AF_INET6;
	struct ruleset ruleset = { 0 };
	struct in_force in_force;
	uint32_t line = 0;

	if (!attaches_xdp(options))
		return 0;
	if (!in_force_read(&in_force, other) &&
	    !ruleset_parse(&ruleset, in_force.text, in_force.size, other, &report))
		for (uint32_t i = 0; i < ruleset.rule_count && !line; i++)
			if (ruleset.rules[i].target.kind == TARGET_MARK)
				line = ruleset.rules[i].line;
	ruleset_free(&ruleset);
	in_force_free(&in_force);
	return line;
}

static void find_xdp(int pins, const char *name, void *context)
{
	bool *found = context;

	(void)pins;
	*found |= !strncmp(name, "xdp-", strlen("xdp-"));
}

int mark_check(const struct image *image, uint32_t other, int pins,
	       const struct stage_options *options)
{
	bool at_xdp = attaches_xdp(options);

	if (other) {
		log_error(
			"the rules in force of the other family set marks (line %u of bpfw filter "
			"show), and packets have none at XDP: use --hook tc",
			other);
		return -EOPNOTSUPP;
	}
	if (!image->mark_line)
		return 0;
	pins_for_each(pins, find_xdp, &at_xdp);
	if (!at_xdp)
		return 0;
	log_error("line %u sets a mark, and packets have none at XDP: filter at TC (bpfw filter "
		  "unload, then load with --hook tc)",
		  image->mark_line);
	return -EOPNOTSUPP;
}
