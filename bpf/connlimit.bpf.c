/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xt_connlimit and nf_conncount.c: how many connections has an address? Each rule has a list of
 * them for each address; those that conntrack has forgotten, and closed ones of TCP, are taken out
 * when the list is looked at. An object of its own, because it needs the kernel's BTF: conntrack is
 * asked for each connection.
 *
 * A packet is met before conntrack has seen it. So a connection that has just been added counts for
 * a while, until conntrack must have it. What came when there were too many is mostly dropped, and
 * does not count before conntrack has it.
 *
 * Lists are written under a lock, and read under it, a slot at a time: conntrack cannot be asked
 * under a lock. What was found out about a slot is written if its stamp is still the same.
 */
#include "filter_packet.h"
#include "track_conntrack.h"
#include "track_other.h"
#include "track_tcp.h"

#define YOUNG_MS 100 /* until then conntrack need not have it: the packet is on its way */
#define NO_SLOT 0xffffffff

const volatile __u32 judge_stage = 0; /* who asks */
const volatile __u32 slots = 0;       /* of a list */

/* Lists by rule and address. A full map forgets those that were not met for longest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct filter_list_key));
	__uint(value_size, FILTER_LIST_SIZE(true, FILTER_CONNLIMIT_SLOTS));
} connections SEC(".maps");

/* What a list begins with; all zeros. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, FILTER_LIST_SIZE(true, FILTER_CONNLIMIT_SLOTS));
} empty_list SEC(".maps");

/* Lists are spread over some locks: a lock is not allowed in an LRU map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << FILTER_LOCKS_SHIFT);
	__type(key, __u32);
	__type(value, struct filter_lock);
} list_locks SEC(".maps");

/* A list in hand. */
struct list {
	struct filter_connections *head;
	struct filter_lock *lock;
	__u32 now; /* ms */
};

/* ---- Lists ------------------------------------------------------------------------- */

static __always_inline void fill_key(struct filter_list_key *key, const struct filter_walk *walk)
{
	const __u32 by = walk->connlimit.by, prefix = by & FILTER_CONNLIMIT_PREFIX;

	key->table = walk->connlimit.table;
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		const __be32 word = by & FILTER_CONNLIMIT_DESTINATION ? walk->destination[i] :
									walk->source[i];
		const __u32 before = 32 * i;

		if (prefix >= before + 32)
			key->address[i] = word;
		else if (prefix > before)
			key->address[i] = word & bpf_htonl(~(~0U >> (prefix - before)));
	}
}

static __always_inline struct filter_lock *find_lock(const struct filter_list_key *key)
{
	__u32 hash = key->address[0] ^ key->address[1] * 3 ^ key->address[2] * 5 ^
		     key->address[3] * 7 ^ key->table * 11;

	hash = (hash * 0x9e3779b1U) >> (32 - FILTER_LOCKS_SHIFT);
	return bpf_map_lookup_elem(&list_locks, &hash);
}

/* The list of a key, which is made if it is new and `make`. */
static __always_inline struct filter_connections *find_list(const struct filter_list_key *key,
							    bool make)
{
	struct filter_connections *list = bpf_map_lookup_elem(&connections, key);
	const __u32 zero = 0;
	const void *empty;

	if (list || !make)
		return list;
	empty = bpf_map_lookup_elem(&empty_list, &zero);
	if (!empty)
		return NULL;
	bpf_map_update_elem(&connections, key, empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&connections, key);
}

/* `number` is less than `slots`. Old verifiers can multiply what they do not know by a constant. */
static __always_inline struct filter_connection *slot_of(struct filter_connections *list,
							 __u64 number)
{
	if (is_ipv6) {
		number *= FILTER_SLOT_SIZE(true);
		asm volatile("" : "+r"(number)); /* the two stay apart */
	} else {
		number *= FILTER_SLOT_SIZE(false);
	}
	return (void *)(list + 1) + number;
}

static __always_inline bool is_slot(__u64 number)
{
	return number < FILTER_CONNLIMIT_SLOTS && number < slots;
}

static __always_inline bool is_own(const struct filter_connection *connection,
				   const struct filter_walk *walk)
{
	const struct filter_tuple *own = &walk->own;
	const int words = is_ipv6 ? 4 : 1;
	__u32 differ = connection->protocol ^ own->protocol;

	differ |= connection->source_port ^ own->source_port;
	differ |= connection->destination_port ^ own->destination_port;
	for (int i = 0; i < words; i++) {
		differ |= connection->address[i] ^ own->source[i];
		differ |= connection->address[words + i] ^ own->destination[i];
	}
	return !differ && walk->has_own;
}

/* ---- Whom conntrack knows ----------------------------------------------------------- */

enum standing {
	NOT_THERE,
	CLOSED, /* already_closed() */
	UNANSWERED,
	ANSWERED,
};

static __always_inline enum standing standing_of(unsigned long status)
{
	return status & CT_SEEN_REPLY ? ANSWERED : UNANSWERED;
}

static __always_inline void fill_tuple_of(struct other_tuple *tuple,
					  const struct filter_connection *connection)
{
	const int words = is_ipv6 ? 4 : 1;

	for (int i = 0; i < words; i++) {
		tuple->ends.source[i] = connection->address[i];
		tuple->ends.destination[i] = connection->address[words + i];
	}
	tuple->ends.source_port = connection->source_port;
	tuple->ends.destination_port = connection->destination_port;
	tuple->protocol = connection->protocol;
	tuple->family = is_ipv6 ? AF_INET6 : AF_INET;
}

static __always_inline bool is_closed(const struct nf_conn___bpfw *ct, __u8 protocol)
{
	return protocol == IPPROTO_TCP && (ct->proto.tcp.state == TCP_STATE_TIME_WAIT ||
					   ct->proto.tcp.state == TCP_STATE_CLOSE);
}

static __always_inline enum standing ask_conntrack(const struct frame *frame,
						   const struct filter_connection *connection)
{
	enum standing standing = CLOSED;
	struct other_tuple tuple = {};
	struct nf_conn___bpfw *ct;
	struct other other;
	bool reply;

	fill_tuple_of(&tuple, connection);
	if (tuple.protocol != IPPROTO_TCP && tuple.protocol != IPPROTO_UDP)
		return find_other(&other, frame, &tuple) ? standing_of(other.status) : NOT_THERE;
	ct = find_connection(frame, &tuple.ends, tuple.protocol, &reply);
	if (!ct)
		return NOT_THERE;
	if (!is_closed(ct, tuple.protocol))
		standing = standing_of(ct->status);
	bpf_ct_release(ct);
	return standing;
}

/* What is known of a slot, with a word from conntrack; false: it is to be freed. */
static __always_inline bool is_kept(struct filter_connection *seen, enum standing standing,
				    __u32 now)
{
	const __u8 in_doubt = FILTER_CONNECTION_OVER | FILTER_CONNECTION_OUT;

	if (standing == CLOSED && !(seen->flags & FILTER_CONNECTION_ANEW))
		return false;
	if (standing == NOT_THERE || standing == CLOSED)
		return !(seen->flags & FILTER_CONNECTION_KNOWN) && now - seen->added < YOUNG_MS;
	/* Conntrack has it although it was dropped: going out, it has seen it before. */
	if (standing == UNANSWERED && (seen->flags & in_doubt) == in_doubt)
		return true;
	seen->flags = FILTER_CONNECTION_KNOWN;
	return true;
}

static __always_inline void copy_slot(struct filter_connection *copy,
				      const struct filter_connection *slot)
{
	copy->stamp = slot->stamp;
	copy->added = slot->added;
	copy->source_port = slot->source_port;
	copy->destination_port = slot->destination_port;
	copy->protocol = slot->protocol;
	copy->flags = slot->flags;
	for (int i = 0; i < (is_ipv6 ? 8 : 2); i++)
		copy->address[i] = slot->address[i];
}

/* What bpf_loop() hands on. Not the frame: it stays where the compiler knows it. */
struct checking {
	struct filter_walk *walk;
	const struct list *list;
	void *context;
};

static __always_inline long check_slot(const struct checking *checking, const struct frame *frame,
				       __u64 number)
{
	const struct list *list = checking->list;
	struct filter_walk *walk = checking->walk;
	struct filter_connection *slot, *seen = &walk->seen;
	bool kept;

	if (!is_slot(number))
		return 1;
	slot = slot_of(list->head, number);
	bpf_spin_lock(&list->lock->lock);
	copy_slot(seen, slot);
	bpf_spin_unlock(&list->lock->lock);
	if (!seen->stamp || is_own(seen, walk))
		return 0;
	kept = is_kept(seen, ask_conntrack(frame, seen), list->now);
	bpf_spin_lock(&list->lock->lock);
	if (slot->stamp == seen->stamp) {
		slot->flags = seen->flags;
		if (!kept)
			slot->stamp = 0;
	}
	bpf_spin_unlock(&list->lock->lock);
	return 0;
}

/* The functions that are called: inlined, the verifier would go through them for each slot. */
static long check_slot_xdp(__u64 number, void *context)
{
	const struct checking *checking = context;
	const struct frame frame = { .is_xdp = true, .xdp = checking->context };

	return check_slot(checking, &frame, number);
}

static long check_slot_tc(__u64 number, void *context)
{
	const struct checking *checking = context;
	const struct frame frame = { .skb = checking->context };

	return check_slot(checking, &frame, number);
}

/* Once in a jiffy, as __nf_conncount_add() does it. */
static __always_inline void check_slots(struct filter_walk *walk, const struct frame *frame,
					const struct list *list)
{
	struct checking checking = { walk, list, frame_context(frame) };
	const __u64 jiffy = bpf_jiffies64();

	if (list->head->jiffy == jiffy)
		return;
	list->head->jiffy = jiffy;
	if (frame->is_xdp)
		bpf_loop(list->head->top, check_slot_xdp, &checking, 0);
	else
		bpf_loop(list->head->top, check_slot_tc, &checking, 0);
}

/* ---- Counting, under the lock --------------------------------------------------------- */

/*
 * The counts are kept in the walk and nowhere else: the verifier knows what is in a register, and
 * would go on with each way that leads to another number.
 */
static __always_inline void count_slot(struct filter_walk *walk, struct filter_connections *list,
				       __u64 number)
{
	const struct filter_connection *slot = slot_of(list, number);

	asm volatile("" ::: "memory");
	if (!slot->stamp) {
		if (!walk->spare_is_free)
			walk->spare_slot = number;
		walk->spare_is_free = 1;
		return;
	}
	walk->used = number + 1;
	if (is_own(slot, walk))
		walk->own_slot = number;
	else if (!(slot->flags & FILTER_CONNECTION_OVER))
		walk->connections++;
	else if (walk->spare_slot == NO_SLOT)
		walk->spare_slot = number;
}

static __always_inline void count_slots(struct filter_walk *walk, struct filter_connections *list)
{
	const __u64 top = list->top;

	walk->connections = 0;
	walk->own_slot = NO_SLOT;
	walk->spare_slot = NO_SLOT;
	walk->spare_is_free = 0;
	walk->used = 0;
#pragma clang loop unroll(disable)
	for (__u64 i = 0; is_slot(i) && i < top; i++)
		count_slot(walk, list, i);
	list->top = walk->used;
}

static __always_inline __u32 next_stamp(struct filter_connections *list)
{
	list->stamp += list->stamp == 0xffffffff ? 2 : 1;
	return list->stamp;
}

/* Does conntrack have the packet's connection already? A first packet may be met twice. */
static __always_inline bool is_known(const struct filter_walk *walk)
{
	const __u16 kind = walk->state & FILTER_STATE_KIND;

	return kind == FILTER_STATE_ESTABLISHED || kind == FILTER_STATE_RELATED;
}

/* What conntrack does not take for a connection counts as long as it is met. */
static __always_inline bool is_remembered(const struct filter_walk *walk)
{
	return walk->has_own &&
	       (is_known(walk) || (walk->state & FILTER_STATE_KIND) == FILTER_STATE_NEW);
}

static __always_inline __u8 flags_of(const struct filter_walk *walk, bool counted)
{
	if (is_known(walk))
		return FILTER_CONNECTION_KNOWN;
	return (counted || !walk->exceeds ? 0 : FILTER_CONNECTION_OVER) |
	       (walk->reopens ? FILTER_CONNECTION_ANEW : 0) |
	       (walk->outgoing ? FILTER_CONNECTION_OUT : 0);
}

/* A slot that is its own already, too: a SYN may begin a connection anew that is closed. */
static __always_inline void fill_slot(const struct filter_walk *walk, const struct list *list,
				      __u64 number, bool counted)
{
	struct filter_connection *slot = slot_of(list->head, number);
	const int words = is_ipv6 ? 4 : 1;

	slot->stamp = next_stamp(list->head);
	slot->added = list->now;
	slot->flags = flags_of(walk, counted);
	slot->protocol = walk->own.protocol;
	slot->source_port = walk->own.source_port;
	slot->destination_port = walk->own.destination_port;
	for (int i = 0; i < words; i++) {
		slot->address[i] = walk->own.source[i];
		slot->address[words + i] = walk->own.destination[i];
	}
	if (list->head->top <= number)
		list->head->top = number + 1;
}

/* Where there is no slot, one of those that do not count gives way to a connection that does. */
static __always_inline __u32 choose_slot(const struct filter_walk *walk,
					 const struct filter_connections *list)
{
	if (walk->spare_is_free)
		return walk->spare_slot;
	if (list->top < slots)
		return list->top;
	return walk->exceeds && !is_known(walk) ? NO_SLOT : walk->spare_slot;
}

static __always_inline void remember_own(struct filter_walk *walk, const struct list *list)
{
	const struct filter_connection *slot;
	bool counted = false;
	__u64 number = walk->own_slot;

	if (is_slot(number)) {
		slot = slot_of(list->head, number);
		counted = !(slot->flags & FILTER_CONNECTION_OVER);
	} else {
		number = choose_slot(walk, list->head);
	}
	if (is_slot(number))
		fill_slot(walk, list, number, counted);
}

/* A fragment that is not the first belongs to a connection that the first one has told. */
static __always_inline void count_connections(struct filter_walk *walk, const struct list *list)
{
	bpf_spin_lock(&list->lock->lock);
	count_slots(walk, list->head);
	walk->connections += walk->has_own;
	walk->exceeds = walk->connections > walk->connlimit.limit;
	if (is_remembered(walk))
		remember_own(walk, list);
	bpf_spin_unlock(&list->lock->lock);
}

/* ---- Programs --------------------------------------------------------------------------- */

/* Sets walk->exceeds. Without room for a list the kernel drops the packet. */
static __always_inline void answer(struct filter_walk *walk, const struct frame *frame)
{
	struct filter_list_key key = {};
	struct list list = { .now = (__u32)(bpf_ktime_get_ns() >> 20) };

	walk->no_tuple = !walk->has_own && !walk->fragment;
	walk->exceeds = walk->has_own && !walk->connlimit.limit;
	if (walk->no_tuple)
		return;
	fill_key(&key, walk);
	list.lock = find_lock(&key);
	list.head = find_list(&key, is_remembered(walk));
	if (list.head && list.lock) {
		check_slots(walk, frame, &list);
		count_connections(walk, &list);
	} else if (is_remembered(walk)) {
		walk->no_tuple = 1;
	}
}

static __always_inline int count(const struct frame *frame)
{
	struct filter_walk *walk = own_walk();

	if (!walk)
		return frame_drop(frame);
	answer(walk, frame);
	walk->counted = walk->operation + 1;
	call_stage(frame, judge_stage);
	return frame_drop(frame);
}

SEC("xdp")
int connlimit_xdp(struct xdp_md *ctx)
{
	const struct frame frame = { .is_xdp = true, .xdp = ctx };

	return count(&frame);
}

SEC("tc")
int connlimit_tc(struct __sk_buff *ctx)
{
	const struct frame frame = { .skb = ctx };

	return count(&frame);
}

char LICENSE[] SEC("license") = "GPL";
