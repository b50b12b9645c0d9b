// SPDX-License-Identifier: Apache-2.0
// Does a program that crashes leave a core file that tells what it did, when it may, where it may, and no larger than it may?
#include "check.h"
#include <elf.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/resource.h>

#define SECRET      0x5ec3e70fc0ffee11ull
#define THREADS     3
#define CORE_FILTER "/proc/self/coredump_filter"

static volatile uint64_t marker = 1;
static bool uses_pid;

static const char *core_path(pid_t pid)
{
	static char path[64];

	snprintf(path, sizeof(path), uses_pid ? "core.%d" : "core", (int)pid);
	return path;
}

static void limit_core(rlim_t bytes)
{
	struct rlimit limit = { bytes, RLIM_INFINITY };

	CHECK_OK(setrlimit(RLIMIT_CORE, &limit));
}

// Runs the function in a child and returns how that ended; *pid is whose core it is.
static int crash(void (*function)(void), pid_t *pid)
{
	*pid = fork();
	if (*pid == 0) {
		function();
		_exit(99);
	}
	return check_wait(*pid);
}

// ---- a core file in memory ----

struct core {
	char *data;
	size_t size;
	const Elf64_Ehdr *header;
	const Elf64_Phdr *segments;
};

static bool core_load(struct core *c, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	memset(c, 0, sizeof(*c));
	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	c->size = st.st_size;
	c->data = mmap(NULL, c->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	c->header = (const Elf64_Ehdr *)c->data;
	c->segments = (const Elf64_Phdr *)(c->data + c->header->e_phoff);
	return c->data != MAP_FAILED;
}

// The n-th note of a type; *size is its content's.
static const void *core_note(const struct core *c, unsigned type, unsigned n, size_t *size)
{
	const char *at = c->data + c->segments[0].p_offset, *end = at + c->segments[0].p_filesz;

	while (at < end) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
		const char *content = at + sizeof(*note) + (note->n_namesz + 3) / 4 * 4;
		if (note->n_type == type && n-- == 0) {
			*size = note->n_descsz;
			return content;
		}
		at = content + (note->n_descsz + 3) / 4 * 4;
	}
	return NULL;
}

static const Elf64_Phdr *core_segment(const struct core *c, const volatile void *address)
{
	for (unsigned i = 1; i < c->header->e_phnum; i++) {
		const Elf64_Phdr *p = &c->segments[i];
		if ((uint64_t)address >= p->p_vaddr && (uint64_t)address < p->p_vaddr + p->p_memsz)
			return p;
	}
	return NULL;
}

// The word at an address of the dead process; 0 when it is not in the file.
static uint64_t core_word(const struct core *c, const volatile void *address)
{
	const Elf64_Phdr *p = core_segment(c, address);

	if (!p || (uint64_t)address >= p->p_vaddr + p->p_filesz)
		return 0;
	return *(const uint64_t *)(c->data + p->p_offset + ((uint64_t)address - p->p_vaddr));
}

// ---- a crash of many threads ----

struct shared { // what the crashing process tells
	volatile uint64_t *stack, *heap, *hidden, *relative;
	pid_t tids[THREADS], crasher;
	atomic_int ready;
};
static struct shared *told;

static void *waiting_thread(void *argument)
{
	told->tids[(long)argument] = (pid_t)syscall(SYS_gettid);
	atomic_fetch_add(&told->ready, 1);
	for (;;)
		pause();
	return NULL;
}

static bool sleeps(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	const char *end = strrchr(check_read_file(path), ')');
	return end && end[2] == 'S';
}

static void *crashing_thread(void *argument)
{
	uint64_t on_stack = SECRET + 1;

	(void)argument;
	for (unsigned t = 0; t < THREADS; t++)
		WAIT_UNTIL(sleeps(told->tids[t])); // in pause(2)
	WAIT_UNTIL(sleeps(getpid()));
	told->crasher = (pid_t)syscall(SYS_gettid);
	told->stack = &on_stack;
	asm volatile("mov %0, %%r12; movq %1, %%xmm9; movq $7, (%2)"
		     :
		     : "r"(SECRET + 4), "r"(SECRET + 5), "r"(8L), "m"(on_stack)
		     : "r12", "xmm9", "memory");
	return NULL;
}

static void crash_with_threads(void)
{
	pthread_t thread;
	long page = sysconf(_SC_PAGESIZE);

	marker = SECRET;
	told->heap = malloc(64);
	*told->heap = SECRET + 2;
	told->hidden = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*told->hidden = SECRET + 3;
	madvise((void *)told->hidden, page, MADV_DONTDUMP);
	prctl(PR_SET_NAME, "crasher");
	for (long i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, waiting_thread, (void *)i);
	while (atomic_load(&told->ready) < THREADS)
		sched_yield();
	pthread_create(&thread, NULL, crashing_thread, NULL);
	for (;;)
		pause();
}

static void check_threads(const struct core *c, pid_t pid)
{
	size_t size;
	unsigned found = 0;
	const struct elf_prstatus *status = core_note(c, NT_PRSTATUS, 0, &size);
	const struct user_regs_struct *regs = (const void *)status->pr_reg;

	CHECK_EQ(size, sizeof(*status));
	CHECK_EQ(status->pr_pid, told->crasher); // the guilty one comes first
	CHECK_EQ(status->pr_cursig, SIGSEGV);
	CHECK_EQ(status->pr_ppid, getpid());
	CHECK_EQ(regs->r12, SECRET + 4);
	CHECK(regs->rsp <= (uint64_t)told->stack && regs->rsp + 4096 > (uint64_t)told->stack);
	for (unsigned i = 1; (status = core_note(c, NT_PRSTATUS, i, &size)); i++) {
		for (unsigned t = 0; t < THREADS; t++)
			found += status->pr_pid == told->tids[t];
		found += status->pr_pid == pid;
		regs = (const void *)status->pr_reg;
		CHECK_EQ(regs->orig_rax, SYS_pause);
		CHECK(core_word(c, (void *)regs->rsp) || core_segment(c, (void *)regs->rsp));
		CHECK(core_note(c, NT_FPREGSET, i, &size) && size == 512);
		CHECK(core_note(c, NT_X86_XSTATE, i, &size) && size >= 576);
	}
	CHECK_EQ(found, THREADS + 1);
}

static void check_notes(const struct core *c, pid_t pid)
{
	size_t size;
	const struct elf_prpsinfo *process = core_note(c, NT_PRPSINFO, 0, &size);
	const siginfo_t *info = core_note(c, NT_SIGINFO, 0, &size);
	const Elf64_auxv_t *auxv = core_note(c, NT_AUXV, 0, &size);
	const uint64_t *files = core_note(c, NT_FILE, 0, &size);
	const uint8_t *fpu = core_note(c, NT_FPREGSET, 0, &size), *xstate = core_note(c, NT_X86_XSTATE, 0, &size);
	char exe[512] = "";
	bool named = false;

	if (!CHECK(process && info && auxv && files && fpu && xstate))
		return;
	CHECK_EQ(process->pr_pid, pid);
	CHECK_STR(process->pr_fname, "crasher");
	CHECK(strstr(process->pr_psargs, "core_dump"));
	CHECK_EQ(info->si_signo, SIGSEGV);
	CHECK_EQ((long)info->si_addr, 8);
	while (auxv->a_type != AT_NULL && auxv->a_type != AT_PAGESZ)
		auxv++;
	CHECK_EQ(auxv->a_un.a_val, 4096);
	CHECK_EQ(*(const uint64_t *)(fpu + 160 + 9 * 16), SECRET + 5);
	CHECK_EQ(*(const uint64_t *)(xstate + 160 + 9 * 16), SECRET + 5);
	CHECK(*(const uint64_t *)(xstate + 464) & 2); // XCR0
	CHECK_EQ(files[1], 4096);
	CHECK_OK(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
	const char *name = (const char *)(files + 2 + files[0] * 3);
	for (uint64_t i = 0; i < files[0]; i++, name += strlen(name) + 1)
		named |= strcmp(name, exe) == 0 && files[2 + i * 3] < files[3 + i * 3];
	CHECK(named);
}

static void every_thread_is_in_it(void)
{
	struct core c;
	pid_t pid;

	limit_core(RLIM_INFINITY);
	told = check_shared(sizeof(*told));
	int status = crash(crash_with_threads, &pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	CHECK(WCOREDUMP(status));
	if (!CHECK(core_load(&c, core_path(pid))))
		return;
	CHECK_EQ(memcmp(c.header->e_ident, ELFMAG, SELFMAG), 0);
	CHECK_EQ(c.header->e_type, ET_CORE);
	CHECK_EQ(c.header->e_machine, EM_X86_64);
	CHECK_EQ(c.segments[0].p_type, PT_NOTE);
	check_threads(&c, pid);
	check_notes(&c, pid);
	CHECK_EQ(core_word(&c, &marker), SECRET);
	CHECK_EQ(core_word(&c, told->stack), SECRET + 1);
	CHECK_EQ(core_word(&c, told->heap), SECRET + 2);
	CHECK(core_segment(&c, told->hidden) != NULL);
	CHECK_EQ(core_word(&c, told->hidden), 0);
	struct stat st;
	CHECK_OK(stat(core_path(pid), &st));
	CHECK_EQ(st.st_mode & 0777, 0600);
	munmap(c.data, c.size);
	unlink(core_path(pid));
}

// ---- when there is none ----

static void just_abort(void) { abort(); }
static void abort_undumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	abort();
}
static void just_terminate(void) { raise(SIGTERM); }

static void expect_none(void (*function)(void), int signal)
{
	pid_t pid;
	int status = crash(function, &pid);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signal);
	CHECK(!WCOREDUMP(status));
	CHECK_ERR(access(core_path(pid), F_OK), ENOENT);
}

static void not_when_it_must_not(void)
{
	limit_core(0);
	expect_none(just_abort, SIGABRT);
	limit_core(4095); // less than a page is nothing
	expect_none(just_abort, SIGABRT);
	limit_core(RLIM_INFINITY);
	expect_none(abort_undumpable, SIGABRT);
	expect_none(just_terminate, SIGTERM);
}

static void no_larger_than_the_limit(void)
{
	pid_t pid;
	struct stat st;

	limit_core(16384);
	int status = crash(just_abort, &pid);
	CHECK(WCOREDUMP(status));
	CHECK_OK(stat(core_path(pid), &st));
	CHECK(st.st_blocks * 512 <= 16384);
	unlink(core_path(pid));
}

static void the_parent_hears_of_it(void)
{
	siginfo_t info;
	pid_t pid = fork();

	limit_core(RLIM_INFINITY);
	if (pid == 0) {
		raise(SIGQUIT);
		_exit(1);
	}
	CHECK_OK(waitid(P_PID, pid, &info, WEXITED));
	CHECK_EQ(info.si_code, CLD_DUMPED);
	CHECK_EQ(info.si_status, SIGQUIT);
	unlink(core_path(pid));
}

// What is in the way goes, but a directory, and nothing is written through a link.
static void what_is_in_the_way(void)
{
	pid_t pid;
	struct stat st;

	if (uses_pid)
		return; // the name is not known before
	limit_core(RLIM_INFINITY);
	check_write_file("innocent", "innocent");
	CHECK_OK(symlink("innocent", "core"));
	CHECK(WCOREDUMP(crash(just_abort, &pid)));
	CHECK_STR(check_read_file("innocent"), "innocent");
	CHECK_OK(lstat("core", &st));
	CHECK(S_ISREG(st.st_mode));
	CHECK_OK(unlink("core"));
	CHECK_OK(mkdir("core", 0777));
	CHECK(!WCOREDUMP(crash(just_abort, &pid)));
	CHECK_OK(rmdir("core"));
}

// ---- which mappings ----

static volatile uint64_t *shared_word, *private_word;

static void crash_with_mappings(void)
{
	*private_word = SECRET;
	*shared_word = SECRET + 1;
	abort();
}

static void filter(const char *mask, uint64_t private, uint64_t shared)
{
	struct core c;
	pid_t pid;

	check_write_file(CORE_FILTER, mask);
	CHECK(WCOREDUMP(crash(crash_with_mappings, &pid)));
	if (!CHECK(core_load(&c, core_path(pid))))
		return;
	CHECK_EQ(core_word(&c, private_word), private);
	CHECK_EQ(core_word(&c, shared_word), shared);
	munmap(c.data, c.size);
	unlink(core_path(pid));
}

static void the_filter_chooses(void)
{
	limit_core(RLIM_INFINITY);
	CHECK_STR(check_read_file(CORE_FILTER), "00000033\n");
	private_word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared_word = check_shared(4096);
	filter("0x33", SECRET, SECRET + 1);
	filter("0x31", SECRET, 0);
	filter("0x32\n", 0, SECRET + 1);
	CHECK_STR(check_read_file(CORE_FILTER), "00000032\n");
	pid_t pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "self", "filter", NULL);
		_exit(9);
	}
	CHECK_EQ(check_wait(pid), 0);
}

// ---- the name; of the whole machine, so only where it is ours ----

static void named(const char *pattern, const char *format, int value)
{
	char path[128];
	pid_t pid;

	check_write_file("/proc/sys/kernel/core_pattern", pattern);
	int status = crash(just_abort, &pid);
	CHECK(WCOREDUMP(status));
	snprintf(path, sizeof(path), format, value ? value : (int)pid);
	CHECK_OK(access(path, R_OK));
	unlink(path);
}

static void the_pattern_names_it(void)
{
	if (!getenv("CLOISTER_CELL"))
		return;
	limit_core(RLIM_INFINITY);
	prctl(PR_SET_NAME, "a/b");
	CHECK_OK(mkdir("deep", 0777));
	named("c.%p", "c.%d", 0);
	named("c.%s.%%.%e", "c.%d.%%.a!b", SIGABRT);
	named("deep/%u-%g%", "deep/0-0", 0);
	check_write_file("/proc/sys/kernel/core_uses_pid", "1");
	named("c", "c.%d", 0);
	named("d.%p", "d.%d", 0);
	check_write_file("/proc/sys/kernel/core_uses_pid", "0");
	check_write_file("/proc/sys/kernel/core_pattern", "core");
	int fd = (int)CHECK_OK(open("/proc/sys/kernel/core_pattern", O_WRONLY));
	CHECK_ERR(write(fd, "|/bin/cat", 9), EINVAL); // a cell has nobody to pipe to
	close(fd);
	CHECK_STR(check_read_file("/proc/sys/kernel/core_pattern"), "core\n");
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "filter") == 0)
		return strcmp(check_read_file(CORE_FILTER), "00000032\n") != 0;
	if (strcmp(check_read_file("/proc/sys/kernel/core_pattern"), "core\n") != 0)
		CHECK_SKIP("core files go elsewhere here");
	uses_pid = atoi(check_read_file("/proc/sys/kernel/core_uses_pid")) != 0;
	check_tmpdir();
	CHECK_CHILD(every_thread_is_in_it);
	CHECK_CHILD(not_when_it_must_not);
	CHECK_CHILD(no_larger_than_the_limit);
	CHECK_CHILD(the_parent_hears_of_it);
	CHECK_CHILD(what_is_in_the_way);
	CHECK_CHILD(the_filter_chooses);
	CHECK_CHILD(the_pattern_names_it);
	return check_done();
}
