// SPDX-License-Identifier: Apache-2.0
// IPC namespaces, inside: the tables of System V objects and the POSIX message queues that the processes of one see. ipc_namespaces(7).
#pragma once

#include "kernel/namespace.h"
#include "kernel/task.h"
#include "lib/radix.h"
#include "sysv/ids.h"

struct super;

struct shm_table {
	struct radix segments; // by id modulo SHM_ID_STRIDE; shm_lock, as all of it
	unsigned generation;
	uint64_t pages; // of all segments
};

struct ipc_namespace {
	struct namespace common;
	struct sysv_table queues, sets;
	struct shm_table shm;
	struct super *mqueues; // their file system
};
extern struct ipc_namespace ipc_namespace_first;

static inline struct ipc_namespace *ipc_mine(void)
{
	return container_of(current->namespaces->of[NAMESPACE_IPC], struct ipc_namespace, common);
}

// Of a new namespace, and when it goes: nobody is in it any more.
void msg_table_init(struct sysv_table *t); // sysv/msg.c
void sem_table_init(struct sysv_table *t); // sysv/sem.c
void shm_table_clear(struct shm_table *t); // shm.c
struct super *mqueue_super_create(void);   // mqueue/super.c; NULL
