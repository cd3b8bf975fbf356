/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.h - named CPU models: what CPUID shows, hence what instructions exist.
 *
 * A guest sees a model, never the raw host.  A model's CPUID bits are shown only
 * if the engine implements them and the host's own units have what they need.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

/* One bit each in cpu_model.features; decoder rows name the one they need. */
enum cpu_feature {
	FEAT_BASE, /* always there on x86-64: up to SSE2, CMOV, CX8, FXSR, SYSCALL ... */
	FEAT_SSE3,
	FEAT_SSSE3,
	FEAT_SSE41,
	FEAT_SSE42,
	FEAT_POPCNT,
	FEAT_CX16,
	FEAT_MOVBE,
	FEAT_AES,
	FEAT_PCLMUL,
	FEAT_XSAVE,
	FEAT_XSAVEOPT,
	FEAT_XSAVEC,
	FEAT_XGETBV1,
	FEAT_XSAVES,
	FEAT_AVX,
	FEAT_F16C,
	FEAT_FMA,
	FEAT_AVX2,
	FEAT_BMI1,
	FEAT_BMI2,
	FEAT_LZCNT,
	FEAT_ADX,
	FEAT_SHA,
	FEAT_RDRAND,
	FEAT_RDSEED,
	FEAT_FSGSBASE,
	FEAT_RDTSCP,
	FEAT_RDPID,
	FEAT_CLFLUSHOPT,
	FEAT_CLWB,
	FEAT_SMEP,
	FEAT_SMAP,
	FEAT_UMIP,
	FEAT_PCID,
	FEAT_INVPCID,
	FEAT_NX,
	FEAT_PDPE1GB,
	FEAT_ERMS,
	FEAT_FSRM,
	FEAT_SYSCALL32,
	FEAT_SYSENTER64,
	FEAT_LAHF64,
	FEAT_X2APIC,
	FEAT_TSC_DEADLINE,
	FEAT_VAES,
	FEAT_VPCLMUL,
	FEAT_GFNI,
	FEAT_SSE4A,
	FEAT_PREFETCHW,
	FEAT_MONITOR,
	FEAT_COUNT,
	FEAT_NEVER = 0xff, /* decoded, but never offered: #UD */
};

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

struct cpu_model { /* immutable */
	char name[32];
	uint64_t features; /* BIT(enum cpu_feature) of what is shown */
	char vendor[13];   /* 12 characters */
	bool amd;
	uint32_t signature; /* leaf 1 EAX */
	char brand[49];
	uint8_t phys_bits;
	unsigned ncpus;
	uint64_t tsc_khz;
	bool kvm_pv; /* show the KVM paravirtual leaves */
};

/*
 * Build model @name ("x86-64-v2", "x86-64-v3", "host", "help" is not one) for
 * @ncpus vCPUs.  -EINVAL with a sentence that lists the known ones.
 */
MUST_CHECK int cpu_model_find(const char *name, unsigned ncpus, struct cpu_model *out,
			      struct errbuf *err);
/* "name  description" lines for --cpu help. */
const char *cpu_model_list(void);

/*
 * What CPUID answers on vCPU @index.  Bits that follow the vCPU's registers (OSXSAVE,
 * APIC enable, XSAVE sizes) come from @cr4, @xcr0, @xss and @apic_base.
 */
void cpuid_query(const struct cpu_model *m, unsigned index, uint32_t leaf, uint32_t subleaf,
		 uint64_t cr4, uint64_t xcr0, uint64_t xss, uint64_t apic_base,
		 struct cpuid_regs *out);

static inline bool cpu_has(const struct cpu_model *m, enum cpu_feature f)
{
	return m->features >> f & 1;
}
