// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "emulation.h"

#define TAG_LEN 4
#define NOT_SUPPORTED (-524) /* ENOTSUPP, which is the kernel's own */

static struct emulation *emulation_of(struct interpreter *vm)
{
	return (struct emulation *)vm;
}

static void *pointer(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

/* ---- The packet ------------------------------------------------------------- */

static size_t packet_len(const struct emulation *emulation)
{
	return (size_t)(emulation->data_end - emulation->data);
}

static void packet_moved(struct emulation *emulation)
{
	emulation->skb.len = (uint32_t)packet_len(emulation);
	interpreter_move_region(&emulation->vm, emulation->packet, emulation->data,
				packet_len(emulation));
}

static uint16_t type_at(const struct emulation *emulation, size_t offset)
{
	uint16_t type;

	memcpy(&type, emulation->data + offset, sizeof(type));
	return type;
}

/* Room for `len` bytes, which are then 0, or none of them any more. */
static void packet_insert(struct emulation *emulation, size_t offset, size_t len)
{
	emulation->data -= len;
	memmove(emulation->data, emulation->data + len, offset);
	memset(emulation->data + offset, 0, len);
	packet_moved(emulation);
}

static void packet_remove(struct emulation *emulation, size_t offset, size_t len)
{
	memmove(emulation->data + len, emulation->data, offset);
	emulation->data += len;
	packet_moved(emulation);
}

static int64_t adjust_head(struct emulation *emulation, int32_t offset)
{
	uint8_t *data = emulation->data + offset;

	if (data < emulation->memory || data + ETH_HLEN > emulation->data_end)
		return -EINVAL;
	emulation->data = data;
	packet_moved(emulation);
	return 0;
}

/* bpf_xdp_adjust_tail() and bpf_skb_change_tail(): what is new is 0. */
static int64_t set_len(struct emulation *emulation, int64_t len)
{
	size_t before = packet_len(emulation);
	const uint8_t *limit = emulation->memory + sizeof(emulation->memory);

	if (len < ETH_HLEN || len > limit - emulation->data)
		return -EINVAL;
	emulation->data_end = emulation->data + len;
	if ((size_t)len > before)
		memset(emulation->data + before, 0, (size_t)len - before);
	packet_moved(emulation);
	return 0;
}

/* ---- Tags at TC: skb_vlan_push(), skb_vlan_pop() ---------------------------- */

static bool is_tag(uint32_t type)
{
	return type == htons(ETH_P_8021Q) || type == htons(ETH_P_8021AD);
}

static void put_tag_beside(struct emulation *emulation, uint16_t type, uint16_t tci)
{
	emulation->skb.vlan_present = 1;
	emulation->skb.vlan_proto = type;
	emulation->skb.vlan_tci = tci;
}

/* One tag is beside the data, what was there before goes into the data. */
static int64_t push_tag(struct emulation *emulation, uint16_t type, uint16_t tci)
{
	struct __sk_buff *skb = &emulation->skb;

	if (skb->vlan_present) {
		uint16_t tag[] = { (uint16_t)skb->vlan_proto, htons((uint16_t)skb->vlan_tci) };

		packet_insert(emulation, 2 * ETH_ALEN, sizeof(tag));
		memcpy(emulation->data + 2 * ETH_ALEN, tag, sizeof(tag));
		skb->protocol = skb->vlan_proto;
	}
	put_tag_beside(emulation, is_tag(type) ? type : htons(ETH_P_8021Q), tci);
	return 0;
}

static uint16_t take_tag_out(struct emulation *emulation)
{
	uint16_t tci = ntohs(type_at(emulation, ETH_HLEN));

	emulation->skb.protocol = type_at(emulation, ETH_HLEN + 2);
	packet_remove(emulation, 2 * ETH_ALEN, TAG_LEN);
	return tci;
}

static int64_t pop_tag(struct emulation *emulation)
{
	struct __sk_buff *skb = &emulation->skb;
	uint16_t type;

	if (skb->vlan_present)
		put_tag_beside(emulation, 0, 0);
	else if (is_tag(skb->protocol))
		take_tag_out(emulation);
	skb->vlan_present = 0;
	if (!is_tag(skb->protocol))
		return 0;
	type = (uint16_t)skb->protocol;
	put_tag_beside(emulation, type, take_tag_out(emulation));
	return 0;
}

/* bpf_skb_adjust_room() behind the MAC header, which has no tag in it when IP follows. */
static int64_t adjust_room(struct emulation *emulation, int32_t len, uint64_t mode)
{
	uint32_t protocol = emulation->skb.protocol;

	if (protocol != htons(ETH_P_IP) && protocol != htons(ETH_P_IPV6))
		return NOT_SUPPORTED;
	if (mode != BPF_ADJ_ROOM_MAC)
		return -EINVAL;
	if (len < 0)
		packet_remove(emulation, ETH_HLEN, (size_t)-len);
	else
		packet_insert(emulation, ETH_HLEN, (size_t)len);
	return 0;
}

/* ---- Bytes and checksums of an skb, whose ip_summed is CHECKSUM_NONE -------- */

static int64_t store_bytes(struct emulation *emulation, const uint64_t *argument)
{
	uint64_t offset = argument[1], len = argument[3];

	if (interpreter_may_read(&emulation->vm, argument[2]) < len)
		return -EFAULT;
	if (offset > packet_len(emulation) || len > packet_len(emulation) - offset)
		return -EFAULT;
	memcpy(emulation->data + offset, pointer(argument[2]), len);
	return 0;
}

/* The difference is a sum of words as they lie in memory, and so is the checksum. */
static int64_t replace_l4_check(struct emulation *emulation, uint64_t offset, uint64_t from,
				uint64_t difference, uint64_t flags)
{
	uint8_t *at = emulation->data + offset;
	uint64_t sum = difference;
	uint16_t check;

	if (flags & BPF_F_HDR_FIELD_MASK || from || offset + 2 > packet_len(emulation))
		return -EINVAL;
	memcpy(&check, at, sizeof(check));
	if (flags & BPF_F_MARK_MANGLED_0 && !check)
		return 0;
	sum += (uint16_t)~check;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	check = (uint16_t)~sum;
	if (flags & BPF_F_MARK_MANGLED_0 && !check)
		check = 0xffff;
	memcpy(at, &check, sizeof(check));
	return 0;
}

/* ---- Maps ------------------------------------------------------------------- */

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* Of a value per CPU the program sees one, of which the start is taken to be 0. */
static bool read_value(struct emulated_entry *entry, int fd, const void *key)
{
	static uint8_t values[EMULATION_CPUS * EMULATION_VALUE];

	if (!entry->per_cpu)
		return !bpf_map_lookup_elem(fd, key, entry->value);
	return !bpf_map_lookup_elem(fd, key, values);
}

static struct emulated_entry *read_entry(struct emulation *emulation, int fd,
					 const struct bpf_map_info *info, const void *key)
{
	struct emulated_entry *entry = &emulation->entry[emulation->entries];

	if (emulation->entries == EMULATION_ENTRIES || info->key_size > EMULATION_KEY ||
	    info->value_size > EMULATION_VALUE || libbpf_num_possible_cpus() > EMULATION_CPUS) {
		interpreter_fail(&emulation->vm, "no room for an entry of %s", info->name);
		return NULL;
	}
	emulation->entries++;
	memset(entry, 0, sizeof(*entry));
	entry->fd = fd;
	entry->value_size = info->value_size;
	entry->per_cpu = is_per_cpu(info->type);
	memcpy(entry->key, key, info->key_size);
	entry->is_there = read_value(entry, fd, key);
	if (entry->is_there)
		interpreter_add_region(&emulation->vm, entry->value, entry->value_size);
	return entry;
}

/* `size` is how much of the key may be read. */
static struct emulated_entry *find_entry(struct emulation *emulation, int fd, const void *key,
					 size_t size)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_map_get_info_by_fd(fd, &info, &len) || info.key_size > size) {
		interpreter_fail(&emulation->vm, "no key for the map in descriptor %d", fd);
		return NULL;
	}
	for (size_t i = 0; i < emulation->entries; i++) {
		struct emulated_entry *entry = &emulation->entry[i];

		if (entry->fd == fd && !memcmp(entry->key, key, info.key_size))
			return entry;
	}
	return read_entry(emulation, fd, &info, key);
}

static bool map_value(struct interpreter *vm, int fd, uint64_t *address)
{
	static const uint32_t zero;
	const struct emulated_entry *entry = find_entry(emulation_of(vm), fd, &zero, sizeof(zero));

	if (!entry)
		return false;
	*address = (uintptr_t)entry->value;
	return entry->is_there || interpreter_fail(vm, "no value in the map %d", fd);
}

static bool is_map(struct emulation *emulation, uint64_t map)
{
	return (map & ~(uint64_t)UINT32_MAX) == INTERPRETER_MAP ||
	       interpreter_fail(&emulation->vm, "%#llx is no map", (unsigned long long)map);
}

static bool lookup(struct emulation *emulation, const uint64_t *argument, uint64_t *result)
{
	size_t size = interpreter_may_read(&emulation->vm, argument[1]);
	const struct emulated_entry *entry;

	if (!is_map(emulation, argument[0]))
		return false;
	entry = find_entry(emulation, (int)(uint32_t)argument[0], pointer(argument[1]), size);
	if (!entry)
		return false;
	*result = entry->is_there ? (uintptr_t)entry->value : 0;
	return true;
}

/* The key comes in a register. */
static bool redirect_map(struct emulation *emulation, const uint64_t *argument, uint64_t *result)
{
	const uint32_t key = (uint32_t)argument[1];
	const struct emulated_entry *entry;

	if (!is_map(emulation, argument[0]))
		return false;
	entry = find_entry(emulation, (int)(uint32_t)argument[0], &key, sizeof(key));
	if (!entry)
		return false;
	*result = entry->is_there ? XDP_REDIRECT : (uint32_t)argument[2];
	return true;
}

/* ---- Signals ---------------------------------------------------------------- */

static bool reserve_signal(struct emulation *emulation, const uint64_t *argument, uint64_t *result)
{
	void *record = emulation->signal[emulation->signals % EMULATION_SIGNALS];

	if (emulation->signals == EMULATION_SIGNALS || argument[1] != sizeof(emulation->signal[0]))
		return interpreter_fail(&emulation->vm, "no room for a signal");
	emulation->signals++;
	interpreter_add_region(&emulation->vm, record, argument[1]);
	*result = (uintptr_t)record;
	return true;
}

static bool output_signal(struct emulation *emulation, const uint64_t *argument, uint64_t *result)
{
	uint64_t record = 0;

	if (interpreter_may_read(&emulation->vm, argument[1]) < argument[2])
		return interpreter_fail(&emulation->vm, "a signal that is not in memory");
	if (!reserve_signal(emulation, (uint64_t[]){ argument[0], argument[2] }, &record))
		return false;
	memcpy(pointer(record), pointer(argument[1]), argument[2]);
	emulation->submitted++;
	*result = 0;
	return true;
}

/* ---- Calls of helpers ------------------------------------------------------- */

/* bpf_skb_pull_data() of a linear packet. */
static int64_t pull(const struct emulation *emulation, uint64_t len)
{
	return len > packet_len(emulation) ? -ENOMEM : 0;
}

static bool call_on_skb(struct emulation *emulation, int32_t helper, const uint64_t *argument,
			int64_t *result)
{
	switch (helper) {
	case BPF_FUNC_skb_vlan_push:
		*result = push_tag(emulation, (uint16_t)argument[1], (uint16_t)argument[2]);
		return true;
	case BPF_FUNC_skb_vlan_pop:
		*result = pop_tag(emulation);
		return true;
	case BPF_FUNC_skb_adjust_room:
		*result = adjust_room(emulation, (int32_t)argument[1], argument[2]);
		return true;
	case BPF_FUNC_skb_store_bytes:
		*result = store_bytes(emulation, argument);
		return true;
	case BPF_FUNC_skb_change_tail:
		*result = set_len(emulation, (uint32_t)argument[1]);
		return true;
	case BPF_FUNC_skb_pull_data:
		*result = pull(emulation, (uint32_t)argument[1]);
		return true;
	case BPF_FUNC_l4_csum_replace:
		*result = replace_l4_check(emulation, (uint32_t)argument[1], argument[2],
					   argument[3], argument[4]);
		return true;
	case BPF_FUNC_csum_update:
		*result = NOT_SUPPORTED;
		return true;
	case BPF_FUNC_csum_level:
		*result = -EACCES; /* the checksum of a test run's skb was verified by nobody */
		return true;
	case BPF_FUNC_redirect:
		*result = argument[1] ? TC_ACT_SHOT : TC_ACT_REDIRECT;
		return true;
	}
	return interpreter_fail(&emulation->vm, "TC's helper %d is not emulated", helper);
}

static bool call_on_xdp(struct emulation *emulation, int32_t helper, const uint64_t *argument,
			int64_t *result)
{
	switch (helper) {
	case BPF_FUNC_xdp_adjust_head:
		*result = adjust_head(emulation, (int32_t)argument[1]);
		return true;
	case BPF_FUNC_xdp_adjust_tail:
		*result = set_len(emulation, (int64_t)packet_len(emulation) + (int32_t)argument[1]);
		return true;
	}
	return interpreter_fail(&emulation->vm, "XDP's helper %d is not emulated", helper);
}

static bool call(struct interpreter *vm, int32_t helper, const uint64_t *argument, uint64_t *result)
{
	struct emulation *emulation = emulation_of(vm);

	switch (helper) {
	case BPF_FUNC_map_lookup_elem:
		return lookup(emulation, argument, result);
	case BPF_FUNC_redirect_map:
		return redirect_map(emulation, argument, result);
	case BPF_FUNC_jiffies64:
		*result = emulation->jiffies;
		return true;
	case BPF_FUNC_ringbuf_reserve:
		return reserve_signal(emulation, argument, result);
	case BPF_FUNC_ringbuf_output:
		return output_signal(emulation, argument, result);
	case BPF_FUNC_ringbuf_submit:
		emulation->submitted++;
		return true;
	}
	if (emulation->hook == LAB_TC)
		return call_on_skb(emulation, helper, argument, (int64_t *)result);
	return call_on_xdp(emulation, helper, argument, (int64_t *)result);
}

/* ---- The context ------------------------------------------------------------ */

static uint8_t *context_of(struct emulation *emulation, size_t *len)
{
	if (emulation->hook == LAB_TC) {
		*len = sizeof(emulation->skb);
		return (uint8_t *)&emulation->skb;
	}
	*len = sizeof(emulation->xdp);
	return (uint8_t *)&emulation->xdp;
}

/* The kernel makes pointers of these two fields of 32 bits. */
static const uint8_t *pointer_field(const struct emulation *emulation, size_t offset)
{
	bool tc = emulation->hook == LAB_TC;

	if (offset == (tc ? offsetof(struct __sk_buff, data) : offsetof(struct xdp_md, data)))
		return emulation->data;
	if (offset ==
	    (tc ? offsetof(struct __sk_buff, data_end) : offsetof(struct xdp_md, data_end)))
		return emulation->data_end;
	return NULL;
}

static bool load_field(struct interpreter *vm, size_t offset, size_t size, uint64_t *value)
{
	struct emulation *emulation = emulation_of(vm);
	const uint8_t *target = pointer_field(emulation, offset);
	uint32_t field;
	size_t len;

	if (target) {
		*value = (uintptr_t)target;
		return true;
	}
	memcpy(&field, context_of(emulation, &len) + offset / 4 * 4, sizeof(field));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	field >>= 8 * (4 - size - offset % 4);
#else
	field >>= 8 * (offset % 4);
#endif
	*value = size == 4 ? field : field & ((1U << 8 * size) - 1);
	return size <= 4 || interpreter_fail(vm, "8 bytes of the context");
}

/* The program sets the priority, which the kernel lets it. */
static bool store_field(struct interpreter *vm, size_t offset, size_t size, uint64_t value)
{
	struct emulation *emulation = emulation_of(vm);

	if (emulation->hook != LAB_TC || size != 4 ||
	    offset != offsetof(struct __sk_buff, priority))
		return interpreter_fail(vm, "a store to byte %zu of the context", offset);
	emulation->skb.priority = (uint32_t)value;
	return true;
}

/* ---- Runs ------------------------------------------------------------------- */

static const struct interpreter_world world = {
	.call = call,
	.map_value = map_value,
	.load_field = load_field,
	.store_field = store_field,
};

/* The kernel takes the outermost tag out, and keeps it beside the data. */
static void receive_tag(struct emulation *emulation)
{
	uint16_t type = (uint16_t)emulation->skb.protocol;

	if (is_tag(type))
		put_tag_beside(emulation, type, take_tag_out(emulation));
}

void emulation_receive(struct emulation *emulation, enum lab_hook hook, uint32_t ingress,
		       const struct frame *frame)
{
	memset(emulation, 0, sizeof(*emulation));
	emulation->hook = hook;
	emulation->xdp.ingress_ifindex = ingress;
	emulation->skb.ifindex = ingress;
	emulation->data = emulation->memory + EMULATION_HEADROOM;
	emulation->data_end = emulation->data + frame->len;
	memcpy(emulation->data, frame->data, frame->len);
	emulation->skb.protocol = type_at(emulation, 2 * ETH_ALEN);
	if (hook == LAB_TC)
		receive_tag(emulation);
}

bool emulation_run(struct emulation *emulation, const struct bpf_insn *insns, size_t count,
		   uint64_t jiffies, uint32_t *result)
{
	size_t context_len;
	const uint8_t *context = context_of(emulation, &context_len);
	uint64_t value = 0;
	bool ok;

	interpreter_init(&emulation->vm, &world, insns, count);
	emulation->packet = interpreter_add_region(&emulation->vm, NULL, 0);
	emulation->jiffies = jiffies;
	packet_moved(emulation);
	ok = interpreter_run(&emulation->vm, context, context_len, &value);
	*result = (uint32_t)value;
	return ok;
}

void emulation_frame(const struct emulation *emulation, struct frame *frame)
{
	const struct __sk_buff *skb = &emulation->skb;

	memset(frame, 0, sizeof(*frame));
	frame->len = packet_len(emulation);
	memcpy(frame->data, emulation->data, frame->len);
	if (emulation->hook == LAB_XDP || !skb->vlan_present)
		return;
	frame_insert(frame, 2 * ETH_ALEN, TAG_LEN);
	frame_put16(frame, 2 * ETH_ALEN, ntohs((uint16_t)skb->vlan_proto));
	frame_put16(frame, 2 * ETH_ALEN + 2, (uint16_t)skb->vlan_tci);
}
