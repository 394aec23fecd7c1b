/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"
#include "filter/names.h"
#include "filter/set_parse.h"
#include "filter/set_tree.h"

#define TOKENS 32      /* a line of all options has fewer */
#define TOKEN_SHOWN 60 /* of a token in a message */
#define MAXELEM 65536  /* ipset's default ... */
#define HASHSIZE 1024  /* ... both */
#define MAXELEM_MAX (1U << 24)

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif
#ifndef IPPROTO_SCTP
#define IPPROTO_SCTP 132
#endif

struct token {
	const char *text;
	size_t len;
	unsigned int column; /* from 1 on; 0: a word of the command line */
};

struct parser {
	const char *file;
	unsigned int line;
	struct token token[TOKENS];
	size_t tokens;
	size_t at; /* the next token */
	struct set_file *out;
	set_known known;
	void *context;
	bool plain; /* lines are entries, of two sets */
	char *error;
};

const char *set_kind_name(uint8_t kind)
{
	static const char *const names[SET_KINDS] = {
		[SET_HASH_IP] = "hash:ip",           [SET_HASH_NET] = "hash:net",
		[SET_HASH_IP_PORT] = "hash:ip,port", [SET_HASH_NET_PORT] = "hash:net,port",
		[SET_BITMAP_PORT] = "bitmap:port",
	};

	return kind < SET_KINDS ? names[kind] : NULL;
}

void set_entries_free(struct set_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(entries[i].comment);
	free(entries);
}

/* ---- Messages -------------------------------------------------------------------- */

static int fail(const struct parser *p, const struct token *token, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(const struct parser *p, const struct token *token, const char *format, ...)
{
	int used = 0, shown = token->len > TOKEN_SHOWN ? TOKEN_SHOWN : (int)token->len;
	va_list args;

	if (token->column)
		used = snprintf(p->error, SET_ERROR, "%.200s:%u:%u: ", p->file, p->line,
				token->column);
	used += snprintf(p->error + used, SET_ERROR - (size_t)used, "'%.*s': ", shown, token->text);
	va_start(args, format);
	vsnprintf(p->error + used, SET_ERROR - (size_t)used, format, args);
	va_end(args);
	return -EINVAL;
}

/* ---- Tokens ---------------------------------------------------------------------- */

static bool is(const struct token *token, const char *word)
{
	return strlen(word) == token->len && !memcmp(token->text, word, token->len);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/*
 * One token of a line; quoted ones may hold blanks and lose their quotes. Returns what is behind.
 */
static const char *read_token(const char *at, const char *end, struct token *token)
{
	const char *close;

	token->text = at;
	if (at < end && *at == '"') {
		close = memchr(at + 1, '"', (size_t)(end - at - 1));
		token->text = at + 1;
		token->len = (size_t)((close ? close : end) - at - 1);
		return close ? close + 1 : NULL;
	}
	while (at < end && !is_blank(*at))
		at++;
	token->len = (size_t)(at - token->text);
	return at;
}

static int read_line(struct parser *p, const char *start, const char *end)
{
	const char *at = start;

	p->tokens = 0;
	p->at = 0;
	while (true) {
		struct token *token = &p->token[p->tokens];

		while (at < end && is_blank(*at))
			at++;
		if (at == end || (*at == '#' && !p->tokens))
			return 0;
		token->column = (unsigned int)(at - start) + 1;
		at = read_token(at, end, token);
		if (!at)
			return fail(p, token, "the quotation is not closed");
		for (size_t i = 0; i < token->len; i++)
			if ((unsigned char)token->text[i] < ' ' || token->text[i] == 0x7f)
				return fail(p, token, "a control character");
		if (++p->tokens == TOKENS)
			return fail(p, token, "too many words in a line");
	}
}

static const struct token *next(struct parser *p)
{
	return p->at < p->tokens ? &p->token[p->at++] : NULL;
}

/* The word that must follow the last one. */
static const struct token *wanted(struct parser *p, const char *what, int *err)
{
	const struct token *token = next(p);

	if (!token)
		*err = fail(p, &p->token[p->at - 1], "%s is missing behind it", what);
	return token;
}

/* A copy for functions that want a 0 at the end; false if it does not fit. */
static bool copy(const struct token *token, char *to, size_t size)
{
	if (token->len >= size)
		return false;
	memcpy(to, token->text, token->len);
	to[token->len] = '\0';
	return true;
}

/* Decimal digits only. */
static bool to_number(const char *text, size_t len, uint64_t max, uint64_t *number)
{
	*number = 0;
	if (!len || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*number = *number * 10 + (uint64_t)(text[i] - '0');
	}
	return *number <= max;
}

static int read_number(struct parser *p, const char *what, uint64_t min, uint64_t max, uint32_t *to)
{
	uint64_t number;
	int err = 0;
	const struct token *token = wanted(p, what, &err);

	if (!token)
		return err;
	if (!to_number(token->text, token->len, max, &number) || number < min)
		return fail(p, token, "%s is a number from %llu to %llu", what,
			    (unsigned long long)min, (unsigned long long)max);
	*to = (uint32_t)number;
	return 0;
}

/* ---- create ---------------------------------------------------------------------- */

/* What would change what a set holds or tells, and is not supported. */
static const char *const refused_options[] = {
	"counters", "skbinfo", "forceadd", "netmask", "bitmask", "markmask", "wildcard", "size",
};

static bool is_refused(const struct token *token)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused_options); i++)
		if (is(token, refused_options[i]))
			return true;
	return false;
}

static int read_family(struct parser *p, struct set_info *info)
{
	int err = 0;
	const struct token *token = wanted(p, "a family", &err);

	if (!token)
		return err;
	if (is(token, "inet"))
		info->family = AF_INET;
	else if (is(token, "inet6"))
		info->family = AF_INET6;
	else
		return fail(p, token, "a family is inet or inet6");
	return 0;
}

/* "80" or "1024-65535" */
static bool to_ports(const char *text, size_t len, uint16_t *first, uint16_t *last)
{
	const char *dash = memchr(text, '-', len);
	size_t head = dash ? (size_t)(dash - text) : len;
	uint64_t low, high;

	if (!to_number(text, head, 65535, &low))
		return false;
	high = low;
	if (dash && !to_number(dash + 1, len - head - 1, 65535, &high))
		return false;
	*first = (uint16_t)low;
	*last = (uint16_t)high;
	return low <= high;
}

static int read_range(struct parser *p, struct set_info *info)
{
	int err = 0;
	const struct token *token = wanted(p, "a range of ports", &err);

	if (!token)
		return err;
	if (!memchr(token->text, '-', token->len) ||
	    !to_ports(token->text, token->len, &info->first, &info->last))
		return fail(p, token, "a range of ports is FIRST-LAST, from 0 to 65535");
	return 0;
}

static int read_hash_option(struct parser *p, const struct token *token, struct set_info *info)
{
	uint32_t ignored;
	int err = 0;

	if (is(token, "family"))
		return read_family(p, info);
	if (is(token, "hashsize"))
		return read_number(p, "hashsize", 1, UINT32_MAX, &info->hashsize);
	if (is(token, "maxelem"))
		return read_number(p, "maxelem", 1, MAXELEM_MAX, &info->maxelem);
	/* How ipset keeps its hash is no concern here. */
	if (is(token, "bucketsize"))
		return read_number(p, "bucketsize", 1, UINT32_MAX, &ignored);
	if (is(token, "initval"))
		return wanted(p, "a number", &err) ? 0 : err;
	if (is_refused(token))
		return fail(p, token, "this option is not supported");
	return fail(p, token, "no option of %s", set_kind_name(info->kind));
}

static int read_create_option(struct parser *p, const struct token *token, struct set_info *info)
{
	if (is(token, "timeout")) {
		info->flags |= SET_WITH_TIMEOUT;
		return read_number(p, "timeout", 0, SET_TIMEOUT_MAX, &info->timeout);
	}
	if (is(token, "comment")) {
		info->flags |= SET_WITH_COMMENT;
		return 0;
	}
	if (info->kind == SET_BITMAP_PORT && is(token, "range"))
		return read_range(p, info);
	if (info->kind == SET_BITMAP_PORT)
		return fail(p, token,
			    is_refused(token) ? "this option is not supported" :
						"no option of bitmap:port");
	return read_hash_option(p, token, info);
}

static int read_kind(struct parser *p, struct set_info *info)
{
	int err = 0;
	const struct token *token = wanted(p, "the type of the set", &err);

	if (!token)
		return err;
	for (unsigned int kind = SET_NONE + 1; kind < SET_KINDS; kind++)
		if (is(token, set_kind_name((uint8_t)kind)))
			info->kind = (uint8_t)kind;
	if (info->kind == SET_NONE)
		return fail(p, token,
			    "this type is not supported: hash:ip, hash:net, hash:ip,port, "
			    "hash:net,port and bitmap:port are");
	return 0;
}

static int read_name(struct parser *p, char name[SET_NAME_LEN])
{
	int err = 0;
	const struct token *token = wanted(p, "the name of a set", &err);

	if (!token)
		return err;
	if (!token->len || !copy(token, name, SET_NAME_LEN))
		return fail(p, token, "a name has 1 to %d characters", SET_NAME_LEN - 1);
	/* It is printed as it is, and rules name it. */
	if (strpbrk(name, " \","))
		return fail(p, token, "a name has no blanks, quotation marks and commas");
	/* Commands would take it for an option, and rules for a negation. */
	if (name[0] == '-' || !strcmp(name, "!"))
		return fail(p, token, "a name does not begin with '-', and is not '!'");
	return 0;
}

/* All behind "create". */
static int read_create(struct parser *p, struct set_info *info)
{
	const struct token *token;
	int err;

	memset(info, 0, sizeof(*info));
	err = read_name(p, info->name);
	if (!err)
		err = read_kind(p, info);
	if (err)
		return err;
	if (info->kind != SET_BITMAP_PORT) {
		info->family = AF_INET;
		info->hashsize = HASHSIZE;
		info->maxelem = MAXELEM;
	} else {
		info->first = 1; /* until there is a range: none */
		info->maxelem = 65536;
	}
	while (!err && (token = next(p)))
		err = read_create_option(p, token, info);
	if (!err && info->first > info->last)
		return fail(p, &p->token[p->at - 1], "bitmap:port needs a range");
	return err;
}

/* ---- Entries --------------------------------------------------------------------- */

static const struct protocol_name {
	const char *name;
	uint8_t number;
} protocols[] = {
	{ "tcp", IPPROTO_TCP },   { "udp", IPPROTO_UDP },       { "sctp", IPPROTO_SCTP },
	{ "icmp", IPPROTO_ICMP }, { "icmpv6", IPPROTO_ICMPV6 }, { "udplite", IPPROTO_UDPLITE },
};

/* The types that `ipset save` most likely gives by name. */
static const struct set_icmp_name {
	const char *name;
	uint8_t protocol, type;
} set_icmp_names[] = {
	{ "echo-reply", IPPROTO_ICMP, 0 },       { "pong", IPPROTO_ICMP, 0 },
	{ "echo-request", IPPROTO_ICMP, 8 },     { "ping", IPPROTO_ICMP, 8 },
	{ "echo-request", IPPROTO_ICMPV6, 128 }, { "ping", IPPROTO_ICMPV6, 128 },
	{ "echo-reply", IPPROTO_ICMPV6, 129 },   { "pong", IPPROTO_ICMPV6, 129 },
};

static bool has_port(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE;
}

static bool is_icmp(uint8_t protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static int read_address(struct parser *p, const struct token *token, const struct set_info *info,
			struct set_entry *entry)
{
	const uint8_t whole = info->family == AF_INET ? 32 : 128;
	const char *slash = memchr(token->text, '/', token->len);
	struct token address = *token;
	char text[INET6_ADDRSTRLEN];
	uint64_t length = whole;

	if (slash) {
		address.len = (size_t)(slash - token->text);
		if (!to_number(slash + 1, token->len - address.len - 1, whole, &length))
			return fail(p, token, "the length of a prefix is 0 to %u", whole);
		if ((info->kind == SET_HASH_IP || info->kind == SET_HASH_IP_PORT) && length < whole)
			return fail(p, token, "a set of type %s takes addresses, no prefixes",
				    set_kind_name(info->kind));
	}
	if (!copy(&address, text, sizeof(text)) || inet_pton(info->family, text, entry->addr) != 1)
		return fail(p, token,
			    memchr(address.text, '-', address.len) ?
				    "ranges of addresses are not supported" :
				    "no %s address",
			    info->family == AF_INET ? "IPv4" : "IPv6");
	entry->length = (uint8_t)length;
	return 0;
}

/* ipset has those of /etc/protocols. 0: none. */
static uint8_t find_protocol(const struct token *token)
{
	const struct slice text = { token->text, token->len };
	const struct name *name;

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (is(token, protocols[i].name))
			return protocols[i].number;
	name = name_find(protocol_names, text, false);
	return name ? (uint8_t)name->value : 0;
}

/* "80", "tcp:80", "icmp:8/0", "icmp:echo-request", "47:0" */
static int read_port(struct parser *p, const struct token *token, struct set_entry *entry)
{
	const char *colon = memchr(token->text, ':', token->len), *slash;
	struct token head = { token->text, colon ? (size_t)(colon - token->text) : 0, 0 };
	struct token port = *token;
	uint64_t number, code;

	entry->protocol = IPPROTO_TCP;
	if (colon) {
		port.text = colon + 1;
		port.len = token->len - head.len - 1;
		if (to_number(head.text, head.len, 255, &number)) {
			entry->protocol = (uint8_t)number;
		} else {
			entry->protocol = find_protocol(&head);
		}
		if (!entry->protocol)
			return fail(p, token, "no protocol's name or number (1 to 255)");
	}
	slash = memchr(port.text, '/', port.len);
	if (is_icmp(entry->protocol)) {
		for (size_t i = 0; i < ARRAY_SIZE(set_icmp_names); i++) {
			if (set_icmp_names[i].protocol == entry->protocol &&
			    is(&port, set_icmp_names[i].name)) {
				entry->port = (uint16_t)(set_icmp_names[i].type << 8);
				return 0;
			}
		}
		if (!slash || !to_number(port.text, (size_t)(slash - port.text), 255, &number) ||
		    !to_number(slash + 1, port.len - (size_t)(slash - port.text) - 1, 255, &code))
			return fail(p, token, "an ICMP type is TYPE/CODE, in numbers");
		entry->port = (uint16_t)(number << 8 | code);
		return 0;
	}
	if (!to_number(port.text, port.len, has_port(entry->protocol) ? 65535 : 0, &number))
		return fail(p, token,
			    has_port(entry->protocol) ? "a port is a number from 0 to 65535" :
							"a protocol without ports has port 0");
	entry->port = (uint16_t)number;
	return 0;
}

static int read_key(struct parser *p, const struct set_info *info, struct set_entry *entry)
{
	int err = 0;
	const struct token *token = wanted(p, "an entry", &err);
	struct token address, port;
	const char *comma;

	if (!token)
		return err;
	if (info->kind == SET_BITMAP_PORT) {
		if (!to_ports(token->text, token->len, &entry->port, &entry->port_last))
			return fail(p, token, "an entry is PORT or FIRST-LAST");
		if (entry->port < info->first || entry->port_last > info->last)
			return fail(p, token, "the set's range is %u-%u", info->first, info->last);
		return 0;
	}
	address = *token;
	comma = memchr(token->text, ',', token->len);
	if (info->kind == SET_HASH_IP || info->kind == SET_HASH_NET)
		return comma ? fail(p, token, "a set of type %s has no ports",
				    set_kind_name(info->kind)) :
			       read_address(p, token, info, entry);
	if (!comma)
		return fail(p, token, "a port is missing: ADDRESS,PROTOCOL:PORT");
	address.len = (size_t)(comma - token->text);
	port = *token;
	port.text = comma + 1;
	port.len = token->len - address.len - 1;
	if (port.column)
		port.column += (unsigned int)address.len + 1;
	err = read_address(p, &address, info, entry);
	return err ? err : read_port(p, &port, entry);
}

static int read_comment(struct parser *p, struct set_entry *entry)
{
	int err = 0;
	const struct token *token = wanted(p, "the text", &err);

	if (!token)
		return err;
	if (token->len >= SET_COMMENT_LEN)
		return fail(p, token, "a comment has %d bytes at most", SET_COMMENT_LEN - 1);
	if (memchr(token->text, '"', token->len))
		return fail(p, token, "a comment has no quotation marks");
	free(entry->comment);
	entry->comment = strndup(token->text, token->len);
	return entry->comment ? 0 : -ENOMEM;
}

static int read_entry_option(struct parser *p, const struct token *token,
			     const struct set_info *info, struct set_entry *entry)
{
	if (is(token, "timeout")) {
		if (!(info->flags & SET_WITH_TIMEOUT))
			return fail(p, token, "the set was created without timeout");
		entry->timed = true;
		return read_number(p, "timeout", 0, SET_TIMEOUT_MAX, &entry->timeout);
	}
	if (is(token, "comment")) {
		if (!(info->flags & SET_WITH_COMMENT))
			return fail(p, token, "the set was created without comment");
		return read_comment(p, entry);
	}
	if (is(token, "nomatch")) {
		if (info->kind != SET_HASH_NET && info->kind != SET_HASH_NET_PORT)
			return fail(p, token, "only prefixes can be exceptions");
		entry->nomatch = true;
		return 0;
	}
	return fail(p, token,
		    "this option of an entry is not supported: timeout, comment and "
		    "nomatch are");
}

static void mask_entry(const struct set_info *info, struct set_entry *entry)
{
	struct set_net net = { .length = entry->length };

	if (info->kind == SET_BITMAP_PORT)
		return;
	net.addr = set_addr_read(info->family, entry->addr);
	set_net_mask(info->family, &net);
	set_addr_write(info->family, &net.addr, entry->addr);
}

/* All behind the name of the set. The comment is the caller's, be there an error or not. */
static int read_entry(struct parser *p, const struct set_info *info, struct set_entry *entry)
{
	const struct token *token;
	int err;

	memset(entry, 0, sizeof(*entry));
	err = read_key(p, info, entry);
	while (!err && (token = next(p)))
		err = read_entry_option(p, token, info, entry);
	if (!err)
		mask_entry(info, entry);
	return err;
}

/* ---- Files ----------------------------------------------------------------------- */

static struct set_part *find_part(const struct set_file *file, const char *name)
{
	for (size_t i = file->count; i > 0; i--)
		if (!strcmp(file->parts[i - 1].info.name, name))
			return &file->parts[i - 1];
	return NULL;
}

static struct set_part *add_part(struct set_file *file, const struct set_info *info, bool create)
{
	struct set_part *grown;

	grown = realloc(file->parts, (file->count + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	file->parts = grown;
	grown[file->count] = (struct set_part){ .info = *info, .create = create };
	return &grown[file->count++];
}

static int parse_create(struct parser *p)
{
	struct set_info info;
	int err = read_create(p, &info);

	if (err)
		return err;
	if (find_part(p->out, info.name))
		return fail(p, &p->token[1], "the set is in this file already");
	if (p->out->count >= SET_MAX)
		return fail(p, &p->token[1], "more than %d sets", SET_MAX);
	return add_part(p->out, &info, true) ? 0 : -ENOMEM;
}

/* The set that an `add` line names. */
static int find_set(struct parser *p, struct set_part **part)
{
	char name[SET_NAME_LEN];
	const struct set_info *info;
	int err = read_name(p, name);

	if (err)
		return err;
	*part = find_part(p->out, name);
	if (*part)
		return 0;
	info = p->known ? p->known(p->context, name) : NULL;
	if (!info || p->out->count >= SET_MAX)
		return fail(p, &p->token[1], "there is no such set: create it before");
	*part = add_part(p->out, info, false);
	return *part ? 0 : -ENOMEM;
}

static int append_entry(struct parser *p, struct set_part *part)
{
	struct set_entry entry, *grown;
	int err;

	if (part->count >= part->info.maxelem)
		return fail(p, &p->token[p->at], "more than maxelem, %u entries",
			    part->info.maxelem);
	if (part->count == part->room) {
		grown = realloc(part->entries, (part->room * 2 + 16) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		part->entries = grown;
		part->room = part->room * 2 + 16;
	}
	err = read_entry(p, &part->info, &entry);
	if (err)
		free(entry.comment);
	else
		part->entries[part->count++] = entry;
	return err;
}

static int parse_add(struct parser *p)
{
	struct set_part *part;
	int err = find_set(p, &part);

	if (!err && p->at == p->tokens)
		return fail(p, &p->token[p->at - 1], "an entry is missing behind it");
	return err ? err : append_entry(p, part);
}

/* A line of a plain list: an entry of the first or, with colons, of the second part. */
static int parse_plain(struct parser *p)
{
	const struct token *token = &p->token[0];
	const bool ipv6 = memchr(token->text, ':', token->len);

	return append_entry(p, &p->out->parts[ipv6 ? 1 : 0]);
}

static int parse_line(struct parser *p, const char *start, const char *end)
{
	const struct token *verb;
	int err = read_line(p, start, end);

	if (err || !p->tokens)
		return err;
	if (p->plain)
		return parse_plain(p);
	verb = next(p);
	if (is(verb, "create"))
		return parse_create(p);
	if (is(verb, "add"))
		return parse_add(p);
	return fail(p, verb, "a line begins with create or add, as ipset save prints them");
}

static int parse_lines(struct parser *p, const char *text, size_t len)
{
	const char *end = text + len, *stop;
	int err = 0;

	for (; text < end && !err; text = stop < end ? stop + 1 : end) {
		stop = memchr(text, '\n', (size_t)(end - text));
		if (!stop)
			stop = end;
		p->line++;
		err = parse_line(p, text, stop);
	}
	if (err == -ENOMEM)
		snprintf(p->error, SET_ERROR, "%.200s:%u: out of memory", p->file, p->line);
	return err;
}

int set_parse(const char *file, const char *text, size_t len, set_known known, void *context,
	      struct set_file *out, char error[SET_ERROR])
{
	struct parser p = { .file = file, .out = out, .known = known, .context = context };

	p.error = error;
	*out = (struct set_file){ 0 };
	return parse_lines(&p, text, len);
}

int set_parse_plain(const char *file, const char *text, size_t len, const struct set_info infos[2],
		    struct set_file *out, char error[SET_ERROR])
{
	struct parser p = { .file = file, .out = out, .plain = true };

	p.error = error;
	*out = (struct set_file){ 0 };
	for (size_t i = 0; i < 2; i++)
		if (!add_part(out, &infos[i], false))
			return -ENOMEM;
	return parse_lines(&p, text, len);
}

void set_file_free(struct set_file *file)
{
	for (size_t i = 0; i < file->count; i++)
		set_entries_free(file->parts[i].entries, file->parts[i].count);
	free(file->parts);
	*file = (struct set_file){ 0 };
}

/* ---- The command line ------------------------------------------------------------ */

static int take_words(struct parser *p, int argc, char *const argv[])
{
	/* What is missing is missing behind this. */
	p->token[0] = (struct token){ "set", 3, 0 };
	p->at = 1;
	p->tokens = 1;
	for (int i = 0; i < argc; i++) {
		struct token *token = &p->token[p->tokens];

		*token = (struct token){ argv[i], strlen(argv[i]), 0 };
		if (++p->tokens == TOKENS)
			return fail(p, token, "too many words");
		for (size_t k = 0; k < token->len; k++)
			if ((unsigned char)token->text[k] < ' ' || token->text[k] == 0x7f)
				return fail(p, token, "a control character");
	}
	return 0;
}

int set_parse_create(int argc, char *const argv[], struct set_info *info, char error[SET_ERROR])
{
	struct parser p = { 0 };
	int err;

	p.error = error;
	err = take_words(&p, argc, argv);
	return err ? err : read_create(&p, info);
}

int set_parse_entry(const struct set_info *info, int argc, char *const argv[],
		    struct set_entry *entry, char error[SET_ERROR])
{
	struct parser p = { 0 };
	int err;

	p.error = error;
	err = take_words(&p, argc, argv);
	memset(entry, 0, sizeof(*entry));
	if (!err)
		err = read_entry(&p, info, entry);
	if (err) {
		free(entry->comment);
		entry->comment = NULL;
	}
	return err;
}

/* ---- Printing -------------------------------------------------------------------- */

static size_t print_port(const struct set_entry *entry, char *text, size_t size)
{
	char number[16];
	const char *name = number;

	snprintf(number, sizeof(number), "%u", entry->protocol);
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (protocols[i].number == entry->protocol)
			name = protocols[i].name;
	if (is_icmp(entry->protocol))
		return (size_t)snprintf(text, size, ",%s:%u/%u", name, entry->port >> 8,
					entry->port & 0xff);
	return (size_t)snprintf(text, size, ",%s:%u", name, entry->port);
}

void set_print_entry(const struct set_info *info, const struct set_entry *entry,
		     char text[SET_ENTRY_TEXT])
{
	const bool net = info->kind == SET_HASH_NET || info->kind == SET_HASH_NET_PORT;
	size_t used;

	if (info->kind == SET_BITMAP_PORT) {
		snprintf(text, SET_ENTRY_TEXT, entry->port_last > entry->port ? "%u-%u" : "%u",
			 entry->port, entry->port_last);
		return;
	}
	inet_ntop(info->family, entry->addr, text, INET6_ADDRSTRLEN);
	used = strlen(text);
	if (net && entry->length < (info->family == AF_INET ? 32 : 128))
		used += (size_t)snprintf(text + used, SET_ENTRY_TEXT - used, "/%u", entry->length);
	if (info->kind == SET_HASH_IP_PORT || info->kind == SET_HASH_NET_PORT)
		print_port(entry, text + used, SET_ENTRY_TEXT - used);
}

void set_print_create(FILE *to, const struct set_info *info)
{
	fprintf(to, "create %s %s", info->name, set_kind_name(info->kind));
	if (info->kind == SET_BITMAP_PORT)
		fprintf(to, " range %u-%u", info->first, info->last);
	else
		fprintf(to, " family %s hashsize %u maxelem %u",
			info->family == AF_INET ? "inet" : "inet6", info->hashsize, info->maxelem);
	if (info->flags & SET_WITH_TIMEOUT)
		fprintf(to, " timeout %u", info->timeout);
	fputs(info->flags & SET_WITH_COMMENT ? " comment\n" : "\n", to);
}

void set_print_add(FILE *to, const struct set_info *info, const struct set_entry *entry)
{
	char text[SET_ENTRY_TEXT];

	set_print_entry(info, entry, text);
	fprintf(to, "add %s %s", info->name, text);
	if (info->flags & SET_WITH_TIMEOUT)
		fprintf(to, " timeout %u", entry->timed ? entry->timeout : 0);
	if (entry->nomatch)
		fputs(" nomatch", to);
	if (entry->comment)
		fprintf(to, " comment \"%s\"", entry->comment);
	fputc('\n', to);
}
