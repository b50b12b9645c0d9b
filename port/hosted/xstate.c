// SPDX-License-Identifier: Apache-2.0
// See xstate.h. Source: SDM vol. 1, ch. 13; the host's signal frames are in the standard format and end in FP_XSTATE_MAGIC2.
#include "xstate.h"

#include "amd64/log.h"
#include "cpu.h"
#include "layout.h"
#include "lib/compiler.h"
#include "port/host.h"
#include "lib/string.h"
#include "syscall.h"
#include "task.h"

#include <asm/errno.h>
#include <linux/futex.h>

#define OFFSET_HEADER    AMD64_XSTATE_HEADER
#define HEADER_BYTES     AMD64_XSTATE_HEADER_BYTES
#define ASK_PATIENCE_NS  UINT64_C(10000000) // between looks whether the thread still lives
#define XSTATE_MAX_BYTES 4096u              // components 0 to 7 need 2.7 KiB

// Set at start, constant afterwards.
static uint64_t features; // components of vector state the program has
static size_t size_bytes;
static struct xstate {
	uint8_t bytes[XSTATE_MAX_BYTES];
} __attribute__((aligned(64))) initial;

static inline void xsave(void *area)
{
	__asm__ volatile("xsave64 (%0)"
			 :
			 : "r"(area), "a"((uint32_t)features), "d"((uint32_t)(features >> 32))
			 : "memory");
}

static inline void xrstor(const void *area)
{
	__asm__ volatile("xrstor64 (%0)"
			 :
			 : "r"(area), "a"((uint32_t)features), "d"((uint32_t)(features >> 32))
			 : "memory");
}

void hosted_xstate_init(void)
{
	features = hosted_features.xcr0;
	size_bytes = amd64_xstate_size_bytes(&hosted_features);
	if (size_bytes > XSTATE_MAX_BYTES)
		amd64_refuse("the CPU's vector state is too large");
	amd64_xstate_initial(&hosted_features, &initial);
}

size_t port_xstate_size_bytes(void) { return size_bytes; }
uint64_t port_xstate_features(void) { return features; }

void hosted_xstate_load(const void *state)
{
	if (state)
		xrstor(state);
}

void hosted_xstate_exchange(void *state, void *buffer, bool to_frame)
{
	uint64_t *header = (uint64_t *)((uint8_t *)state + OFFSET_HEADER);
	uint64_t others = header[0] & ~features;

	if (!to_frame) {
		memcpy(buffer, state, size_bytes);
		*(uint64_t *)((uint8_t *)buffer + OFFSET_HEADER) &= features;
		return;
	}
	// The last 48 bytes of the legacy region are the host's (struct _fpx_sw_bytes).
	memcpy(state, buffer, OFFSET_HEADER - 48);
	memcpy(header, (uint8_t *)buffer + OFFSET_HEADER, size_bytes - OFFSET_HEADER);
	header[0] |= others;
}

// Another task's state is in its thread's registers: its signal handler gets or sets it.
static void ask(struct port_task *p, void *buffer, uint32_t request)
{
	p->xstate_buffer = buffer;
	__atomic_store_n(&p->xstate_request, request, __ATOMIC_RELEASE);
	// The thread may be another one meanwhile (exec): ask again.
	while (__atomic_load_n(&p->xstate_request, __ATOMIC_ACQUIRE) == request &&
	       __atomic_load_n(&p->tid, __ATOMIC_ACQUIRE)) {
		port_task_kick(p);
		port_lock_wait_until(&p->xstate_request, request, port_time_ns() + ASK_PATIENCE_NS);
	}
}

void port_xstate_get(struct port_task *p, void *buffer)
{
	if (p != current_port()) {
		memset(buffer, 0, size_bytes);
		ask(p, buffer, XSTATE_GET);
		return;
	}
	if (!((uint64_t)buffer & 63)) {
		memset((uint8_t *)buffer + OFFSET_HEADER, 0, HEADER_BYTES);
		xsave(buffer);
		return;
	}
	struct xstate area;
	memset(area.bytes + OFFSET_HEADER, 0, HEADER_BYTES);
	xsave(&area);
	memcpy(buffer, &area, size_bytes);
}

int port_xstate_set(struct port_task *p, const void *buffer)
{
	if (amd64_xstate_check(&hosted_features, buffer))
		return -EINVAL;
	if (p != current_port()) {
		ask(p, (void *)buffer, XSTATE_SET);
		return 0;
	}
	if (!((uint64_t)buffer & 63)) {
		xrstor(buffer);
		return 0;
	}
	struct xstate area;
	memcpy(&area, buffer, size_bytes);
	xrstor(&area);
	return 0;
}

void port_xstate_reset(struct port_task *p)
{
	if (p == current_port())
		xrstor(&initial);
}
