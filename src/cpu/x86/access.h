/* SPDX-License-Identifier: Apache-2.0 */
/* access.h - effective addresses, and the inline fast paths of loads and stores. */
#pragma once

#include <string.h>
#include "cpu/x86/vcpu.h"

/* Register of @size bytes as a value / written with x86's upper-half rules. */
static ALWAYS_INLINE uint8_t *reg8_ptr(struct vcpu *c, unsigned n, bool hi)
{
	return (uint8_t *)&c->s.gpr[n] + hi;
}

static ALWAYS_INLINE uint64_t gpr_get(struct vcpu *c, unsigned n, unsigned size)
{
	uint64_t v = c->s.gpr[n];

	return size == 8 ? v : v & (BIT(size * 8) - 1);
}

static ALWAYS_INLINE void gpr_set(struct vcpu *c, unsigned n, unsigned size, uint64_t v)
{
	switch (size) {
	case 1: *(uint8_t *)&c->s.gpr[n] = (uint8_t)v; break;
	case 2: *(uint16_t *)&c->s.gpr[n] = (uint16_t)v; break;
	case 4: c->s.gpr[n] = (uint32_t)v; break;
	default: c->s.gpr[n] = v; break;
	}
}

/* Offset within the segment of a memory operand, truncated to the address size. */
static ALWAYS_INLINE uint64_t insn_ea(struct vcpu *c, const struct insn *i)
{
	uint64_t ea = (uint64_t)i->disp;

	if (i->base != INSN_NOREG)
		ea += c->s.gpr[i->base];
	if (i->index != INSN_NOREG)
		ea += c->s.gpr[i->index] << i->scale;
	if (i->flags & INSN_RIPREL)
		ea += c->s.rip;
	if (likely(i->adsize == 8))
		return ea;
	return i->adsize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

/* Slow part of seg_lin(): limits, types, null segments. */
gva_t seg_lin_slow(struct vcpu *c, unsigned seg, uint64_t ea, unsigned size, unsigned access);

/*
 * Linear address of [@ea, @ea + @size) in @seg, segment checks done.  A
 * non-canonical address passes: no TLB tag matches it, and the slow path raises
 * #GP or #SS by last_seg.
 */
static ALWAYS_INLINE gva_t seg_lin(struct vcpu *c, unsigned seg, uint64_t ea, unsigned size,
				   unsigned access)
{
	c->last_seg = (uint8_t)seg;
	if (likely(c->flat[seg]))
		return (ea + c->s.seg[seg].base) & c->addr_mask;
	return seg_lin_slow(c, seg, ea, size, access);
}

static ALWAYS_INLINE gva_t insn_lin(struct vcpu *c, const struct insn *i, unsigned size,
				    unsigned access)
{
	return seg_lin(c, i->seg, insn_ea(c, i), size, access);
}

static ALWAYS_INLINE struct tlb_entry *tlb_slot(struct vcpu *c, gva_t lin)
{
	return &c->tlb[lin >> 12 & (TLB_SIZE - 1)];
}

/* Host pointer for a read / write of @size at @lin, NULL: take the slow path. */
static ALWAYS_INLINE void *tlb_read_ptr(struct vcpu *c, gva_t lin, unsigned size)
{
	struct tlb_entry *e = tlb_slot(c, lin);

	if (likely(e->read_tag == ((lin + size - 1) & ~0xfffULL)))
		return (void *)(e->addend + lin);
	return NULL;
}

static ALWAYS_INLINE void *tlb_write_ptr(struct vcpu *c, gva_t lin, unsigned size)
{
	struct tlb_entry *e = tlb_slot(c, lin);
	void *p;

	if (unlikely(e->write_tag != ((lin + size - 1) & ~0xfffULL)))
		return NULL;
	p = (void *)(e->addend + lin);
	if (unlikely(((uintptr_t)p & ~0xfffULL) == c->code_page))
		c->end_block = true; /* self-modifying: re-decode before the next instruction */
	return p;
}

/* Guest addresses need no alignment. */
typedef uint16_t guest_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t guest_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t guest_u64 __attribute__((aligned(1), may_alias));

/* Single host loads and stores, so that other vCPUs see x86's memory order. */
static ALWAYS_INLINE uint64_t host_load(const void *p, unsigned size)
{
	switch (size) {
	case 1: return *(const volatile uint8_t *)p;
	case 2: return *(const volatile guest_u16 *)p;
	case 4: return *(const volatile guest_u32 *)p;
	default: return *(const volatile guest_u64 *)p;
	}
}

static ALWAYS_INLINE void host_store(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1: *(volatile uint8_t *)p = (uint8_t)v; break;
	case 2: *(volatile guest_u16 *)p = (uint16_t)v; break;
	case 4: *(volatile guest_u32 *)p = (uint32_t)v; break;
	default: *(volatile guest_u64 *)p = v; break;
	}
}

static ALWAYS_INLINE uint64_t lin_load(struct vcpu *c, gva_t lin, unsigned size)
{
	const void *p = tlb_read_ptr(c, lin, size);
	uint64_t v = 0;

	if (likely(p))
		return host_load(p, size);
	lin_load_slow(c, lin, &v, size);
	return v;
}

static ALWAYS_INLINE void lin_store(struct vcpu *c, gva_t lin, unsigned size, uint64_t v)
{
	void *p = tlb_write_ptr(c, lin, size);

	if (likely(p))
		host_store(p, size, v);
	else
		lin_store_slow(c, lin, &v, size);
}

/*
 * Read-modify-write: rmw_load() checks for writing and reads, rmw_store() writes
 * where it read.  Between them nothing may raise.
 */
static ALWAYS_INLINE uint64_t rmw_load(struct vcpu *c, gva_t lin, unsigned size)
{
	uint64_t v = 0;

	c->rmw_lin = lin;
	c->rmw_hva = tlb_write_ptr(c, lin, size);
	if (likely(c->rmw_hva))
		return host_load(c->rmw_hva, size);
	c->rmw_hva = lin_rmw_ptr(c, lin, size);
	if (c->rmw_hva)
		return host_load(c->rmw_hva, size);
	lin_load_slow(c, lin, &v, size);
	return v;
}

static ALWAYS_INLINE void rmw_store(struct vcpu *c, unsigned size, uint64_t v)
{
	if (likely(c->rmw_hva))
		host_store(c->rmw_hva, size, v);
	else
		lin_store_slow(c, c->rmw_lin, &v, size);
}

/*
 * Locked read-modify-write: the host address to run a host atomic on, or NULL
 * when the operand crosses pages or is not RAM; then bracket rmw_load() and
 * rmw_store() with split_lock() and split_unlock(), which exclude each other only.
 */
static ALWAYS_INLINE void *atomic_ptr(struct vcpu *c, gva_t lin, unsigned size)
{
	void *p = tlb_write_ptr(c, lin, size);

	if (likely(p))
		return p;
	return lin_rmw_ptr(c, lin, size);
}
void split_lock(struct vcpu *c); /* released by unwinding too */
void split_unlock(struct vcpu *c);

/* Stack: address size by SS.B or 64-bit mode.  RSP is committed by the caller's last step. */
static inline uint64_t stack_mask(struct vcpu *c)
{
	return c->mode == MODE_64		 ? ~0ULL
	       : c->s.seg[SEG_SS].attr & ATTR_DB ? 0xffffffffULL
						 : 0xffffULL;
}

/* Write the low part of RSP that the stack's address size covers. */
static inline void stack_set(struct vcpu *c, uint64_t sp)
{
	uint64_t m = stack_mask(c);

	/* a 32-bit write zero-extends only in 64-bit mode, where m is ~0 anyway */
	c->s.gpr[GPR_RSP] = (c->s.gpr[GPR_RSP] & ~m) | (sp & m);
}

static ALWAYS_INLINE void push_val(struct vcpu *c, unsigned size, uint64_t v)
{
	uint64_t sp = (c->s.gpr[GPR_RSP] - size) & stack_mask(c);

	lin_store(c, seg_lin(c, SEG_SS, sp, size, ACCESS_WRITE), size, v);
	stack_set(c, sp);
}

/* Read the top of the stack without popping; the caller commits with stack_set(). */
static ALWAYS_INLINE uint64_t peek_val(struct vcpu *c, unsigned size, unsigned offset)
{
	uint64_t sp = (c->s.gpr[GPR_RSP] + offset) & stack_mask(c);

	return lin_load(c, seg_lin(c, SEG_SS, sp, size, ACCESS_READ), size);
}
