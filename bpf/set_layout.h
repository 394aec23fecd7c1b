/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets, as the BPF programs (set.h) and `bpfw set` (src/filter/set.h) share them. Addresses and
 * ports are in network byte order, everything else is in host byte order. The file includes
 * nothing, so that vmlinux.h (BPF) or linux/types.h (user space) can come before it.
 *
 * A set is known by its number. Four pinned maps have a slot for each number: `set_info` says
 * what the set is, and one of the other three, maps of maps, holds its entries:
 *
 *	set_cells	hash:net, bitmap:port: an array of cells of one cache line; beside a hash
 *			map with timeouts the keys that rules added; at SET_FRONT + the number
 *			what stands in front of a hash map
 *	set_hash	hash:ip, hash:ip,port: a hash map, to which rules can add
 *	set_trie	hash:net,port: the kernel's LPM trie, protocol and port before the address
 */
#ifndef BPFW_SET_LAYOUT_H
#define BPFW_SET_LAYOUT_H

#define SET_MAX 1024 /* sets */
#define SET_BLOCK4 0 /* the built-in block list, IPv4 ... */
#define SET_BLOCK6 1 /* ... and IPv6 */
#define SET_FIRST 2  /* from here on are those that users make */
#define SET_FRONT SET_MAX
#define SET_NAME_LEN 32 /* with the 0: IPSET_MAXNAMELEN */

/* Raised when a layout below changes: the pins of another one are not used. */
#define SET_LAYOUT 3

enum set_kind {
	SET_NONE, /* no set has this number */
	SET_HASH_IP,
	SET_HASH_NET,
	SET_HASH_IP_PORT,
	SET_HASH_NET_PORT,
	SET_BITMAP_PORT,
	SET_KINDS,
};

#define SET_HELD (SET_HELD4 | SET_HELD6)

enum set_flags {
	SET_WITH_TIMEOUT = 1 << 0, /* entries may end */
	SET_WITH_COMMENT = 1 << 1,
	SET_HELD4 = 1 << 2, /* the IPv4 rules in force use it */
	SET_HELD6 = 1 << 3, /* the IPv6 rules in force use it */
};

struct set_info {
	char name[SET_NAME_LEN];
	__u8 kind;   /* enum set_kind, written last */
	__u8 family; /* AF_INET or AF_INET6, 0 for bitmap:port */
	__u8 flags;  /* enum set_flags */
	__u8 pad;
	__u32 timeout; /* seconds, of entries that are added without one; 0: for ever */
	__u32 maxelem;
	__u32 hashsize; /* as it was given: of no effect */
	__u16 first;    /* bitmap:port: the range */
	__u16 last;
	__u32 pad2;
	__u64 refused; /* additions by rules that found the set full */
};

/*
 * When an entry ends: in units of 2^27 ns (0.134 s) of the clock that counts the time asleep too,
 * so that 32 bits last for 18 years of uptime. An entry is there as long as the clock has not
 * come to its end.
 */
#define SET_CLOCK_SHIFT 27
#define SET_FOREVER 0xffffffffU

/* ---- set_hash and set_trie ----------------------------------------------------- */

/* Key of set_hash. Padding is 0: keys are compared as bytes. */
struct set_key {
	__be32 addr[4]; /* IPv4: the first one */
	__be16 port;    /* 0 in hash:ip */
	__u8 protocol;
	__u8 pad;
};

/*
 * In front of a large hash map: buckets of one cell, which answer for most keys from one cache
 * line, where the map takes two or three. The map has all entries and is the authority; the front
 * has those that were there when it was built, and says of each how long it is in at least; then
 * the map has to be asked. A key that is in no bucket is in no map, unless the bucket was full or
 * touched.
 *
 * Who changes the map touches the front before: the bucket is marked, and the key, if it is there,
 * made one that nobody asks for. An entry that only gets a later end needs no touch: what the
 * front says stays true. Each of these is one store, so that programs and `bpfw set` need not
 * exclude each other, and doing so twice does no harm. A new front is put into its slot before the
 * map that it is for, not ready: it is touched already, and not asked yet.
 */
enum set_front_ask {
	SET_FRONT_FULL = 1 << 0,        /* keys that had no room are in the map */
	SET_FRONT_TOUCHED = 1 << 1 | 1, /* so are keys that came later */
};

#define SET_FRONT_ADDRS 12
#define SET_FRONT_KEYS 3

/* hash:ip, IPv4. A free place is 0.0.0.0, for which the map is asked. */
struct set_front4 {
	__be32 addr[SET_FRONT_ADDRS];
	__u8 span[SET_FRONT_ADDRS];
	__u8 pad[3];
	__u8 ask; /* enum set_front_ask */
};

/* All others. The padding of a free place is 1. */
struct set_front_wide {
	struct set_key key[SET_FRONT_KEYS];
	__u8 span[SET_FRONT_KEYS];
	__u8 ask;
};

/* The first cell; buckets follow. */
struct set_front_head {
	__u64 seed;
	__u32 buckets;
	__u32 ready;
	__u32 since; /* the clock without SET_SPAN_SHIFT bits */
};

/*
 * How long from `since` on a key is in, in units of 2.1 s: 4 bits of an exponent and 4 of a
 * mantissa, for 24 days and more, rounded down by a 16th at most.
 */
#define SET_SPAN_SHIFT 4
#define SET_SPAN_FOREVER 0xff

static inline __attribute__((always_inline)) __u32 set_span_units(__u8 span)
{
	return ((16U + (span & 15)) << (span >> 4)) - 16;
}

/* A key's bucket; any good hash would do. */
static inline __attribute__((always_inline)) __u32 set_front_bucket(
	const struct set_front_head *head, const struct set_key *key)
{
	__u64 hash = ((__u64)key->addr[0] << 32 | key->addr[1]) ^ head->seed;

	hash *= 0x9e3779b97f4a7c15ULL;
	hash ^= hash >> 32 ^ ((__u64)key->addr[2] << 32 | key->addr[3]);
	hash *= 0xbf58476d1ce4e5b9ULL;
	hash ^= hash >> 29 ^ ((__u64)key->port << 8 | key->protocol);
	hash *= 0x94d049bb133111ebULL;
	return (hash >> 32) * head->buckets >> 32;
}

/* Key of set_trie: SET_TRIE_PORT bits, then those of the prefix. */
struct set_trie_key {
	__u32 bits;
	__u8 protocol;
	__u8 pad;
	__be16 port;
	__be32 addr[4];
};

#define SET_TRIE_PORT 32

enum set_entry_flags {
	SET_NOMATCH = 1 << 0, /* an exception from a shorter prefix */
	SET_USED = 1 << 1,    /* struct set_prefix: is one */
};

struct set_value {
	__u32 end;
	__u8 length; /* of the prefix (set_trie) */
	__u8 flags;  /* enum set_entry_flags */
	__u16 pad;
};

/* ---- set_cells ------------------------------------------------------------------ */

/*
 * bitmap:port: word PORT % 16 of cell PORT / 16 is the end of the port's entry, 0 if there is
 * none.
 *
 * hash:net: the whole address space as ranges in ascending order, each with the longest prefix
 * that covers it. A range is known by its last address, so the last range of all ends with the
 * last address there is, and a search always arrives somewhere. Ranges are in leaves, leaves in
 * index nodes of the same form, and above them are levels of plain keys:
 *
 *	levels	a cell is a node: the last addresses of its children. The children of node n are
 *		the nodes n * fan .. n * fan + fan - 1 of the level below, the lowest level's are
 *		index nodes.
 *	index	a node: last addresses, and the cell at which the leaf begins
 *	leaf	a node: last addresses, and labels of prefixes
 *
 * Nothing that a reader can reach is changed, but for ends and parents of prefixes (one word
 * each): a writer puts new leaves and a new directory (levels and index) beside the old ones,
 * stores the new root, and uses the old cells again when no program can be reading them.
 *
 * IPv4: fan 16, a node of index and leaf is one cell (struct set_node4). IPv6: fan 8, two cells a
 * node of the levels (upper halves of the addresses, lower halves), three of index and leaf
 * (upper halves, values, lower halves).
 */
#define SET_CELL 64

/*
 * hash:ip and hash:ip,port with timeouts: keys that rules added, in a ring of maxelem places from
 * the second cell on. Where the next one goes, rules look whether the entry that was there has
 * ended, and make room.
 */
#define SET_RING_KEYS 2  /* in a cell */
#define SET_RING_LOOKS 8 /* places that an addition looks at */

struct set_node4 {
	__u32 last[8];
	__u32 value[8];
};

/*
 * IPv4 sets of SET_FAST_MIN prefixes and more have beside it what answers most lookups from two
 * or three cells: a table of words by the first 17 bits of the address. A word says what holds
 * for all addresses with these bits, or where to go on: a leaf has up to 27 ranges, the last 16
 * bits of their last addresses and two bits each that say the same as words do; a table is one
 * cell, words by the next four bits. SET_FAST_LOOK sends the reader to the leaf above. Cells are
 * written before the word that leads to them, and not used again in this map.
 */
#define SET_FAST_MIN 1024
#define SET_FAST_BITS 17
#define SET_FAST_WORDS 16 /* of a cell: a table has them by four bits */
#define SET_FAST_LASTS 26

enum set_fast {
	SET_FAST_OUT,
	SET_FAST_IN,
	SET_FAST_LOOK,
	SET_FAST_UNTIL, /* leaves: in, until the first of its prefixes ends; from then on look */
	SET_FAST_LEAF,  /* from here on with the number of a cell */
	SET_FAST_TABLE,
	SET_FAST_SKIP, /* IPv6 */
};

#define SET_FAST_KIND 7
#define SET_FAST_SHIFT 3

struct set_fast4 {
	__u16 last[SET_FAST_LASTS];
	__u32 until;  /* the first end of those that end */
	__u64 states; /* two bits each, from the lowest on */
};

/*
 * IPv6 sets of that size have a trie over the upper halves of addresses, with paths compressed. It
 * begins in the head, with the bits that all prefixes begin with, what holds for addresses that
 * do not, and a word for those that do. A word says what holds for all addresses whose bits led to
 * it, or where the bits behind those lead on:
 *
 *	table	words by the next few bits
 *	skip	whether the next few bits are those that all prefixes here begin with
 *	leaf	cells of up to 7 prefixes each, by the next few bits, if any; the bits behind those
 *		are compared
 *
 * These words have the number of a cell, counted from the trie's first one (which is not used),
 * above 6 bits for how many bits. Prefixes longer than 64 bits are left to the ranges above:
 * SET_FAST_LOOK holds for all of the /64 that they are in.
 */
#define SET_FAST6_ARGUMENT 63
#define SET_FAST6_SHIFT 9
#define SET_FAST6_STEPS 8 /* tables and skips on the way to a leaf */
#define SET_FAST6_ENTRIES 7
#define SET_FAST6_BITS 58 /* that an entry can compare */

/*
 * The last entry that has the address decides. An entry has its bits from the highest one on, and
 * in the lowest 6 how many of the 64 do not count. Bits of `in` and `look` say what holds, as enum
 * set_fast does: the lowest ones for the last entry, the highest ones for addresses in none.
 */
struct set_fast6 {
	__u64 entry[SET_FAST6_ENTRIES];
	__u32 until; /* the first end of those that end */
	__u8 in;
	__u8 look;
	__u16 pad;
};

struct set_fast6_skip {
	__u64 bits;  /* from the highest one on */
	__u32 same;  /* the word to go on with if the bits are these ... */
	__u32 other; /* ... and if not */
};

/* Padding of nodes: a last address that no address is behind. */
#define SET_LAST_PAD 0xff

/* A prefix. Number 0 is none, and the parent of those that no other covers. */
struct set_prefix {
	__be32 addr[4];
	__u32 end;
	__u32 parent; /* number of the longest prefix that covers this one */
	__u8 length;
	__u8 flags; /* enum set_entry_flags */
	__u16 pad;
	__u32 next; /* not in use: the next one that is not */
};

#define SET_PREFIXES (SET_CELL / 32) /* in a cell */

/*
 * What a leaf says of a range: 0, or the number of its prefix, shifted, and whether that prefix
 * has to be looked at, because it may end or is an exception. All others match.
 */
#define SET_LABEL_LOOK 1U
#define SET_LABEL_SHIFT 1

#define SET_LEVELS 9 /* 8^9 index nodes and more */

/* Where a search begins. */
struct set_directory {
	__u32 levels;   /* cells of plain keys on the way to an index node */
	__u32 index;    /* the first index node */
	__u32 prefixes; /* the first cell of prefixes */
	__u32 wide;     /* IPv6: 1 if a prefix is longer than 64 bits, so that lower halves count */
	__u32 level[SET_LEVELS]; /* the first cell of a level, the highest one first */
	__u32 leaves;
	__u32 nodes; /* of the index */
	__u32 pad;
};

enum set_state {
	SET_CLEAN,
	SET_RETIRED,  /* cells of the last change may be read still */
	SET_CHANGING, /* a writer ended in mid-change: build anew from the prefixes */
};

/* The fast way had no room for all that it was built from: SET_FAST_LOOK is in its places. */
#define SET_FAST_PARTIAL 0xffffffffU

/* The first cell; the directories follow in the second and third one. */
struct set_head {
	__u64 fast_bits;     /* IPv6: what upper halves of all prefixes begin with */
	__u32 root;          /* cell of the directory in force */
	__u32 fast;          /* the first cell of the table by 17 bits or the trie, 0 for none */
	__u32 fast_word;     /* IPv6: the trie's first word */
	__u8 family;         /* AF_INET or AF_INET6 */
	__u8 state;          /* enum set_state */
	__u8 fast_skip;      /* so many of fast_bits count, ... */
	__u8 fast_other;     /* ... and this holds where they are others */
	__u32 first_prefix;  /* the cells of prefixes */
	__u32 cells;         /* of the whole map; those of the fast way are the last ones */
	__u32 wide_prefixes; /* prefixes longer than 64 bits */
	__u32 first_leaf;    /* the cells of leaves; those of both directories are before them */
	__u32 max_leaves;
	__u32 max_prefixes;
	__u32 unused;      /* prefixes from here on were never used */
	__u32 free;        /* the first of those that may be used again */
	__u32 count;       /* prefixes */
	__u32 fast_unused; /* cells from here on are for the fast way; SET_FAST_PARTIAL */
};

struct set_cell {
	union {
		__u32 word[SET_CELL / 4];
		__u64 quad[SET_CELL / 8];
		__u8 byte[SET_CELL];
		struct set_node4 node4;
		struct set_fast4 fast4;
		struct set_fast6 fast6;
		struct set_fast6_skip skip;
		struct set_front_head front;
		struct set_front4 front4;
		struct set_front_wide wide;
		struct set_head head;
		struct set_directory directory;
		struct set_prefix prefix[SET_PREFIXES];
		struct set_key
			key[SET_RING_KEYS]; /* the first cell: word[0] is where the next one goes */
	};
};

#endif /* BPFW_SET_LAYOUT_H */
