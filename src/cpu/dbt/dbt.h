/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dbt.h - what the files of the binary translator share.
 *
 * Guest code is translated block by block into host code that runs on the guest's own
 * registers.  64-bit code only: what else there is runs in the interpreter.
 *
 * Registers: host RAX and RCX are scratch, RSP is the host's stack, GS holds the vCPU.
 * The 13 others hold guest registers for good (host_of[]); guest R9, R10 and R11 stay
 * in memory.  Vector registers are the guest's while d.vec_live, x87's while d.x87_live.
 * Guest flags are in the host's or in d.flags ("home"), as lower.c decides instruction by
 * instruction.
 *
 * Finding code: a code page is a page of virtual addresses mapped to a page of RAM,
 * under one key (what privilege and control registers allow).  Its number, the xid,
 * stands beside the page's TLB entry from the first look-up until the entry goes, so a
 * jump between pages that was linked checks one word.  Indirect jumps go through a
 * table of addresses per vCPU, emptied by changing its generation.
 *
 * Calls and returns: a guest's CALL is a CALL of the host's too, so that the processor
 * predicts the RET.  It comes back behind the CALL with the guest's return address in
 * RAX, which is compared there.  The host's stack is this shadow of the guest's until C
 * code changes what guest addresses mean: then it starts anew, empty.
 *
 * Writing to code: a page of RAM with translations has WATCH_CODE and no write tag in
 * any TLB.  The first write drops the page's translations (mem.h, code_written()).
 *
 * Sources: Intel SDM vol. 2 and 3A; QEMU's and Valgrind's papers for the general shape.
 */
#pragma once

#include <pthread.h>
#include <stdio.h>
#include "cpu/dbt/asm.h"
#include "cpu/x86/mmu.h"

enum {
	DBT_MAX_INSNS = 24,	 /* of a block */
	DBT_MAX_UNROLLED = 32,	 /* of one that is a loop, all copies of its body */
	DBT_INSN_CODE = 2 << 10, /* bytes of code and description of one instruction, at most */
	DBT_COLD_ACCESS = 256,	 /* ... of what lies out of line for an access, for a jump */
	DBT_COLD_JUMP = 192,
	DBT_DEFAULT_CACHE = 64 << 20,
	DBT_MIN_CACHE = 128 << 10,
	DBT_MIN_PAGES = 64 << 10,
	DBT_SEGMENTS = 16, /* at least, with room for tables */
	DBT_MAX_SEGMENT = 1 << 20,
	DBT_GLUE_BYTES = 8 << 10,
	DBT_HEAT_BITS = 15,
	DBT_MAX_WARMUP = 15,
	DBT_LINK_NEVER = -1,		  /* an xid that no page has */
	DBT_COUNT_SLACK = COUNT_NEAR / 2, /* d.budget ends so many instructions early */
};

/* Why translated code came back. */
enum dbt_exit {
	DBT_EXIT_LOOKUP, /* go on at s.rip */
	DBT_EXIT_LINK,	 /* at the target of jump d.link, which can be patched to go there by itself
			  */
	DBT_EXIT_PLAIN,	 /* as LINK, to the plain variant of the block there */
	DBT_EXIT_POLL,	 /* something was requested, at block d.link */
	DBT_EXIT_STEP,	 /* the interpreter is to run the instruction at s.rip */
};

/* Where guest flags are when translated code is left at a site. */
enum flags_kind {
	FLAGS_HOME,
	FLAGS_CMP,   /* of a - b */
	FLAGS_SUB,   /* of the subtraction that left a */
	FLAGS_ADD,   /* of the addition that left a */
	FLAGS_TEST,  /* of a & b */
	FLAGS_LOGIC, /* of the logic operation that left a */
};

struct flags_recipe { /* how to compute flags again; registers are the guest's */
	uint8_t kind; /* enum flags_kind */
	uint8_t size;
	uint8_t a, b; /* b: INSN_NOREG: imm */
	int32_t imm;
};

struct dbt_block;
struct dbt_reuse;
struct x87_last;

struct dbt_site { /* a place where translated code calls C */
	struct dbt_block *block;
	uint32_t rip_off;     /* of the instruction, from the block's start */
	uint8_t access, size; /* of memory accesses: ACCESS_* */
	uint8_t align;	      /* what their address must be a multiple of */
	uint8_t ahead;	      /* instructions charged for, from this one on (lower_count.c) */
	struct flags_recipe flags;
	bool ends;	      /* helper calls: nothing follows */
	uint32_t retry, next; /* offsets in the cache: the access again; the next instruction */
	struct insn *insn;    /* of helper calls */
	const struct x87_last *x87; /* what the pointers in s.fx lack, or NULL */
};

struct dbt_link { /* a direct jump out of a block */
	struct dbt_block *from, *to;
	struct dbt_link *next_in;  /* of the jumps to @to */
	struct dbt_link **in_at;   /* what leads to this one there */
	struct dbt_link *next_out; /* of those out of @from */
	uint64_t target;	   /* guest address */
	uint32_t jump, guard;	   /* offsets of the rel32, and of the guard's imm32 or 0 */
	uint32_t unlinked;	   /* where it goes then */
	uint32_t xid;		   /* guarded: the only page it may lead to, or 0 */
	uint32_t unlinked_at;	   /* epoch */
	uint8_t number;		   /* among those out of @from */
	bool flags_host, poll;
	bool plain; /* to the plain variant of a block */
};

struct block_ref { /* in a list of blocks of one page of RAM; @at NULL: in none */
	struct block_ref *next, **at;
	struct dbt_block *block;
};

struct dbt_block {
	struct dbt_block *next; /* in its hash bucket */
	uint64_t rip;
	uint32_t xid;
	uint32_t xid2;	     /* its one instruction goes on in that code page; else 0 */
	uint32_t code;	     /* offset: entry with flags at home */
	uint32_t code_flags; /* entry with flags in the host's */
	uint32_t code_poll;  /* ... that looks for requests first */
	uint32_t start, end;
	uint16_t bytes; /* of guest code: of a loop, one copy of its body */
	uint16_t ninsns;
	uint16_t ncheck; /* instructions that lock-step can compare: all before a helper */
	bool fpu;	 /* it may touch s.fx and s.vec natively */
	bool dead;
	bool plain;		    /* made without shared address checks */
	struct dbt_link *in, *out;  /* jumps linked to it; its own */
	struct dbt_block *older;    /* in its segment */
	struct code_page *pages[2]; /* of xid, xid2 */
	struct block_ref refs[2];   /* in these pages' lists */
	struct dbt_reuse *reuse;    /* how to copy it, or NULL */
};

struct code_page {
	struct code_page *next; /* in its hash bucket */
	gva_t page;
	const uint8_t *host;
	uint32_t xid;
	uint32_t nblocks; /* that are still in the cache, dead ones too */
	struct ram_page *ram;
	uint8_t key;
};

struct ram_page { /* a page of RAM that has translations */
	struct ram_page *next;
	gpa_t gpa;
	struct block_ref *blocks;
	uint32_t npages; /* code pages that are mapped to it */
};

/* A part of the cache: code, and what describes it, which is evicted all at once. */
struct dbt_segment {
	struct dbt_block *blocks; /* the newest */
	uint32_t bytes;		  /* in use, once it is full */
	uint64_t since_ns;	  /* when it began to be filled */
};

struct code_at { /* where guest code is */
	uint64_t rip;
	bool plain;
	struct code_part {
		const uint8_t *host; /* of the page */
		gpa_t gpa;
		uint32_t xid;
		struct code_page *code;
	} page, next; /* next: of an instruction that goes on there, else host is NULL */
};

struct dbt_stats { /* under the lock or racy */
	uint64_t translated, translated_bytes, code_bytes, invalidated, links;
	uint64_t flushes;		/* segments evicted */
	uint64_t reused, reuse_differs; /* blocks copied; wrong ones */
};

struct dbt_mark { /* how far the description of code goes */
	size_t meta_used;
	uint32_t nsites;
};

struct dbt { /* one per VM; @lock for all that is not said to be otherwise */
	pthread_mutex_t lock;
	uint8_t *rw, *rx; /* two mappings of the code cache */
	size_t limit;	  /* bound of all that follows, as asked for */
	size_t bytes;	  /* ... of code and what describes it, in segments */
	size_t map_bytes; /* of @rw, @rx */
	uint32_t segment_bytes, nsegments, segment; /* the one that is filled now */
	struct dbt_segment *segments;
	size_t used; /* where the next code goes */
	unsigned hash_bits, page_bits;
	struct dbt_block **hash;      /* read without the lock */
	struct dbt_block **templates; /* blocks to copy, by place in RAM */
	struct code_page **page_hash;
	struct ram_page **ram_hash;
	struct dbt_pages { /* code_pages and ram_pages, free ones in lists */
		uint8_t *mem;
		size_t used, bytes;
		struct code_page *code;
		struct ram_page *ram;
	} pages;
	uint32_t next_xid;
	struct dbt_site *sites; /* by number */
	uint32_t nsites, segment_sites;
	uint8_t *meta; /* blocks, links, instructions */
	size_t meta_used;
	bool flushing;	/* atomic: nobody may enter */
	uint32_t epoch; /* atomic: counts evictions */
	struct mem *mem;
	struct engine_vm *vm;
	struct dbt_stats stats;
	struct engine_look look; /* look.h */
	uint64_t dumped, mapped; /* bytes written for it */
	bool host_avx, host_bmi2;
	bool may_warm_up;  /* @warmup may be other than 0 */
	uint8_t warmup;	   /* atomic: code is interpreted so often before it is translated */
	uint16_t *heat;	   /* atomic: how often, in the low 4 bits; else a tag */
	bool check;	   /* lock-step: blocks end at helpers, and nothing is linked */
	bool count;	   /* code counts instructions */
	bool count_stops;  /* ... and looks whether there are enough */
	bool count_vec;	   /* ... in XMM16 */
	bool verify_reuse; /* compare copies of blocks with what translating makes */

	/* common code, offsets */
	uint32_t enter, leave_saved, slow, slow_site, helper, link_exit, link_exit_flags, poll_exit,
		block_exit, lookup_exit;
	uint32_t vec_load, x87_load, x87_save, ret_miss, ret_empty;
};

/* Host register of each guest register; H_NONE: in memory. */
extern const uint8_t host_of[16];

/* What translated code calls a block or a link of the cache. */
static inline uint32_t dbt_ref(const struct dbt *d, const void *p)
{
	return (uint32_t)((size_t)((const uint8_t *)p - d->meta) / 8);
}

static inline void *dbt_at(const struct dbt *d, uint32_t ref)
{
	return d->meta + (size_t)ref * 8;
}

/* --- cache.c ----------------------------------------------------------------------- */

MUST_CHECK int dbt_new(struct mem *mem, struct engine_vm *vm, size_t bytes, struct dbt **out,
		       struct errbuf *err);
void dbt_free(struct dbt *d);
/* Memory of the current segment; NULL: none is left.  Locked. */
void *dbt_alloc(struct dbt *d, size_t bytes);
struct dbt_site *dbt_site_new(struct dbt *d); /* the same */
/* Bytes that are left in the current segment, with code up to @code.  Locked. */
size_t dbt_room(const struct dbt *d, size_t code);
bool dbt_segment_empty(const struct dbt *d);
/* Give back what was taken since @to was noted.  Locked. */
void dbt_rewind(struct dbt *d, const struct dbt_mark *to);
/* Bytes that are in use.  Any thread, racy. */
size_t dbt_used(const struct dbt *d);
/* Go on in the next segment, whose content is gone.  Locked. */
void dbt_next_segment(struct dbt *d);
/* Any thread, without the lock. */
struct dbt_block *dbt_find(const struct dbt *d, uint32_t xid, uint64_t rip, bool plain);
void dbt_insert(struct dbt *d, struct dbt_block *b, const struct code_at *at);
/* No look-up finds @b any more.  Locked. */
void dbt_remove(struct dbt *d, struct dbt_block *b);
/* The code page; NULL: out of memory or numbers.  It goes with the last of its blocks. */
struct code_page *dbt_page(struct dbt *d, gva_t page, const uint8_t *host, gpa_t gpa, uint8_t key);
/* @b of @p is gone, or was never made: NULL is fine. */
void dbt_page_put(struct dbt *d, struct code_page *p, unsigned nblocks);
/* What is known of the page of RAM at @gpa, or NULL. */
struct ram_page *dbt_ram_page(struct dbt *d, gpa_t gpa);
/* Make jump @k go to @to by itself.  Locked. */
void dbt_link(struct dbt *d, struct dbt_link *k, struct dbt_block *to);
/* Make it leave translated code again.  Locked. */
void dbt_unlink(struct dbt *d, struct dbt_link *k);

/* --- evict.c ----------------------------------------------------------------------- */

/* Take the lock, serving requests to drop write tags meanwhile. */
void dbt_lock(struct dbt *d, struct vcpu *c);
void dbt_unlock(struct dbt *d);
/* Before code of the page at @gpa is read: no vCPU may write to it unnoticed from now on. */
void dbt_watch(struct dbt *d, struct vcpu *c, gpa_t gpa);
/* Nothing is to lead to @b any more.  Locked. */
void dbt_kill(struct dbt *d, struct dbt_block *b);
/* mem.h: somebody else than a vCPU wrote to the page at @gpa. */
void dbt_code_written(void *arg, gpa_t gpa);
/*
 * Make room: what is oldest goes, or everything when page numbers are used up.  Locked; other
 * vCPUs are made to leave translated code meanwhile.  Changes the epoch unless nothing went.
 */
void dbt_evict(struct dbt *d, struct vcpu *c);
/* Code is to stop at a count from now on.  @c: the caller, outside. */
void dbt_count_stops(struct dbt *d, struct vcpu *c);

/* --- translate.c ------------------------------------------------------------------- */

/*
 * Translate the code @at.  Locked.  NULL: the cache is @full, or else the first
 * instruction is for the interpreter.
 */
struct dbt_block *dbt_translate(struct dbt *d, struct vcpu *c, const struct code_at *at,
				bool *full);

/* --- reuse.c ----------------------------------------------------------------------- */

/*
 * A copy of what was translated of the same place in RAM at another address, as if by
 * dbt_translate().  NULL: the cache is @full, or else there is nothing to copy.  Locked.
 */
struct dbt_block *dbt_reuse(struct dbt *d, struct vcpu *c, const struct code_at *at, bool *full);
/* @b, which look-ups find now, may be copied / may not any more.  Locked. */
void dbt_reuse_offer(struct dbt *d, struct dbt_block *b);
void dbt_reuse_forget(struct dbt *d, const struct dbt_block *b);

/* --- glue.c ------------------------------------------------------------------------ */

/* Emit what all blocks use: entering, leaving, calls of C. */
void dbt_emit_glue(struct dbt *d);

/* --- lower_x87.c ------------------------------------------------------------------- */

/* Make the x87 pointers in s.fx those of @s's place; s->x87 is not NULL. */
void x87_set_pointers(struct vcpu *c, const struct dbt_site *s);

/* --- run.c ------------------------------------------------------------------------- */

/* Run at s.rip while nothing needs a look.  False: not at this point.  Raises. */
bool dbt_run(struct vcpu *c);
/* ... one block of it. */
void dbt_enter_block(struct vcpu *c, const struct dbt_block *b);
/* The run loop was reached by longjmp(). */
void dbt_unwound(struct vcpu *c);
/* REQ_CODE was seen. */
void dbt_take_requests(struct vcpu *c);
/* check.c: run @b both ways.  False: they differ, it was said how. */
bool dbt_check_block(struct vcpu *c, struct dbt_block *b);
MUST_CHECK int dbt_check_new(struct vcpu *c);
void dbt_check_free(struct vcpu *c);
/* dump.c: one block for lock-step's report. */
void dbt_dump_block(struct vcpu *c, const struct dbt_block *b, FILE *f);
void *dbt_slow(struct vcpu *c);	  /* from translated code: an access missed the TLB */
void *dbt_helper(struct vcpu *c); /* ... an instruction to be run by its handler */
