/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.h - a vCPU of the software engine: state, software TLB, faults, accesses.
 *
 * Shared by the semantics in x86/ and by the engines that run them.  A semantic
 * handler runs with insn_rip at its instruction and s.rip already behind it.  It
 * first reads, checks and raises, then commits: raise_*() does not return, puts
 * s.rip back to insn_rip, and leaves what the handler has not yet written as it was.
 *
 * Outside accesses (ports, MMIO, MSRs the engine does not know) leave the engine
 * by ext_access(): the handler is abandoned, run() returns the exit, and when it is
 * called again the instruction starts over with the answer in its memo.  So up to
 * its last outside access a handler must not commit anything.  (Repeated string
 * instructions commit once an element and clear the memo.)
 */
#pragma once

#include <setjmp.h>
#include "cpu/engine.h"
#include "cpu/state.h"
#include "cpu/x86/insn.h"
#include "mem/mem.h"

/* --- software TLB ------------------------------------------------------- */

/* Privilege views of the TLB: supervisor under SMAP (AC clear), supervisor, user. */
enum tlb_view { TLB_SMAP, TLB_SUPER, TLB_USER, TLB_VIEWS };
enum { TLB_BITS = 13, TLB_SIZE = 1 << TLB_BITS };
/*
 * What no address that belongs into @slot matches, whether an address is compared whole, with
 * the low bits (up to 4) that tell of misalignment, or by its distance from the tag.
 */
#define TLB_INVALID(slot) (((uint64_t)(slot) ^ TLB_SIZE / 2) << 12 | 1ULL << 11)

/*
 * A hit is one compare: the page of the access's last byte equals the tag, found
 * by the page of its first byte.  Accesses that cross a page miss by construction.
 */
struct tlb_entry {
	uint64_t read_tag; /* page's linear address, or TLB_INVALID() */
	uint64_t write_tag;
	uintptr_t addend; /* host address - linear address */
	uint8_t *host;	  /* of the page */
};

struct tlb_info {		 /* of the same slot, for flushes; 8 bytes, as there are many */
	uint64_t number : 52;	 /* of the linear page, whatever the tags say */
	uint64_t page_shift : 6; /* of the guest's page: 12, 21, 22 or 30 */
	uint64_t global : 1;
	uint64_t writable : 1; /* and dirty: writes need no walk */
};

/* --- memo of outside accesses of the current instruction ---------------- */

enum { MEMO_MAX = 128 }; /* XSAVE of 832 bytes is 104 accesses of 8 */
struct ext_memo {
	enum exit_reason reason;
	bool write;
	uint8_t size;
	uint64_t addr, data;
	bool fail;
};

enum vcpu_request {			/* bits of vcpu.requests */
		    REQ_KICK = 1 << 0,	/* return EXIT_KICK at the next block boundary */
		    REQ_FLUSH = 1 << 1, /* drop the TLB */
		    REQ_NMI = 1 << 2,
		    REQ_CODE = 1 << 4,	/* drop write tags: a page became code */
		    REQ_EVENT = 1 << 3, /* own thread: single step, window, pending exception: leave
					   the fast loop */
};

enum { COUNT_CHARGES = 40 }; /* what code adds to its budget is less */
enum { COUNT_NEAR = 64 };    /* instructions; more than two blocks have */

enum { JUMP_ENTRIES = 1 << 13, JUMP_ENTRY_SHIFT = 4 };
#define JUMP_HASH 0x9e3779b1u
struct jump_entry { /* where code for a guest address is */
	uint64_t rip;
	uint32_t gen, code; /* d.gen_live when it was entered; offset in the code cache */
};

enum { /* bits of dbt_vcpu.key beside the view: what code may do natively */
       DBT_KEY_SSE = 1 << 2,
       DBT_KEY_AVX = 1 << 3,
       DBT_KEY_USER = 1 << 4,
       DBT_KEY_X87 = 1 << 5,
};

enum { JUMP_PAGE_BITS = 4096, FOLD_MAX = 8 };

/* Where jump_pages has the page around @rip. */
static inline unsigned jump_page_bit(uint64_t rip)
{
	return (uint32_t)(rip >> 12) * JUMP_HASH >> 20;
}

static inline unsigned jump_slot(uint64_t rip)
{
	return (uint32_t)rip * JUMP_HASH >> JUMP_ENTRY_SHIFT & (JUMP_ENTRIES - 1);
}

/* What no jump to @slot matches, even while gen_live is 0: an address that belongs elsewhere. */
static inline struct jump_entry jump_void(unsigned slot)
{
	return (struct jump_entry){.rip = !slot};
}

struct dbt_vcpu {	    /* the translator's part; zero under the interpreter */
	uint64_t self;	    /* address of the vcpu */
	uint64_t code_base; /* of the executable mapping */
	uint32_t gen_live; /* atomic: generation of valid jump entries; 0: something is requested */
	uint16_t flags;	   /* home of the guest's flags: AH as LAHF has it, AL 1 for OF */
	uint8_t vec_live;  /* vector registers are in the host's */
	uint8_t x87_live;  /* and so is the x87 and MMX state, but for its pointers */
	uint8_t key;	   /* of the code that may run now */
	uint32_t host_mxcsr;
	uint32_t site;	/* that called C */
	int64_t budget; /* counting: budget_end - what was retired */
	uint64_t budget_end;
	int64_t charge[2 * COUNT_CHARGES]; /* [n]: n - COUNT_CHARGES */
	uint32_t flush_wanted, flush_done; /* atomic: write tags are to be dropped, were dropped */
	unsigned nwritable; /* slots that got a write tag since all were dropped; more: unknown */
	struct tlb_entry *writable[32];
	bool gens_stale, xids_stale; /* atomic: forget jump entries, code pages */
	uint8_t exit, vec_was;
	uint8_t jumps_nonglobal; /* bit by view: the table leads to pages that are not global */
	uint8_t view_key[TLB_VIEWS];
	uint32_t gens[TLB_VIEWS], last_gen; /* generation by view; 0: the table is void */
	struct insn insn;		    /* that a handler runs now */
	bool in_code;			    /* atomic: translated code may be running */
	uint64_t lin, resume, tmp;
	struct cpu_fxsave x87_image; /* on its way between s.fx and the host's unit */
	uint64_t fold[FOLD_MAX];     /* host addresses of groups of accesses in the running block */
	uint32_t link;		     /* dbt_ref() of the jump or block that was left */
	uint64_t stack;		     /* host's, of the call that entered */
	/* the shadow stack: its empty top, how far it may go, and where it is while C runs */
	uint64_t shadow, shadow_limit, sp;
	uint64_t misses, helpers, steps, lookups, slow, refills, links; /* events, for statistics */
	uint64_t jump_pages[JUMP_PAGE_BITS / 64]; /* a bit for each page that jumps may lead to */
	struct jump_entry jumps[JUMP_ENTRIES];
};

struct soft_vm;	    /* what the vCPUs of one software VM share */
struct block_cache; /* interp/: decoded blocks */
struct dbt;	    /* dbt/: the translator */
struct dbt_link;
struct fpu_stubs; /* x86/fpu: generated stubs */

struct vcpu { /* owner: its thread, except @requests */
	struct cpu_state s;

	/* hot */
	uint64_t insn_rip; /* start of the current instruction */
	const struct insn *cur;
	struct tlb_entry *tlb; /* tlb_all[view] of the current privilege */
	uint8_t cpl, mode;     /* enum x86_mode */
	bool long_mode;	       /* EFER.LMA */
	bool end_block;	       /* a store hit the running code page, or the handler wants out */
	uint64_t code_page;    /* host page address of the running block, for self-modification */
	uint64_t addr_mask;    /* of linear addresses: ~0 in 64-bit code, else 32 bits */
	bool flat[SEG_COUNT];  /* no limit or type check needed: always so in 64-bit code, where
				  bases of ES, CS, SS and DS must then hold 0 in s.seg[] */
	uint8_t last_seg;      /* segment of the latest access: #SS or #GP if non-canonical */
	uint32_t requests;     /* atomic; enum vcpu_request; pairs with kick() */

	uint64_t insns; /* instructions retired; by translated code only where it counts */
	uint64_t count_stop, count_near; /* where run() is to return; from where to go step by step
					  */
	uint64_t exits, tlb_misses, decoded;

	const struct cpu_model *model;
	struct mem *mem;
	struct soft_vm *vm;
	struct block_cache *blocks;
	struct fpu_stubs *stubs;
	unsigned index;
	bool want_window;

	/* rmw_load() .. rmw_store() */
	void *rmw_hva; /* NULL: not plain RAM in one page */
	uint64_t rmw_lin;

	/* outside accesses */
	struct ext_memo memo[MEMO_MAX];
	unsigned memo_n, memo_pos;
	struct engine_exit *exit;
	jmp_buf env;	  /* run() */
	bool ext_waiting; /* the last memo has no answer yet */

	/* the run loop's own (interp/run.c, x86/fault.c) */
	const struct insn
		*run_start;  /* first instruction of the running block: cur - run_start retired */
	int delivering;	     /* vector | DELIVER_* of the event being delivered, or -1 */
	uint32_t db_pending; /* DR6 bits of a debug trap due after this instruction */
	bool db_hold;	     /* ... but after the next one: MOV SS just ran */
	uint8_t step_shadow; /* int_shadow, RF and TF before the stepped instruction */
	uint64_t step_flags;
	bool split_held; /* split_lock() */

	/* the MMU's own (x86/mmu.c, x86/mode.c) */
	uint8_t view;		     /* enum tlb_view of the current privilege */
	bool align_check;	     /* CR0.AM, AC and CPL 3: every access takes the slow path */
	bool watch_data, watch_exec; /* DR7 enables data / instruction breakpoints */
	bool pdptr_stale;	     /* a new state: load them before running */
	uint64_t pdptr[4];	     /* PAE: as loaded by MOV CR3 */
	uint64_t paging_key;	     /* control bits the TLB's content depends on */
	struct {
		uint64_t base;
		uint32_t limit;
		uint16_t sel;
	} hidden[SEG_COUNT]; /* bases that 64-bit code ignores, for the way back */
	uint64_t tlb_used[TLB_VIEWS][2][TLB_SIZE / 64]; /* filled slots; [1]: global pages */
	uint64_t large_base[2], large_mask[2]; /* lower, upper half: what large pages may cover */
	struct tlb_entry tlb_scratch;	       /* translation that must not be cached */
	struct tlb_info tlb_info[TLB_VIEWS][TLB_SIZE];

	struct dbt *dbt;	 /* NULL: interpreter only */
	struct dbt_check *check; /* lock-step, or NULL */
	bool journal;		 /* every access goes the slow way, stores are noted in @check */
	struct dbt_vcpu d;
	uint64_t tlb_exec[TLB_VIEWS][TLB_SIZE]; /* as the tags, for execution */
	uint32_t tlb_xid[TLB_VIEWS]
			[TLB_SIZE]; /* code page that an executable slot leads to, or 0 */
	struct tlb_entry tlb_all[TLB_VIEWS][TLB_SIZE] __attribute__((aligned(64)));
};

enum { DELIVER_EXC = 0, DELIVER_INT = 1 << 8, DELIVER_NMI = 2 << 8 }; /* vcpu.delivering */

/* Values longjmp() brings to run(). */
enum {
	UNWIND_FAULT = 1,
	UNWIND_EXIT = 2,
	UNWIND_RESTART = 3,
	UNWIND_DONE = 4, /* exit_after(): the instruction is complete */
};

/* --- faults (x86/fault.c) ------------------------------------------------ */

/* Abandon the instruction and deliver a fault at insn_rip.  Never return. */
void raise_exc(struct vcpu *c, enum cpu_exception vec) NORETURN; /* no error code */
void raise_err(struct vcpu *c, enum cpu_exception vec, uint32_t error) NORETURN;
void raise_pf(struct vcpu *c, gva_t lin, uint32_t error) NORETURN; /* sets CR2 */
static inline NORETURN void raise_ud(struct vcpu *c)
{
	raise_exc(c, EXC_UD);
}
static inline NORETURN void raise_gp(struct vcpu *c, uint32_t error)
{
	raise_err(c, EXC_GP, error);
}

/*
 * Leave the engine for an access it cannot answer itself, or take the answer.
 * For reads returns with *@data; @fail (may be NULL) tells whether the machine
 * refused (MSRs: the caller then raises #GP).  Does not return while unanswered.
 */
void ext_access(struct vcpu *c, enum exit_reason reason, uint64_t addr, unsigned size, bool write,
		uint64_t *data, bool *fail);
/* A string instruction committed an element: earlier answers are used up. */
static inline void ext_commit(struct vcpu *c)
{
	c->memo_n = c->memo_pos = 0;
}
/* Give up what is under way and longjmp() to run() with UNWIND_*. */
void vcpu_unwind(struct vcpu *c, int how) NORETURN;
/* Leave with @reason after this instruction is complete (HLT, SHUTDOWN ...). */
void exit_after(struct vcpu *c, enum exit_reason reason) NORETURN;

/* --- linear memory (x86/mmu.c, x86/access.h has the inline fast paths) ---- */

enum { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_EXEC = 2 };

/* Fill the TLB for @lin or raise.  Returns the entry; NULL when the page is not RAM (@gpa says
 * where). */
struct tlb_entry *mmu_fill(struct vcpu *c, gva_t lin, unsigned access, gpa_t *gpa);
/* Translate for implicit supervisor accesses (descriptor tables, TSS): whatever CPL is. */
uint64_t sys_load(struct vcpu *c, gva_t lin, unsigned size);
void sys_store(struct vcpu *c, gva_t lin, unsigned size, uint64_t val);

void tlb_flush_all(struct vcpu *c); /* globals too */
void tlb_flush_nonglobal(struct vcpu *c);
void tlb_flush_page(struct vcpu *c, gva_t lin);
void tlb_drop_writable(struct vcpu *c); /* write tags alone */
/* CPL, AC, CR0, CR4, EFER or a segment changed: recompute tlb, cpl, mode, flat, addr_mask. */
void vcpu_update_mode(struct vcpu *c);

/* Slow paths: page crossing, MMIO, alignment check, data breakpoints.  Up to 32 bytes. */
void lin_load_slow(struct vcpu *c, gva_t lin, void *buf, unsigned size);
void lin_store_slow(struct vcpu *c, gva_t lin, const void *buf, unsigned size);
/* Fault exactly as a write of @size at @lin would, without writing. */
void lin_probe_write(struct vcpu *c, gva_t lin, unsigned size);
/* The same, and the host address; NULL when it crosses pages or is not RAM. */
void *lin_rmw_ptr(struct vcpu *c, gva_t lin, unsigned size);

/* --- segments and control transfer (x86/seg.c, x86/intr.c) ----------------- */

/* Load @sel into @seg with every check of MOV Sreg (SDM vol. 2, MOV).  SEG_CS: #UD. */
void seg_load(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel);
/* Change privilege level's stack, push a frame and enter the handler of @vec. */
void deliver_event(struct vcpu *c, uint8_t vec, bool soft_int, bool has_error, uint32_t error,
		   uint64_t return_rip);

/* --- binding: each file of semantics names its handler, NULL: not mine ------ */

insn_fn *bind_int(const struct insn *i);    /* sem_int*.c: arithmetic, moves, bits, near branches */
insn_fn *bind_string(const struct insn *i); /* sem_string.c */
insn_fn *bind_sys(const struct insn *i);    /* sem_sys*.c: ports, flags, segments, far, system */
insn_fn *bind_fpu(const struct insn *i);    /* fpu/: VEC, X87, MASKMOV, GATHER, FPU state */

/* dbt/check.c: @size bytes at @hva are about to be overwritten. */
void journal_add(struct vcpu *c, void *hva, unsigned size);
/* dbt/: the guest is about to write to the page at @gpa, which translations were made of. */
void dbt_code_store(struct vcpu *c, gpa_t gpa);

int fpu_stubs_new(struct fpu_stubs **out, struct errbuf *err); /* one per VM, shared by vCPUs */
void fpu_stubs_free(struct fpu_stubs *s);
