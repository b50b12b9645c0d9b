// SPDX-License-Identifier: Apache-2.0
// The control channel's kernel side (abi/control.h): a task reads the launcher's messages, anybody sends. Senders are
// serialised by a mutex so that messages stay whole. Without a channel (a machine started by hand) text goes to the log.
#include "abi/control.h"
#include "kernel/boot_config.h"
#include "kernel/channel.h"
#include "kernel/core.h"
#include "kernel/log.h"
#include "kernel/mm.h"
#include "kernel/mutex.h"
#include "kernel/task.h"
#include "kernel/tty.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define TIME_GOOD_NS   (NSEC_PER_MSEC / 2) // a round trip that is not worth another
#define TIME_TRIES_MAX 10u
#define HELPERS_PAGES  4096u // more than a process has that is no program

static struct channel *control;
static struct mutex send_lock = MUTEX_INIT(send_lock);

static int write_all(const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = control->ops->write(control, at, size, false);
		if (n == -ERESTARTSYS || n == -EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

void control_send(unsigned type, const void *payload, size_t size)
{
	struct {
		struct control_header header;
		char payload[CONTROL_PAYLOAD_MAX_BYTES];
	} * message;

	if (!control)
		return;
	size = min(size, (size_t)CONTROL_PAYLOAD_MAX_BYTES);
	message = kalloc(sizeof(message->header) + size);
	if (!message)
		return;
	message->header = (struct control_header){ .type = (uint16_t)type, .size_bytes = (uint32_t)size };
	memcpy(message->payload, payload, size);
	mutex_lock(&send_lock);
	write_all(message, sizeof(message->header) + size);
	mutex_unlock(&send_lock);
	kfree(message);
}

void control_send_text(unsigned type, const char *text)
{
	size_t left = strlen(text);

	if (!control)
		port_log_write(text, left);
	do {
		size_t n = min(left, (size_t)CONTROL_PAYLOAD_MAX_BYTES);
		control_send(type, text, n);
		text += n;
		left -= n;
	} while (left);
}

void control_send_start_failed(int error, const char *why)
{
	struct {
		int32_t error;
		char why[252];
	} message = { .error = -error };

	string_copy(message.why, why, sizeof(message.why));
	klog("the program could not start: %s: error %d", why, -error);
	control_send(CONTROL_START_FAILED, &message, sizeof(message.error) + strlen(message.why));
}

void trace_line(const char *line) { control_send_text(CONTROL_TRACE, line); }

static void ask_time(void)
{
	uint64_t cookie = port_time_ns();
	control_send(CONTROL_TIME_REQUEST, &cookie, sizeof(cookie));
}

// The cookie is our clock when we asked. The launcher looked at its clock somewhere within the round trip: half of it is the
// best guess, and the shortest of a few the best answer.
static void time_reply(const struct control_time *t)
{
	static uint64_t best_ns = NSEC_PER_SEC; // the control task's only
	static unsigned asked;
	uint64_t now = port_time_ns(), trip_ns = now - t->cookie;

	if (t->cookie <= now && trip_ns < best_ns) {
		best_ns = trip_ns;
		clock_set_realtime(t->realtime_ns + (int64_t)trip_ns / 2);
	}
	if (best_ns > TIME_GOOD_NS && asked++ < TIME_TRIES_MAX)
		ask_time();
}

// From now on the host counts what processes use, and knows better.
static void memory_low(const struct control_usage *u, size_t size)
{
	size_t count = size / sizeof(*u);
	bool there = false;

	for (size_t i = 0; i < count; i++) {
		bool found = oom_note_usage(u[i].process, u[i].pages);
		there |= found && i == 0;
	}
	// Somebody large has ended since the host looked: that may have been enough, and the next would be innocent.
	if (count && (there || u[0].pages < HELPERS_PAGES))
		(void)process_oom_kill();
}

// It may be gone: the cell is ending.
static void signal_first_process(int32_t signal)
{
	struct process *p = signal > 0 && signal <= SIGNALS_MAX ? process_find(1) : NULL;

	if (!p)
		return;
	signal_send_process(p, signal, NULL);
	process_put(p);
}

static void handle(const struct control_header *h, const char *payload)
{
	switch (h->type) {
	case CONTROL_SIGNAL: {
		int32_t signal;
		if (h->size_bytes < sizeof(signal))
			return;
		memcpy(&signal, payload, sizeof(signal));
		signal_first_process(signal);
		return;
	}
	case CONTROL_WINSIZE: {
		uint16_t size[2];
		if (h->size_bytes < sizeof(size))
			return;
		memcpy(size, payload, sizeof(size));
		tty_console_resize(size[0], size[1]);
		return;
	}
	case CONTROL_TIME_REPLY: {
		struct control_time t;
		if (h->size_bytes < sizeof(t))
			return;
		memcpy(&t, payload, sizeof(t));
		time_reply(&t);
		return;
	}
	case CONTROL_MEMORY_LOW: memory_low((const struct control_usage *)payload, h->size_bytes); return;
	}
}

static bool read_all(void *buffer, size_t size)
{
	char *to = buffer;

	while (size) {
		ssize_t n = control->ops->read(control, to, size, false);
		if (n == -ERESTARTSYS || n == -EAGAIN)
			continue;
		if (n <= 0)
			return false;
		to += n;
		size -= (size_t)n;
	}
	return true;
}

static void control_task(void *unused)
{
	struct control_header h;
	static char payload[CONTROL_PAYLOAD_MAX_BYTES] __attribute__((aligned(8))); // this task's only

	(void)unused;
	while (read_all(&h, sizeof(h))) {
		if (h.size_bytes > sizeof(payload)) {
			klog("control channel: message of %u bytes refused", h.size_bytes);
			break;
		}
		if (!read_all(payload, h.size_bytes))
			break;
		handle(&h, payload);
	}
	klog("control channel closed: the launcher is gone");
	cell_shutdown(SIGKILL);
	sched_exit_current();
}

void control_start(void)
{
	uint32_t version = BOOT_VERSION;

	control = channel_find(CONTROL_PORT_NAME);
	if (!control) {
		klog("no control channel: status and log stay in the machine");
		return;
	}
	control_send(CONTROL_HELLO, &version, sizeof(version));
	ask_time();
	kernel_task_create("control", control_task, NULL);
}

void control_flush(void)
{
	if (control && control->ops->flush)
		control->ops->flush(control);
}
