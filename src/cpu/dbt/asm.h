/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asm.h - writing host instructions.
 *
 * Encodings are of the Intel SDM vol. 2, ch. 2.  The translator's buffer is the code
 * cache itself, through its writable mapping; who writes has made sure of the room.
 */
#pragma once

#include <string.h>
#include "base/cleanup.h"

enum host_reg {
	H_RAX,
	H_RCX,
	H_RDX,
	H_RBX,
	H_RSP,
	H_RBP,
	H_RSI,
	H_RDI,
	H_R8,
	H_R9,
	H_R10,
	H_R11,
	H_R12,
	H_R13,
	H_R14,
	H_R15,
	H_NONE = 0xff,
};

struct host_op { /* an r/m operand */
	bool mem;
	bool gs;	     /* of the vCPU: GS holds its address */
	uint8_t base, index; /* H_NONE: none; a register operand is in base */
	uint8_t scale;
	int32_t disp;
};

static inline struct host_op op_reg(unsigned reg)
{
	return (struct host_op){.base = (uint8_t)reg, .index = H_NONE};
}

static inline struct host_op op_mem(unsigned base, int32_t disp)
{
	return (struct host_op){.mem = true, .base = (uint8_t)base, .index = H_NONE, .disp = disp};
}

static inline struct host_op op_mem_index(unsigned base, unsigned index, unsigned scale,
					  int32_t disp)
{
	return (struct host_op){.mem = true,
				.base = (uint8_t)base,
				.index = (uint8_t)index,
				.scale = (uint8_t)scale,
				.disp = disp};
}

/* The vCPU's field at @offset. */
static inline struct host_op op_vcpu(size_t offset)
{
	return (struct host_op){
		.mem = true, .gs = true, .base = H_NONE, .index = H_NONE, .disp = (int32_t)offset};
}

/* ... of an array whose element is at @reg << @scale. */
static inline struct host_op op_vcpu_index(size_t offset, unsigned reg, unsigned scale)
{
	return (struct host_op){.mem = true,
				.gs = true,
				.base = H_NONE,
				.index = (uint8_t)reg,
				.scale = (uint8_t)scale,
				.disp = (int32_t)offset};
}

struct assembler {
	uint8_t *p; /* where the next byte goes */
};

static inline void a1(struct assembler *a, unsigned byte)
{
	*a->p++ = (uint8_t)byte;
}

static inline void a4(struct assembler *a, uint32_t v)
{
	memcpy(a->p, &v, 4);
	a->p += 4;
}

static inline void a8(struct assembler *a, uint64_t v)
{
	memcpy(a->p, &v, 8);
	a->p += 8;
}

static inline void a_imm(struct assembler *a, uint64_t v, unsigned bytes)
{
	memcpy(a->p, &v, bytes);
	a->p += bytes;
}

/* ModRM, SIB and displacement. */
static inline void a_modrm(struct assembler *a, unsigned reg, const struct host_op *m)
{
	unsigned r = (reg & 7) << 3, mod;

	if (!m->mem) {
		a1(a, 0xc0 | r | (m->base & 7));
		return;
	}
	if (m->base == H_NONE) {
		if (m->index != H_NONE && m->scale == 0) { /* a base is shorter than an index */
			unsigned sib = (m->index & 7) == 4;

			a1(a, 0x80 | r | (m->index & 7));
			if (sib)
				a1(a, 0x24);
		} else {
			a1(a, r | 4);
			a1(a, m->index == H_NONE
				      ? 0x25
				      : (unsigned)m->scale << 6 | (m->index & 7) << 3 | 5);
		}
		a4(a, (uint32_t)m->disp);
		return;
	}
	mod = m->disp == 0 && (m->base & 7) != 5 ? 0 : m->disp == (int8_t)m->disp ? 0x40 : 0x80;
	if (m->index != H_NONE || (m->base & 7) == 4) {
		a1(a, mod | r | 4);
		a1(a, (unsigned)m->scale << 6 | (m->index == H_NONE ? 4 : m->index & 7) << 3 |
			      (m->base & 7));
	} else {
		a1(a, mod | r | (m->base & 7));
	}
	if (mod == 0x40)
		a1(a, (uint8_t)m->disp);
	else if (mod == 0x80)
		a4(a, (uint32_t)m->disp);
}

/* REX.X and REX.B of @m; a lone unscaled index becomes the base, as in a_modrm(). */
static inline unsigned rex_xb(const struct host_op *m)
{
	if (m->mem && m->base == H_NONE && m->index != H_NONE && m->scale == 0)
		return m->index >> 3;
	return (m->mem && m->index != H_NONE ? (m->index >> 3 & 1u) << 1 : 0) |
	       (m->base != H_NONE ? m->base >> 3 & 1u : 0);
}

struct host_enc {    /* of a legacy-encoded instruction */
	uint8_t map; /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t op;
	uint8_t pfx; /* 0, F2 or F3 */
	bool p66, w;
	bool rex; /* needed though empty: SPL, BPL, SIL, DIL */
	bool lock;
};

static inline void a_enc(struct assembler *a, const struct host_enc *e, unsigned reg,
			 struct host_op m)
{
	unsigned rex = (unsigned)e->w << 3 | (reg >> 3 & 1) << 2 | rex_xb(&m);

	if (m.gs)
		a1(a, 0x65);
	if (e->lock)
		a1(a, 0xf0);
	if (e->p66)
		a1(a, 0x66);
	if (e->pfx)
		a1(a, e->pfx);
	if (rex || e->rex)
		a1(a, 0x40 | rex);
	if (e->map)
		a1(a, 0x0f);
	if (e->map > 1)
		a1(a, e->map == 2 ? 0x38 : 0x3a);
	a1(a, e->op);
	a_modrm(a, reg, &m);
}

static inline void a_vex(struct assembler *a, unsigned map, unsigned pp, bool w, bool l,
			 unsigned vvvv, unsigned op, unsigned reg, struct host_op m)
{
	unsigned xb = rex_xb(&m);

	if (m.gs)
		a1(a, 0x65);
	a1(a, 0xc4);
	a1(a, (reg & 8 ? 0 : 0x80u) | (xb & 2 ? 0 : 0x40u) | (xb & 1 ? 0 : 0x20u) | map);
	a1(a, (unsigned)w << 7 | (~vvvv & 15) << 3 | (unsigned)l << 2 | pp);
	a1(a, op);
	a_modrm(a, reg, &m);
}

/* One-byte opcodes at 32 or 64 bits. */
static inline void a_op(struct assembler *a, bool w, unsigned op, unsigned reg, struct host_op m)
{
	struct host_enc e = {.op = (uint8_t)op, .w = w};

	a_enc(a, &e, reg, m);
}

static inline void a_load(struct assembler *a, unsigned reg, struct host_op m)
{
	a_op(a, true, 0x8b, reg, m);
}

static inline void a_load32(struct assembler *a, unsigned reg, struct host_op m)
{
	a_op(a, false, 0x8b, reg, m);
}

static inline void a_store(struct assembler *a, unsigned reg, struct host_op m)
{
	a_op(a, true, 0x89, reg, m);
}

static inline void a_store32(struct assembler *a, unsigned reg, struct host_op m)
{
	a_op(a, false, 0x89, reg, m);
}

static inline void a_mov(struct assembler *a, unsigned to, unsigned from)
{
	if (to != from)
		a_op(a, true, 0x89, from, op_reg(to));
}

static inline void a_lea(struct assembler *a, bool w, unsigned reg, struct host_op m)
{
	a_op(a, w, 0x8d, reg, m);
}

/* The eight operations of 80..83, by number; @w: 64 bits. */
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static inline void a_alu_imm(struct assembler *a, bool w, unsigned alu, struct host_op m,
			     int32_t imm)
{
	if (imm == (int8_t)imm) {
		a_op(a, w, 0x83, alu, m);
		a1(a, (uint8_t)imm);
	} else {
		a_op(a, w, 0x81, alu, m);
		a4(a, (uint32_t)imm);
	}
}

static inline void a_shift_imm(struct assembler *a, bool w, unsigned kind, unsigned reg,
			       unsigned count)
{
	a_op(a, w, 0xc1, kind, op_reg(reg));
	a1(a, count);
}

/* The shortest of the three ways; flags stay. */
static inline void a_mov_imm(struct assembler *a, unsigned reg, uint64_t v)
{
	if (v == (uint32_t)v) {
		if (reg & 8)
			a1(a, 0x41);
		a1(a, 0xb8 | (reg & 7));
		a4(a, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		a_op(a, true, 0xc7, 0, op_reg(reg));
		a4(a, (uint32_t)v);
	} else {
		a1(a, 0x48 | reg >> 3);
		a1(a, 0xb8 | (reg & 7));
		a8(a, v);
	}
}

/* One NOP of @n bytes, up to 3. */
static inline void a_nop(struct assembler *a, unsigned n)
{
	if (n == 3) {
		a1(a, 0x0f);
		a1(a, 0x1f);
		a1(a, 0x00);
		return;
	}
	if (n == 2)
		a1(a, 0x66);
	a1(a, 0x90);
}

/* Jumps return the address of their rel32, for a_patch(). */
static inline uint8_t *a_jcc(struct assembler *a, unsigned cc)
{
	a1(a, 0x0f);
	a1(a, 0x80 | cc);
	a4(a, 0);
	return a->p - 4;
}

static inline uint8_t *a_jmp(struct assembler *a)
{
	a1(a, 0xe9);
	a4(a, 0);
	return a->p - 4;
}

static inline uint8_t *a_call(struct assembler *a)
{
	a1(a, 0xe8);
	a4(a, 0);
	return a->p - 4;
}

/* Make the jump whose rel32 is at @at go to @to: atomic, if it is in one quadword. */
static inline void a_patch(uint8_t *at, const uint8_t *to)
{
	__atomic_store_n((uint32_t *)at, (uint32_t)(to - (at + 4)), __ATOMIC_RELEASE);
}

static inline void a_jmp_to(struct assembler *a, const uint8_t *to)
{
	uint8_t *at = a_jmp(a);

	a_patch(at, to);
}

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS };
