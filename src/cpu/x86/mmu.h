/* SPDX-License-Identifier: Apache-2.0 */
/* mmu.h - page walks, and what only system instructions and engines ask of the MMU. */
#pragma once

#include <pthread.h>
#include "cpu/x86/vcpu.h"

struct soft_vm { /* shared by the vCPUs of one software VM; immutable but the lock */
	struct mem *mem;
	struct cpu_model model;
	struct fpu_stubs *stubs;
	uint8_t tsc_shift;     /* the TSC counts the host's / 2^this */
	pthread_mutex_t split; /* leaf; held between split_lock() and split_unlock() */
};

/* Bits of a page fault's error code (SDM vol. 3A, 4.7). */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_ID = 16 };

/* Rights of a translation in one view. */
enum { RIGHT_R = 1, RIGHT_W = 2, RIGHT_X = 4 };

struct walk {		/* a finished page walk */
	gpa_t gpa;	/* of the 4 KiB page */
	uint8_t shift;	/* of the guest's page */
	uint8_t rights; /* RIGHT_* in the view walked for */
	bool global, dirty;
	uint32_t error; /* of the page fault, when the walk failed */
};

/*
 * Translate @lin for @access (ACCESS_*) as @view sees memory, and set accessed and
 * dirty bits.  0, or -1 with w->error.  Touches no TLB.  May unwind (UNWIND_RESTART)
 * when other vCPUs keep changing the tables.
 */
MUST_CHECK int mmu_walk(struct vcpu *c, gva_t lin, unsigned access, enum tlb_view view,
			struct walk *w);

/*
 * PAE paging: load the four PDPTEs CR3 points to, as writes of CR3, CR0 and CR4 do
 * (SDM vol. 3A, 4.4.1).  Does nothing in other modes.  Called after the registers
 * have their new values; -1 when a present one has reserved bits set: the caller
 * puts the old values back and raises #GP(0).
 */
MUST_CHECK int mmu_load_pdptrs(struct vcpu *c);

/* DR0..DR3 or DR7 changed. */
void vcpu_debug_changed(struct vcpu *c);
/* DR6 bits of the data breakpoints that an access meets. */
uint32_t debug_data_hit(const struct vcpu *c, gva_t lin, unsigned size, unsigned access);
/* DR6 bits of the instruction breakpoints at @lin. */
uint32_t debug_exec_hit(const struct vcpu *c, gva_t lin);
/* Make #DB the pending exception of @s, with @bits in DR6. */
void debug_queue(struct cpu_state *s, uint32_t bits);

/* STAC, CLAC: RFLAGS.AC alone changed.  The cheap part of vcpu_update_mode(). */
void vcpu_update_view(struct vcpu *c);

/* Put back into @s, a copy of c->s, the segment bases that 64-bit code hides. */
void vcpu_restore_bases(const struct vcpu *c, struct cpu_state *s);

/* Before first use. */
void tlb_init(struct vcpu *c);

static inline bool is_canonical(gva_t lin)
{
	return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}
