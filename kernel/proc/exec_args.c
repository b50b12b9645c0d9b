// SPDX-License-Identifier: Apache-2.0
// Arguments and environment of a new program, between the old address space and the new stack. They are copied once into
// kernel pages in the order they will have on the stack, bounded before they are copied: execve(2), "Limits on size".
#include "exec.h"

#include "lib/string.h"

size_t exec_args_limit(uint64_t stack_limit_bytes)
{
	return max(min(stack_limit_bytes / 4, EXEC_ARGS_MAX), EXEC_ARGS_MIN);
}

void exec_args_init(struct exec_args *a, const char *path)
{
	memset(a, 0, sizeof(*a));
	a->path = path;
	a->limit = exec_args_limit(process_rlimit(current->process, RLIMIT_STACK));
}

void arg_strings_free(struct arg_strings *s)
{
	for (unsigned i = 0; i < s->chunk_count; i++)
		kfree(s->chunks[i]);
	kfree(s->chunks);
	memset(s, 0, sizeof(*s));
}

void exec_args_destroy(struct exec_args *a)
{
	arg_strings_free(&a->prefix);
	arg_strings_free(&a->argv);
	arg_strings_free(&a->envp);
}

// Where the next byte goes, and how much room is left there; NULL: no memory.
static char *room(struct arg_strings *s, size_t *left)
{
	size_t chunk = s->size / PAGE_SIZE, offset = s->size % PAGE_SIZE;
	if (chunk == s->chunk_count) {
		if (s->chunk_count == s->chunk_capacity) {
			unsigned capacity = s->chunk_capacity ? s->chunk_capacity * 2 : 4;
			char **bigger = kalloc_array(capacity, sizeof(*bigger));
			if (!bigger)
				return NULL;
			if (s->chunks)
				memcpy(bigger, s->chunks, s->chunk_count * sizeof(*bigger));
			kfree(s->chunks);
			s->chunks = bigger;
			s->chunk_capacity = capacity;
		}
		s->chunks[chunk] = kalloc(PAGE_SIZE);
		if (!s->chunks[chunk])
			return NULL;
		s->chunk_count++;
	}
	*left = PAGE_SIZE - offset;
	return s->chunks[chunk] + offset;
}

int arg_strings_add(struct arg_strings *s, const char *string, size_t limit)
{
	size_t size = strlen(string) + 1, left;
	if (size > EXEC_STRING_MAX || s->size + size > limit)
		return -E2BIG;
	while (size) {
		char *to = room(s, &left);
		if (!to)
			return -ENOMEM;
		left = min(left, size);
		memcpy(to, string, left);
		s->size += left;
		string += left;
		size -= left;
	}
	s->count++;
	return 0;
}

static int add_from_user(struct arg_strings *s, uint64_t from, size_t limit)
{
	size_t total = 0, left;
	for (;;) {
		char *to = room(s, &left);
		if (!to)
			return -ENOMEM;
		long n = port_string_in(to, from, left);
		if (n < 0)
			return (int)n;
		bool ended = (size_t)n < left;
		size_t taken = ended ? (size_t)n + 1 : left;
		s->size += taken;
		total += taken;
		from += taken;
		if (total > EXEC_STRING_MAX || s->size > limit)
			return -E2BIG;
		if (ended) {
			s->count++;
			return 0;
		}
	}
}

static int vector_from_user(struct arg_strings *s, struct uptr vector, size_t limit)
{
	uint64_t pointers[16];
	if (uptr_is_null(vector))
		return 0; // as Linux takes it: no strings
	for (;;) {
		// Several pointers at a time, but not across the page: what is behind the end may be unmapped.
		size_t n = min(sizeof(pointers), PAGE_SIZE - vector.address % PAGE_SIZE) / sizeof(pointers[0]);
		n = n ? n : 1;
		if (copy_from_user(pointers, vector, n * sizeof(pointers[0])))
			return -EFAULT;
		for (size_t i = 0; i < n; i++) {
			if (!pointers[i])
				return 0;
			int r = add_from_user(s, pointers[i], limit);
			if (r)
				return r;
			if (s->size + s->count * sizeof(uint64_t) > limit)
				return -E2BIG;
			if (fatal_signal_pending(current))
				return -ERESTARTNOHAND;
		}
		vector = uptr_add(vector, n * sizeof(pointers[0]));
	}
}

// The strings together, and a pointer for each, must fit.
static int finish(struct exec_args *a)
{
	// A program may be started without any argument, but many rely on argv[0]: it gets an empty one (Linux since 5.18).
	if (!a->argv.count) {
		int r = arg_strings_add(&a->argv, "", a->limit);
		if (r)
			return r;
	}
	size_t left;
	char *first = a->argv.chunks[0];
	left = min(a->argv.size, PAGE_SIZE);
	a->argv_skip = strnlen(first, left) + 1;
	if (a->argv_skip > PAGE_SIZE) { // longer than the first page
		a->argv_skip = 0;
		for (unsigned i = 0; i < a->argv.chunk_count; i++) {
			size_t n = strnlen(a->argv.chunks[i], PAGE_SIZE);
			a->argv_skip += n;
			if (n < PAGE_SIZE)
				break;
		}
		a->argv_skip++;
	}
	size_t total =
		a->argv.size + a->envp.size + strlen(a->path) + 1 + (a->argv.count + a->envp.count) * sizeof(uint64_t);
	return total > a->limit ? -E2BIG : 0;
}

int exec_args_from_user(struct exec_args *a, struct uptr argv, struct uptr envp)
{
	int r = vector_from_user(&a->argv, argv, a->limit);
	if (!r)
		r = vector_from_user(&a->envp, envp, a->limit);
	return r ? r : finish(a);
}

int exec_args_from_kernel(struct exec_args *a, const char *const *argv, const char *const *envp)
{
	int r = 0;
	for (; !r && *argv; argv++)
		r = arg_strings_add(&a->argv, *argv, a->limit);
	for (; !r && *envp; envp++)
		r = arg_strings_add(&a->envp, *envp, a->limit);
	return r ? r : finish(a);
}

size_t arg_strings_read(const struct arg_strings *s, size_t offset, void *to, size_t size)
{
	if (offset >= s->size)
		return 0;
	size_t n = min(min(size, s->size - offset), PAGE_SIZE - offset % PAGE_SIZE);
	memcpy(to, s->chunks[offset / PAGE_SIZE] + offset % PAGE_SIZE, n);
	return n;
}

static int copy_rest(struct arg_strings *to, const struct arg_strings *from, size_t limit)
{
	// The prefix is short: it was made of lines of EXEC_HEAD_BYTES and paths. Its first string is what gets replaced.
	char *text = kalloc(PATH_MAX_BYTES);
	int r = text ? 0 : -ENOMEM;
	size_t at = 0;
	for (unsigned i = 0; i < from->count && !r; i++) {
		size_t length = 0;
		while (length < PATH_MAX_BYTES && arg_strings_read(from, at + length, text + length, 1) && text[length])
			length++;
		if (length == PATH_MAX_BYTES)
			r = -E2BIG;
		else if (i > 0)
			r = arg_strings_add(to, text, limit);
		at += length + 1;
	}
	kfree(text);
	return r;
}

int exec_args_push_interpreter(struct exec_args *a, const char *interpreter, const char *argument, const char *script)
{
	struct arg_strings fresh = { 0 };
	int r = arg_strings_add(&fresh, interpreter, a->limit);
	if (!r && argument)
		r = arg_strings_add(&fresh, argument, a->limit);
	if (!r)
		r = arg_strings_add(&fresh, script, a->limit);
	if (!r && a->prefix.count)
		r = copy_rest(&fresh, &a->prefix, a->limit);
	if (r) {
		arg_strings_free(&fresh);
		return r;
	}
	arg_strings_free(&a->prefix);
	a->prefix = fresh;
	return 0;
}
