/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - the named CPU models, and what of them a host can give.
 *
 * A model is a list of features it must have (the psABI's microarchitecture levels)
 * and a list it has where possible.  Vector and bit instructions run on the host's
 * own units, so the host must have them; what the engine does itself (paging,
 * segmentation, the APIC's timer mode) any host can give.  Intel SDM vol. 2, CPUID;
 * x86-64 psABI, "Micro-Architecture Levels".
 */
#include "cpu/model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- features -------------------------------------------------------------------- */

#define EAX CPUID_EAX
#define EBX CPUID_EBX
#define ECX CPUID_ECX
#define EDX CPUID_EDX
#define UNIT(f, leaf, sub, reg, bit, name)                     \
	{                                                      \
		FEAT_##f, KIND_UNIT, leaf, sub, reg, bit, name \
	}
#define AVXU(f, leaf, sub, reg, bit, name)                    \
	{                                                     \
		FEAT_##f, KIND_AVX, leaf, sub, reg, bit, name \
	}
#define SOFT(f, leaf, sub, reg, bit, name)                     \
	{                                                      \
		FEAT_##f, KIND_SOFT, leaf, sub, reg, bit, name \
	}

const struct feature_bit feature_bits[] = {
	UNIT(SSE3, 1, 0, ECX, 0, "sse3"),
	UNIT(PCLMUL, 1, 0, ECX, 1, "pclmulqdq"),
	UNIT(SSSE3, 1, 0, ECX, 9, "ssse3"),
	AVXU(FMA, 1, 0, ECX, 12, "fma"),
	UNIT(CX16, 1, 0, ECX, 13, "cx16"),
	SOFT(PCID, 1, 0, ECX, 17, "pcid"),
	UNIT(SSE41, 1, 0, ECX, 19, "sse4_1"),
	UNIT(SSE42, 1, 0, ECX, 20, "sse4_2"),
	SOFT(X2APIC, 1, 0, ECX, 21, "x2apic"),
	UNIT(MOVBE, 1, 0, ECX, 22, "movbe"),
	UNIT(POPCNT, 1, 0, ECX, 23, "popcnt"),
	SOFT(TSC_DEADLINE, 1, 0, ECX, 24, "tsc_deadline_timer"),
	UNIT(AES, 1, 0, ECX, 25, "aes"),
	SOFT(XSAVE, 1, 0, ECX, 26, "xsave"),
	AVXU(AVX, 1, 0, ECX, 28, "avx"),
	AVXU(F16C, 1, 0, ECX, 29, "f16c"),
	UNIT(RDRAND, 1, 0, ECX, 30, "rdrand"),
	SOFT(FSGSBASE, 7, 0, EBX, 0, "fsgsbase"),
	UNIT(BMI1, 7, 0, EBX, 3, "bmi1"),
	AVXU(AVX2, 7, 0, EBX, 5, "avx2"),
	SOFT(SMEP, 7, 0, EBX, 7, "smep"),
	UNIT(BMI2, 7, 0, EBX, 8, "bmi2"),
	SOFT(ERMS, 7, 0, EBX, 9, "erms"),
	SOFT(INVPCID, 7, 0, EBX, 10, "invpcid"),
	UNIT(RDSEED, 7, 0, EBX, 18, "rdseed"),
	UNIT(ADX, 7, 0, EBX, 19, "adx"),
	SOFT(SMAP, 7, 0, EBX, 20, "smap"),
	SOFT(CLFLUSHOPT, 7, 0, EBX, 23, "clflushopt"),
	SOFT(CLWB, 7, 0, EBX, 24, "clwb"),
	UNIT(SHA, 7, 0, EBX, 29, "sha_ni"),
	SOFT(UMIP, 7, 0, ECX, 2, "umip"),
	UNIT(GFNI, 7, 0, ECX, 8, "gfni"),
	AVXU(VAES, 7, 0, ECX, 9, "vaes"),
	AVXU(VPCLMUL, 7, 0, ECX, 10, "vpclmulqdq"),
	SOFT(RDPID, 7, 0, ECX, 22, "rdpid"),
	SOFT(FSRM, 7, 0, EDX, 4, "fsrm"),
	SOFT(XSAVEOPT, 0xd, 1, EAX, 0, "xsaveopt"),
	SOFT(XSAVEC, 0xd, 1, EAX, 1, "xsavec"),
	SOFT(XGETBV1, 0xd, 1, EAX, 2, "xgetbv1"),
	SOFT(XSAVES, 0xd, 1, EAX, 3, "xsaves"),
	SOFT(LAHF64, 0x80000001, 0, ECX, 0, "lahf_lm"),
	UNIT(LZCNT, 0x80000001, 0, ECX, 5, "abm"),
	UNIT(SSE4A, 0x80000001, 0, ECX, 6, "sse4a"),
	SOFT(PREFETCHW, 0x80000001, 0, ECX, 8, "3dnowprefetch"),
	SOFT(NX, 0x80000001, 0, EDX, 20, "nx"),
	SOFT(PDPE1GB, 0x80000001, 0, EDX, 26, "pdpe1gb"),
	SOFT(RDTSCP, 0x80000001, 0, EDX, 27, "rdtscp"),
};
const unsigned feature_bits_count = ARRAY_SIZE(feature_bits);

/* --- host ----------------------------------------------------------------------------- */

/* By hand: <cpuid.h> would find ours. */
static struct cpuid_regs cpuid_insn(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(sub));
	return r;
}

/* Zeros, and false, beyond the last leaf. */
static bool host_cpuid(uint32_t leaf, uint32_t sub, struct cpuid_regs *r)
{
	uint32_t max = cpuid_insn(leaf & 0x80000000, 0).eax;

	*r = (struct cpuid_regs){0};
	if (leaf > max)
		return false;
	*r = cpuid_insn(leaf, sub);
	return true;
}

/* Does the host's system save the upper halves of YMM registers? */
static bool host_has_avx_state(void)
{
	struct cpuid_regs r;
	uint32_t lo, hi;

	host_cpuid(1, 0, &r);
	if (!(r.ecx >> 27 & 1)) /* OSXSAVE */
		return false;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo & 6) == 6;
}

static void probe_names(struct cpu_host *h)
{
	struct cpuid_regs r;

	host_cpuid(0, 0, &r);
	memcpy(h->vendor, &r.ebx, 4);
	memcpy(h->vendor + 4, &r.edx, 4);
	memcpy(h->vendor + 8, &r.ecx, 4);
	host_cpuid(1, 0, &r);
	h->signature = r.eax;
	for (unsigned i = 0; i < 3; i++) {
		if (!host_cpuid(0x80000002 + i, 0, &r))
			break;
		memcpy(h->brand + 16 * i, &r, 16);
	}
}

void cpu_host_probe(struct cpu_host *h)
{
	bool avx = host_has_avx_state();
	uint32_t leaf = 0, sub = 0;
	struct cpuid_regs r = {0};

	memset(h, 0, sizeof(*h));
	probe_names(h);
	for (unsigned i = 0; i < feature_bits_count; i++) {
		const struct feature_bit *f = &feature_bits[i];

		if (f->leaf != leaf || f->subleaf != sub) /* CPUID may be slow */
			host_cpuid(f->leaf, f->subleaf, &r);
		leaf = f->leaf;
		sub = f->subleaf;
		if (cpuid_get(&r, f->reg, f->bit) && (f->kind != KIND_AVX || avx))
			h->features |= BIT(f->feature);
	}
}

/* --- models -------------------------------------------------------------------------------- */

#define B(f) BIT(FEAT_##f)
#define V1   (B(BASE))
#define V2   (V1 | B(CX16) | B(LAHF64) | B(POPCNT) | B(SSE3) | B(SSSE3) | B(SSE41) | B(SSE42))
#define V3                                                                                    \
	(V2 | B(AVX) | B(AVX2) | B(BMI1) | B(BMI2) | B(F16C) | B(FMA) | B(LZCNT) | B(MOVBE) | \
	 B(XSAVE))
/* Not of the levels, but every processor of that age has them. */
#define V1_MORE (B(NX) | B(RDTSCP) | B(X2APIC) | B(TSC_DEADLINE))
#define V2_MORE (V1_MORE | B(PREFETCHW))
#define V3_MORE                                                                         \
	(V2_MORE | B(AES) | B(PCLMUL) | B(XSAVEOPT) | B(FSGSBASE) | B(SMEP) | B(ERMS) | \
	 B(RDRAND) | B(PDPE1GB))
#define ALL (~0ULL)

static const struct named_model {
	const char *name;
	uint64_t required, wanted;
	bool own_name; /* the host's own brand and signature */
	bool by_host;  /* soft features too only where the host has them */
} models[] = {
	{"x86-64-v1", V1, V1_MORE, false, false},
	{"x86-64-v2", V2, V2_MORE, false, false},
	{"x86-64-v3", V3, V3_MORE, false, false},
	{"host", V1, ALL, true, true},
	{"max", V1, ALL, true, false},
};

const char *cpu_model_list(void)
{
	return "x86-64-v1  the baseline of 2003, for the oldest hosts\n"
	       "x86-64-v2  2009: SSE4.2, POPCNT; any server still in use\n"
	       "x86-64-v3  2013: AVX2, BMI2, FMA; needs a host that has them\n"
	       "host       what this host has, as far as the engine can\n"
	       "max        all that the engine can on this host\n";
}

/* Bits that mean nothing, or mislead, without another. */
static const struct {
	uint8_t feature, needs;
} depends[] = {
	{FEAT_AVX, FEAT_XSAVE},	    {FEAT_XSAVEOPT, FEAT_XSAVE}, {FEAT_XSAVEC, FEAT_XSAVE},
	{FEAT_XGETBV1, FEAT_XSAVE}, {FEAT_XSAVES, FEAT_XSAVEC},	 {FEAT_F16C, FEAT_AVX},
	{FEAT_FMA, FEAT_AVX},	    {FEAT_AVX2, FEAT_AVX},	 {FEAT_VAES, FEAT_AVX},
	{FEAT_VPCLMUL, FEAT_AVX},   {FEAT_VAES, FEAT_AES},	 {FEAT_VPCLMUL, FEAT_PCLMUL},
};

static uint64_t drop_dependents(uint64_t set)
{
	for (unsigned i = 0; i < ARRAY_SIZE(depends); i++)
		if (!(set >> depends[i].needs & 1))
			set &= ~BIT(depends[i].feature);
	return set;
}

/* Features that can be given on @host. */
static uint64_t offerable(const struct cpu_host *host, bool amd, bool by_host)
{
	const uint64_t machine = B(X2APIC) | B(TSC_DEADLINE); /* never the host's */
	uint64_t set = B(BASE) | (amd ? B(SYSCALL32) : B(SYSENTER64));

	for (unsigned i = 0; i < feature_bits_count; i++) {
		const struct feature_bit *f = &feature_bits[i];
		uint64_t bit = BIT(f->feature);

		if (f->kind == KIND_SOFT && (!by_host || bit & machine))
			set |= bit;
		else
			set |= bit & host->features;
	}
	return drop_dependents(set);
}

static const char *first_name(uint64_t features)
{
	for (unsigned i = 0; i < feature_bits_count; i++)
		if (features >> feature_bits[i].feature & 1)
			return feature_bits[i].name;
	return "?";
}

/* Family, model, stepping of named models: known to guests, with few errata to work around. */
static uint32_t generic_signature(const struct cpu_host *host)
{
	if (!strcmp(host->vendor, "AuthenticAMD"))
		return 0x00a00f11; /* 25, 1, 1 */
	if (!strcmp(host->vendor, "GenuineIntel"))
		return 0x000306c3; /* 6, 60, 3 */
	return host->signature;
}

static void fill(const struct cpu_host *host, const struct named_model *nm, unsigned ncpus,
		 struct cpu_model *m)
{
	memset(m, 0, sizeof(*m));
	snprintf(m->name, sizeof(m->name), "%s", nm->name);
	memcpy(m->vendor, host->vendor, sizeof(m->vendor));
	m->amd = !strcmp(host->vendor, "AuthenticAMD") || !strcmp(host->vendor, "HygonGenuine");
	m->signature = nm->own_name ? host->signature : generic_signature(host);
	if (nm->own_name)
		memcpy(m->brand, host->brand, sizeof(m->brand));
	else
		snprintf(m->brand, sizeof(m->brand), "Caisson %s processor", nm->name);
	m->phys_bits = 40;
	m->ncpus = ncpus;
}

static const struct named_model *find_named(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(models[i].name, name))
			return &models[i];
	return NULL;
}

int cpu_model_build(const struct cpu_host *host, const char *name, unsigned ncpus,
		    struct cpu_model *out, struct errbuf *err)
{
	const struct named_model *nm = find_named(name);
	uint64_t can, missing;
	struct cpu_model m;

	if (!nm)
		return err_set(err, -EINVAL,
			       "CPU model '%s' is unknown; there are x86-64-v1, x86-64-v2, "
			       "x86-64-v3, host and max",
			       name);
	if (!ncpus)
		return err_set(err, -EINVAL, "CPU model '%s': no vCPUs", name);
	fill(host, nm, ncpus, &m);
	can = offerable(host, m.amd, nm->by_host);
	missing = nm->required & ~can;
	if (missing)
		return err_set(err, -EINVAL,
			       "CPU model '%s' needs %s, which this host's CPU (%s) lacks; "
			       "take --cpu host",
			       name, first_name(missing), host->brand);
	m.features = can & (nm->required | nm->wanted | B(SYSCALL32) | B(SYSENTER64));
	m.features = drop_dependents(m.features);
	*out = m;
	return 0;
}

int cpu_model_find(const char *name, unsigned ncpus, struct cpu_model *out, struct errbuf *err)
{
	struct cpu_host host;

	cpu_host_probe(&host);
	return cpu_model_build(&host, name, ncpus, out, err);
}
