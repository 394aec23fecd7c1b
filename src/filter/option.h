/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The options of matches and targets as a table: what they are called, what is read into
 * which place of which record. parser.c looks them up, reader.c reads their values.
 */
#ifndef BPFW_FILTER_OPTION_H
#define BPFW_FILTER_OPTION_H

#include "filter/names.h"
#include "filter/ruleset.h"

/* How the value of an option is read; argument and offset are those of its entry. */
enum reader {
	READ_REFUSED, /* known, not supported */
	READ_IGNORED, /* has no effect in the kernel */
	READ_FLAG,    /* bool at offset */
	READ_BIT,     /* argument is or'ed to the byte at offset */
	READ_U16,
	READ_U32,
	READ_PORTS, /* struct range16 */
	READ_RANGE, /* struct match_range */
	READ_TCP_FLAGS,
	READ_SYN,
	READ_TCP_OPTION,
	READ_ICMP,
	READ_MULTIPORT, /* enum multiport_of */
	READ_IPRANGE,   /* struct address_range */
	READ_MARK,
	READ_DSCP,
	READ_DSCP_CLASS,
	READ_TOS,
	READ_ECT,
	READ_ECN, /* two bools: given, inverted */
	READ_TTL, /* enum ttl_mode */
	READ_PKTTYPE,
	READ_MAC,
	READ_ADDRTYPE, /* 0: source, 1: destination */
	READ_LIMIT,
	READ_LIMIT_BURST,
	READ_HASHLIMIT_RATE, /* 1: above */
	READ_HASHLIMIT_RATE_MATCH,
	READ_HASHLIMIT_MODE,
	READ_HASHLIMIT_NAME,
	READ_HASHLIMIT_BURST,
	READ_HASHLIMIT_INTERVAL,
	READ_HASHLIMIT_PREFIX, /* byte at offset */
	READ_CONNLIMIT,        /* 1: above */
	READ_CONNLIMIT_MASK,
	READ_CONNLIMIT_SIDE, /* 1: destination */
	READ_SET,            /* struct match_set */
	READ_COMMENT,
	READ_U32_TESTS,
	READ_STATISTIC_MODE,
	READ_PROBABILITY,
	READ_EVERY,
	READ_DATE,    /* uint32_t */
	READ_DAYTIME, /* uint32_t */
	READ_MONTHDAYS,
	READ_WEEKDAYS,
	READ_RT,     /* struct range32; 1: may be a range */
	READ_RECENT, /* XT_RECENT_* */
	READ_RECENT_SECONDS,
	READ_RECENT_HITS,
	READ_RECENT_NAME,
	READ_RECENT_MASK,
	READ_RECENT_SIDE, /* 1: destination */
	READ_STATES,
	READ_CT_STATES,
	READ_CT_STATUS,
	READ_CT_PROTOCOL,
	READ_CT_ADDRESS, /* XT_CONNTRACK_*, address and mask at offset */
	READ_CT_PORTS,   /* XT_CONNTRACK_* / 256, two uint16_t at offset */
	READ_CT_EXPIRES,
	READ_CT_DIRECTION,
	READ_LOG_LEVEL,
	READ_PREFIX, /* pointer to text of argument bytes at most */
	READ_NFLOG_SIZE,
	READ_SET_REFERENCE,
	READ_SET_TIMEOUT,
	READ_SET_MARK, /* enum mark_operation */
	READ_REJECT,
	READ_DESTINATION,
	READ_REDIRECT,
	READ_NETMAP,
};

enum mark_operation {
	MARK_SET,
	MARK_XSET,
	MARK_AND,
	MARK_OR,
	MARK_XOR
};

enum {
	OPTION_INVERT = 1, /* may have a ! */
	OPTION_BARE = 2,   /* without a value */
	OPTION_TWO = 4,    /* with two values */
};

/* Options of one bit exclude each other: aliases, and alternatives of which there is one. */
struct option {
	char name[28];  /* without the -- */
	uint8_t owner;  /* the module's */
	uint8_t reader; /* enum reader */
	uint8_t flags;  /* OPTION_* */
	uint8_t bit;
	uint8_t argument;
	uint16_t offset;
};

struct module {
	char name[10];
	uint8_t kind;        /* enum match_kind or enum target_kind */
	uint8_t owner, also; /* of its options */
	uint8_t family;      /* AF_INET, AF_INET6 or 0 for both */
	uint8_t protocol;    /* that the rule must have, 0 if it need not */
	uint16_t size;     /* of the record that the match or target points to; 0: it is in there */
	uint32_t all, any; /* bits of options, of which all, or one at least, must be given */
};

/* What options of a target have as their owner; a match's have enum match_kind. */
#define TARGET(kind) (0x80 | (kind))

/* The match or target of this name; NULL if there is none, or none for the family */
const struct module *module_match(struct slice name, uint8_t family);
const struct module *module_target(struct slice name, uint8_t family);

/* A target that only the table nat has; NULL if there is none of this name */
const struct module *module_nat_target(struct slice name);

/* The match that -p PROTOCOL brings by itself; NULL if there is none */
const struct module *module_of_protocol(uint8_t protocol, uint8_t family);

const struct module *module_of_match(enum match_kind kind);

/* The option of the module; NULL if it has none of this name */
const struct option *module_option(const struct module *module, struct slice name);

/* The name of a module that has the option; NULL if none has */
const char *module_with_option(struct slice name, uint8_t family);

/* The next name of a match (or target) of the family, and NULL after the last; *index from 0 */
const char *module_next_name(bool target, uint8_t family, unsigned int *index);

/* Is it the name of a target of iptables, which no chain may have? */
bool module_is_target_name(struct slice name);

/* What an option's value is read from and into */
struct reading {
	struct ruleset *ruleset; /* whose memory is used */
	const struct module *module;
	const struct option *option;
	struct slice value, second; /* zero-terminated; second is that of OPTION_TWO */
	struct slice blame;         /* what is wrong, if only a part is: the value at first */
	bool invert;
	void *record;
};

/* What is said when memory is short: compare by address */
extern const char reason_memory[];

/* Read an option's value. Returns NULL, or why not: a text for people. */
const char *option_read(struct reading *reading);

/* Set what a record has if no option says otherwise. */
void module_defaults(const struct module *module, bool target, uint8_t family, void *record);

/* Finish a record when all options (seen, by bit) are read. Returns NULL or what is wrong. */
const char *module_finish(const struct module *module, bool target, uint32_t seen, void *record);

/* Memory that lives as long as the ruleset, all zero; NULL if there is none */
void *ruleset_alloc(struct ruleset *ruleset, size_t size);

/* Memory of another ruleset is this one's from now on. */
void ruleset_take_memory(struct ruleset *ruleset, struct ruleset *other);

#endif /* BPFW_FILTER_OPTION_H */
