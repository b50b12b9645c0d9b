// SPDX-License-Identifier: Apache-2.0
// What the parts of the proc file system share (proc(5)).
#pragma once

#include "kernel/mm.h"
#include "kernel/pseudofs.h"
#include "kernel/task.h"

extern const struct pseudo_entry proc_process_entries[];  // below /proc/PID
extern const struct pseudo_entry proc_thread_entries[];   // below /proc/PID/task/TID
extern const struct pseudo_entry proc_sys_entries[];      // below /proc/sys
extern const struct pseudo_entry proc_net_entries[];      // below /proc/net
extern const struct pseudo_entry proc_cloister_entries[]; // below /proc/cloister
extern const struct pseudo_object_ops proc_task_ops;      // object: struct task, referenced

// A node below /proc/PID stands for a task: the leader, or the thread below task/TID.
static inline struct task *proc_task(struct pseudo *n) { return n->object; }
// The pid namespace whose numbers a mount shows.
static inline struct pid_namespace *proc_pid_namespace(struct pseudo *n) { return n->inode->super->private; }
static inline bool proc_whole_process(struct pseudo *n) { return !(n->key & 1); }

int proc_pid_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out);
int proc_pid_iterate(struct pseudo *dir, struct dir_context *c);
unsigned proc_pid_subdirectories(struct pseudo *dir);

// fd.c
int proc_fd_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out);
int proc_fd_iterate(struct pseudo *dir, struct dir_context *c);
int proc_fdinfo_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out);
// maps.c
int proc_maps_show(struct seq *s, struct pseudo *n);
int proc_smaps_show(struct seq *s, struct pseudo *n);
int proc_smaps_rollup_show(struct seq *s, struct pseudo *n);
extern const struct file_ops proc_mem_ops, proc_pagemap_ops;
// namespace.c: the links of /proc/PID/ns
ssize_t proc_namespace_readlink(struct pseudo *n, char *buffer, size_t size);
int proc_namespace_follow(struct pseudo *n, struct path *out);
extern const enum id_kind proc_id_kinds[ID_KINDS]; // an entry's data: whose map it is
int proc_id_map_show(struct seq *s, struct pseudo *n);
ssize_t proc_id_map_write(struct pseudo *n, struct file *f, const char *data, size_t size);
int proc_setgroups_open(struct pseudo *n, struct file *f);
int proc_setgroups_show(struct seq *s, struct pseudo *n);
ssize_t proc_setgroups_write(struct pseudo *n, struct file *f, const char *data, size_t size);
// stat.c
int proc_stat_show(struct seq *s, struct pseudo *n);
int proc_statm_show(struct seq *s, struct pseudo *n);
int proc_status_show(struct seq *s, struct pseudo *n);
int proc_io_show(struct seq *s, struct pseudo *n);
int proc_limits_show(struct seq *s, struct pseudo *n);
int proc_schedstat_show(struct seq *s, struct pseudo *n);
// login.c
int proc_login_uid_show(struct seq *s, struct pseudo *n);
ssize_t proc_login_uid_write(struct pseudo *n, struct file *f, const char *data, size_t size);
int proc_login_session_show(struct seq *s, struct pseudo *n);
// bad_access.c
void proc_bad_access(const char *kind); // returns when it knows no such kind, or nothing watches
// system.c
extern const struct pseudo_entry proc_root_entries[];
