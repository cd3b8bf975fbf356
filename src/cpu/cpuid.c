/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - what CPUID answers.
 *
 * Each leaf is a small function in a table.  Feature words are made from the model's
 * feature set through the table in model.c and what every model has.  The topology
 * is one package with one core a vCPU, APIC IDs from 0; caches are of usual size, the
 * last level shared by all.  Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E;
 * the kernel's Documentation/virt/kvm/x86/cpuid.rst for 0x4000xxxx.
 */
#include <string.h>

#include "cpu/model.h"
#include "cpu/state.h"

enum {
	MAX_BASIC_INTEL = 0x16,
	MAX_BASIC_AMD = 0xd,
	XSAVE_LEGACY = 576, /* legacy region and header */
	XSAVE_AVX = 256,
	APIC_BUS_KHZ = 1000000,
};
#define MAX_EXT_INTEL 0x80000008U
#define MAX_EXT_AMD   0x80000021U
#define KVM_BASE      0x40000000U
#define KVM_TIMING    0x40000010U
#define APIC_BASE_EN  BIT(11)

struct query {
	const struct cpu_model *m;
	unsigned index;
	uint32_t leaf, sub;
	uint64_t cr4, xcr0, xss, apic_base;
};
typedef void leaf_fn(const struct query *q, struct cpuid_regs *r);

/* Smallest n with BIT(n) >= @v. */
static unsigned order(unsigned v)
{
	return v > 1 ? 32 - (unsigned)__builtin_clz(v - 1) : 0;
}

/* Set the bits of the model's features in this leaf. */
static void add_features(const struct query *q, struct cpuid_regs *r)
{
	uint32_t v[4] = {0};

	for (unsigned i = 0; i < feature_bits_count; i++) {
		const struct feature_bit *f = &feature_bits[i];

		if (f->leaf == q->leaf && f->subleaf == q->sub && cpu_has(q->m, f->feature))
			v[f->reg] |= 1U << f->bit;
	}
	r->eax |= v[CPUID_EAX];
	r->ebx |= v[CPUID_EBX];
	r->ecx |= v[CPUID_ECX];
	r->edx |= v[CPUID_EDX];
}

static void put_text(uint32_t *a, uint32_t *b, uint32_t *c, const char *text)
{
	memcpy(a, text, 4);
	memcpy(b, text + 4, 4);
	memcpy(c, text + 8, 4);
}

/* --- basic leaves ------------------------------------------------------------------ */

static void leaf_vendor(const struct query *q, struct cpuid_regs *r)
{
	r->eax = q->m->amd ? MAX_BASIC_AMD : MAX_BASIC_INTEL;
	put_text(&r->ebx, &r->edx, &r->ecx, q->m->vendor);
}

/*
 * FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36,
 * CLFLUSH, MMX, FXSR, SSE, SSE2.  APIC follows IA32_APIC_BASE.
 */
enum { BASE_EDX = 0x078bf9fd, EDX_APIC = 1 << 9, EDX_HTT = 1 << 28 };
enum { ECX_OSXSAVE = 1 << 27 };
#define ECX_HYPERVISOR (1U << 31)

static void leaf_features(const struct query *q, struct cpuid_regs *r)
{
	unsigned ids = 1U << order(q->m->ncpus);

	r->eax = q->m->signature;
	r->ebx = (q->index & 0xff) << 24 | MIN(ids, 255U) << 16 | 8 << 8; /* CLFLUSH: 64 bytes */
	r->ecx = ECX_HYPERVISOR | (q->cr4 & CR4_OSXSAVE ? ECX_OSXSAVE : 0);
	r->edx = BASE_EDX | (q->apic_base & APIC_BASE_EN ? EDX_APIC : 0);
	if (q->m->ncpus > 1)
		r->edx |= EDX_HTT;
	add_features(q, r);
}

/* Intel only: TLBs, prefetch of 64 bytes, and "see leaf 4". */
static void leaf_descriptors(const struct query *q, struct cpuid_regs *r)
{
	if (q->m->amd)
		return;
	r->eax = 0x76036301;
	r->ebx = 0x00f0b5ff;
	r->edx = 0x00c30000;
}

struct cache {
	uint8_t type, level; /* 1 data, 2 code, 3 both */
	bool shared;
	uint16_t ways;
	uint32_t kib;
};
static const struct cache caches[] = {
	{1, 1, false, 8, 32},
	{2, 1, false, 8, 32},
	{3, 2, false, 8, 512},
	{3, 3, true, 16, 16384},
};

/* Common to Intel's leaf 4 and AMD's 0x8000001d. */
static void put_cache(const struct query *q, struct cpuid_regs *r)
{
	const struct cache *c = &caches[q->sub];
	unsigned sharing = c->shared ? (1U << order(q->m->ncpus)) - 1 : 0;

	r->eax = c->type | c->level << 5U | 1 << 8 | MIN(sharing, 0xfffU) << 14;
	r->ebx = 63 | (c->ways - 1U) << 22;
	r->ecx = c->kib * 1024 / (c->ways * 64U) - 1;
}

static void leaf_caches_intel(const struct query *q, struct cpuid_regs *r)
{
	unsigned cores = (1U << order(q->m->ncpus)) - 1;

	if (q->m->amd || q->sub >= ARRAY_SIZE(caches))
		return;
	put_cache(q, r);
	r->eax |= MIN(cores, 63U) << 26;
}

static void leaf_power(const struct query *q, struct cpuid_regs *r)
{
	r->eax = 1 << 2; /* ARAT: the APIC timer never stops */
}

enum { EBX_TSC_ADJUST = 1 << 1, EBX_NO_FCS_FDS = 1 << 13, EDX_ARCH_CAPS = 1 << 29 };

static void leaf_extended(const struct query *q, struct cpuid_regs *r)
{
	if (q->sub)
		return;
	r->ebx = EBX_TSC_ADJUST | EBX_NO_FCS_FDS;
	r->edx = q->m->amd ? 0 : EDX_ARCH_CAPS;
	add_features(q, r);
}

/* Threads of a core (one), then cores of the package. */
static void leaf_topology(const struct query *q, struct cpuid_regs *r)
{
	r->ecx = q->sub & 0xff;
	r->edx = q->index;
	if (q->sub == 0) {
		r->ebx = 1;
		r->ecx |= 1 << 8;
	} else if (q->sub == 1) {
		r->eax = order(q->m->ncpus);
		r->ebx = q->m->ncpus;
		r->ecx |= 2 << 8;
	}
}

static void leaf_xsave(const struct query *q, struct cpuid_regs *r)
{
	uint32_t avx = cpu_has(q->m, FEAT_AVX) ? XSAVE_AVX : 0;
	uint32_t now = q->xcr0 & XCR0_AVX ? XSAVE_AVX : 0;

	if (!cpu_has(q->m, FEAT_XSAVE))
		return;
	switch (q->sub) {
	case 0:
		r->eax = XCR0_X87 | XCR0_SSE | (avx ? XCR0_AVX : 0);
		r->ebx = XSAVE_LEGACY + now;
		r->ecx = XSAVE_LEGACY + avx;
		break;
	case 1:
		add_features(q, r);
		if (cpu_has(q->m, FEAT_XSAVEC))
			r->ebx = XSAVE_LEGACY + now; /* XSS has no components */
		break;
	case 2:
		r->eax = avx;
		r->ebx = avx ? XSAVE_LEGACY : 0;
		break;
	default: break;
	}
}

/*
 * TSC = crystal * EBX / EAX, where the crystal also drives the APIC timer: 1 GHz.
 * The best fraction whose numerator stays below 4294: guests multiply it by
 * the crystal's kHz in 32 bits.
 */
static void best_ratio(uint64_t num, uint64_t den, uint32_t *out_num, uint32_t *out_den)
{
	const uint64_t limit = 4294;
	uint64_t n0 = 0, n1 = 1, d0 = 1, d1 = 0;

	while (den) { /* continued fraction: as many steps as Euclid's algorithm */
		uint64_t q = num / den, rest = num % den;
		uint64_t n2 = q * n1 + n0, d2 = q * d1 + d0;

		if (n2 > limit) { /* part of this step is nearer, if it is over half of it */
			uint64_t part = (limit - n0) / n1;

			if (2 * part > q) {
				n1 = part * n1 + n0;
				d1 = part * d1 + d0;
			}
			break;
		}
		n0 = n1;
		n1 = n2;
		d0 = d1;
		d1 = d2;
		num = den;
		den = rest;
	}
	*out_num = (uint32_t)n1;
	*out_den = (uint32_t)d1;
}

static void leaf_tsc(const struct query *q, struct cpuid_regs *r)
{
	if (q->m->amd || !q->m->tsc_khz || q->m->tsc_khz > 100000000)
		return;
	best_ratio(q->m->tsc_khz, APIC_BUS_KHZ, &r->ebx, &r->eax);
	r->ecx = APIC_BUS_KHZ * 1000U;
}

static void leaf_frequency(const struct query *q, struct cpuid_regs *r)
{
	if (q->m->amd)
		return;
	r->eax = r->ebx = (uint32_t)(q->m->tsc_khz / 1000) & 0xffff;
	r->ecx = 100;
}

/* --- KVM's paravirtual leaves --------------------------------------------------------- */

static void leaf_kvm(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->kvm_pv)
		return;
	r->eax = KVM_TIMING;
	put_text(&r->ebx, &r->ecx, &r->edx, "KVMKVMKVM\0\0\0");
}

enum {
	PV_CLOCKSOURCE = 1 << 0,
	PV_NOP_IO_DELAY = 1 << 1,
	PV_CLOCKSOURCE2 = 1 << 3,
	PV_UNHALT = 1 << 7,
	PV_SEND_IPI = 1 << 11,
	PV_CLOCKSOURCE_STABLE = 1 << 24,
};

static void leaf_kvm_features(const struct query *q, struct cpuid_regs *r)
{
	if (q->m->kvm_pv)
		r->eax = PV_CLOCKSOURCE | PV_NOP_IO_DELAY | PV_CLOCKSOURCE2 | PV_UNHALT |
			 PV_SEND_IPI | PV_CLOCKSOURCE_STABLE;
}

static void leaf_kvm_timing(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->kvm_pv)
		return;
	r->eax = (uint32_t)q->m->tsc_khz;
	r->ebx = APIC_BUS_KHZ;
}

/* --- extended leaves --------------------------------------------------------------------- */

static void leaf_ext_vendor(const struct query *q, struct cpuid_regs *r)
{
	r->eax = q->m->amd ? MAX_EXT_AMD : MAX_EXT_INTEL;
	if (q->m->amd)
		put_text(&r->ebx, &r->edx, &r->ecx, q->m->vendor);
}

enum {
	EXT_EDX_COMMON = 0x0183f3ff, /* bits that AMD repeats from leaf 1 */
	EXT_EDX_SYSCALL = 1 << 11,
	EXT_EDX_MMXEXT = 1 << 22,
	EXT_EDX_LM = 1 << 29,
	EXT_ECX_CMP_LEGACY = 1 << 1,
	EXT_ECX_TOPOEXT = 1 << 22,
};

static void leaf_ext_features(const struct query *q, struct cpuid_regs *r)
{
	r->edx = EXT_EDX_SYSCALL | EXT_EDX_LM;
	if (q->m->amd) {
		r->eax = q->m->signature;
		r->ecx = EXT_ECX_TOPOEXT | (q->m->ncpus > 1 ? EXT_ECX_CMP_LEGACY : 0);
		r->edx |= (BASE_EDX & EXT_EDX_COMMON) | EXT_EDX_MMXEXT;
		if (q->apic_base & APIC_BASE_EN)
			r->edx |= EDX_APIC;
	}
	add_features(q, r);
}

static void leaf_brand(const struct query *q, struct cpuid_regs *r)
{
	memcpy(r, q->m->brand + 16 * (q->leaf - 0x80000002), 16);
}

static void leaf_amd_l1(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->amd)
		return;
	r->eax = r->ebx = 0xff40ff40; /* TLBs: 64 entries, fully associative */
	r->ecx = r->edx = 32U << 24 | 8 << 16 | 1 << 8 | 64;
}

static void leaf_l2(const struct query *q, struct cpuid_regs *r)
{
	r->ecx = 512U << 16 | 6 << 12 | 64; /* 512 KiB, 8 ways */
	if (!q->m->amd)
		return;
	r->eax = r->ebx = 0x64006400; /* TLBs: 1024 entries, 8 ways */
	r->ecx |= 1 << 8;
	r->edx = 32U << 18 | 8 << 12 | 1 << 8 | 64; /* 16 MiB, 16 ways */
}

static void leaf_invariant_tsc(const struct query *q, struct cpuid_regs *r)
{
	r->edx = 1 << 8;
}

/* No branch target injection by type confusion, no store bypass: an engine runs the guest. */
enum { EBX_SSB_NO = 1 << 26, EBX_BTC_NO = 1 << 29 };

static void leaf_sizes(const struct query *q, struct cpuid_regs *r)
{
	r->eax = q->m->phys_bits | 48 << 8;
	if (!q->m->amd)
		return;
	r->ebx = EBX_SSB_NO | EBX_BTC_NO;
	r->ecx = MIN(q->m->ncpus - 1, 255U) | order(q->m->ncpus) << 12;
}

static void leaf_caches_amd(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->amd || q->sub >= ARRAY_SIZE(caches))
		return;
	put_cache(q, r);
}

/* Extended APIC ID, core, node: one thread a core, one node. */
static void leaf_topology_amd(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->amd)
		return;
	r->eax = q->index;
	r->ebx = q->index & 0xff;
}

enum {
	AMD_LFENCE_SERIAL = 1 << 2,
	AMD_NULL_SEL_BASE = 1 << 6, /* loading a null selector clears the base */
	AMD_SRSO_NO = 1 << 29,
	AMD_TSA_NO = 3 << 1 | 1 << 7, /* in ECX: SQ, L1, FILL */
};

static void leaf_amd_more(const struct query *q, struct cpuid_regs *r)
{
	if (!q->m->amd)
		return;
	r->eax = AMD_LFENCE_SERIAL | AMD_NULL_SEL_BASE | AMD_SRSO_NO;
	r->ecx = AMD_TSA_NO;
}

/* --- entry ------------------------------------------------------------------------------------ */

static const struct {
	uint32_t leaf;
	leaf_fn *fn;
} leaves[] = {
	{0, leaf_vendor},
	{1, leaf_features},
	{2, leaf_descriptors},
	{4, leaf_caches_intel},
	{6, leaf_power},
	{7, leaf_extended},
	{0xb, leaf_topology},
	{0xd, leaf_xsave},
	{0x15, leaf_tsc},
	{0x16, leaf_frequency},
	{KVM_BASE, leaf_kvm},
	{KVM_BASE + 1, leaf_kvm_features},
	{KVM_TIMING, leaf_kvm_timing},
	{0x80000000, leaf_ext_vendor},
	{0x80000001, leaf_ext_features},
	{0x80000002, leaf_brand},
	{0x80000003, leaf_brand},
	{0x80000004, leaf_brand},
	{0x80000005, leaf_amd_l1},
	{0x80000006, leaf_l2},
	{0x80000007, leaf_invariant_tsc},
	{0x80000008, leaf_sizes},
	{0x8000001d, leaf_caches_amd},
	{0x8000001e, leaf_topology_amd},
	{0x80000021, leaf_amd_more},
};

/* Leaves whose answer depends on ECX. */
static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

void cpuid_query(const struct cpu_model *m, unsigned index, uint32_t leaf, uint32_t subleaf,
		 uint64_t cr4, uint64_t xcr0, uint64_t xss, uint64_t apic_base,
		 struct cpuid_regs *out)
{
	const struct query q = {.m = m,
				.index = index,
				.leaf = leaf,
				.sub = has_subleaves(leaf) ? subleaf : 0,
				.cr4 = cr4,
				.xcr0 = xcr0,
				.xss = xss,
				.apic_base = apic_base};

	*out = (struct cpuid_regs){0};
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
		if (leaves[i].leaf == leaf)
			leaves[i].fn(&q, out);
}
