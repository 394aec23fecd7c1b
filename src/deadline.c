/* SPDX-License-Identifier: GPL-2.0-only */
#include "deadline.h"

void deadlines_init(struct deadlines *wheel, uint64_t now_ms)
{
	for (size_t i = 0; i < DEADLINE_SLOTS; i++)
		list_init(&wheel->slot[i]);
	list_init(&wheel->due);
	wheel->done = now_ms / DEADLINE_SLOT_MS;
}

void deadline_init(struct deadline *deadline)
{
	list_init(&deadline->node);
	deadline->at = 0;
}

void deadline_set(struct deadlines *wheel, struct deadline *deadline, uint64_t at_ms)
{
	/* Its slot is looked at once the slot's time is over: never early. */
	uint64_t number = at_ms / DEADLINE_SLOT_MS + 1;

	if (number <= wheel->done)
		number = wheel->done + 1;
	list_remove(&deadline->node);
	deadline->at = at_ms;
	list_append(&wheel->slot[number % DEADLINE_SLOTS], &deadline->node);
}

void deadline_cancel(struct deadline *deadline)
{
	list_remove(&deadline->node);
}

/* Move what is due in the slot to the list of due ones; the rest waits for another turn. */
static void collect(struct deadlines *wheel, struct list *slot, uint64_t now_ms)
{
	struct list *node = slot->next;

	while (node != slot) {
		struct deadline *deadline = container_of(node, struct deadline, node);

		node = node->next;
		if (deadline->at > now_ms)
			continue;
		list_remove(&deadline->node);
		list_append(&wheel->due, &deadline->node);
	}
}

struct deadline *deadlines_next(struct deadlines *wheel, uint64_t now_ms)
{
	uint64_t last = now_ms / DEADLINE_SLOT_MS;
	struct deadline *deadline;

	/* After a long sleep one turn sees every slot. */
	if (last > wheel->done + DEADLINE_SLOTS)
		wheel->done = last - DEADLINE_SLOTS;
	while (list_empty(&wheel->due) && wheel->done < last) {
		wheel->done++;
		collect(wheel, &wheel->slot[wheel->done % DEADLINE_SLOTS], now_ms);
	}
	if (list_empty(&wheel->due))
		return NULL;
	deadline = container_of(wheel->due.next, struct deadline, node);
	list_remove(&deadline->node);
	return deadline;
}
