/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paravirt.c - KVM's paravirtual clock, wall clock and hypercalls, for engines
 * that have no kernel below them to offer these.
 *
 * All vCPUs get the same pair (TSC, VM nanoseconds), taken when the VM was last
 * resumed, so that time read on one is never behind time read on another and the
 * "TSC stable" flag is true.  Layouts and numbers: the kernel's
 * Documentation/virt/kvm/x86/msr.rst, hypercalls.rst.
 */
#include <errno.h>
#include <string.h>

#include "machine/internal.h"

enum {
	MSR_WALL_CLOCK_OLD = 0x11,
	MSR_SYSTEM_TIME_OLD = 0x12,
	MSR_WALL_CLOCK = 0x4b564d00,
	MSR_SYSTEM_TIME = 0x4b564d01,
	SYSTEM_TIME_ENABLE = 1,

	HC_KICK_CPU = 5,
	HC_SEND_IPI = 10,
	KVM_ENOSYS = 1000,

	PVCLOCK_TSC_STABLE = 1,
};

struct pvclock_time { /* pvclock_vcpu_time_info */
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
}; /* 32 bytes, no padding */

struct pvclock_wall {
	uint32_t version, sec, nsec;
} __attribute__((packed));

/* ns = (tsc << shift) * mul >> 32 for a TSC of @khz. */
static void clock_scale(uint64_t khz, uint32_t *mul, int8_t *shift)
{
	uint64_t hz = khz * 1000;
	int s = 0;

	for (; hz > 2000000000ULL; hz >>= 1)
		s--;
	for (; hz <= 1000000000ULL; hz <<= 1)
		s++;
	*mul = (uint32_t)((1000000000ULL << 32) / hz);
	*shift = (int8_t)s;
}

/* The guest sees an odd version while the rest is written. */
static void write_time(struct machine_vcpu *v, gpa_t gpa, struct pvclock_time *t)
{
	struct mem *mem = v->m->mem;
	uint32_t *version = mem_ptr_write(mem, gpa, sizeof(*t));

	if (!version || gpa % 4)
		return; /* the guest's mistake: its clock stands still */
	__atomic_store_n(version, v->pvclock_version + 1, __ATOMIC_RELEASE);
	memcpy((uint8_t *)version + 4, (uint8_t *)t + 4, sizeof(*t) - 4);
	v->pvclock_version += 2;
	__atomic_store_n(version, v->pvclock_version, __ATOMIC_RELEASE);
}

void paravirt_update(struct machine_vcpu *v)
{
	struct machine *m = v->m;
	struct pvclock_time t = {
		.tsc_timestamp = m->pv_host_tsc + __atomic_load_n(&v->tsc_offset, __ATOMIC_RELAXED),
		.system_time = m->pv_ns,
		.flags = PVCLOCK_TSC_STABLE,
	};

	if (!(v->pvclock_msr & SYSTEM_TIME_ENABLE))
		return;
	clock_scale(m->tsc_khz, &t.tsc_to_system_mul, &t.tsc_shift);
	write_time(v, v->pvclock_msr & ~3ULL, &t);
}

/* Wall-clock time at which VM time was zero. */
static void write_wall_clock(struct machine *m, gpa_t gpa)
{
	uint64_t boot_ns = host_wall_ns() - vclock_ns(&m->clock);
	struct pvclock_wall w = {
		.version = 2,
		.sec = (uint32_t)(boot_ns / 1000000000u),
		.nsec = (uint32_t)(boot_ns % 1000000000u),
	};

	if (mem_write(m->mem, gpa, &w, sizeof(w)) < 0)
		log_debug(LOG_GUEST, "wall clock at %#llx: not RAM", (unsigned long long)gpa);
}

int paravirt_wrmsr(struct machine_vcpu *v, uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK: write_wall_clock(v->m, val); return 0;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME:
		v->pvclock_msr = val;
		paravirt_update(v);
		return 0;
	default: return -EINVAL;
	}
}

int paravirt_rdmsr(struct machine_vcpu *v, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK: *val = 0; return 0;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME: *val = v->pvclock_msr; return 0;
	default: return -EINVAL;
	}
}

static void send_ipi(struct machine *m, unsigned apic_id, uint64_t icr)
{
	if (apic_id < m->cfg.ncpus)
		irqchip_send_msi(m->irqchip, (struct msi){.addr = MAP_APIC | apic_id << 12,
							  .data = (uint32_t)icr & 0x7ff});
}

/* a0, a1: 128-bit map of APIC IDs from a2 on; a3: ICR.  Returns how many were sent. */
static uint64_t hc_send_ipi(struct machine *m, const uint64_t *a)
{
	uint64_t count = 0;

	for (unsigned w = 0; w < 2; w++) {
		for (uint64_t bits = a[1 + w]; bits; bits &= bits - 1) {
			uint64_t id = a[3] + w * 64 + (unsigned)__builtin_ctzll(bits);

			if (id >= m->cfg.ncpus)
				continue;
			send_ipi(m, (unsigned)id, a[4]);
			count++;
		}
	}
	return count;
}

uint64_t paravirt_hypercall(struct machine_vcpu *v, const struct engine_exit *e)
{
	uint64_t a[5] = {e->hypercall[0], e->hypercall[1], e->hypercall[2], e->hypercall[3],
			 e->hypercall[4]};

	if (e->cpl)
		return (uint64_t)-EPERM;
	switch (a[0]) {
	case HC_KICK_CPU:
		if (a[2] < v->m->cfg.ncpus)
			vcpu_post_event(&v->m->vcpu[a[2]], VEV_UNHALT);
		return 0;
	case HC_SEND_IPI: return hc_send_ipi(v->m, a);
	default: return (uint64_t)-KVM_ENOSYS;
	}
}
