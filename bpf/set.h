/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets: is this address, or address and port, in set number N? And additions and removals by rules.
 * The maps are those that `bpfw set` pinned (set_layout.h): whoever loads the object gives their
 * descriptors to libbpf before (bpf_map__reuse_fd(), src/filter/set.h).
 */
#ifndef BPFW_SET_H
#define BPFW_SET_H

#include "uapi.h"
#include "set_layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SET_MAX);
	__type(key, __u32); /* number of a set */
	__type(value, struct set_info);
} set_info SEC(".maps");

/* Sizes, not types: clang leaves out of BTF what only the definition of an inner map names. */
struct set_cells {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct set_cell));
};

struct set_hash {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct set_key));
	__uint(value_size, sizeof(struct set_value));
};

struct set_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct set_trie_key));
	__uint(value_size, sizeof(struct set_value));
};

#define SET_SLOTS(name, of, slots)                        \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); \
		__uint(max_entries, slots);               \
		__type(key, __u32);                       \
		__array(values, struct of);               \
	} name SEC(".maps")

SET_SLOTS(set_cells, set_cells, 2 * SET_MAX);
SET_SLOTS(set_hash, set_hash, SET_MAX);
SET_SLOTS(set_trie, set_trie, SET_MAX);

/* What is looked for. A rule says which of the packet's addresses and ports go in. */
struct set_query {
	__be32 addr[4]; /* IPv4: the first one, the others are 0 */
	__be16 port;    /* ICMP: type and code */
	__u8 protocol;
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 ported; /* the packet has a port: not in later fragments */
	__u8 pad;
};

/*
 * The clock as it was when somebody read it, above the low half of that jiffy and itself: to read
 * it takes longer than all else of a lookup in the caches (45 ns of 75). Both only go forward, so
 * that halves of two writes, as a 32-bit CPU may meet them, are not taken for one.
 */
static volatile __u64 set_clock_read;

static __always_inline __u32 set_clock(void)
{
	const __u32 jiffy = bpf_jiffies64();
	__u64 read = set_clock_read;
	__u32 clock = read >> 32;

	if (!clock || (__u32)read != jiffy + clock) {
		clock = bpf_ktime_get_boot_ns() >> SET_CLOCK_SHIFT;
		set_clock_read = (__u64)clock << 32 | (__u32)(jiffy + clock);
	}
	return clock;
}

static __always_inline bool set_alive(__u32 end)
{
	return end == SET_FOREVER || end > set_clock();
}

/* ---- hash:net -------------------------------------------------------------------- */

static __always_inline struct set_cell *set_cell(void *cells, __u32 number)
{
	return bpf_map_lookup_elem(cells, &number);
}

/*
 * a < b as 1 or 0, by arithmetic: what is looked for is in a random place of a node, a jump would
 * be mispredicted half of the time. The compiler must not know better (barrier_var()).
 */
static __always_inline __u64 set_below32(__u64 a, __u64 b)
{
	a -= b;
	barrier_var(a);
	return a >> 63;
}

static __always_inline __u64 set_below64(__u64 a, __u64 b)
{
	__u64 less = (~a & b) | ((~a | b) & (a - b));

	barrier_var(less);
	return less >> 63;
}

/* How many of `words` last addresses lie before the address: the number of its child. */
static __always_inline __u32 set_place4(const __u32 *last, int words, __u32 addr)
{
	__u64 place = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		place += set_below32(last[i], addr);
	return place;
}

/* Whether one address is 128 bits: in host byte order. */
struct set_addr6 {
	__u64 high;
	__u64 low;
};

/* The upper halves decide, unless one is equal and the set has prefixes that long. */
static __always_inline __u32 set_place6(void *cells, const struct set_cell *node, __u32 low_at,
					const struct set_addr6 *addr, bool wide)
{
	const struct set_cell *low;
	__u64 place = 0, equal = 0;

#pragma unroll
	for (int i = 0; i < 8; i++)
		place += set_below64(node->quad[i], addr->high);
	if (!wide)
		return place;
	low = set_cell(cells, low_at);
	if (!low)
		return place;
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (node->quad[i] == addr->high)
			equal += set_below64(low->quad[i], addr->low);
	return place + equal;
}

/* What a leaf's state comes to now. */
static __always_inline __u32 set_fast_state(__u32 state, __u32 until)
{
	if (state != SET_FAST_UNTIL)
		return state;
	return until > set_clock() ? SET_FAST_IN : SET_FAST_LOOK;
}

/* What set_fast4 says of an address: SET_FAST_OUT, SET_FAST_IN or SET_FAST_LOOK. */
static __always_inline __u32 set_fast4(void *cells, __u32 table, __u32 addr)
{
	__u32 at = addr >> (32 - SET_FAST_BITS), shift = 32 - SET_FAST_BITS - 4, word;
	struct set_cell *cell = set_cell(cells, table + at / SET_FAST_WORDS);
	__u64 place = 0;

	if (!cell)
		return SET_FAST_LOOK;
	word = cell->word[at % SET_FAST_WORDS];
	for (int i = 0; i < 3 && (word & SET_FAST_KIND) == SET_FAST_TABLE; i++, shift -= 4) {
		cell = set_cell(cells, word >> SET_FAST_SHIFT);
		if (!cell)
			return SET_FAST_LOOK;
		word = cell->word[(addr >> (shift & 31)) % SET_FAST_WORDS];
	}
	if ((word & SET_FAST_KIND) < SET_FAST_LEAF)
		return word & SET_FAST_KIND;
	cell = set_cell(cells, word >> SET_FAST_SHIFT);
	if (!cell)
		return SET_FAST_LOOK;
	addr &= 0xffff;
#pragma unroll
	for (int i = 0; i < SET_FAST_LASTS; i++)
		place += set_below32(cell->fast4.last[i], addr);
	return set_fast_state((cell->fast4.states >> (place * 2 & 63)) & 3, cell->fast4.until);
}

/* Which entries of a leaf's cell have the bits: without jumps, as above. */
static __always_inline __u32 set_fast6_leaf(void *cells, __u32 number, __u64 bits)
{
	const struct set_cell *cell = set_cell(cells, number);
	const struct set_fast6 *leaf;
	__u64 found = 1, differ;
	__u32 state;

	if (!cell)
		return SET_FAST_LOOK;
	leaf = &cell->fast6;
#pragma unroll
	for (int i = 0; i < SET_FAST6_ENTRIES; i++) {
		differ = ((leaf->entry[i] ^ bits) >> (leaf->entry[i] & 63)) - 1;
		barrier_var(differ);
		found = found << 1 | differ >> 63;
	}
	found &= -found;
	/* Of each whether it has the bit, as 1 or 0. */
	state = (((leaf->in & found) + 0xff) >> 8) | (((leaf->look & found) + 0xff) >> 8) << 1;
	return set_fast_state(state, leaf->until);
}

/* What the trie says of an address: SET_FAST_OUT, SET_FAST_IN, or anything else: look. */
static __always_inline __u32 set_fast6(void *cells, const struct set_head *head, __u64 bits)
{
	const __u32 trie = head->fast, skip = head->fast_skip;
	__u32 word = *(const volatile __u32 *)&head->fast_word, count;
	const struct set_cell *cell;

	if (skip && (bits ^ head->fast_bits) >> (-skip & 63))
		return head->fast_other;
	bits <<= skip & 63;
	for (int i = 0; i < SET_FAST6_STEPS; i++) {
		count = word >> SET_FAST_SHIFT & SET_FAST6_ARGUMENT;
		if ((word & SET_FAST_KIND) == SET_FAST_TABLE) {
			const __u32 at = bits >> (-count & 63);

			cell = set_cell(cells,
					trie + (word >> SET_FAST6_SHIFT) + at / SET_FAST_WORDS);
			if (!cell)
				return SET_FAST_LOOK;
			word = cell->word[at % SET_FAST_WORDS];
		} else if ((word & SET_FAST_KIND) == SET_FAST_SKIP) {
			cell = set_cell(cells, trie + (word >> SET_FAST6_SHIFT));
			if (!cell)
				return SET_FAST_LOOK;
			word = (cell->skip.bits ^ bits) >> (-count & 63) ? cell->skip.other :
									   cell->skip.same;
		} else {
			break;
		}
		bits <<= count;
	}
	if ((word & SET_FAST_KIND) != SET_FAST_LEAF)
		return word & SET_FAST_KIND;
	count = word >> SET_FAST_SHIFT & SET_FAST6_ARGUMENT;
	word = trie + (word >> SET_FAST6_SHIFT) + (bits >> 1 >> (63 - count));
	return set_fast6_leaf(cells, word, bits << count);
}

/* The label of the range that the address is in. */
static __always_inline __u32 set_label4(void *cells, const struct set_directory *directory,
					__u32 addr)
{
	__u32 node = 0, at;
	const struct set_cell *cell;

	for (__u32 i = 0; i < SET_LEVELS && i < directory->levels; i++) {
		cell = set_cell(cells, directory->level[i] + node);
		if (!cell)
			return 0;
		node = node * 16 + set_place4(cell->word, 16, addr);
	}
	at = directory->index + node;
	for (__u32 i = 0; i < 2; i++) {
		cell = set_cell(cells, at);
		if (!cell)
			return 0;
		at = cell->node4.value[set_place4(cell->node4.last, 8, addr) & 7];
	}
	return at;
}

static __always_inline __u32 set_label6(void *cells, const struct set_directory *directory,
					const struct set_addr6 *addr)
{
	const bool wide = directory->wide;
	__u32 node = 0, at;
	const struct set_cell *cell, *values;

	for (__u32 i = 0; i < SET_LEVELS && i < directory->levels; i++) {
		at = directory->level[i] + node * 2;
		cell = set_cell(cells, at);
		if (!cell)
			return 0;
		node = node * 8 + set_place6(cells, cell, at + 1, addr, wide);
	}
	at = directory->index + node * 3;
	for (__u32 i = 0; i < 2; i++) {
		cell = set_cell(cells, at);
		values = set_cell(cells, at + 1);
		if (!cell || !values)
			return 0;
		at = values->word[set_place6(cells, cell, at + 2, addr, wide) & 7];
	}
	return at;
}

/* From the longest prefix on, the first that has not ended decides. */
static __always_inline bool set_decide(void *cells, __u32 prefixes, __u32 label)
{
	__u32 number = label >> SET_LABEL_SHIFT;

	if (!(label & SET_LABEL_LOOK))
		return number;
	for (int i = 0; i < 129 && number; i++) {
		const struct set_cell *cell = set_cell(cells, prefixes + number / SET_PREFIXES);
		const struct set_prefix *prefix;

		if (!cell)
			return false;
		prefix = &cell->prefix[number % SET_PREFIXES];
		if (set_alive(prefix->end))
			return !(prefix->flags & SET_NOMATCH);
		number = prefix->parent;
	}
	return false;
}

/* The label of what an address belongs to, as the ranges say. */
static __always_inline __u32 set_label(void *cells, const struct set_head *head,
				       const struct set_addr6 *addr, __u8 family)
{
	const struct set_cell *cell = set_cell(cells, *(const volatile __u32 *)&head->root);

	if (!cell)
		return 0;
	return family == AF_INET ? set_label4(cells, &cell->directory, addr->high) :
				   set_label6(cells, &cell->directory, addr);
}

static __always_inline bool set_match_net(__u32 set, struct set_query *query)
{
	void *cells = bpf_map_lookup_elem(&set_cells, &set);
	struct set_addr6 addr = { bpf_ntohl(query->addr[0]), 0 };
	const struct set_cell *head;
	__u32 says = SET_FAST_LOOK, label;

	if (!cells)
		return false;
	head = set_cell(cells, 0);
	if (!head || head->head.family != query->family)
		return false;
	if (query->family == AF_INET) {
		if (head->head.fast)
			says = set_fast4(cells, head->head.fast, addr.high);
	} else {
		addr.high = addr.high << 32 | bpf_ntohl(query->addr[1]);
		addr.low = (__u64)bpf_ntohl(query->addr[2]) << 32 | bpf_ntohl(query->addr[3]);
		if (head->head.fast)
			says = set_fast6(cells, &head->head, addr.high);
	}
	/* One way on from here: else the verifier walks what follows for each way to here. */
	barrier_var(says);
	if (says < SET_FAST_LOOK)
		return says == SET_FAST_IN;
	label = set_label(cells, &head->head, &addr, query->family);
	return set_decide(cells, head->head.first_prefix, label);
}

/* ---- The other kinds --------------------------------------------------------------- */

static __always_inline void set_key_of(struct set_key *key, const struct set_info *info,
				       const struct set_query *query)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->addr, query->addr, sizeof(key->addr));
	if (info->kind == SET_HASH_IP_PORT) {
		key->port = query->port;
		key->protocol = query->protocol;
	}
}

/* ---- In front of a hash map -------------------------------------------------------- */

static __always_inline bool set_is_narrow(const struct set_info *info)
{
	return info->kind == SET_HASH_IP && info->family == AF_INET;
}

static __always_inline bool set_same_key(const struct set_key *a, const struct set_key *b)
{
	return a->addr[0] == b->addr[0] && a->addr[3] == b->addr[3] && a->addr[1] == b->addr[1] &&
	       a->addr[2] == b->addr[2] && a->port == b->port && a->protocol == b->protocol &&
	       a->pad == b->pad;
}

/* The key's place in a bucket, from 1 on; 0 if it is not there. */
static __always_inline __u32 set_front_place(const struct set_cell *cell, bool narrow,
					     const struct set_key *key)
{
	__u64 place = 0, differ;

	if (narrow) {
#pragma unroll
		for (__u32 i = 0; i < SET_FRONT_ADDRS; i++) {
			differ = cell->front4.addr[i] ^ key->addr[0];
			barrier_var(differ);
			place += ((differ - 1) >> 63) * (i + 1);
		}
		return place;
	}
	for (__u32 i = 0; i < SET_FRONT_KEYS; i++)
		if (set_same_key(&cell->wide.key[i], key))
			return i + 1;
	return 0;
}

/* The key's bucket, NULL if there is no front; `ready`: or none that can be asked. */
static __always_inline struct set_cell *set_front(__u32 set, const struct set_key *key, bool ready,
						  __u32 *since)
{
	const __u32 number = SET_FRONT + set;
	void *cells = bpf_map_lookup_elem(&set_cells, &number);
	const struct set_cell *head = cells ? set_cell(cells, 0) : NULL;

	if (!head || (ready && !*(const volatile __u32 *)&head->front.ready))
		return NULL;
	*since = head->front.since;
	return set_cell(cells, 1 + set_front_bucket(&head->front, key));
}

enum set_front_says {
	SET_FRONT_OUT,
	SET_FRONT_IN,
	SET_FRONT_ASK, /* the map */
};

static __always_inline enum set_front_says set_front_says(__u32 set, const struct set_info *info,
							  const struct set_key *key)
{
	const bool narrow = set_is_narrow(info);
	__u32 since, place;
	const struct set_cell *cell = set_front(set, key, true, &since);
	__u8 span;

	if (!cell || (narrow && !key->addr[0]))
		return SET_FRONT_ASK;
	place = set_front_place(cell, narrow, key);
	if (!place)
		return cell->front4.ask ? SET_FRONT_ASK : SET_FRONT_OUT;
	place--;
	span = narrow ? cell->byte[__builtin_offsetof(struct set_front4, span) + (place & 15)] :
			cell->byte[__builtin_offsetof(struct set_front_wide, span) + (place & 3)];
	if (span == SET_SPAN_FOREVER)
		return SET_FRONT_IN;
	/* At most when the clock comes to this has the entry ended. */
	return set_clock() >> SET_SPAN_SHIFT < since + set_span_units(span) ? SET_FRONT_IN :
									      SET_FRONT_ASK;
}

/* Before a change of the map, unless an entry only gets a later end. */
static __always_inline void set_front_touch(__u32 set, const struct set_info *info,
					    const struct set_key *key)
{
	const bool narrow = set_is_narrow(info);
	__u32 since;
	struct set_cell *cell = set_front(set, key, false, &since);

	if (!cell)
		return;
	*(volatile __u8 *)&cell->front4.ask = SET_FRONT_TOUCHED;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; narrow && i < SET_FRONT_ADDRS; i++)
		if (cell->front4.addr[i] == key->addr[0])
			cell->front4.addr[i] = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; !narrow && i < SET_FRONT_KEYS; i++)
		if (set_same_key(&cell->wide.key[i], key))
			cell->wide.key[i].pad = 1;
}

static __always_inline bool set_match_hash(__u32 set, const struct set_info *info,
					   struct set_query *query)
{
	const struct set_value *value;
	enum set_front_says says;
	struct set_key key;
	void *hash;

	set_key_of(&key, info, query);
	says = set_front_says(set, info, &key);
	if (says != SET_FRONT_ASK)
		return says == SET_FRONT_IN;
	hash = bpf_map_lookup_elem(&set_hash, &set);
	value = hash ? bpf_map_lookup_elem(hash, &key) : NULL;
	return value && set_alive(value->end);
}

/* From the longest prefix on, as far as they have ended. */
static __always_inline bool set_match_net_port(__u32 set, struct set_query *query)
{
	void *trie = bpf_map_lookup_elem(&set_trie, &set);
	struct set_trie_key key = {
		.bits = SET_TRIE_PORT + (query->family == AF_INET ? 32 : 128),
		.protocol = query->protocol,
		.port = query->port,
	};
	const struct set_value *value;

	if (!trie)
		return false;
	__builtin_memcpy(key.addr, query->addr, sizeof(key.addr));
	for (int i = 0; i < 129; i++) {
		value = bpf_map_lookup_elem(trie, &key);
		if (!value)
			return false;
		if (set_alive(value->end))
			return !(value->flags & SET_NOMATCH);
		if (!value->length)
			return false;
		key.bits = SET_TRIE_PORT - 1 + value->length;
	}
	return false;
}

/* The word of a port, NULL if the set's range does not hold the port. */
static __always_inline __u32 *set_port(__u32 set, const struct set_info *info, __be16 port)
{
	const __u32 number = bpf_ntohs(port);
	void *cells = bpf_map_lookup_elem(&set_cells, &set);
	struct set_cell *cell;

	if (!cells || number < info->first || number > info->last)
		return NULL;
	cell = set_cell(cells, number / 16);
	return cell ? &cell->word[number % 16] : NULL;
}

/* Ports of TCP and UDP only (ip_set_bitmap_port.c). */
static __always_inline bool set_bitmap_takes(const struct set_query *query)
{
	return query->ported && (query->protocol == IPPROTO_TCP || query->protocol == IPPROTO_UDP);
}

/* ---- What rules use ---------------------------------------------------------------- */

/*
 * Is it in the set? A set that does not exist, is of the other family, or wants a port of a
 * packet that has none, holds nothing, as with ipset.
 */
static __always_inline bool set_match(__u32 set, struct set_query *query)
{
	const struct set_info *info = bpf_map_lookup_elem(&set_info, &set);
	const __u32 *end;

	if (!info)
		return false;
	if (info->kind == SET_HASH_NET)
		return set_match_net(set, query);
	if (info->kind == SET_BITMAP_PORT) {
		end = set_bitmap_takes(query) ? set_port(set, info, query->port) : NULL;
		return end && *end && set_alive(*end);
	}
	if (info->family != query->family)
		return false;
	if (info->kind == SET_HASH_IP)
		return set_match_hash(set, info, query);
	if (!query->ported)
		return false;
	if (info->kind == SET_HASH_IP_PORT)
		return set_match_hash(set, info, query);
	return info->kind == SET_HASH_NET_PORT && set_match_net_port(set, query);
}

/* Is it in the built-in block list? */
static __always_inline bool set_blocked(struct set_query *query)
{
	return set_match(query->family == AF_INET ? SET_BLOCK4 : SET_BLOCK6, query);
}

enum set_change {
	SET_ADD,       /* what is there already stays as it is */
	SET_ADD_EXIST, /* ... or gets the new timeout (--exist) */
	SET_DEL,
};

/* Does the packet have what the set is about, and can rules change the set? */
static __always_inline bool set_takes(const struct set_info *info, const struct set_query *query)
{
	switch (info->kind) {
	case SET_HASH_IP:
		return info->family == query->family;
	case SET_HASH_IP_PORT:
		return info->family == query->family && query->ported;
	default:
		return info->kind == SET_BITMAP_PORT && set_bitmap_takes(query);
	}
}

/* Until when: seconds of the rule (-1: the set's own), 0 and sets without timeouts are for ever. */
static __always_inline __u32 set_end(const struct set_info *info, __s64 timeout)
{
	const __u64 seconds = timeout < 0 ? info->timeout : timeout;

	if (!(info->flags & SET_WITH_TIMEOUT) || !seconds)
		return SET_FOREVER;
	return set_clock() + ((seconds * 1000000000) >> SET_CLOCK_SHIFT) + 1;
}

/*
 * A place in the ring for a new key; the entry of the key that was there is taken out if it has
 * ended. NULL if all places that were looked at hold entries that have not.
 */
static __always_inline struct set_key *set_place(__u32 set, void *hash, __u32 places)
{
	void *cells = bpf_map_lookup_elem(&set_cells, &set);
	struct set_cell *head = cells ? set_cell(cells, 0) : NULL;
	const struct set_value *value;
	struct set_cell *cell;
	struct set_key old;

	if (!head || !places)
		return NULL;
	for (int i = 0; i < SET_RING_LOOKS; i++) {
		__u32 place = *(volatile __u32 *)&head->word[0] % places;

		__sync_fetch_and_add(&head->word[0], 1);
		cell = set_cell(cells, 1 + place / SET_RING_KEYS);
		if (!cell)
			return NULL;
		old = cell->key[place % SET_RING_KEYS];
		value = bpf_map_lookup_elem(hash, &old);
		if (value && set_alive(value->end))
			continue;
		if (value)
			bpf_map_delete_elem(hash, &old);
		return &cell->key[place % SET_RING_KEYS];
	}
	return NULL;
}

static __always_inline void set_add_hash(__u32 set, struct set_info *info, void *hash,
					 const struct set_key *key, __s64 timeout)
{
	const struct set_value fresh = { .end = set_end(info, timeout) };
	struct set_key *place = NULL;

	if (fresh.end != SET_FOREVER)
		place = set_place(set, hash, info->maxelem);
	set_front_touch(set, info, key);
	if (bpf_map_update_elem(hash, key, &fresh, BPF_ANY))
		__sync_fetch_and_add(&info->refused, 1);
	else if (place)
		*place = *key;
}

static __always_inline void set_change_hash(__u32 set, struct set_info *info,
					    struct set_query *query, enum set_change change,
					    __s64 timeout)
{
	void *hash = bpf_map_lookup_elem(&set_hash, &set);
	struct set_value *value;
	struct set_key key;
	__u32 end;

	if (!hash)
		return;
	set_key_of(&key, info, query);
	value = bpf_map_lookup_elem(hash, &key);
	if (change == SET_DEL) {
		if (value)
			set_front_touch(set, info, &key);
		bpf_map_delete_elem(hash, &key);
	} else if (!value) {
		set_add_hash(set, info, hash, &key, timeout);
	} else if (change == SET_ADD_EXIST || !set_alive(value->end)) {
		end = set_end(info, timeout);
		if (end < value->end)
			set_front_touch(set, info, &key);
		value->end = end;
	}
}

/*
 * A rule's --add-set and --del-set: hash:ip, hash:ip,port and bitmap:port (the others are refused
 * when rules are loaded). `timeout` is in seconds, -1 for the set's own. A full set takes
 * nothing, which is counted.
 */
static __always_inline void set_change(__u32 set, struct set_query *query, enum set_change change,
				       __s64 timeout)
{
	struct set_info *info = bpf_map_lookup_elem(&set_info, &set);
	__u32 *end;

	if (!info || !set_takes(info, query))
		return;
	if (info->kind != SET_BITMAP_PORT) {
		set_change_hash(set, info, query, change, timeout);
		return;
	}
	end = set_port(set, info, query->port);
	if (!end)
		return;
	if (change == SET_DEL)
		*end = 0;
	else if (change == SET_ADD_EXIST || !*end || !set_alive(*end))
		*end = set_end(info, timeout);
}

#endif /* BPFW_SET_H */
