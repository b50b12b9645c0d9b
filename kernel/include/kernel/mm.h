// SPDX-License-Identifier: Apache-2.0
// Address spaces: struct mm, VMAs, memory objects and the page cache. Owner: kernel/mm/.
//
// Lock order: file/inode locks are NEVER taken under mm.lock except through faults reading pages:
// mm.lock -> page lock -> mobj.vma_lock -> page-table region lock -> mobj.lock -> zone lock. User copies take mm.lock, so no file system may
// hold a page lock or mobj.lock while copying from or to the program (filemap.c pre-faults and copies atomically).
#pragma once

#include "kernel/mutex.h"
#include "kernel/page.h"
#include "kernel/refcount.h"
#include "lib/radix.h"
#include "lib/rbtree.h"

struct file;
struct inode;
struct iov_iter;
struct mobj;
struct vma;

// ---- memory objects: what can be mapped and cached by page ----

struct mobj_ops {
	// Fills `count` consecutive, locked, not uptodate pages; sets PAGE_UPTODATE (or PAGE_ERROR) on each and unlocks each, possibly
	// after the return, by mobj_read_done(). What lies beyond the end of the file is zeroed. The array is the caller's: copy it to keep it;
	// the pages stay while they are locked. Nonzero: nothing was started, the caller finishes the pages.
	// NULL: zero-filled (tmpfs, shared anonymous).
	int (*read_pages)(struct mobj *o, struct page **pages, unsigned count);
	// Writes consecutive pages that are marked PAGE_WRITEBACK (not beyond size_bytes); when each is done, possibly after the return:
	// mobj_write_done(page, error). Nonzero: nothing was started, the caller finishes the pages. NULL: never dirty.
	int (*write_pages)(struct mobj *o, struct page **pages, unsigned count);
	// A page is to be allocated for this object beyond what exists (tmpfs: accounting); negative: pages went. 0 or -ENOSPC. May be called
	// under mm.lock; never sleeps. NULL: fine.
	int (*charge)(struct mobj *o, int64_t pages);
	void (*release)(struct mobj *o); // last reference of an object without inode; after mobj_destroy()
	// With PORT_HOST: the host's descriptor that `f`, an open file of this object, is mapped from; it lives as long as `f`. -errno.
	// Mappings of objects that have this are the host's; all others show pages in the kernel's frames.
	int (*host_file)(struct mobj *o, struct file *f);
};

struct mobj {
	struct refcount refs; // objects without inode; else the inode's count is used
	const struct mobj_ops *ops;
	struct inode *inode;     // NULL: anonymous shared memory; not counted
	unsigned page_flags;     // for page_alloc: PAGE_SHARED for device-backed files
	struct spinlock lock;    // guards pages, page->object/index of its pages
	struct radix pages;      // struct page, marks: dirty, writeback
	struct mutex vma_lock;   // guards vmas, their start, end and object_page, shared_writers
	struct list vmas;        // struct vma.object_node: who maps it
	unsigned shared_writers; // vmas that are shared and may become writable
	uint64_t size_bytes;     // end of data; atomic reads; changed under the inode's lock
	int write_error;         // first error of write-back since last fsync reported it
	// read-ahead: racy hints. next: page after the last read; [.., end) was asked for; trigger: reading it asks for the next window
	uint64_t readahead_next, readahead_end, readahead_trigger;
	uint32_t readahead_pages;
	// write-back: kernel/mm/writeback.c, its list lock
	struct list dirty_node;
	bool on_dirty_list;
	uint32_t flushing; // flushers at work on it
	uint64_t place;    // where shared libraries are mapped, 0 = not chosen: kernel/mm/placement.c, its lock
	void *private;
};

// kernel/mm/placement.c. A random number of pages below `count` for the place of code: new each time, or, where the port
// runs code faster at the same address (port_stable_code), the same for the whole life of the cell.
enum placement { PLACEMENT_MAPPINGS, PLACEMENT_PROGRAM, PLACEMENT_LIBRARIES, PLACEMENT_COUNT };
uint64_t placement_random_pages(enum placement what, uint64_t count);
// Where to map `size` bytes of a shared library from its start when the program leaves it to us; 0: anywhere. A hint.
uint64_t placement_of_library(struct mobj *o, uint64_t size);

void mobj_init(struct mobj *o, const struct mobj_ops *ops, struct inode *inode);
struct mobj *mobj_create_anonymous(uint64_t size_bytes); // shared anonymous memory; NULL
// References: of the inode when there is one. mobj_put may sleep.
void mobj_get(struct mobj *o);
void mobj_put(struct mobj *o);
// The page at `index`, read in and uptodate, with a reference. fill: allocate when absent (else *out = NULL, 0). -EIO, -ENOMEM, -ENOSPC.
int mobj_get_page(struct mobj *o, uint64_t index, bool fill, struct page **out);
// Puts a ready page of the caller's at `index` (vdso and such); the object takes its own reference. -EEXIST, -ENOMEM.
int mobj_insert_page(struct mobj *o, uint64_t index, struct page *p);
void mobj_read_done(struct page *p, int error); // any context
void mobj_mark_dirty(struct page *p);
void mobj_write_done(struct page *p, int error); // any context
// Drops cached pages wholly in [start, end); dirty ones are thrown away; partial pages at both ends are zeroed inside the range; unmaps them
// everywhere. For truncate (set size_bytes before), hole punching, invalidation. end = UINT64_MAX: to the end. Sleeps.
void mobj_truncate(struct mobj *o, uint64_t start, uint64_t end);
// Drops clean, unmapped pages of the range (host-side change, POSIX_FADV_DONTNEED).
void mobj_invalidate(struct mobj *o, uint64_t start, uint64_t end);
// Starts (and with wait: finishes) write-back of dirty pages in [start, end); first error since last call.
int mobj_sync(struct mobj *o, uint64_t start, uint64_t end, bool wait);
void mobj_readahead(struct mobj *o, uint64_t start,
		    uint64_t size); // POSIX_FADV_WILLNEED, readahead(2); starts, does not wait
void mobj_destroy(struct mobj *o);  // inode goes: no users left; drops all pages

// Read and write of a file through the page cache; advance *pos. Bytes or -errno. The caller of filemap_write() holds the inode's
// lock and has checked limits; it grows size_bytes.
ssize_t filemap_read(struct mobj *o, struct iov_iter *to, loff_t *pos);
ssize_t filemap_write(struct mobj *o, struct iov_iter *from, loff_t *pos);

// ---- address spaces ----

#define VMA_READ       PORT_PROT_READ
#define VMA_WRITE      PORT_PROT_WRITE
#define VMA_EXEC       PORT_PROT_EXEC
#define VMA_SHARED     0x08u
#define VMA_GROWSDOWN  0x10u
#define VMA_LOCKED     0x20u
#define VMA_STACK      0x40u
#define VMA_NORESERVE  0x80u
#define VMA_DONTFORK   0x100u
#define VMA_WIPEONFORK 0x200u
#define VMA_DONTDUMP   0x400u
#define VMA_HAS_ANON   0x800u  // some private page was made: fork must copy translations
#define VMA_SPECIAL    0x1000u // vdso, vvar: never merged, written or remapped partially
#define VMA_MAY_WRITE  0x2000u // mprotect may add write (file opened for writing or private)
#define VMA_MAY_READ   0x4000u
#define VMA_MAY_EXEC   0x8000u
#define VMA_HEAP       0x10000u
#define VMA_HIDDEN     0x20000u // the port's: not in /proc/PID/maps

struct vma {
	struct rb_node node; // mm->vmas, by start
	struct mm *mm;
	uint64_t start, end;     // [start, end), page aligned
	uint32_t flags;          // VMA_*; VMA_HAS_ANON is or'ed in atomically by faults
	uint32_t ahead_pages;    // anonymous faults: how many pages the next sequential one makes; racy hint
	uint64_t ahead_next;     // where that would be
	struct mobj *object;     // NULL: private anonymous; holds a reference
	uint64_t object_page;    // page of the object at start
	struct list object_node; // object->vmas, when object
	struct file *file;       // for /proc and lifetime; may be NULL
	const char *name;        // "[vdso]" and such, static, or NULL
};

struct mm {
	struct refcount users;   // tasks that run in it; the last one unmaps everything
	struct refcount refs;    // + whoever looks (proc); the last one frees
	struct rwsem lock;       // guards the tree, the fields below up to counters
	struct mutex unmap_lock; // one port_aspace_unmap() at a time; leaf but for zone locks
	struct rb_root vmas;
	struct vma *cache; // last found; hint, read under lock
	unsigned vma_count;
	struct port_aspace *aspace;
	uint64_t mmap_base;   // top-down allocation starts below
	uint64_t search_from; // gaps are looked for below this address first; above it no gap is larger than hole_above
	uint64_t hole_above;
	uint64_t brk_start, brk_end;
	uint64_t stack_top;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t vdso;
	uint64_t locked_pages;
	unsigned lock_future; // VMA_LOCKED: mlockall(MCL_FUTURE)
	struct file *exe;     // /proc/self/exe
	uint64_t auxv[48];
	unsigned auxv_words;
	bool dumpable;
	uint32_t dump_filter;        // what of it core files have, core(5); atomic
	uint32_t membarrier;         // registered commands; atomic
	struct spinlock aio_lock;    // guards aio_contexts; then aio_context.lock
	struct rb_root aio_contexts; // struct aio_context: kernel/ipc/aio.c
	// Who runs in it, and what others ask of them: kernel/mm/remote.c. Only with PORT_HOST.
	struct spinlock remote_lock; // guards the lists; a leaf
	struct list tasks;           // struct task.mm_node
	struct list requests;
	bool active; // the host maps it; changed under unmap_lock and remote_lock both
	// pages of the host's mappings when they were last counted, at counted_ns; atomic
	uint64_t host_anon, host_file, counted_ns;
	// counters; atomic
	uint64_t total_pages, resident_anon, resident_file, peak_resident, peak_total, data_pages, stack_pages;
};

// Boot: the page allocator, object caches and everything else here, in the right order. Single CPU, before all that allocates.
void mm_init(void);

struct mm *mm_create(
	void); // empty, users = refs = 1, mmap_base and stack_top chosen (at random, unless the cell's options say no); NULL
static inline void mm_get(struct mm *mm) { refcount_get(&mm->refs); }
void mm_put(struct mm *mm); // drops refs
// A user's reference counts in both: clone(CLONE_VM), and whoever looks at another task's memory. False: it is being torn down.
static inline bool must_check mm_get_user(struct mm *mm)
{
	if (!refcount_get_unless_zero(&mm->users))
		return false;
	refcount_get(&mm->refs);
	return true;
}
void mm_release_user(struct mm *mm); // drops users (and the user's ref)
// Copy-on-write copy; err_ptr. With PORT_HOST it makes the host process of `child` too (port_task_spawn()), which the caller
// releases or, before it puts the copy, ends.
struct mm *mm_fork(struct mm *from, struct port_task *child);
// Makes `mm` the current task's, which has left its old one (exec). -ENOMEM and kin: it is, but not all of it is mapped.
int must_check mm_activate(struct mm *mm);
// Chooses stack_top and mmap_base anew: exec, which knows the personality and the stack limit.
void mm_layout(struct mm *mm, uint64_t stack_limit_bytes, bool randomize);

// Maps; `object`/`file` references are taken by the callee. flags: VMA_*, map_flags: MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_32BIT, MAP_POPULATE,
// MAP_GROWSDOWN. Address or -errno. Takes mm.lock.
long mm_map(struct mm *mm, uint64_t hint, uint64_t size, unsigned flags, unsigned map_flags, struct file *file,
	    struct mobj *object, uint64_t object_page, const char *name);
int mm_unmap(struct mm *mm, uint64_t start, uint64_t size);
int mm_protect(struct mm *mm, uint64_t start, uint64_t size, unsigned prot);
struct vma *mm_find(struct mm *mm, uint64_t address); // first VMA with end > address; under lock
// Handles a fault at `address`; fault_flags: UPCALL_FAULT_*. 0, or -errno and a siginfo in *signal/*code.
int mm_fault(struct mm *mm, uint64_t address, unsigned fault_flags, int *signal, int *code);
// Reads or writes another address space (ptrace, /proc/PID/mem); writes go through read-only private mappings (copies). Bytes moved.
size_t mm_access(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write);
int mm_populate(struct mm *mm, uint64_t start, uint64_t size, bool write);

// ---- in other address spaces (kernel/mm/remote.c) ----
// Where the port stands on another kernel, only a task that runs in an address space can touch it. The others ask it to.

enum mm_run {
	MM_RUN_SLEEPS, // fn may fault and take mm.lock: served where no lock of kernel/mm is held. The wait is killable
	MM_RUN_ATOMIC, // fn takes unmap_lock and region locks only: served in any wait, for callers that hold mobj.vma_lock
};
// Runs fn(mm, arg) in the address space, here or in one of its tasks; arg is shared memory of the kernel's. The caller has a
// reference that keeps mm->aspace. 0; -ESRCH: no task runs in it (fn was not called); -EINTR: the caller is being killed (neither).
int mm_run_in(struct mm *mm, void (*fn)(struct mm *mm, void *arg), void *arg, enum mm_run how);
// The next three only with PORT_HOST. A task begins to run in `mm`: before its first return to user mode.
void mm_enter(struct mm *mm, struct task *t);
// The current task, or one that has not begun, stops running in `mm`: before it puts its reference.
void mm_leave(struct mm *mm, struct task *t);
// Does what others ask of the current address space (WORK_REMOTE). Called before the return to user mode, and where a task that
// waits in the host finds itself interrupted without a signal; no lock of kernel/mm is held.
void mm_serve(void);
// The same from task_park(), in whatever the parking task holds: does what park_mode allows. True: something, and the task does not
// park any more.
bool mm_serve_parked(void);

// For /proc/PID/maps and smaps: VMA after VMA from `address` on, each copied out under the lock with a reference of its file
// (file_put). False: no more. Continue with out->end.
struct vma_info {
	uint64_t start, end, offset_bytes;
	uint32_t flags;    // VMA_*
	struct file *file; // reference, or NULL
	const char *name;  // "[heap]", "[stack]", "[vdso]", "/dev/zero (deleted)"..., or NULL
};
bool mm_next_vma(struct mm *mm, uint64_t address, struct vma_info *out);
struct vma_usage {
	uint64_t resident, anonymous, shared_clean, shared_dirty, private_clean, private_dirty, referenced, pss_bytes;
};                                                                                     // pages
void mm_vma_usage(struct mm *mm, uint64_t start, uint64_t end, struct vma_usage *out); // walks the pages: slow
// For core files: 1 for each of `count` pages from `start` on that is there, or comes from a file, 0 for others; all in one VMA. The current
// task's address space.
void mm_present(struct mm *mm, uint64_t start, uint8_t *present, size_t count);
// Per page of [start, start + count pages): /proc/PID/pagemap entries.
void mm_pagemap(struct mm *mm, uint64_t start, uint64_t *out, size_t count);
uint64_t mm_resident_pages(struct mm *mm); // updates peak_resident too
// The same by kinds. With PORT_HOST it is counted anew now and then, which may wait for the process.
void mm_resident_count(struct mm *mm, uint64_t *anonymous, uint64_t *file);

// ---- out of memory (kernel/mm/oom.c) ----

// Kills the process that uses most memory, unless one is dying of that already. False: there is none to kill. Atomic.
bool process_oom_kill(void);
// What a process of the host that is one of the cell's uses of the host's own pages, as the host says (PORT_HOST). False: no program
// runs there. Atomic.
bool oom_note_usage(int32_t host_process, uint64_t pages);

// Futex keys: the object and offset a shared address names. Private: mm and address. *object is referenced or NULL.
int mm_futex_key(struct mm *mm, uint64_t address, bool write, struct mobj **object, uint64_t *offset);
