// SPDX-License-Identifier: Apache-2.0
// Doubly linked circular list with an embedded node; the head is a node too. No locking.
#pragma once

#include "lib/compiler.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)          \
	{                        \
		&(name), &(name) \
	}

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }

static inline void list_insert_between(struct list *node, struct list *prev, struct list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_add(struct list *head, struct list *node) { list_insert_between(node, head, head->next); }
static inline void list_add_tail(struct list *head, struct list *node) { list_insert_between(node, head->prev, head); }

// Removes the node and leaves it empty, so that list_empty(node) tells that it is on no list.
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

// Moves every node of `from` to the end of `to`.
static inline void list_splice_tail(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
#define list_last(head, type, member)  list_entry((head)->prev, type, member)
#define list_for_each(pos, head, member)                                               \
	for (pos = list_first(head, __typeof__(*pos), member); &pos->member != (head); \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))
// The body may remove `pos`.
#define list_for_each_safe(pos, next_, head, member)                        \
	for (pos = list_first(head, __typeof__(*pos), member),              \
	    next_ = list_entry(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head); pos = next_, next_ = list_entry(next_->member.next, __typeof__(*pos), member))
