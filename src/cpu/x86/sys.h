/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - descriptors, stacks and checks that system instructions share.
 *
 * Error codes are selectors with their RPL cleared; EXT (bit 0) tells that an event
 * from outside the program was being delivered (SDM vol. 3A, 6.13).
 */
#pragma once

#include "cpu/x86/access.h"
#include "cpu/x86/mmu.h"

enum { ERR_EXT = 1, ERR_IDT = 2 };
enum { SEL_RPL = 3, SEL_TI = 4 };
#define SEL_ERR(sel) ((uint32_t)(sel)&0xfffcU)

static inline bool sel_is_null(uint16_t sel)
{
	return !(sel & ~SEL_RPL);
}

/* --- descriptors ------------------------------------------------------------- */

enum sys_type { /* type field of system descriptors (SDM table 3-2) */
		TYPE_TSS16 = 1,
		TYPE_LDT = 2,
		TYPE_TSS16_BUSY = 3,
		TYPE_CALL16 = 4,
		TYPE_TASK_GATE = 5,
		TYPE_INT16 = 6,
		TYPE_TRAP16 = 7,
		TYPE_TSS32 = 9,
		TYPE_TSS32_BUSY = 11,
		TYPE_CALL32 = 12,
		TYPE_INT32 = 14,
		TYPE_TRAP32 = 15,
		TYPE_BUSY = 2, /* bit of TSS types */
		TYPE_32 = 8,   /* bit of TSS and gate types: 32-bit */
};

struct desc {
	uint64_t lo, hi; /* hi: only of 16-byte descriptors, by desc_read_hi() */
	gva_t lin;
};

static inline unsigned desc_attr(const struct desc *d)
{
	return d->lo >> 40 & 0xf0ff;
}

static inline unsigned desc_type(const struct desc *d)
{
	return d->lo >> 40 & 0xf;
}

static inline unsigned desc_dpl(const struct desc *d)
{
	return d->lo >> 45 & 3;
}

static inline bool desc_present(const struct desc *d)
{
	return d->lo >> 47 & 1;
}

/* Code, or data segment? */
static inline bool desc_is_code(const struct desc *d)
{
	return (desc_attr(d) & (ATTR_S | ATTR_X)) == (ATTR_S | ATTR_X);
}

static inline bool desc_is_writable(const struct desc *d)
{
	return (desc_attr(d) & (ATTR_S | ATTR_X | ATTR_W)) == (ATTR_S | ATTR_W);
}

/* Is it a system descriptor of a type in @types (bits by enum sys_type)? */
static inline bool desc_is_sys(const struct desc *d, unsigned types)
{
	return !(desc_attr(d) & ATTR_S) && types >> desc_type(d) & 1;
}

static inline bool desc_conforming(const struct desc *d)
{
	return desc_attr(d) & ATTR_C;
}

/* CS.L and CS.D both set is no code segment in long mode. */
static inline bool desc_bad_long(const struct vcpu *c, const struct desc *d)
{
	return c->long_mode && (desc_attr(d) & (ATTR_L | ATTR_DB)) == (ATTR_L | ATTR_DB);
}

static inline uint32_t gate_offset(const struct desc *d)
{
	return (uint32_t)((d->lo & 0xffff) | (d->lo >> 32 & 0xffff0000));
}

static inline uint16_t gate_selector(const struct desc *d)
{
	return (uint16_t)(d->lo >> 16);
}

/* Read the descriptor of @sel.  False: it is beyond its table. */
bool desc_read(struct vcpu *c, uint16_t sel, struct desc *d);
/* In long mode, the second half of a system descriptor.  False: beyond the table. */
bool desc_read_hi(struct vcpu *c, uint16_t sel, struct desc *d);
/* The descriptor of @sel, or raise @vec with @sel and @ext as error code. */
void desc_need(struct vcpu *c, uint16_t sel, enum cpu_exception vec, uint32_t ext, struct desc *d);
uint32_t desc_limit(const struct desc *d);
/* As a segment register holds it; in long mode system descriptors have 64-bit bases. */
struct cpu_seg desc_to_seg(const struct vcpu *c, const struct desc *d, uint16_t sel);
/* Set the accessed bit in memory and in @d; the busy bit of a TSS.  May raise #PF. */
void desc_set_accessed(struct vcpu *c, struct desc *d);
void desc_set_busy(struct vcpu *c, struct desc *d, bool busy);

/* --- segment registers ---------------------------------------------------------- */

/* Put a register in place: no checks, no vcpu_update_mode(). */
void seg_set(struct vcpu *c, enum cpu_seg_id seg, const struct cpu_seg *val);
/* A null selector. */
void seg_set_null(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel);
/* As real mode and virtual-8086 mode do. */
void seg_set_real(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel);
void seg_set_vm86(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel);
/* Flat 4 GiB CS and SS of SYSCALL and the like; @l: 64-bit code. */
void seg_set_flat(struct vcpu *c, uint16_t cs, uint16_t ss, unsigned dpl, bool l);
/* Return to outer @cpl: data segments that it may not use become null. */
void seg_drop_inner(struct vcpu *c, unsigned cpl);

/*
 * Check @sel and read its descriptor for SS at privilege @cpl, raising @vec (#NP's place
 * is #SS's) with @ext; the accessed bit is set.
 */
void ss_check(struct vcpu *c, uint16_t sel, unsigned cpl, enum cpu_exception vec, uint32_t ext,
	      struct desc *d);

static inline bool in_vm86(const struct vcpu *c)
{
	return c->s.rflags & FL_VM;
}

static inline bool in_protected(const struct vcpu *c)
{
	return c->s.cr0 & CR0_PE && !in_vm86(c);
}

static inline unsigned iopl(const struct vcpu *c)
{
	return (c->s.rflags & FL_IOPL) >> 12;
}

static inline void need_cpl0(struct vcpu *c)
{
	if (c->cpl)
		raise_gp(c, 0);
}

/* Keep the bits of @mask, take the others from @val; bit 1 stays set. */
static inline void flags_merge(struct vcpu *c, uint64_t val, uint64_t mask)
{
	c->s.rflags = (c->s.rflags & ~mask) | (val & mask) | FL_RES1;
}

/* --- stacks ------------------------------------------------------------------------ */

struct stack {
	struct cpu_seg seg;
	uint64_t sp, mask;
	bool wide;    /* 64-bit: no segment */
	bool system;  /* of a privilege level below 3: not by the current view */
	uint32_t err; /* of the #SS */
};

/* The current stack. */
struct stack stack_current(struct vcpu *c);
/* The stack at @sp in @seg, for code of privilege @cpl. */
struct stack stack_new(const struct cpu_seg *seg, uint64_t sp, unsigned cpl, uint32_t err);
/* 64-bit stack for privilege @cpl. */
struct stack stack_wide(uint64_t sp, unsigned cpl, uint32_t err);
void stack_push(struct vcpu *c, struct stack *k, unsigned size, uint64_t v);
uint64_t stack_pop(struct vcpu *c, struct stack *k, unsigned size);
/* RSP := sp, as far as the stack's address size goes. */
void stack_commit(struct vcpu *c, const struct stack *k);

/* SS:ESP for @cpl from the legacy TSS (SDM vol. 3A, 7.2.1); raises #TS. */
void tss_stack(struct vcpu *c, unsigned cpl, uint32_t ext, uint16_t *ss, uint32_t *sp);
/* RSP from the 64-bit TSS: @offset 4 + 8 * CPL, or 28 + 8 * IST. */
uint64_t tss_rsp(struct vcpu *c, unsigned offset, uint32_t ext);

/* --- control transfer ---------------------------------------------------------------- */

/* RIP for @seg: within the limit, canonical in 64-bit code; else #GP(@err). */
void rip_check(struct vcpu *c, const struct cpu_seg *cs, uint64_t rip, uint32_t err);

/* CS of a far return or IRET: every check, accessed bit set (SDM vol. 2, RET). */
void return_check_cs(struct vcpu *c, uint16_t sel, struct desc *d);
/* SS of a return to privilege @cpl; null is good for 64-bit code below privilege 3. */
struct cpu_seg return_check_ss(struct vcpu *c, uint16_t sel, unsigned cpl, bool to_64);
/* Enter @cs:@rip, with a stack in @ss at @rsp (outer privilege or 64-bit IRET). */
void return_commit(struct vcpu *c, const struct cpu_seg *cs, const struct cpu_seg *ss, uint64_t rip,
		   uint64_t rsp);

enum task_why { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET };
/*
 * Switch to the task of TSS @sel, whose descriptor @d was found suitable up to its
 * presence (SDM vol. 3A, 7.3).  @next_rip: EIP to save.  Legacy mode only.
 */
void task_switch(struct vcpu *c, uint16_t sel, struct desc *d, enum task_why why, uint64_t next_rip,
		 uint32_t ext);

/* --- ports ---------------------------------------------------------------------------- */

/* May this code access ports [@port, @port + @size)?  Else #GP(0).  Also I/O breakpoints. */
void port_check(struct vcpu *c, uint16_t port, unsigned size);

/* --- control registers and MSRs -------------------------------------------------------- */

/* CR4 bits that a processor modelled as @m has. */
uint64_t cr4_valid_bits(const struct cpu_model *m);
void msr_read(struct vcpu *c, uint32_t msr, uint64_t *val); /* raises #GP */
void msr_write(struct vcpu *c, uint32_t msr, uint64_t val);

static inline uint64_t guest_tsc(const struct vcpu *c)
{
	return (__builtin_ia32_rdtsc() >> c->vm->tsc_shift) + c->s.tsc_offset;
}

/* --- handlers, by file ------------------------------------------------------------------ */

/* far.c */
insn_fn op_jmp_far, op_jmp_far_m, op_call_far, op_call_far_m, op_ret_far;
/* iret.c */
insn_fn op_iret;
/* intr.c */
insn_fn op_int, op_int3, op_into, op_icebp;
/* syscall.c */
insn_fn op_syscall, op_sysret, op_sysenter, op_sysexit;
/* sem_sys_seg.c */
insn_fn op_mov_r_s, op_mov_s_r, op_push_s, op_pop_s, op_load_far_ptr, op_lar, op_lsl, op_verr,
	op_verw, op_arpl, op_lldt, op_ltr, op_sldt, op_str, op_lgdt, op_lidt, op_sgdt, op_sidt,
	op_rdfsbase, op_rdgsbase, op_wrfsbase, op_wrgsbase, op_swapgs;
/* sem_sys_ctl.c */
insn_fn op_mov_r_cr, op_mov_cr_r, op_mov_r_dr, op_mov_dr_r, op_clts, op_smsw, op_lmsw, op_invlpg,
	op_invpcid;
