/* SPDX-License-Identifier: Apache-2.0 */
/* diff_mem.c - the pages both sides run on: setting up, recording changes, restoring. */
#include <string.h>
#include "cpu/tests/diff.h"

enum { AFTER_MAX = 8 }; /* bytes behind the instruction */

void diff_fill_window(unsigned win, uint8_t *buf, size_t len)
{
	struct diff_rng r = {.s = 0x5eed + win};

	for (size_t n = 0; n < len; n += 16)
		rng_vector(&r, buf + n, 16);
}

uint64_t diff_seg_base(const struct diff_case *c, unsigned seg)
{
	switch (seg) {
	case SEG_FS: return c->fsbase;
	case SEG_GS: return c->gsbase;
	case SEG_CS: return c->mode == MODE_16 ? DIFF_CODE : 0;
	default: return c->mode == MODE_16 ? DIFF_BASE16 : 0;
	}
}

uint64_t diff_operand(const struct diff_case *c, const struct insn *i)
{
	uint64_t ea = (uint64_t)i->disp;

	if (i->base != INSN_NOREG)
		ea += c->gpr[i->base];
	if (i->index != INSN_NOREG)
		ea += c->gpr[i->index] << i->scale;
	if (i->flags & INSN_RIPREL)
		ea += c->code_at + i->len;
	if (i->adsize != 8)
		ea &= i->adsize == 4 ? 0xffffffff : 0xffff;
	return diff_seg_base(c, i->seg) + ea;
}

static uint32_t window_base(unsigned win)
{
	return win == WIN_DATA ? DIFF_DATA : DIFF_STACK;
}

/* Offset of the case's code, and how much of instruction and jump is in the pages. */
static unsigned code_span(const struct diff_case *c, unsigned *at)
{
	*at = c->code_at - DIFF_CODE;
	return MIN(c->nbytes + AFTER_MAX, DIFF_CODE_SIZE - *at);
}

/* What follows the instruction: the way to the tail page, or traps. */
static void put_after(const struct diff_case *c, uint8_t *b)
{
	uint32_t tail = c->mode == MODE_32 ? DIFF_TAIL32 : DIFF_TAIL;
	uint32_t rel = tail - (c->code_at + c->nbytes + 5u);
	uint16_t cs = DIFF_CS64;

	memset(b, 0xcc, AFTER_MAX);
	if (c->trap_fill)
		return;
	if (c->mode == MODE_16) {
		b[0] = 0x66, b[1] = 0xea; /* JMP FAR, 32-bit offset */
		memcpy(b + 2, &tail, 4);
		memcpy(b + 6, &cs, 2);
	} else {
		b[0] = 0xe9; /* JMP */
		memcpy(b + 1, &rel, 4);
	}
}

void diff_place(const struct diff_pages *p, const struct diff_case *c)
{
	uint8_t bytes[INSN_MAX_LEN + AFTER_MAX];
	unsigned at, n = code_span(c, &at);

	memcpy(bytes, c->code, c->nbytes);
	put_after(c, bytes + c->nbytes);
	memcpy(p->code + at, bytes, n);
	for (unsigned w = 0; w < WIN_COUNT; w++)
		if (c->patch[w].at)
			memcpy(p->win[w] + (c->patch[w].at - window_base(w)), c->patch[w].bytes,
			       c->patch[w].len);
}

static uint64_t hash_bytes(const uint8_t *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t n = 0; n < len; n++)
		h = (h ^ p[n]) * 0x100000001b3;
	return h;
}

static void collect_window(uint8_t *now, const uint8_t *was, struct diff_mem *m)
{
	unsigned first = 0, last = DIFF_WIN_SIZE - 1;

	*m = (struct diff_mem){0};
	if (!memcmp(now, was, DIFF_WIN_SIZE))
		return;
	while (now[first] == was[first])
		first++;
	while (now[last] == was[last])
		last--;
	m->first = first;
	m->len = last - first + 1;
	m->hash = hash_bytes(now + first, m->len);
	memcpy(m->head, now + first, MIN(m->len, sizeof(m->head)));
	memcpy(now + first, was + first, m->len);
}

/*
 * FXSAVE writes MXCSR_MASK, where AMD has a bit that no model offers: that is taken out
 * of the comparison.
 */
static void forget_fxsave(const struct diff_pages *p, const struct diff_case *c)
{
	struct insn i;
	uint64_t at;

	if (x86_decode(c->code, c->nbytes, (enum x86_mode)c->mode, &i) <= 0 || i.op != OP_FXSAVE)
		return;
	at = diff_operand(c, &i);
	if (at < DIFF_DATA || at > DIFF_DATA + DIFF_WIN_SIZE - 32)
		return;
	memcpy(p->win[WIN_DATA] + (at - DIFF_DATA) + 28,
	       p->pristine[WIN_DATA] + (at - DIFF_DATA) + 28, 4);
}

void diff_collect(const struct diff_pages *p, const struct diff_case *c, struct diff_result *r)
{
	unsigned at, n = code_span(c, &at);

	memset(p->code + at, 0xcc, n);
	forget_fxsave(p, c);
	for (unsigned w = 0; w < WIN_COUNT; w++)
		collect_window(p->win[w], p->pristine[w], &r->mem[w]);
}
