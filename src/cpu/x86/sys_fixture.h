/* SPDX-License-Identifier: Apache-2.0 */
/* sys_fixture.h - a vCPU for tests that call system semantics directly. */
#pragma once

#include "cpu/interp/guest.h"
#include "cpu/x86/sys.h"

enum { T_LDT = 0xa000, T_TSS2 = 0xb000, T_NGDT = 64 };

struct t {
	struct guest *g;
	struct vcpu *c;
};

static inline int setup(void **state)
{
	struct t *t = calloc(1, sizeof(*t));

	t->g = guest_new(1);
	t->c = &t->g->v->c;
	t->c->exit = &t->g->exit;
	*state = t;
	return 0;
}

static inline int teardown(void **state)
{
	struct t *t = *state;

	guest_free(t->g);
	free(t);
	return 0;
}

/* Vector of the exception that @stmt raised, or -1; its error code in exc_error. */
#define RAISED(t, stmt)                                         \
	({                                                      \
		struct vcpu *c_ = (t)->c;                       \
		c_->s.exc_pending = 0;                          \
		c_->run_start = c_->cur = NULL;                 \
		if (!setjmp(c_->env)) {                         \
			stmt;                                   \
		}                                               \
		c_->s.exc_pending ? (int)c_->s.exc_vector : -1; \
	})
#define NO_ERROR 0xffffffff
#define RAISES(t, vec, err, stmt)                                                                \
	do {                                                                                     \
		assert_int_equal(RAISED(t, stmt), vec);                                          \
		assert_int_equal((t)->c->s.exc_has_error ? (t)->c->s.exc_error : NO_ERROR, err); \
		(t)->c->delivering = -1;                                                         \
		(t)->c->s.rflags &= ~(uint64_t)FL_RF;                                            \
	} while (0)
#define PASSES(t, stmt)                                                        \
	do {                                                                   \
		int vec_ = RAISED(t, stmt);                                    \
		if (vec_ >= 0)                                                 \
			fail_msg("raised %d(%#x)", vec_, (t)->c->s.exc_error); \
	} while (0)

enum {
	DATA = 0x93,
	DATA_RO = 0x91,
	CODE = 0x9b,
	CODE_XO = 0x99,
	CODE_CONF = 0x9f,
	DPL3 = 0x60,
	NOT_PRESENT = 0x80, /* taken away */
	DB = 0x4000,
	L = 0x2000,
	G = 0x8000,
};

static inline uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attr)
{
	return (limit & 0xffff) | (uint64_t)(limit >> 16) << 48 |
	       (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56 |
	       (uint64_t)(attr & 0xf0ff) << 40;
}

static inline void put_gdt(struct t *t, unsigned sel, uint32_t base, uint32_t limit, unsigned attr)
{
	poke64(t->g, G_GDT + (sel & ~7U), descriptor(base, limit, attr));
}

/* Selectors from 0x40 on are the tests'. */
static inline void big_gdt(struct t *t)
{
	t->c->s.gdt.limit = T_NGDT * 8 - 1;
}

static inline void set_cpl(struct t *t, unsigned cpl)
{
	struct cpu_seg *cs = &t->c->s.seg[SEG_CS], *ss = &t->c->s.seg[SEG_SS];

	cs->sel = (uint16_t)((cs->sel & ~3U) | cpl);
	ss->sel = (uint16_t)((ss->sel & ~3U) | cpl);
	cs->attr = (uint16_t)((cs->attr & ~ATTR_DPL) | cpl << ATTR_DPL_SHIFT);
	ss->attr = (uint16_t)((ss->attr & ~ATTR_DPL) | cpl << ATTR_DPL_SHIFT);
	vcpu_update_mode(t->c);
	assert_int_equal(t->c->cpl, cpl);
}

static inline void flat32(struct t *t)
{
	guest_flat32(t->g);
	big_gdt(t);
}

static inline void long64(struct t *t)
{
	guest_long(t->g);
	big_gdt(t);
}

/* --- tables and frames --- */

static inline void idt32(struct t *t, unsigned vec, unsigned attr, uint16_t sel, uint32_t off)
{
	poke64(t->g, G_IDT + vec * 8,
	       (off & 0xffff) | (uint64_t)sel << 16 | (uint64_t)attr << 40 |
		       (uint64_t)(off >> 16) << 48);
}

static inline void tss32(struct t *t, uint16_t ss0, uint32_t esp0)
{
	poke64(t->g, G_TSS + 4, esp0 | (uint64_t)ss0 << 32);
}

static inline uint32_t peek32(struct t *t, uint64_t at)
{
	return (uint32_t)peek64(t->g, at);
}

static inline void frame(struct t *t, unsigned n, const uint64_t *v)
{
	t->c->s.gpr[GPR_RSP] = G_STACK - 8 * n;
	for (unsigned i = 0; i < n; i++)
		poke64(t->g, G_STACK - 8 * (n - i), v[i]);
}

#define FRAME(t, ...)                                \
	do {                                         \
		const uint64_t f_[] = {__VA_ARGS__}; \
		frame(t, ARRAY_SIZE(f_), f_);        \
	} while (0)

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
