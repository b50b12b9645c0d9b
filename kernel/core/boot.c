// SPDX-License-Identifier: Apache-2.0
// The kernel's start, from the port's upcall to the first process. What each subsystem needs is registered with
// KERNEL_INIT (kernel/init.h); the few calls here are those without which nothing else can run.
#include <linux/mount.h>

#include "abi/control.h"
#include "kernel/boot_config.h"
#include "kernel/channel.h"
#include "kernel/core.h"
#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/mm.h"
#include "kernel/random.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "kernel/upcall.h"
#include "lib/fmt.h"
#include "lib/string.h"

struct boot_config boot_config;

#define LEVEL(n)                                                                                          \
	extern const struct init_entry __start_init_table_##n[] __attribute__((weak));                    \
	extern const struct init_entry __stop_init_table_##n[] __attribute__((weak));                     \
	static void run_level_##n(void)                                                                   \
	{                                                                                                 \
		for (const struct init_entry *e = __start_init_table_##n; e < __stop_init_table_##n; e++) \
			e->fn();                                                                          \
	}
LEVEL(1)
LEVEL(2)
LEVEL(3)
LEVEL(4)

_Noreturn static void refuse(const char *what, const char *why)
{
	klog("cannot start: %s: %s", what, why);
	port_exit(MACHINE_EXIT_BOOT);
}

// The mount item's size limit and root mode, as tmpfs takes them.
static const char *mount_options(const struct boot_mount *m, char *buffer, size_t size)
{
	int n = 0;

	if (strcmp(m->type, "tmpfs") != 0)
		return NULL;
	buffer[0] = '\0';
	if (m->limit_bytes)
		n = fmt_print(buffer, size, "size=%lu,", m->limit_bytes);
	fmt_print(buffer + n, size - (size_t)n, "mode=%o", m->mode ? m->mode : 0755u);
	return buffer;
}

static void mount_all(void)
{
	for (unsigned i = 0; i < boot_config.mount_count; i++) {
		const struct boot_mount *m = boot_config.mounts[i];
		char options[64], why[128];
		uint32_t flags = m->flags & BOOT_MOUNT_READ_ONLY ? MS_RDONLY : 0;
		int error = mount_at(m->type, m->source, m->target, flags, mount_options(m, options, sizeof(options)));

		if (error) {
			fmt_print(why, sizeof(why), "mounting %s (%s %s) failed: error %d", m->target, m->type,
				  m->source, -error);
			control_send_text(CONTROL_LOG, why);
			refuse("mounts", why);
		}
		trace_event("mounted", i, port_time_ns());
	}
}

// The init task: a kernel task, so that drivers and file systems may sleep.
static void start(void *unused)
{
	char why[256];

	(void)unused;
	trace_event("drivers", 0, port_time_ns());
	run_level_3();
	trace_event("control", 0, port_time_ns());
	control_start();
	mount_all();
	run_level_4();
	int error = process_start_init(&boot_config, why, sizeof(why));
	if (error) {
		control_send_start_failed(error, why);
		machine_stop(MACHINE_EXIT_DONE);
	}
	sched_exit_current();
}

_Noreturn void kernel_upcall_boot(const void *record, size_t size)
{
	const char *why;

	mm_init();
	int error = boot_record_parse(record, size, &boot_config, &why);
	if (error)
		refuse("boot record", why);
	random_init(boot_config.seed, boot_config.seed_size);
	sched_init();
	clock_set_realtime(boot_config.time.realtime_ns);
	run_level_1();
	run_level_2();
	struct task *t = kernel_task_create("init", start, NULL);
	if (is_err(t))
		refuse("first task", "out of memory");
	sched_idle();
}
