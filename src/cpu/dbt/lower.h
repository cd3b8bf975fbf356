/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower.h - one block on its way to host code (private to the translator).
 *
 * Flags.  After an instruction that sets all status flags they are in the host's flags
 * register.  Whatever destroys those there (the check of an address, mostly) first sees
 * whether they can be had back: they are at home already, or a recipe computes them from
 * registers that nothing writes before the flags are set again.  Only else are they
 * saved.  Where code can be left in between, the site carries the recipe.
 */
#pragma once

#include "cpu/dbt/dbt.h"

#define VC(field) offsetof(struct vcpu, field)

enum flags_effect { /* of an instruction */
		    FE_NONE = 0,
		    FE_READ = 1,
		    FE_FULL = 2, /* sets all, whatever they were */
		    FE_PART = 4, /* keeps some: needs them in the host's register */
		    FE_HOME = 8, /* a helper: wants them at home, and leaves them there */
};

struct t_insn {
	struct insn i;
	uint64_t rip;
	uint8_t fe;
	uint16_t writes; /* guest registers */
	bool native;
	uint8_t fold;	  /* its operand is in group fold - 1; 0: in none */
	int64_t fold_off; /* where in the group */
	/* for dumps: how lowering came to it */
	uint8_t naccess, flags_at; /* checks before it; T_FLAGS_* */
	uint32_t code;		   /* offset; 0: it was lowered with the one before */
};

struct fold { /* accesses that share an address check (fold.c) */
	const struct t_insn *first;
	int64_t lo, hi; /* what they cover, in terms of fold_off */
	uint16_t members, helpers, exits;
	bool write;
	bool early; /* it begins with reads */
};

enum { T_FLAGS_HOME = 1, T_FLAGS_HOST = 2, T_FLAGS_RECIPE = 4 };

struct ea {		     /* a guest address on its way to a host register */
	uint8_t base, index; /* guest registers or INSN_NOREG */
	uint8_t scale;
	uint8_t seg;   /* SEG_FS, SEG_GS, or any other for none */
	bool ad32;     /* cut to 32 bits before the segment's base is added */
	bool constant; /* @disp is all of it */
	bool moves;    /* ... and relative to the code: reuse.c has to know where it went */
	int64_t disp;
};

struct x87_last {     /* the last x87 instruction, as far as s.fx does not know of it yet */
	bool pending; /* instruction pointer and opcode */
	bool operand; /* operand pointer: of @ea, whose registers are still the same */
	uint16_t fop;
	uint32_t rip_off;
	struct ea ea;
};

struct cold_access { /* the way out of an address check, emitted behind the block */
	struct ea ea;
	uint8_t *jump;
	uint32_t site;
	const struct fold *fold; /* of a group, or NULL */
	uint64_t rip;
};

struct cold_jump { /* something else out of line */
	uint8_t *jump, *back;
	enum {
		COLD_VEC_LOAD,
		COLD_X87_LOAD,
		COLD_STEP,
		COLD_MISS,
		COLD_LINK,
		COLD_POLL,
		COLD_SHADOW,
		COLD_COUNT
	} kind;
	uint32_t site;
	struct dbt_link *link;
	int32_t pop;   /* COLD_MISS: what is added to RSP; @back is its other jump */
	uint8_t ahead; /* instructions charged for that do not run this way */
};

enum reloc_kind {	       /* what a copy of a block has to change */
		  RELOC_RIP64, /* an address relative to the guest's code */
		  RELOC_RIP32, /* the low half of one */
		  RELOC_TLB,   /* offset of the TLB entry for such an address, in the vCPU */
		  RELOC_XID,   /* ... of the number beside it */
		  RELOC_SITE,  /* a site's number */
		  RELOC_GLUE,  /* rel32 to what glue.c made */
		  RELOC_LINK,  /* dbt_ref() of link @n of the block */
		  RELOC_BLOCK, /* ... of the block itself */
};

struct dbt_reloc {
	uint16_t at; /* from the start of the block's code */
	uint8_t kind, n;
};

enum { RELOC_MAX = 320, LINK_MAX = 128 };

enum { COLD_MAX = 4 * DBT_MAX_UNROLLED };

struct lowering {
	struct assembler a;
	struct dbt *d;
	struct vcpu *c;
	struct dbt_block *b;
	struct t_insn *t; /* the current instruction */
	struct t_insn *insns;
	unsigned n, view;
	unsigned charged;   /* how many of @n were charged for so far */
	bool vec, avx, x87; /* may be used natively */

	bool home, host;	    /* where the guest's flags are */
	struct flags_recipe recipe; /* kind FLAGS_HOME: none */
	bool recipe_lasts;	    /* nothing writes its registers before it is needed no more */
	bool vec_known;		    /* d.vec_live is set */
	bool x87_known;		    /* d.x87_live is set */
	struct x87_last last;
	const struct x87_last *last_shared; /* a copy of @last that sites have, or NULL */
	bool ret_read;			    /* the address of the next RET is in d.tmp */
	bool failed;			    /* out of memory */
	struct dbt_site no_site;	    /* in place of one when @failed */
	uint32_t cold;			    /* offset of what is out of line */

	bool fixed; /* cannot be copied to another address */
	uint8_t nlinks;
	unsigned nrelocs;
	uint32_t first_site;
	struct dbt_reloc relocs[RELOC_MAX];

	struct fold fold[FOLD_MAX];
	unsigned nfolds;
	unsigned naccess, njump;
	struct cold_access access[COLD_MAX];
	struct cold_jump jump[COLD_MAX];
};

/* --- lower.c, lower_mem.c: flags, registers, addresses ------------------------------- */

/* The host's flags to d.flags, whatever is known of them.  Uses RAX. */
void emit_flags_save(struct assembler *a);
/* The host's flags are about to be destroyed. */
void flags_clobber(struct lowering *l);
/* Guest flags are needed in the host's register / at home.  Use RAX. */
void flags_to_host(struct lowering *l);
void flags_to_home(struct lowering *l);
/* Flags as @r computes them to d.flags, if they are not there already. */
void emit_recipe_home(struct lowering *l, const struct flags_recipe *r);
/* An instruction that sets all flags was emitted. */
void flags_set_all(struct lowering *l);

/* A new site at the current instruction. */
struct dbt_site *site_new(struct lowering *l, uint32_t *number);
struct cold_jump *cold_new(struct lowering *l, unsigned kind, uint8_t *jump);

struct ea ea_of(const struct lowering *l, const struct insn *i);
struct ea ea_reg(unsigned reg, int32_t disp);
/* @dst = address + @extra; destroys host flags and nothing else. */
void emit_address(struct lowering *l, unsigned dst, const struct ea *ea, int32_t extra);
/*
 * Check an access and return its host operand, which uses RCX, and RAX unless @keep_rax.
 * @align: of the address, or 1.
 */
struct host_op emit_access(struct lowering *l, const struct ea *ea, unsigned size, unsigned access,
			   unsigned align, bool keep_rax);

/* The same for the memory operand of @i, whose check may be shared with others. */
struct host_op emit_operand(struct lowering *l, const struct insn *i, bool keep_rax);

/* The same for what the current instruction pushes or pops. */
struct host_op emit_stack(struct lowering *l, bool push);
/* The group of @t's access if there are others in it, or NULL. */
const struct fold *shared_group(const struct lowering *l, const struct t_insn *t);

/*
 * Check the stack from RSP + @disp for several instructions at once; RSP + @first is what
 * the first of them accesses, and would fault at.  The operand is at RSP.
 */
struct host_op emit_access_stack(struct lowering *l, int32_t disp, unsigned bytes, int32_t first,
				 unsigned access);

/* Guest register @g as a host register for reading: in @scratch if it is in memory. */
unsigned reg_read(struct lowering *l, unsigned g, unsigned scratch);
/* Does it live in a host register? */
static inline bool pinned(unsigned g)
{
	return host_of[g] != H_NONE;
}
/* Where a new value of @g is to be computed; reg_done() then stores it if need be. */
static inline unsigned reg_dest(unsigned g, unsigned scratch)
{
	return host_of[g] != H_NONE ? host_of[g] : scratch;
}
void reg_done(struct lowering *l, unsigned g, unsigned host);

static inline size_t gpr_offset(unsigned g)
{
	return offsetof(struct vcpu, s.gpr) + 8 * g;
}

/* --- reuse.c: blocks are copied to other addresses -------------------------------------- */

/* Before and after lowering. */
void reloc_start(struct lowering *l, const struct code_at *at);
void reloc_finish(struct lowering *l, const struct code_at *at);
/* The 4 or 8 bytes just emitted are of @kind. */
void reloc_note(struct lowering *l, enum reloc_kind kind);
/* This block has something that cannot be noted. */
void reloc_never(struct lowering *l);
/* @reg = @v, an address relative to the guest's code. */
void emit_mov_rip(struct lowering *l, unsigned reg, uint64_t v);
/* @reg = dbt_ref() of @k / of the block. */
void emit_mov_link(struct lowering *l, unsigned reg, const struct dbt_link *k);
void emit_mov_block(struct lowering *l, unsigned reg);
/* The jump whose rel32 is at @at goes to @glue, an offset in what glue.c made. */
void emit_to_glue(struct lowering *l, uint8_t *at, uint32_t glue);

/* --- the instructions ------------------------------------------------------------------ */

/* Fill in l->fold and the instructions' groups. */
void fold_accesses(struct lowering *l);
/* Is the top of the stack all that @i, if it is native, writes to / reads from? */
bool is_push(const struct insn *i);
bool is_pop(const struct insn *i);
/* Would the @n instructions that come again right behind themselves share checks of vectors? */
bool fold_repeats(const struct t_insn *insns, unsigned n);
/* What an instruction does to flags and registers, and whether it is lowered natively. */
void classify(const struct lowering *l, struct t_insn *t);

bool lower_int(struct lowering *l, const struct insn *i); /* lower_int.c */
bool is_native_int(const struct insn *i);
/* PUSH or POP of registers from l->t on, under one check.  How many; 0: none done. */
unsigned lower_stack_run(struct lowering *l);
bool lower_vec(struct lowering *l, const struct insn *i); /* lower_vec.c */
bool is_native_vec(const struct lowering *l, const struct insn *i);
unsigned vec_regs_of(const struct insn *i);
static inline bool is_vec(const struct insn *i)
{
	return i->form == FORM_VEC || i->op == OP_VZEROUPPER || i->op == OP_VZEROALL ||
	       i->op == OP_LDMXCSR || i->op == OP_STMXCSR;
}

/* --- lower_count.c: nothing without d->count ------------------------------------------ */

/* The block is entered; flags are at home, or of no use. */
void count_entry(struct lowering *l);
/* The next instruction follows. */
void count_before(struct lowering *l);
/* Instructions charged for, from the current one on. */
uint8_t count_ahead(const struct lowering *l);
/* Take back a charge of @n; without @flags_free host flags are kept and RCX used. */
void emit_count_back(struct lowering *l, unsigned n, bool flags_free);
/* d.budget is wanted where translated code / where C has it. */
void emit_count_load(const struct dbt *d, struct assembler *a);
void emit_count_store(const struct dbt *d, struct assembler *a);

/* --- lower_x87.c ------------------------------------------------------------------------ */

void lower_x87(struct lowering *l, const struct insn *i);
bool is_native_x87(const struct lowering *l, const struct insn *i);
unsigned x87_flags_of(const struct insn *i);
unsigned x87_regs_of(const struct insn *i);
/* May DBT_KEY_X87 be another one behind @i? */
bool x87_ends_block(const struct lowering *l, const struct insn *i);
/* The host's unit is to be the guest's.  Destroys host flags. */
void need_x87(struct lowering *l);
/* The current instruction is about to be lowered / the block to be left. */
void x87_before(struct lowering *l);
void x87_before_exit(struct lowering *l);
/* Make the pointers in s.fx what @last says.  Uses RAX and RCX; flags stay. */
void x87_store_pointers(struct lowering *l, const struct x87_last *last);
/* C code ran: nothing is known of the unit. */
void x87_forget(struct lowering *l);
/* For a site of the current instruction. */
const struct x87_last *x87_at_site(struct lowering *l);

/* lower_ctl.c: branches.  True: the block ends here. */
bool lower_branch(struct lowering *l, const struct insn *i);
bool is_native_branch(const struct insn *i);
/* @i by its handler; @ends: the block does, too. */
void lower_helper(struct lowering *l, const struct insn *i, bool ends);
void lower_end(struct lowering *l, uint64_t next_rip);
void lower_guard(struct lowering *l);
void emit_cold(struct lowering *l);
/*
 * Look the guest address in RAX up in the jump table: RAX is where its code is.  @miss are the
 * jumps taken if it is not there.  Flags are at home.
 */
void emit_jump_lookup(struct assembler *a, uint8_t *miss[2]);
/* Then: to s.rip by the run loop.  Returns the jump for a bad address, with nothing done. */
uint8_t *emit_jump_missed(struct dbt *d, struct assembler *a, uint8_t *miss[2], int32_t pop);
