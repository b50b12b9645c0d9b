// SPDX-License-Identifier: Apache-2.0
// What CPUID says about the CPUs, for /proc/cpuinfo, /sys and the auxiliary vector. All CPUs of a cell are alike; their
// places follow from their APIC identifiers. Source: SDM vol. 2 CPUID, vol. 3, 8.9.
#include "features.h"

#include "cpuid.h"
#include "lib/compiler.h"
#include "lib/fmt.h"
#include "lib/string.h"

void amd64_features_detect(struct amd64_features *f)
{
	f->max_leaf = cpuid(0, 0).a;
	f->max_extended_leaf = cpuid(0x80000000, 0).a;
	f->fsgsbase = f->max_leaf >= 7 && (cpuid(7, 0).b & 1u << 0);
	f->invariant_tsc = f->max_extended_leaf >= 0x80000007 && (cpuid(0x80000007, 0).d & 1u << 8);
}

// ---- topology ----

static unsigned bits_for(unsigned count)
{
	unsigned bits = 0;
	while (1u << bits < count)
		bits++;
	return bits;
}

// Bits of the APIC identifier that number threads in a core, and threads in a package.
static void identifier_bits(const struct amd64_features *f, unsigned *core_shift, unsigned *package_shift)
{
	if (f->max_leaf >= 0xb && cpuid(0xb, 0).b) {
		*core_shift = cpuid(0xb, 0).a & 31;
		*package_shift = cpuid(0xb, 1).a & 31;
		return;
	}
	unsigned logical = cpuid(1, 0).d & 1u << 28 ? cpuid(1, 0).b >> 16 & 0xff : 1;
	unsigned cores = f->max_leaf >= 4 ? (cpuid(4, 0).a >> 26) + 1 : 1;
	*package_shift = bits_for(logical);
	unsigned core_bits = bits_for(cores);
	*core_shift = *package_shift > core_bits ? *package_shift - core_bits : 0;
}

void amd64_topology(const struct amd64_cpus *c, uint32_t id, struct port_cpu_topology *out)
{
	unsigned core_shift, package_shift;
	identifier_bits(c->features, &core_shift, &package_shift);
	*out = (struct port_cpu_topology){
		.package_id = id >> package_shift,
		.core_id = (id >> core_shift) & ((1u << (package_shift - core_shift)) - 1),
		.thread_id = id & ((1u << core_shift) - 1),
		.threads_per_core = 1u << core_shift,
		.cores_per_package = 1u << (package_shift - core_shift),
	};
	// The shifts are powers of two; the real numbers are those of the CPUs there are.
	if (out->threads_per_core * out->cores_per_package > c->count) {
		if (out->threads_per_core > c->count)
			out->threads_per_core = c->count;
		out->cores_per_package = c->count / out->threads_per_core;
	}
}

void amd64_topology_flat(const struct amd64_cpus *c, unsigned index, struct port_cpu_topology *out)
{
	*out = (struct port_cpu_topology){ .core_id = index, .threads_per_core = 1, .cores_per_package = c->count };
}

// AMD's older description: sizes and associativity of L1 (0x80000005) and L2 (0x80000006), no sharing told.
static unsigned old_caches(const struct amd64_features *f, struct port_cpu_cache *out, unsigned max)
{
	static const uint8_t l2_ways[16] = { 0, 1, 2, 3, 4, 6, 8, 0, 16, 0, 32, 48, 64, 96, 128, 0 };
	if (f->max_extended_leaf < 0x80000006 || max < 3)
		return 0;
	struct cpuid_regs l1 = cpuid(0x80000005, 0), l2 = cpuid(0x80000006, 0);
	const struct {
		unsigned level, size_bytes, ways, line_bytes;
		char type;
	} found[] = {
		{ 1, (l1.c >> 24) * 1024, l1.c >> 16 & 0xff, l1.c & 0xff, 'D' },
		{ 1, (l1.d >> 24) * 1024, l1.d >> 16 & 0xff, l1.d & 0xff, 'I' },
		{ 2, (l2.c >> 16) * 1024, l2_ways[l2.c >> 12 & 15], l2.c & 0xff, 'U' },
	};
	unsigned count = 0;
	for (unsigned i = 0; i < array_count(found); i++) {
		if (!found[i].size_bytes || !found[i].ways || !found[i].line_bytes)
			continue;
		out[count++] = (struct port_cpu_cache){
			.level = found[i].level,
			.line_bytes = found[i].line_bytes,
			.ways = found[i].ways,
			.partitions = 1,
			.sets = found[i].size_bytes / (found[i].ways * found[i].line_bytes),
			.size_bytes = found[i].size_bytes,
			.shared_cpus = 1,
			.type = found[i].type,
		};
	}
	return count;
}

unsigned amd64_caches(const struct amd64_cpus *cpus, struct port_cpu_cache *out, unsigned max)
{
	const struct amd64_features *f = cpus->features;
	// AMD's leaf has the same layout as Intel's leaf 4.
	uint32_t leaf = f->max_leaf >= 4 && (cpuid(4, 0).a & 31) ? 4 : 0x8000001d;
	if (leaf != 4 && (f->max_extended_leaf < leaf || !(cpuid(leaf, 0).a & 31)))
		return old_caches(f, out, max);
	unsigned count = 0;
	for (unsigned i = 0; count < max && i < 16; i++) {
		struct cpuid_regs r = cpuid(leaf, i);
		unsigned type = r.a & 31;
		if (!type)
			break;
		struct port_cpu_cache *c = &out[count++];
		*c = (struct port_cpu_cache){
			.level = r.a >> 5 & 7,
			.line_bytes = (r.b & 0xfff) + 1,
			.partitions = (r.b >> 12 & 0x3ff) + 1,
			.ways = (r.b >> 22) + 1,
			.sets = r.c + 1,
			.shared_cpus = (r.a >> 14 & 0xfff) + 1,
			.type = type == 1   ? 'D'
				: type == 2 ? 'I'
					    : 'U',
		};
		c->size_bytes = c->line_bytes * c->partitions * c->ways * c->sets;
		if (c->shared_cpus > cpus->count)
			c->shared_cpus = cpus->count;
	}
	return count;
}

// ---- identification ----

struct feature_word {
	uint32_t leaf, sub;
	char reg;
	const char *names; // bit 0 first, space-separated, '.' = not shown
};

// Linux's names, in its order.
static const struct feature_word feature_words[] = {
	{ 1, 0, 'd',
	  "fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 pn clflush . dts acpi mmx fxsr "
	  "sse sse2 ss ht tm ia64 pbe" },
	{ 0x80000001, 0, 'd',
	  ". . . . . . . . . . . syscall . . . . . . . mp nx . mmxext . . fxsr_opt pdpe1gb rdtscp . lm "
	  "3dnowext 3dnow" },
	{ 1, 0, 'c',
	  "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm . pcid dca sse4_1 "
	  "sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave . avx f16c rdrand hypervisor" },
	{ 0x80000001, 0, 'c',
	  "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit "
	  "wdt . lwp fma4 tce . nodeid_msr . tbm topoext perfctr_core perfctr_nb . bpext ptsc "
	  "perfctr_llc mwaitx . ." },
	{ 7, 0, 'b',
	  "fsgsbase tsc_adjust sgx bmi1 hle avx2 . smep bmi2 erms invpcid rtm cqm . . rdt_a avx512f avx512dq rdseed "
	  "adx smap avx512ifma . clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl" },
	{ 7, 0, 'c',
	  ". avx512vbmi umip . . waitpkg avx512_vbmi2 . gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
	  "avx512_vpopcntdq . . . . . . . rdpid . . cldemote . movdiri movdir64b enqcmd . ." },
	{ 0xd, 1, 'a', "xsaveopt xsavec xgetbv1 xsaves" },
};

// What programs cannot use without some component of vector state, or because the port or its host keeps it to itself.
static const struct {
	uint32_t leaf;
	char reg;
	uint64_t xcr0; // needs all of these
	uint32_t bits;
} hidden_without[] = {
	{ 1, 'c', AMD64_XCR0_AVX, 1u << 12 | 1u << 28 | 1u << 29 }, // fma avx f16c
	{ 7, 'b', AMD64_XCR0_AVX, 1u << 5 },                        // avx2
	{ 7, 'c', AMD64_XCR0_AVX, 1u << 9 | 1u << 10 },             // vaes vpclmulqdq
	{ 7, 'b', AMD64_XCR0_AVX512, 0xdc230000 },
	{ 7, 'c', AMD64_XCR0_AVX512, 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14 },
};

static uint32_t feature_bits(const struct amd64_features *f, const struct feature_word *w)
{
	if (w->leaf > (w->leaf >> 31 ? f->max_extended_leaf : f->max_leaf))
		return 0;
	struct cpuid_regs r = cpuid(w->leaf, w->sub);
	uint32_t bits = w->reg == 'a' ? r.a : w->reg == 'b' ? r.b : w->reg == 'c' ? r.c : r.d;
	for (unsigned i = 0; i < array_count(hidden_without); i++)
		if (hidden_without[i].leaf == w->leaf && hidden_without[i].reg == w->reg &&
		    (f->xcr0 & hidden_without[i].xcr0) != hidden_without[i].xcr0)
			bits &= ~hidden_without[i].bits;
	if (w->leaf == 7 && w->reg == 'b' && !f->fsgsbase)
		bits &= ~1u;
	return bits;
}

struct text {
	char *buffer;
	size_t size;
	int length;
};

static void add(struct text *t, const char *format, ...) printf_like(2, 3);
static void add(struct text *t, const char *format, ...)
{
	va_list arguments;
	size_t used = (size_t)t->length < t->size ? (size_t)t->length : t->size;
	va_start(arguments, format);
	t->length += fmt_vprint(t->buffer + used, t->size - used, format, arguments);
	va_end(arguments);
}

static void add_features(struct text *t, const struct amd64_features *f)
{
	for (unsigned i = 0; i < array_count(feature_words); i++) {
		uint32_t bits = feature_bits(f, &feature_words[i]);
		const char *name = feature_words[i].names;
		for (unsigned bit = 0; *name; bit++) {
			const char *end = strchr(name, ' ');
			int size = end ? (int)(end - name) : (int)strlen(name);
			if ((bits >> bit & 1) && *name != '.')
				add(t, " %.*s", size, name);
			name += size + (end != NULL);
		}
	}
	if (f->invariant_tsc)
		add(t, " constant_tsc nonstop_tsc");
}

static void brand_string(const struct amd64_features *f, char *out)
{
	out[0] = 0;
	if (f->max_extended_leaf < 0x80000004)
		return;
	for (unsigned i = 0; i < 3; i++) {
		struct cpuid_regs r = cpuid(0x80000002 + i, 0);
		memcpy(out + 16 * i, &r, 16);
	}
	out[48] = 0;
}

int amd64_cpuinfo(const struct amd64_cpus *cpus, unsigned index, uint32_t id, const struct port_cpu_topology *place,
		  char *buffer, size_t size)
{
	const struct amd64_features *features = cpus->features;
	struct text t = { .buffer = buffer, .size = size };
	struct cpuid_regs v = cpuid(0, 0), f = cpuid(1, 0);
	struct port_cpu_cache caches[8];
	char vendor[13], brand[49];
	uint32_t order[3] = { v.b, v.d, v.c };
	memcpy(vendor, order, 12);
	vendor[12] = 0;
	brand_string(features, brand);
	const char *name = brand;
	while (*name == ' ')
		name++;
	unsigned family = f.a >> 8 & 15, model = f.a >> 4 & 15;
	if (family >= 6)
		model |= f.a >> 12 & 0xf0;
	if (family == 15)
		family += f.a >> 20 & 0xff;
	unsigned cache_count = amd64_caches(cpus, caches, array_count(caches));
	uint64_t khz = cpus->tsc_hz / 1000;

	add(&t, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", index, vendor, family, model);
	add(&t, "model name\t: %s\nstepping\t: %u\n", *name ? name : "unknown", f.a & 15);
	add(&t, "cpu MHz\t\t: %llu.%03llu\n", (unsigned long long)khz / 1000, (unsigned long long)khz % 1000);
	if (cache_count)
		add(&t, "cache size\t: %u KB\n", caches[cache_count - 1].size_bytes / 1024);
	add(&t, "physical id\t: %u\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\n", place->package_id,
	    place->threads_per_core * place->cores_per_package, place->core_id, place->cores_per_package);
	add(&t, "apicid\t\t: %u\ninitial apicid\t: %u\nfpu\t\t: yes\nfpu_exception\t: yes\n", id, id);
	add(&t, "cpuid level\t: %u\nwp\t\t: yes\nflags\t\t:", features->max_leaf);
	add_features(&t, features);
	uint64_t bogomips = khz / 5; // in hundredths, as Linux prints it: twice the frequency in MHz
	add(&t, "\nbugs\t\t:\nbogomips\t: %llu.%02llu\nclflush size\t: %u\n", (unsigned long long)bogomips / 100,
	    (unsigned long long)bogomips % 100, (f.b >> 8 & 0xff) * 8);
	struct cpuid_regs a = features->max_extended_leaf >= 0x80000008 ? cpuid(0x80000008, 0)
									: (struct cpuid_regs){ .a = 48u << 8 | 36 };
	add(&t, "cache_alignment\t: %u\naddress sizes\t: %u bits physical, %u bits virtual\npower management:\n\n",
	    (f.b >> 8 & 0xff) * 8, a.a & 0xff, a.a >> 8 & 0xff);
	return t.length;
}

uint64_t amd64_hwcap(void) { return cpuid(1, 0).d; }

#define HWCAP2_FSGSBASE 2u

uint64_t amd64_hwcap2(const struct amd64_features *f) { return f->fsgsbase ? HWCAP2_FSGSBASE : 0; }
