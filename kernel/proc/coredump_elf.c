// SPDX-License-Identifier: Apache-2.0
// What is in a core file: an ELF file of notes (registers of each thread, what the process was) and of the memory that core(5) says, with
// holes where there is none. The notes are those of Linux, in its order, as debuggers expect: <linux/elf.h>, <sys/procfs.h>.
//
//	file header | program headers: the notes, then one a mapping | notes | (page boundary) memory
#include "coredump.h"

#include "kernel/coredump.h"
#include "lib/string.h"

#define CHUNK_PAGES         16u
#define CHUNK_BYTES         (CHUNK_PAGES * PAGE_SIZE)
#define FILE_NOTE_BYTES_MAX (UINT64_C(4) << 20) // as Linux: more files than that are not told
#define FPREGSET_BYTES      512u

struct range { // a mapping
	uint64_t start, end, offset_pages;
	uint32_t flags;      // VMA_*
	uint64_t file_bytes; // how much of it is written
	struct file *file;   // reference, or NULL
};

struct note {
	struct list node;
	uint32_t type;
	const char *owner;
	uint32_t size;
	uint8_t data[] __attribute__((aligned(8)));
};

struct core {
	struct file *file;
	loff_t position;
	uint64_t written, limit;
	bool failed;
	struct range *ranges;
	unsigned range_count;
	struct list notes;
};

// ---- a thread ----

static void split_time(uint64_t ns, int64_t *seconds, int64_t *microseconds)
{
	*seconds = (int64_t)(ns / NSEC_PER_SEC);
	*microseconds = (int64_t)(ns % NSEC_PER_SEC / NSEC_PER_USEC);
}

static void ids_get(struct process *p, int32_t *pgrp, int32_t *sid)
{
	spin_lock(&tasklist_lock);
	*pgrp = p->pgrp ? p->pgrp->number : 0;
	*sid = p->session ? p->session->number : 0;
	spin_unlock(&tasklist_lock);
}

struct core_thread *core_thread_create(void)
{
	struct task *t = current;
	struct process *p = t->process;
	struct core_thread *c = kalloc(sizeof(*c) + port_xstate_size_bytes());
	uint64_t user, system;
	if (!c)
		return NULL;
	struct core_prstatus *s = &c->status;
	s->pending = t->pending.set & ~SIGMASK(SIGKILL); // which only says that the process ends
	s->blocked = t->blocked;
	s->pid = t->tid;
	s->ppid = __atomic_load_n(&p->parent_pid, __ATOMIC_RELAXED);
	ids_get(p, &s->pgrp, &s->sid);
	sched_task_times(t, &user, &system);
	split_time(user, &s->user.seconds, &s->user.microseconds);
	split_time(system, &s->system.seconds, &s->system.microseconds);
	split_time(p->children_user_ns, &s->children_user.seconds, &s->children_user.microseconds);
	split_time(p->children_system_ns, &s->children_system.seconds, &s->children_system.microseconds);
	task_user_regs(t, &s->regs);
	s->fpvalid = 1;
	task_user_xstate(t, c->xstate);
	return c;
}

// ---- notes ----

static struct note *note_create(struct core *c, uint32_t type, const char *owner, size_t size)
{
	struct note *n = kalloc(sizeof(*n) + size);
	if (!n)
		return NULL;
	n->type = type;
	n->owner = owner;
	n->size = (uint32_t)size;
	list_add_tail(&c->notes, &n->node);
	return n;
}

static void note_add(struct core *c, uint32_t type, const char *owner, const void *data, size_t size)
{
	struct note *n = note_create(c, type, owner, size);
	if (n)
		memcpy(n->data, data, size);
}

struct prpsinfo { // struct elf_prpsinfo of <sys/procfs.h>
	char state, state_name, zombie, nice;
	uint64_t flags;
	uint32_t uid, gid;
	int32_t pid, ppid, pgrp, sid;
	char name[16], arguments[80];
};
static_assert(sizeof(struct prpsinfo) == 136, "elf_prpsinfo");

static void note_process(struct core *c)
{
	struct task *t = current;
	struct process *p = t->process;
	struct mm *mm = t->mm;
	struct prpsinfo i = {
		.state_name = 'R',
		.uid = t->cred->uid,
		.gid = t->cred->gid,
		.pid = p->pid,
		.ppid = __atomic_load_n(&p->parent_pid, __ATOMIC_RELAXED),
	};
	ids_get(p, &i.pgrp, &i.sid);
	task_comm_get(t, i.name);
	size_t length = min(mm->arg_end - mm->arg_start, sizeof(i.arguments) - 1);
	length = mm_access(mm, mm->arg_start, i.arguments, length, false);
	for (size_t k = 0; k < length; k++)
		if (!i.arguments[k])
			i.arguments[k] = ' ';
	note_add(c, NT_PRPSINFO, "CORE", &i, sizeof(i));
}

// Appends a file's name to the buffer, or just counts it (NULL). Bytes.
static size_t file_name(const struct range *r, char *path, char *to, size_t room)
{
	const char *name = path_print(&r->file->path, path, PATH_MAX_BYTES);
	size_t length = is_err(name) ? 1 : strlen(name) + 1;
	if (to && length <= room)
		memcpy(to, is_err(name) ? "" : name, length);
	return length;
}

// Count and page size, three words a file, then the names.
static void note_files(struct core *c)
{
	char *path = kalloc(PATH_MAX_BYTES);
	uint64_t count = 0, names = 0;
	for (unsigned k = 0; path && k < c->range_count; k++) {
		if (!c->ranges[k].file)
			continue;
		count++;
		names += file_name(&c->ranges[k], path, NULL, 0);
	}
	size_t size = (2 + 3 * count) * sizeof(uint64_t) + names, at = size - names;
	struct note *n = path && size <= FILE_NOTE_BYTES_MAX ? note_create(c, NT_FILE, "CORE", size) : NULL;
	uint64_t *word = n ? (uint64_t *)n->data : NULL;
	if (word) {
		*word++ = count;
		*word++ = PAGE_SIZE;
	}
	for (unsigned k = 0; word && k < c->range_count; k++) {
		const struct range *r = &c->ranges[k];
		if (!r->file)
			continue;
		*word++ = r->start;
		*word++ = r->end;
		*word++ = r->offset_pages;
		// A file that was renamed since may not fit: the rest are nameless.
		at = min(at + file_name(r, path, (char *)n->data + at, size - at), size);
	}
	kfree(path);
}

static void notes_gather(struct core *c, const struct list *threads, const siginfo_t *info)
{
	struct core_thread *t;
	bool first = true;
	list_for_each (t, threads, node) {
		note_add(c, NT_PRSTATUS, "CORE", &t->status, sizeof(t->status));
		if (first) {
			note_process(c);
			note_add(c, NT_SIGINFO, "CORE", info, sizeof(*info));
			note_add(c, NT_AUXV, "CORE", current->mm->auxv,
				 current->mm->auxv_words * sizeof(current->mm->auxv[0]));
			note_files(c);
		}
		note_add(c, NT_PRFPREG, "CORE", t->xstate, FPREGSET_BYTES);
		note_add(c, NT_X86_XSTATE, "LINUX", t->xstate, port_xstate_size_bytes());
		first = false;
	}
}

static uint64_t note_owner_bytes(const struct note *n) { return align_up(strlen(n->owner) + 1, 4); }

static uint64_t note_bytes(const struct note *n)
{
	return sizeof(struct elf64_note) + note_owner_bytes(n) + align_up((uint64_t)n->size, 4);
}

// ---- which memory ----

#define FILTER_ANONYMOUS_PRIVATE 0x01u
#define FILTER_ANONYMOUS_SHARED  0x02u
#define FILTER_FILE_PRIVATE      0x04u
#define FILTER_FILE_SHARED       0x08u
#define FILTER_ELF_HEADERS       0x10u

static bool starts_like_elf(uint64_t address)
{
	uint8_t magic[SELFMAG];
	return mm_access(current->mm, address, magic, sizeof(magic), false) == sizeof(magic) &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static uint64_t wanted_bytes(const struct range *r, uint32_t filter)
{
	uint64_t whole = r->end - r->start;
	if (r->flags & VMA_SPECIAL)
		return r->flags & VMA_EXEC ? whole : 0; // the vDSO's code, whose symbols debuggers want; not its data
	if (r->flags & VMA_DONTDUMP)
		return 0;
	if (r->flags & VMA_SHARED) {
		bool named = r->file && r->file->inode->nlink;
		return filter & (named ? FILTER_FILE_SHARED : FILTER_ANONYMOUS_SHARED) ? whole : 0;
	}
	if (r->flags & VMA_HAS_ANON && filter & FILTER_ANONYMOUS_PRIVATE)
		return whole;
	if (!r->file)
		return 0;
	if (filter & FILTER_FILE_PRIVATE)
		return whole;
	// The first page of a program or library tells which it is (its build ID).
	if (filter & FILTER_ELF_HEADERS && !r->offset_pages && r->flags & VMA_READ && starts_like_elf(r->start))
		return PAGE_SIZE;
	return 0;
}

static int ranges_gather(struct core *c)
{
	struct mm *mm = current->mm;
	uint32_t filter = __atomic_load_n(&mm->dump_filter, __ATOMIC_RELAXED);
	unsigned room = __atomic_load_n(&mm->vma_count, __ATOMIC_RELAXED);
	struct vma_info v;
	c->ranges = kalloc_array(room + 1, sizeof(*c->ranges));
	if (!c->ranges)
		return -ENOMEM;
	// Only a process that shares the memory could add mappings meanwhile; what it adds last is left out.
	for (uint64_t at = 0; c->range_count < room && mm_next_vma(mm, at, &v); at = v.end) {
		struct range *r = &c->ranges[c->range_count++];
		*r = (struct range){ v.start, v.end, v.offset_bytes >> PAGE_SHIFT, v.flags, 0, v.file };
		r->file_bytes = wanted_bytes(r, filter);
	}
	return 0;
}

// ---- writing ----

static void emit(struct core *c, const void *data, size_t size)
{
	if (c->failed || c->written + size > c->limit ||
	    __atomic_load_n(&current->process->core_abandoned, __ATOMIC_RELAXED)) {
		c->failed = true;
		return;
	}
	struct iov_iter from;
	iov_init_kernel(&from, (void *)data, size);
	while (from.count && !c->failed)
		c->failed = file_write(c->file, &from, &c->position) <= 0;
	c->written += size;
}

static void skip(struct core *c, uint64_t bytes) { c->position += (loff_t)bytes; }

static void emit_notes(struct core *c)
{
	static const uint8_t zeros[4];
	struct note *n;
	list_for_each (n, &c->notes, node) {
		struct elf64_note header = { (uint32_t)strlen(n->owner) + 1, n->size, n->type };
		char owner[8] = "";
		string_copy(owner, n->owner, sizeof(owner));
		emit(c, &header, sizeof(header));
		emit(c, owner, note_owner_bytes(n));
		emit(c, n->data, n->size);
		emit(c, zeros, align_up(n->size, 4u) - n->size);
	}
}

static void emit_headers(struct core *c, uint64_t notes_bytes, uint64_t memory_at)
{
	struct elf64_hdr header = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(header),
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(struct elf64_phdr),
		.e_phnum = (uint16_t)(c->range_count + 1),
	};
	emit(c, &header, sizeof(header));
	struct elf64_phdr notes = {
		.p_type = PT_NOTE,
		.p_offset = sizeof(header) + (c->range_count + 1) * sizeof(notes),
		.p_filesz = notes_bytes,
	};
	emit(c, &notes, sizeof(notes));
	for (unsigned k = 0; k < c->range_count; k++) {
		const struct range *r = &c->ranges[k];
		struct elf64_phdr p = {
			.p_type = PT_LOAD,
			.p_flags = (r->flags & VMA_READ ? PF_R : 0) | (r->flags & VMA_WRITE ? PF_W : 0) |
				   (r->flags & VMA_EXEC ? PF_X : 0),
			.p_offset = memory_at,
			.p_vaddr = r->start,
			.p_filesz = r->file_bytes,
			.p_memsz = r->end - r->start,
			.p_align = PAGE_SIZE,
		};
		emit(c, &p, sizeof(p));
		memory_at += r->file_bytes;
	}
}

// `count` pages at `address`: holes where there is nothing to be read.
static void emit_pages(struct core *c, uint64_t address, unsigned count, char *chunk)
{
	uint8_t present[CHUNK_PAGES];
	mm_present(current->mm, address, present, count);
	for (unsigned k = 0; k < count && !c->failed;) {
		unsigned run = 0;
		while (k + run < count && present[k + run])
			run++;
		size_t got = run ? mm_access(current->mm, address + k * PAGE_SIZE, chunk, run * PAGE_SIZE, false) : 0;
		unsigned pages = (unsigned)(got >> PAGE_SHIFT);
		emit(c, chunk, pages * PAGE_SIZE);
		if (pages < max(run, 1u)) { // one that is not there, or beyond the end of its file
			skip(c, PAGE_SIZE);
			pages++;
		}
		k += pages;
	}
}

static void emit_memory(struct core *c)
{
	char *chunk = kalloc(CHUNK_BYTES);
	c->failed |= !chunk;
	for (unsigned k = 0; k < c->range_count && !c->failed; k++) {
		const struct range *r = &c->ranges[k];
		for (uint64_t done = 0; done < r->file_bytes && !c->failed; done += CHUNK_BYTES) {
			uint64_t bytes = min(r->file_bytes - done, CHUNK_BYTES);
			emit_pages(c, r->start + done, (unsigned)(bytes >> PAGE_SHIFT), chunk);
			sched_preempt_point();
		}
	}
	kfree(chunk);
}

// A hole at the end belongs to the file.
static void set_size(struct core *c)
{
	struct attr_change a = { .valid = ATTR_SIZE, .size = c->position, .file = c->file };
	if (!c->failed)
		(void)inode_setattr(c->file->inode, &a);
}

bool core_write(struct file *f, const struct list *threads, const siginfo_t *info, uint64_t limit)
{
	struct core c = { .file = f, .limit = limit, .notes = LIST_INIT(c.notes) };
	struct note *n, *next;
	uint64_t notes_bytes = 0;
	if (ranges_gather(&c))
		return false;
	notes_gather(&c, threads, info);
	list_for_each (n, &c.notes, node)
		notes_bytes += note_bytes(n);
	uint64_t memory_at =
		align_up(sizeof(struct elf64_hdr) + (c.range_count + 1) * sizeof(struct elf64_phdr) + notes_bytes,
			 PAGE_SIZE);
	emit_headers(&c, notes_bytes, memory_at);
	emit_notes(&c);
	skip(&c, memory_at - (uint64_t)c.position);
	emit_memory(&c);
	set_size(&c);
	list_for_each_safe (n, next, &c.notes, node)
		kfree(n);
	for (unsigned k = 0; k < c.range_count; k++)
		if (c.ranges[k].file)
			file_put(c.ranges[k].file);
	kfree(c.ranges);
	return true;
}
