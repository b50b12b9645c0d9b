// SPDX-License-Identifier: Apache-2.0
// The frame a signal handler runs on, and the return from it. The layout is the x86-64 Linux ABI: <asm/ucontext.h>,
// <asm/sigcontext.h>; sigreturn(2), sigaltstack(2).
//
//	high   red zone (128 bytes the interrupted function may use below its stack pointer), or the alternate stack's top
//	       fpstate: XSAVE area, 64-byte aligned, FP_XSTATE_MAGIC2 behind it
//	low    struct rt_sigframe; at its start the return address, so that the handler is entered as by a call
#include "internal.h"

#include "sigframe.h"

#include "kernel/syscalls.h"
#include "lib/string.h"

#include <asm/processor-flags.h>

#define RED_ZONE_BYTES 128u
#define FLAGS_RESTORED                                                                                   \
	(X86_EFLAGS_AC | X86_EFLAGS_OF | X86_EFLAGS_DF | X86_EFLAGS_TF | X86_EFLAGS_SF | X86_EFLAGS_ZF | \
	 X86_EFLAGS_AF | X86_EFLAGS_PF | X86_EFLAGS_CF | X86_EFLAGS_RF)

bool altstack_contains(const struct task *t, uint64_t sp)
{
	if (t->altstack_flags & SS_AUTODISARM)
		return false; // it is disarmed while in use, so use cannot nest
	return sp > t->altstack_base && sp - t->altstack_base <= t->altstack_size;
}

uint64_t sigframe_size_bytes(void)
{
	return RED_ZONE_BYTES + sizeof(struct rt_sigframe) + 8 + 64 +
	       align_up(port_xstate_size_bytes() + FP_XSTATE_MAGIC2_SIZE, 64);
}

int sigframe_place(const struct task *t, uint64_t sp, uint64_t sa_flags, size_t xstate_size, struct sigframe_place *out)
{
	bool nested = altstack_contains(t, sp), entered = false;
	sp -= RED_ZONE_BYTES;
	if ((sa_flags & SA_ONSTACK) && t->altstack_size && !nested) {
		sp = t->altstack_base + t->altstack_size;
		entered = true;
	}
	out->fpstate = align_down(sp - xstate_size - FP_XSTATE_MAGIC2_SIZE, UINT64_C(64));
	// As after a call: 16-byte aligned once the return address is popped.
	out->frame = align_down(out->fpstate - sizeof(struct rt_sigframe), UINT64_C(16)) - 8;
	if ((nested || entered) && (out->frame <= t->altstack_base || out->frame - t->altstack_base > t->altstack_size))
		return -EFAULT; // the alternate stack is too small: better than overwriting what lies below it
	return user_range_ok(out->frame, sp - out->frame) ? 0 : -EFAULT;
}

static void context_fill(struct sigcontext_64 *c, const struct task *t, const struct user_regs *r, uint64_t fpstate,
			 sigmask_t mask)
{
	c->r8 = r->r8;
	c->r9 = r->r9;
	c->r10 = r->r10;
	c->r11 = r->r11;
	c->r12 = r->r12;
	c->r13 = r->r13;
	c->r14 = r->r14;
	c->r15 = r->r15;
	c->di = r->di;
	c->si = r->si;
	c->bp = r->bp;
	c->bx = r->bx;
	c->dx = r->dx;
	c->ax = r->ax;
	c->cx = r->cx;
	c->sp = r->sp;
	c->ip = r->ip;
	c->flags = r->flags;
	c->cs = (uint16_t)r->cs;
	c->ss = (uint16_t)r->ss;
	c->err = t->trap_error;
	c->trapno = t->trap_number;
	c->oldmask = mask;
	c->cr2 = t->trap_address;
	c->fpstate = fpstate;
}

void sigframe_fill(struct rt_sigframe *f, const struct task *t, const struct user_regs *r, const siginfo_t *info,
		   const struct sigaction_kernel *action, sigmask_t mask, uint64_t fpstate)
{
	memset(f, 0, sizeof(*f));
	f->return_address = action->restorer;
	f->uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	f->stack_base = t->altstack_base;
	f->stack_flags = t->altstack_size ? (int32_t)t->altstack_flags : SS_DISABLE;
	f->stack_size = t->altstack_size;
	context_fill(&f->context, t, r, fpstate, mask);
	f->mask = mask;
	f->info = *info;
}

// The words Linux leaves in the FXSAVE area's software bytes, by which a reader knows the area's extent.
void sigframe_xstate_mark(uint8_t *xstate, size_t size, uint64_t features)
{
	struct _fpstate_64 *f = (struct _fpstate_64 *)xstate;
	uint32_t magic2 = FP_XSTATE_MAGIC2;
	memset(&f->sw_reserved, 0, sizeof(f->sw_reserved));
	f->sw_reserved.magic1 = FP_XSTATE_MAGIC1;
	f->sw_reserved.extended_size = (uint32_t)(size + FP_XSTATE_MAGIC2_SIZE);
	f->sw_reserved.xfeatures = features;
	f->sw_reserved.xstate_size = (uint32_t)size;
	memcpy(xstate + size, &magic2, sizeof(magic2));
}

static int xstate_push(uint64_t to, size_t size)
{
	uint8_t *buffer = kalloc(size + FP_XSTATE_MAGIC2_SIZE);
	if (!buffer)
		return -EFAULT;
	port_xstate_get(current->port, buffer);
	sigframe_xstate_mark(buffer, size, port_xstate_features());
	int r = copy_to_user((struct uptr){ to }, buffer, size + FP_XSTATE_MAGIC2_SIZE);
	kfree(buffer);
	return r;
}

int sigframe_setup(struct user_regs *regs, int signal, const siginfo_t *info, const struct sigaction_kernel *action,
		   sigmask_t mask)
{
	struct task *t = current;
	size_t xstate_size = port_xstate_size_bytes();
	struct sigframe_place at;
	struct rt_sigframe frame;
	// The C library always brings its restorer; without one there is nothing to return to.
	if (!(action->flags & SA_RESTORER) || sigframe_place(t, regs->sp, action->flags, xstate_size, &at))
		return -EFAULT;
	sigframe_fill(&frame, t, regs, info, action, mask, at.fpstate);
	if (xstate_push(at.fpstate, xstate_size) || copy_to_user((struct uptr){ at.frame }, &frame, sizeof(frame)))
		return -EFAULT;
	if (t->altstack_flags & SS_AUTODISARM) {
		t->altstack_base = t->altstack_size = 0;
		t->altstack_flags = SS_DISABLE;
	}
	regs->di = (uint64_t)signal;
	regs->si = at.frame + offsetof(struct rt_sigframe, info);
	regs->dx = at.frame + offsetof(struct rt_sigframe, uc_flags);
	regs->ax = 0;
	regs->ip = action->handler;
	regs->sp = at.frame;
	return 0;
}

// ---- return ----

// How much of a frame's XSAVE area is to be believed; 0: only the 512 bytes of FXSAVE.
size_t sigframe_xstate_extent(const uint8_t *legacy, size_t max_size, uint64_t features)
{
	struct _fpx_sw_bytes sw = ((const struct _fpstate_64 *)legacy)->sw_reserved;
	if (sw.magic1 != FP_XSTATE_MAGIC1 || sw.xstate_size < sizeof(struct _fpstate_64) + sizeof(struct _header) ||
	    sw.xstate_size > max_size || sw.xstate_size > sw.extended_size || (sw.xfeatures & ~features))
		return 0;
	return sw.xstate_size;
}

static int xstate_read(uint8_t *buffer, size_t size, uint64_t from)
{
	struct _header *header = (struct _header *)(buffer + sizeof(struct _fpstate_64));
	uint64_t features = port_xstate_features();
	uint32_t magic2 = 0;
	if (copy_from_user(buffer, (struct uptr){ from }, sizeof(struct _fpstate_64)))
		return -EFAULT;
	size_t extent = sigframe_xstate_extent(buffer, size, features);
	if (extent && get_user(&magic2, ((struct uptr){ from + extent })))
		return -EFAULT;
	if (!extent || magic2 != FP_XSTATE_MAGIC2) {
		memset(header, 0, size - sizeof(struct _fpstate_64));
		header->xfeatures = 3; // x87 and SSE only; the rest goes to its initial state
		return 0;
	}
	uint64_t wanted = ((struct _fpstate_64 *)buffer)->sw_reserved.xfeatures;
	if (copy_from_user(buffer, (struct uptr){ from }, extent))
		return -EFAULT;
	header->xfeatures &= wanted;
	return 0;
}

static int xstate_pop(uint64_t from)
{
	struct task *t = current;
	size_t size = port_xstate_size_bytes();
	if (!from) {
		port_xstate_reset(t->port);
		return 0;
	}
	uint8_t *buffer = kalloc(size);
	if (!buffer)
		return -EFAULT;
	int r = xstate_read(buffer, size, from);
	if (!r)
		r = port_xstate_set(t->port, buffer);
	kfree(buffer);
	return r;
}

// Segments stay as they are: 64-bit flat ones are all there is, and nothing else may be loaded.
int sigframe_restore_regs(struct user_regs *r, const struct rt_sigframe *f)
{
	const struct sigcontext_64 *c = &f->context;
	if (c->ip >= port_user_end() || (c->cs | 3) != r->cs)
		return -EFAULT;
	if ((c->ss | 3) != r->ss && (f->uc_flags & UC_STRICT_RESTORE_SS))
		return -EFAULT;
	r->r8 = c->r8;
	r->r9 = c->r9;
	r->r10 = c->r10;
	r->r11 = c->r11;
	r->r12 = c->r12;
	r->r13 = c->r13;
	r->r14 = c->r14;
	r->r15 = c->r15;
	r->di = c->di;
	r->si = c->si;
	r->bp = c->bp;
	r->bx = c->bx;
	r->dx = c->dx;
	r->ax = c->ax;
	r->cx = c->cx;
	r->sp = c->sp;
	r->ip = c->ip;
	r->flags = (r->flags & ~(uint64_t)FLAGS_RESTORED) | (c->flags & FLAGS_RESTORED);
	r->orig_ax = UINT64_MAX; // what comes back in ax is no result that could be restarted
	return 0;
}

static void altstack_restore(struct task *t, const struct rt_sigframe *f)
{
	if (altstack_contains(t, port_task_regs(t->port)->sp))
		return; // still on it: unchanged, as sigaltstack(2) would refuse
	int32_t mode = f->stack_flags & ~(int32_t)SS_AUTODISARM;
	if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
		return;
	bool off = mode == SS_DISABLE;
	if (!off && f->stack_size < MINSIGSTKSZ)
		return;
	t->altstack_base = off ? 0 : f->stack_base;
	t->altstack_size = off ? 0 : f->stack_size;
	t->altstack_flags = (uint32_t)f->stack_flags;
}

long sys_rt_sigreturn(void)
{
	struct task *t = current;
	struct user_regs *regs = port_task_regs(t->port);
	struct rt_sigframe frame;
	// The handler's `ret` has popped the return address.
	if (copy_from_user(&frame, (struct uptr){ regs->sp - 8 }, sizeof(frame)))
		goto bad;
	signal_set_blocked(frame.mask);
	if (sigframe_restore_regs(regs, &frame) || xstate_pop(frame.context.fpstate))
		goto bad;
	altstack_restore(t, &frame);
	t->restart.fn = NULL; // a restart block of before the handler is void
	return (long)regs->ax;
bad:
	regs->orig_ax = UINT64_MAX;
	signal_force(SIGSEGV, SI_KERNEL, 0);
	return 0;
}
