/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - where CPUID shows each feature, and what the host has of them. */
#pragma once

#include "cpu/cpuid.h"

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Who runs the instruction? */
enum feature_kind {
	KIND_UNIT,   /* the host's own unit: it must have it */
	KIND_AVX,    /* the same, and the host's system must have enabled AVX state */
	KIND_SOFT,   /* this engine or the machine, on any host */
	KIND_VENDOR, /* follows from the vendor; no bit of its own */
};

struct feature_bit {
	uint8_t feature; /* enum cpu_feature */
	uint8_t kind;
	uint32_t leaf;
	uint8_t subleaf, reg, bit;
	const char *name; /* as /proc/cpuinfo has it */
};

extern const struct feature_bit feature_bits[];
extern const unsigned feature_bits_count;

struct cpu_host {
	char vendor[13];
	char brand[49];
	uint32_t signature;
	uint64_t features; /* those the host shows, KIND_AVX ones only if usable */
};

void cpu_host_probe(struct cpu_host *h);

/* cpu_model_find() on a given host. */
MUST_CHECK int cpu_model_build(const struct cpu_host *host, const char *name, unsigned ncpus,
			       struct cpu_model *out, struct errbuf *err);

static inline unsigned cpuid_get(const struct cpuid_regs *r, unsigned reg, unsigned bit)
{
	const uint32_t v[] = {r->eax, r->ebx, r->ecx, r->edx};

	return v[reg] >> bit & 1;
}
