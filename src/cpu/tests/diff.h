/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff.h - the differential tester: one instruction, run by the host and by an engine.
 *
 * A case is an instruction with the whole user-visible state before it.  It runs in
 * ring 3 of a child process of its own (diff_native.c) and in ring 3 of a small guest
 * (diff_soft.c) that maps the same pages at the same linear addresses; the two results
 * must be equal.  Everything about a case follows from its mode, group and seed, which
 * is what a reproducer consists of.
 */
#pragma once

#include <stdio.h>
#include "cpu/state.h"
#include "cpu/x86/insn.h"

/* Linear addresses, the same on both sides; below 2 GiB, so that 32-bit code sees them. */
enum {
	DIFF_CODE = 0x10000000, /* two pages, executable, not writable; then none */
	DIFF_CODE_SIZE = 0x2000,
	DIFF_TAIL = 0x1015d000,	  /* completed code ends up here; nothing else should */
	DIFF_TAIL32 = 0x1015d800, /* 32-bit code here */
	DIFF_DATA = 0x10010000,	  /* two pages for memory operands; none around them */
	DIFF_STACK = 0x10018000,  /* two pages */
	DIFF_RO = 0x1001c000,	  /* one page, read-only */
	DIFF_WIN_SIZE = 0x2000,
	DIFF_RUN = 0x2b150000, /* native side only: struct run_area */
};

enum { DIFF_CS32 = 0x23, DIFF_DS = 0x2b, DIFF_CS64 = 0x33, DIFF_CPUNODE = 0x7b }; /* as Linux */

/*
 * 16-bit code runs in segments of the LDT, whose stack pointer has 16 bits, too.  Code is
 * based at DIFF_CODE, data and stack lower: they are at offsets 0x4000 and 0xc000.
 */
enum { DIFF_CS16 = 0x07, DIFF_DS16 = 0x0f, DIFF_BASE16 = 0x1000c000 };
enum { WIN_DATA, WIN_STACK, WIN_COUNT };
enum { PATCH_MAX = 64, VEC_NONE = -1 };

struct diff_patch {  /* bytes written into a window before the run */
	uint32_t at; /* linear address; 0: none */
	uint32_t len;
	uint8_t bytes[PATCH_MAX];
};

struct diff_case {
	uint64_t seed;
	uint8_t mode; /* enum x86_mode */
	uint8_t group;
	bool trap_fill; /* int3 behind the instruction instead of a jump to the tail */
	uint8_t nbytes; /* of the instruction */
	uint8_t code[INSN_MAX_LEN + 1];
	uint32_t code_at; /* linear address */
	uint64_t gpr[16], rflags, fsbase, gsbase;
	struct diff_patch patch[WIN_COUNT];
	struct cpu_fxsave fx; /* XMM included */
	uint8_t ymmh[16][16];
};

struct diff_mem { /* what changed in a window */
	uint32_t first,
		len;	  /* offset of the first changed byte, up to the last one; len 0: nothing */
	uint64_t hash;	  /* of these bytes */
	uint8_t head[32]; /* the first of them */
};

struct diff_result {
	int32_t vector; /* of the exception, or VEC_NONE: it ran to its end */
	uint32_t error;
	uint64_t cr2; /* page faults */
	uint64_t gpr[16], rip, rflags, fsbase, gsbase;
	uint16_t cs, ss, ds, es, fs, gs;
	struct cpu_fxsave fx;
	uint8_t ymmh[16][16];
	struct diff_mem mem[WIN_COUNT];
};

/* --- pages (diff_mem.c) -------------------------------------------------------- */

struct diff_pages { /* host views of the pages, writable */
	uint8_t *code, *win[WIN_COUNT];
	const uint8_t *pristine[WIN_COUNT]; /* what the windows hold between cases */
};

/* Fill @buf with the content that window @win (WIN_COUNT: the read-only page) starts with. */
void diff_fill_window(unsigned win, uint8_t *buf, size_t len);
/* Base of segment @seg. */
uint64_t diff_seg_base(const struct diff_case *c, unsigned seg);
/* Linear address of the memory operand of @i. */
uint64_t diff_operand(const struct diff_case *c, const struct insn *i);
/* Write the instruction, what follows it, and the patches. */
void diff_place(const struct diff_pages *p, const struct diff_case *c);
/* Record what the instruction changed in the windows, and put everything back. */
void diff_collect(const struct diff_pages *p, const struct diff_case *c, struct diff_result *r);

/* --- cases (diff_gen.c, diff_operands.c) ------------------------------------------ */

struct diff_gen;
struct diff_rng;
/* Find every encoding the decoder knows.  NULL: no memory. */
struct diff_gen *diff_gen_new(void);
void diff_gen_free(struct diff_gen *g);
/* Number of encodings of @group in @mode. */
unsigned diff_gen_count(const struct diff_gen *g, enum x86_mode mode, unsigned group);
void diff_gen_case(const struct diff_gen *g, enum x86_mode mode, unsigned group, uint64_t seed,
		   struct diff_case *out);
struct diff_drawn { /* an encoding without operands */
	struct insn insn;
	uint8_t bytes[INSN_MAX_LEN + 1];
	uint8_t len, disp_at; /* offset of a 32-bit displacement that may be patched; 0: none */
};
/* An encoding of @group alone.  Its length, or X86_UD: @out has bytes that are refused. */
int diff_gen_draw(const struct diff_gen *g, enum x86_mode mode, unsigned group, struct diff_rng *r,
		  struct diff_drawn *out);

/* --- rules (diff_rules.c) ---------------------------------------------------------- */

enum { GROUP_MAX = 24 };
unsigned diff_group_count(void);
const char *diff_group_name(unsigned group);
/* Is it the group of bytes that are no instruction? */
bool diff_group_invalid(unsigned group);
/* Group of @i, or -1 with *why: not compared, and the reason. */
int diff_group_of(const struct insn *i, const char **why);
/* Write the list of what is not compared. */
void diff_list_skipped(FILE *f);
/*
 * Does @i access memory more than once?  Processors do so in any order, so that of a
 * fault only the vector is compared.
 */
bool diff_many_accesses(const struct insn *i);
/* Is it BT and its like with the bit offset in a register, which moves the address? */
bool diff_bit_string(const struct insn *i);
/* Is the drawn instruction one that is not compared (INT 80h)? */
bool diff_excluded(const struct diff_case *c);
/* Did the host use something that no model offers? */
bool diff_host_only(const struct diff_case *c, const struct diff_result *native);
/* Did the case get where the child's surroundings are not the guest's, as the engine tells? */
bool diff_out_of_reach(const struct diff_case *c, const struct diff_result *soft);

/* --- comparison (diff_compare.c) ----------------------------------------------------- */

/* Write what differs, in one line; false: nothing. */
bool diff_compare(const struct diff_case *c, const struct diff_result *native,
		  const struct diff_result *soft, char *buf, size_t len);

/* --- runners -------------------------------------------------------------------------- */

struct diff_native;
/* Start the child.  -ENOTSUP with a line on stderr where the host cannot. */
MUST_CHECK int diff_native_new(bool any_cpu, struct diff_native **out);
void diff_native_free(struct diff_native *n);
/* Arrays shared with the child: fill in the cases, run, read the results. */
struct diff_case *diff_native_cases(struct diff_native *n);
struct diff_result *diff_native_results(struct diff_native *n);
enum { DIFF_BATCH = 1024 };
void diff_native_start(struct diff_native *n, unsigned count);
/* Wait.  -EIO: the child died or hung at case *@at, and has been replaced. */
MUST_CHECK int diff_native_wait(struct diff_native *n, unsigned *at);

/* Can 16-bit code run (modify_ldt)? */
bool diff_native_has_16bit(const struct diff_native *n);
/* Limit of the segment DIFF_CPUNODE where the child runs. */
uint32_t diff_native_cpunode_limit(void);

struct diff_soft;
struct engine_ops;
MUST_CHECK int diff_soft_new(const struct engine_ops *ops, struct diff_soft **out);
void diff_soft_free(struct diff_soft *s);
/* -EIO with a line on stderr: the engine left in an unexpected way. */
MUST_CHECK int diff_soft_run(struct diff_soft *s, const struct diff_case *c, struct diff_result *r);

/* --- random values (diff_values.c) -------------------------------------------------------- */

struct diff_rng {
	uint64_t s;
};

uint64_t rng_next(struct diff_rng *r);
static inline unsigned rng_below(struct diff_rng *r, unsigned n)
{
	return (unsigned)(rng_next(r) >> 32) % n;
}
/* True in @percent of 100 cases. */
static inline bool rng_chance(struct diff_rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}
/* Integers with a bias to edges; bytes for vectors; a whole x87 and SSE state. */
uint64_t rng_integer(struct diff_rng *r);
void rng_vector(struct diff_rng *r, uint8_t *out, size_t len);
void rng_fpu_state(struct diff_rng *r, struct cpu_fxsave *fx);
