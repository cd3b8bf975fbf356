/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - hand a CPU model to the kernel as its CPUID table.
 *
 * Feature words are cut to what the kernel's KVM supports; bits that follow the
 * vCPU's registers (OSXSAVE, XSAVE sizes) the kernel fills in itself.
 */
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum { EDX_MCA = 14 };	    /* of leaf 1 */
enum { MAX_ENTRIES = 256 }; /* KVM_MAX_CPUID_ENTRIES, the kernel's own bound */

/* Feature words, and bits that are the in-kernel APIC's although KVM may not list them. */
static const struct mask {
	uint32_t leaf, subleaf;
	uint32_t keep_ecx; /* not masked by the kernel's list */
} masks[] = {
	{1, 0, 1u << 24 | 1u << 31 | 1u << 21}, /* TSC-deadline, hypervisor, x2APIC */
	{7, 0, 0},
	{7, 1, 0},
	{0xd, 0, 0},
	{0xd, 1, 0},
	{0x40000001, 0, 0}, /* what the kernel offers its guests */
	{0x80000001, 0, 0},
	{0x80000008, 0, ~0u},
	{0x80000021, 0, 0}, /* flaws that AMD's processors do not have */
};

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *t, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < t->nent; i++)
		if (t->entries[i].function == leaf && t->entries[i].index == sub)
			return &t->entries[i];
	return NULL;
}

static void cut(const struct kvm_cpuid2 *host, struct kvm_cpuid_entry2 *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
		const struct kvm_cpuid_entry2 *h;
		static const struct kvm_cpuid_entry2 none;

		if (masks[i].leaf != e->function || masks[i].subleaf != e->index)
			continue;
		h = find(host, e->function, e->index);
		h = h ? h : &none;
		e->ecx &= h->ecx | masks[i].keep_ecx;
		switch (e->function) {
		case 1: /* KVM has a machine check bank at least, the software engine none */
			e->edx &= h->edx & ~(1u << EDX_MCA);
			break;
		case 0x80000001: e->edx &= h->edx; break;
		case 0x80000008: e->ebx &= h->ebx; break;
		case 0xd:
		case 0x40000001:
		case 0x80000021: e->eax &= h->eax; break;
		default:
			e->ebx &= h->ebx;
			e->edx &= h->edx;
			break;
		}
	}
}

/*
 * Physical addresses beyond the processor's own would be reserved bits to it: a guest on a
 * host with 39 must not be told 40.
 */
static void cut_addresses(const struct kvm_cpuid2 *host, struct kvm_cpuid_entry2 *e)
{
	const struct kvm_cpuid_entry2 *h = find(host, 0x80000008, 0);
	uint32_t bits = h ? h->eax & 0xff : 36;

	if (e->function == 0x80000008 && (e->eax & 0xff) > bits)
		e->eax = (e->eax & ~0xffu) | bits;
}

/* Leaves whose answer depends on ECX, and how many subleaves they have. */
static unsigned subleaves(uint32_t leaf)
{
	switch (leaf) {
	case 4:
	case 0x8000001d: return 5;
	case 7: return 2;
	case 0xb: return 3;
	case 0xd: return 3;
	default: return 0;
	}
}

static void add(struct kvm_cpuid2 *t, const struct kvm_cpuid2 *host, struct engine_vcpu *v,
		uint32_t leaf, uint32_t sub, bool indexed)
{
	struct cpuid_regs r;
	struct kvm_cpuid_entry2 *e = &t->entries[t->nent];

	if (t->nent == MAX_ENTRIES)
		return;
	cpuid_query(v->vm->model, v->index, leaf, sub, 0, XCR0_X87 | XCR0_SSE | XCR0_AVX, 0,
		    0xfee00800, &r);
	*e = (struct kvm_cpuid_entry2){.function = leaf,
				       .index = sub,
				       .eax = r.eax,
				       .ebx = r.ebx,
				       .ecx = r.ecx,
				       .edx = r.edx,
				       .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
	cut(host, e);
	cut_addresses(host, e);
	t->nent++;
}

static void add_range(struct kvm_cpuid2 *t, const struct kvm_cpuid2 *host, struct engine_vcpu *v,
		      uint32_t base)
{
	struct cpuid_regs r;

	cpuid_query(v->vm->model, v->index, base, 0, 0, 0, 0, 0, &r);
	if (r.eax < base || r.eax - base > 0x40)
		r.eax = base;
	for (uint32_t leaf = base; leaf <= r.eax; leaf++) {
		unsigned n = subleaves(leaf);

		if (!n)
			add(t, host, v, leaf, 0, false);
		for (unsigned sub = 0; sub < n; sub++)
			add(t, host, v, leaf, sub, true);
	}
}

static struct kvm_cpuid2 *new_table(void)
{
	return calloc(1, sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
}

int kvm_set_cpuid(struct engine_vcpu *v, struct errbuf *err)
{
	AUTO_PTR struct kvm_cpuid2 *t = new_table();
	AUTO_PTR struct kvm_cpuid2 *host = new_table();

	if (!t || !host)
		return err_set(err, -ENOMEM, "KVM: out of memory");
	host->nent = MAX_ENTRIES;
	if (ioctl(v->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, host) < 0)
		return err_set(err, -errno, "KVM: supported CPUID: %m");
	v->xcr0_mask = XCR0_X87 | XCR0_SSE;
	if (find(host, 0xd, 0))
		v->xcr0_mask |= find(host, 0xd, 0)->eax & XCR0_AVX;
	add_range(t, host, v, 0);
	if (v->vm->model->kvm_pv)
		add_range(t, host, v, 0x40000000);
	add_range(t, host, v, 0x80000000);
	if (ioctl(v->fd, KVM_SET_CPUID2, t) < 0)
		return err_set(err, -errno, "KVM: CPU model '%s' is refused: %m",
			       v->vm->model->name);
	return 0;
}
