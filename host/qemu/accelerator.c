// SPDX-License-Identifier: Apache-2.0
// Source: Linux Documentation/virt/kvm/api.rst.
#include "qemu/accelerator.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROBE_ITERATIONS 400u
#define PROBE_LIMIT_NS   200000 // hardware needs some 10,000 with all faults; emulation about 1,600,000

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// mov ecx, n; 1: dec ecx; jnz 1b; hlt
static void write_loop(unsigned char *code)
{
	static const unsigned char loop[] = { 0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xf4 };
	uint32_t n = PROBE_ITERATIONS;

	memcpy(code, loop, sizeof(loop));
	memcpy(code + 1, &n, sizeof(n));
}

// Flat 32-bit protected mode, so that old processors need no emulation for real mode.
static bool enter_protected_mode(int vcpu)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_segment data = code;
	struct kvm_regs regs = { .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return false;
	data.type = 3;
	data.selector = 16;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
	sregs.cr0 |= 1;
	return !ioctl(vcpu, KVM_SET_SREGS, &sregs) && !ioctl(vcpu, KVM_SET_REGS, &regs);
}

// Nanoseconds of the loop; -1 with errno.
static int64_t time_ring0_loop(int kvm)
{
	cleanup_close int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	cleanup_close int vcpu = -1;
	struct kvm_userspace_memory_region region = { .memory_size = 4096 };
	void *memory, *run;
	int64_t start, result = -1;
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (vm < 0 || size < 0)
		return -1;
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	write_loop(memory);
	region.userspace_addr = (uint64_t)memory;
	vcpu = ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu >= 0 && enter_protected_mode(vcpu)) {
		run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
		if (run != MAP_FAILED) {
			start = clock_ns(CLOCK_THREAD_CPUTIME_ID); // a busy host must not look like a slow one
			if (!ioctl(vcpu, KVM_RUN, 0) && ((struct kvm_run *)run)->exit_reason == KVM_EXIT_HLT)
				result = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
			munmap(run, (size_t)size);
		}
	}
	munmap(memory, 4096);
	return result;
}

void accelerator_probe(struct accelerator *a)
{
	cleanup_close int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int64_t ns;

	a->kvm = false;
	if (kvm < 0) {
		snprintf(a->why, sizeof(a->why), "tcg: /dev/kvm: %s", strerror(errno));
		return;
	}
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		snprintf(a->why, sizeof(a->why), "tcg: /dev/kvm has another API version");
		return;
	}
	ns = time_ring0_loop(kvm);
	if (ns < 0) {
		snprintf(a->why, sizeof(a->why), "tcg: KVM cannot run a ring-0 loop here: %s", strerror(errno));
		return;
	}
	a->kvm = ns < PROBE_LIMIT_NS;
	snprintf(a->why, sizeof(a->why),
		 a->kvm ? "kvm: %u ring-0 instructions took %.3f ms, hardware speed"
			: "tcg: %u ring-0 instructions took %.3f ms under KVM, which emulates them",
		 2 * PROBE_ITERATIONS, (double)ns / 1e6);
}
