// SPDX-License-Identifier: Apache-2.0
// The launcher's one loop. Everything it waits for is in one poll() set: the children's standard errors, the control
// channel, the streams, the kernel's early console, and signals by signalfd.
#include "cli/launch.h"

#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOG_MAX_BYTES      (256u << 10)
#define HELPER_PATIENCE_NS INT64_C(3000000000)
#define LOW_PERIOD_NS      INT64_C(5000000)
#define LOW_DOUBLINGS      6u
#define OVER_PERIOD_MS     200
#define EXIT_PATIENCE_NS   INT64_C(10000000000)

int64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// ---- text for a person ----

// In raw mode a terminal wants its carriage returns.
static void print_text(const struct launch *l, const char *text, size_t size)
{
	const bool raw = l->options->cell.tty;

	flockfile(stderr);
	for (size_t i = 0; i < size; i++) {
		if (raw && text[i] == '\n')
			fputc('\r', stderr);
		fputc(text[i], stderr);
	}
	fflush(stderr);
	funlockfile(stderr);
}

void launch_say(const struct launch *l, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	int used;

	if (!l->options->cell.verbose)
		return;
	used = snprintf(text, sizeof(text), "cloister: [%6.1f ms] ", (double)(monotonic_ns() - l->started_ns) / 1e6);
	va_start(arguments, format);
	vsnprintf(text + used, sizeof(text) - (size_t)used - 1, format, arguments);
	va_end(arguments);
	strcat(text, "\n");
	print_text(l, text, strlen(text));
}

// ---- control messages ----

static void on_hello(void *context, uint32_t version)
{
	struct launch *l = context;

	(void)version;
	l->hello = true;
	if (l->options->cell.tty)
		terminal_raw();
	launch_say(l, "the kernel runs");
}

static void on_exit(void *context, int32_t wait_status)
{
	struct launch *l = context;

	l->exit_known = true;
	l->wait_status = wait_status;
	l->deadline_ns = monotonic_ns() + EXIT_PATIENCE_NS;
	launch_say(l, "the program ended");
	if (l->machine.kind->finished)
		l->machine.kind->finished(&l->machine);
}

// One line a counter, marked, so that a reader finds them between what else is printed.
static void print_leaks(const struct launch *l, const char *text, size_t size)
{
	char line[256];

	for (const char *at = text, *end = text + size; at < end;) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t length = (size_t)((stop ? stop : end) - at);

		if (length) {
			snprintf(line, sizeof(line), "leaked: %.*s\n", (int)(length > 200 ? 200 : length), at);
			print_text(l, line, strlen(line));
		}
		at += length + 1;
	}
}

static void on_text(void *context, enum control_type type, const char *text, size_t size)
{
	struct launch *l = context;

	if (type == CONTROL_LOG && !l->options->cell.verbose)
		return;
	if (type == CONTROL_LEAK)
		print_leaks(l, text, size);
	else
		print_text(l, text, size);
}

static void on_start_failed(void *context, int32_t error, const char *text, size_t size)
{
	struct launch *l = context;

	l->start_failed = true;
	l->start_error = error;
	snprintf(l->start_text, sizeof(l->start_text), "%.*s", (int)size, text);
}

static void on_stdin_want(void *context, uint32_t bytes)
{
	struct launch *l = context;

	if (!l->input)
		return;
	if (bytes == UINT32_MAX)
		l->input->credit = RELAY_UNLIMITED;
	else if (l->input->credit != RELAY_UNLIMITED)
		l->input->credit += bytes;
}

static void on_stream_closed(void *context, uint32_t stream, uint64_t total_bytes)
{
	struct launch *l = context;
	struct relay *r = stream == 1 ? l->output : stream == 2 ? l->error : NULL;

	if (r && !l->options->cell.tty)
		r->close_after = total_bytes;
}

static const struct control_handlers handlers = {
	.hello = on_hello,
	.exit = on_exit,
	.text = on_text,
	.start_failed = on_start_failed,
	.stdin_want = on_stdin_want,
	.stream_closed = on_stream_closed,
};

// ---- signals ----

static void forward(struct launch *l, int signal)
{
	int32_t number = signal;

	control_queue(&l->control, CONTROL_SIGNAL, &number, sizeof(number));
}

static void send_window_size(struct launch *l)
{
	unsigned short size[2];

	terminal_size(&size[0], &size[1]);
	control_queue(&l->control, CONTROL_WINSIZE, size, sizeof(size));
}

// A signal before the kernel runs ends the cell; so does a second SIGTERM: a cell must be stoppable.
static void on_signal(struct launch *l, int signal)
{
	switch (signal) {
	case SIGCHLD: return;
	case SIGWINCH:
		if (l->options->cell.tty)
			send_window_size(l);
		else
			forward(l, signal);
		return;
	case SIGCONT:
		if (l->options->cell.tty && l->hello)
			terminal_raw();
		return;
	case SIGTERM: l->terms++;
	}
	if (l->terms >= 2 || !l->machine.process.pid || (!l->hello && signal != SIGUSR1 && signal != SIGUSR2)) {
		l->stopping = true;
		l->stop_signal = signal;
		return;
	}
	forward(l, signal);
}

static void read_signals(struct launch *l, int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		on_signal(l, (int)info.ssi_signo);
}

// ---- children ----

static void check_children(struct launch *l)
{
	for (unsigned i = 0; i < l->machine.helper_count; i++) {
		struct process *helper = l->machine.helpers[i];

		if (!helper->pid || !process_reap(helper) || l->dead_child)
			continue;
		l->dead_child = helper;
		l->dead_ns = monotonic_ns();
	}
	if (l->machine.process.pid && process_reap(&l->machine.process) && l->machine.kind->ended)
		l->machine.kind->ended(&l->machine);
}

static void read_log(struct launch *l)
{
	int *fd = &l->machine.streams[STREAM_LOG];
	char text[4096];
	ssize_t n;

	while ((n = read(*fd, text, sizeof(text))) > 0) {
		if (l->options->cell.verbose)
			print_text(l, text, (size_t)n);
		buffer_append(&l->log, text, (size_t)n);
		if (l->log.size > LOG_MAX_BYTES)
			buffer_consume(&l->log, l->log.size - LOG_MAX_BYTES);
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(*fd);
		*fd = -1;
	}
}

// ---- streams ----

// Ends a relay whose data is all passed on: the other side sees the close.
static void finish_input(struct launch *l)
{
	struct relay *r = l->input;

	if (!r || r->to < 0 || !relay_done(r))
		return;
	// Only this direction of a socket: QEMU takes a hang-up as the end at once and loses what it has not read yet.
	if (shutdown(r->to, SHUT_WR) && errno == ENOTSOCK) {
		close(r->to);
		l->machine.streams[STREAM_STDIN] = -1;
	}
	r->to = -1;
	r->broken = true;
}

static void finish_output(struct launch *l, struct relay *r, enum machine_stream stream, int host_fd)
{
	if (!r || !relay_done(r) || l->machine.streams[stream] < 0)
		return;
	close(l->machine.streams[stream]);
	l->machine.streams[stream] = -1;
	r->from = -1;
	// The program closed its stream, or is gone: so must ours be, for whoever reads it. Our own words still need 2.
	if (!l->options->cell.tty && host_fd != STDERR_FILENO && r->close_after != RELAY_UNLIMITED && !r->broken)
		close(host_fd);
}

static bool outputs_done(const struct launch *l)
{
	return (!l->output || relay_done(l->output)) && (!l->error || relay_done(l->error));
}

// ---- the loop ----

enum {
	SLOT_SIGNALS,
	SLOT_CONTROL,
	SLOT_LOG,
	SLOT_INPUT,
	SLOT_OUTPUT = SLOT_INPUT + 2,
	SLOT_ERROR = SLOT_OUTPUT + 2,
	SLOT_MEMORY = SLOT_ERROR + 2,
	SLOT_CHILDREN,
	SLOT_COUNT = SLOT_CHILDREN + 1 + MACHINE_HELPERS_MAX
};

static void fill_slots(struct launch *l, struct pollfd *p, int signals)
{
	for (int i = 0; i < SLOT_COUNT; i++)
		p[i] = (struct pollfd){ .fd = -1 };
	p[SLOT_SIGNALS] = (struct pollfd){ .fd = signals, .events = POLLIN };
	p[SLOT_CONTROL] = (struct pollfd){ .fd = l->control.fd, .events = POLLIN };
	if (control_wants_write(&l->control))
		p[SLOT_CONTROL].events |= POLLOUT;
	p[SLOT_LOG] = (struct pollfd){ .fd = l->machine.streams[STREAM_LOG], .events = POLLIN };
	if (l->input)
		relay_poll(l->input, &p[SLOT_INPUT], &p[SLOT_INPUT + 1]);
	if (l->output)
		relay_poll(l->output, &p[SLOT_OUTPUT], &p[SLOT_OUTPUT + 1]);
	if (l->error)
		relay_poll(l->error, &p[SLOT_ERROR], &p[SLOT_ERROR + 1]);
	p[SLOT_MEMORY] = (struct pollfd){ .fd = l->machine.notice, .events = l->machine.notice_events };
	p[SLOT_CHILDREN] = (struct pollfd){ .fd = l->machine.process.stderr_fd, .events = POLLIN };
	for (unsigned i = 0; i < l->machine.helper_count; i++)
		p[SLOT_CHILDREN + 1 + i] = (struct pollfd){ .fd = l->machine.helpers[i]->stderr_fd, .events = POLLIN };
}

static void serve_control(struct launch *l, short events)
{
	bool broken = false;

	if ((events & ~POLLOUT) && l->control.fd >= 0 && !control_receive(&l->control, &broken)) {
		close(l->control.fd);
		l->control.fd = l->machine.streams[STREAM_CONTROL] = -1;
		l->nonsense = broken;
	}
	control_flush(&l->control);
}

// The terminal itself takes ^D for the end of what is typed until it is raw. To the program it is a key: a terminal ends when it
// hangs up only.
static void pass_end_of_file(struct relay *input, short events)
{
	if (!input->input_ended || events & (POLLHUP | POLLERR))
		return;
	input->input_ended = false;
	relay_put(input, TERMINAL_EOF);
}

static void serve_streams(struct launch *l, const struct pollfd *p)
{
	if (l->input)
		relay_move(l->input, p[SLOT_INPUT].revents, p[SLOT_INPUT + 1].revents);
	if (l->input && l->options->cell.tty)
		pass_end_of_file(l->input, p[SLOT_INPUT].revents);
	if (l->output)
		relay_move(l->output, p[SLOT_OUTPUT].revents, p[SLOT_OUTPUT + 1].revents);
	if (l->error)
		relay_move(l->error, p[SLOT_ERROR].revents, p[SLOT_ERROR + 1].revents);
	finish_input(l);
	finish_output(l, l->output, l->options->cell.tty ? STREAM_TTY : STREAM_STDOUT, 1);
	finish_output(l, l->error, STREAM_STDERR, 2);
}

static void serve_memory(struct launch *l)
{
	struct control_usage usage[CONTROL_PAYLOAD_MAX_BYTES / sizeof(struct control_usage)];
	unsigned count = l->machine.kind->memory_low(&l->machine, usage, sizeof(usage) / sizeof(*usage));

	if (!count) {
		l->memory_ns = 0;
		l->memory_checks = 0;
		return;
	}
	if (!l->memory_checks)
		launch_say(l, "memory runs low");
	l->memory_ns = monotonic_ns() + (LOW_PERIOD_NS << l->memory_checks); // until somebody is gone
	l->memory_checks += l->memory_checks < LOW_DOUBLINGS;
	if (l->hello && !l->exit_known)
		control_queue(&l->control, CONTROL_MEMORY_LOW, usage, count * (uint32_t)sizeof(*usage));
}

static void serve(struct launch *l, const struct pollfd *p, int signals)
{
	if (p[SLOT_MEMORY].revents || (l->memory_ns && monotonic_ns() >= l->memory_ns))
		serve_memory(l);
	if (p[SLOT_LOG].revents)
		read_log(l);
	serve_control(l, p[SLOT_CONTROL].revents);
	serve_streams(l, p);
	for (int i = SLOT_CHILDREN; i < SLOT_COUNT; i++) {
		if (!p[i].revents)
			continue;
		process_listen(i == SLOT_CHILDREN ? &l->machine.process : l->machine.helpers[i - SLOT_CHILDREN - 1]);
	}
	if (p[SLOT_SIGNALS].revents) {
		read_signals(l, signals);
		check_children(l);
	}
	control_flush(&l->control);
}

static bool is_over(struct launch *l)
{
	if (l->stopping || l->nonsense)
		return true;
	// A helper ends by itself when its machine goes, which we may hear of later: only without that is it news.
	if (l->dead_child && l->machine.process.pid && !l->exit_known &&
	    (l->dead_child->status || monotonic_ns() - l->dead_ns > HELPER_PATIENCE_NS))
		return true;
	if (l->machine.process.pid && l->exit_known && l->deadline_ns && monotonic_ns() > l->deadline_ns &&
	    outputs_done(l))
		return true;
	// The streams are read to their ends after the machine is gone; so is what it said.
	return !l->machine.process.pid && outputs_done(l) && l->control.fd < 0 && l->machine.streams[STREAM_LOG] < 0;
}

static int wait_ms(const struct launch *l)
{
	const int over = l->exit_known || l->dead_child ? OVER_PERIOD_MS : -1;
	int64_t memory;

	if (!l->memory_ns)
		return over;
	memory = (l->memory_ns - monotonic_ns() + 999999) / 1000000;
	memory = memory < 0 ? 0 : memory;
	return over >= 0 && over < memory ? over : (int)memory;
}

bool launch_loop(struct launch *l, int signals, struct err *e)
{
	struct pollfd p[SLOT_COUNT];

	l->control.handlers = &handlers;
	l->control.context = l;
	while (!is_over(l)) {
		fill_slots(l, p, signals);
		if (poll(p, SLOT_COUNT, wait_ms(l)) < 0) {
			if (errno == EINTR)
				continue;
			return err_set(e, EXIT_USAGE, "poll: %s", strerror(errno));
		}
		serve(l, p, signals);
	}
	return true;
}
