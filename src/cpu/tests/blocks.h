/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks.h - random blocks of instructions, run by two engines from equal state.
 *
 * A case is a program of up to 50 instructions with its subroutines, and a few runs of
 * it with other registers.  All of it follows from a seed and a number.  Both engines
 * start from the same image of guest memory (blocks_world.c), and after every run the
 * whole state, all memory and all exits on the way must be equal.  The same two VMs
 * serve many cases at the same addresses, so that translations which outlive their
 * code show.
 */
#pragma once

#include "cpu/engine.h"
#include "cpu/tests/diff.h"

/* --- the world (blocks_world.c) --------------------------------------------------- */

enum { /* guest-physical; also in blocks_guest.S: system pages, and pages that blocks play with */
       BLK_SYS_PAGES = 0x20,
       BLK_TEST = 0x200000,
       BLK_TEST_PAGES = 0x20,
       BLK_RAM = BLK_TEST + BLK_TEST_PAGES * 0x1000, /* above: MMIO */
       BLK_MAILBOX = 0x1a000,			     /* struct blk_mailbox */
       BLK_PML4_A = 0x1000,
       BLK_PML4_B = 0x2000,
       BLK_PT_USER_A = 0x5000,
       BLK_PT_USER_B = 0x8000,
       BLK_PT_KERNEL_A = 0xb000,
       BLK_PT_KERNEL_B = 0xe000,
       BLK_TABLES_END = 0x10000,
       BLK_IST1_TOP = 0x15000,
       BLK_IST2_TOP = 0x16000,
       BLK_RSP0_TOP = 0x14000,
};

/*
 * Linear: the windows are mapped twice, for the user and for the supervisor.  What the user has
 * is mapped at several places more, where a run can start.
 */
#define BLK_U_BASE 0x10000000ULL
enum { BLK_PLACES = 4 };
static inline uint64_t blk_place(unsigned n)
{
	return (uint64_t)n << 39 | n * 0x80000; /* no two share a slot of the TLB */
}
#define BLK_K_BASE 0xffffffff90000000ULL
/*
 * The system pages, supervisor only.  Not in TLB slots of other pages: the engines look up code a
 * different number of times, and so would keep translations for a different time.
 */
#define BLK_S_BASE 0xffffffff80400000ULL

enum {			     /* offsets of the windows; nothing is between them */
       BLK_CODE = 0x00000,   /* two pages, writable and executable */
       BLK_SUBS = 0x10000,   /* two more; another two in address space B */
       BLK_DATA = 0x20000,   /* four pages, no-execute; pages 0 and 1 swapped in B */
       BLK_STACK = 0x30000,  /* two pages */
       BLK_RO = 0x38000,     /* one page, read-only */
       BLK_DEMAND = 0x40000, /* four pages that the page fault handler maps */
       BLK_OTHER = 0x48000,  /* one page of the other privilege */
       BLK_ALIAS = 0x50000,  /* the code pages again, no-execute */
       BLK_VARS = 0x58000,   /* one page: loop counters, addresses of subroutines */
       BLK_BIG = 0x200000,   /* a 2 MiB page over all test pages, and MMIO behind them */
       BLK_DATA_PAGES = 4,
       BLK_SUBS_TO_B = 0x2000, /* between their guest-physical pages */
       BLK_TABLE = 0x800,      /* in BLK_VARS */
       BLK_ZEROS = 0xc00,      /* there, too */
};

enum { BLK_SEL_CS0 = 0x08, BLK_SEL_DS0 = 0x10, BLK_SEL_DS3 = 0x23, BLK_SEL_CS3 = 0x2b };
enum { BLK_IRQ = 0x30 }; /* a vector that comes back */

struct blk_mailbox { /* what blocks_guest.S reads; offsets are spelled out there */
	uint64_t gpr[16];
	uint64_t frame[5]; /* for IRETQ: RIP, CS, RFLAGS, RSP, SS */
	uint64_t fsbase, gsbase;
	uint32_t budget; /* how many traps come back */
	uint32_t pad[9];
	uint8_t xsave[832] __attribute__((aligned(64)));
};

struct blk_input { /* registers of one run */
	uint64_t gpr[16], rflags, fsbase, gsbase;
	uint32_t budget;
	bool restart;  /* by the guest itself, if it can: no set_state() */
	uint8_t place; /* number of where it starts */
	struct cpu_fxsave fx;
	struct cpu_vec vec[16];
};

enum { BLK_MAX_ITEMS = 160, BLK_MAX_RUNS = 3 };

struct blk_item {    /* an instruction of the program, for listings and for shrinking */
	uint32_t at; /* offset of its window and in it */
	uint8_t len;
};

struct blk_case {
	uint64_t seed, number;
	bool user, user_base; /* CPL 3; windows of the user (also at CPL 0) */
	bool irq;	      /* an interrupt is pending from the start */
	bool ts, wp, smap, am, pge, pcid;
	uint8_t dr7; /* low byte; the address is in the data pages, or that of the start */
	bool dr_code;
	uint8_t code[0x2000], subs[2][0x2000]; /* subs: of spaces A and B */
	uint32_t start;			       /* offset of the first instruction in @code */
	uint64_t table[8];		       /* addresses of subroutines */
	unsigned nitems, nruns;
	struct blk_item item[BLK_MAX_ITEMS];
	struct blk_input in[BLK_MAX_RUNS];
};

static inline uint64_t blk_base(const struct blk_case *c)
{
	return c->user_base ? BLK_U_BASE : BLK_K_BASE;
}

struct blk_image { /* what memory holds when a case starts */
	uint8_t sys[BLK_SYS_PAGES * 0x1000];
	uint8_t test[BLK_TEST_PAGES * 0x1000];
};

void blk_image_init(struct blk_image *img);
/* Put the program of @c into @img. */
void blk_image_place(struct blk_image *img, const struct blk_case *c);
/* Guest-physical page behind window offset @off in space A. */
uint32_t blk_gpa(uint32_t off);
const char *blk_page_name(uint32_t gpa);
void blk_start_state(const struct blk_case *c, const struct blk_input *in, struct cpu_state *s);
void blk_fill_mailbox(const struct blk_case *c, const struct blk_input *in, struct blk_mailbox *m);
void blk_model(struct cpu_model *m);

#define BLK_DEFINE_FLAGS 0x39, 0xc8 /* CMP EAX, ECX */

/* --- cases (blocks_gen.c, blocks_kinds.c) --------------------------------------------- */

enum { BLK_MAX_KINDS = 64 };
struct blk_options {
	uint64_t kinds; /* bit mask by number */
	unsigned max_insns;
	bool defined_flags; /* none that the architecture leaves undefined */
	bool count;	    /* stop at random counts of instructions, and compare there, too */
};
const char *blk_kind_name(unsigned kind); /* NULL: no more */
void blk_generate(const struct diff_gen *d, const struct blk_options *o, uint64_t seed,
		  uint64_t number, struct blk_case *c);

/* --- running (blocks_run.c) ---------------------------------------------------------------- */

enum { BLK_TRACE = 48 };
struct blk_event { /* an exit on the way */
	uint8_t reason, size;
	bool write;
	uint64_t addr, data, rip, count;
};

struct blk_side { /* one engine's VM; owner: the thread that runs it */
	const struct engine_ops *ops;
	struct mem *mem;
	uint8_t *sys, *test;
	struct engine_vm *vm;
	struct engine_vcpu *vcpu;
	struct cpu_state state; /* after the last run */
	bool count;		/* instructions */
	uint64_t count_start;	/* of this run */
	bool stopped, open;	/* at a count; can an interrupt be injected there? */
	bool restartable;	/* it ended in HLT */
	bool cut;		/* it was stopped: too long, or too many exits */
	unsigned nevents;
	struct blk_event events[BLK_TRACE];
	char error[200];
	uint64_t copied; /* translations that were copied to another address */
};

struct blk_watch; /* a thread that stops blocks which do not end */
MUST_CHECK int blk_watch_new(struct blk_watch **out);
void blk_watch_free(struct blk_watch *w);

MUST_CHECK int blk_side_new(const struct engine_ops *ops, size_t code_cache, bool count,
			    bool no_avx512, struct blk_side *s);
void blk_side_free(struct blk_side *s);
/* Memory as @img has it; the next run starts from set_state(). */
void blk_side_reset(struct blk_side *s, const struct blk_image *img);
/* Make @s ready to run @c with @in. */
void blk_side_start(struct blk_side *s, const struct blk_case *c, const struct blk_input *in);
/* Run it to its end, or to where @stop instructions have retired; stops it after @limit_ms. */
void blk_side_run(struct blk_side *s, struct blk_watch *w, uint64_t stop, unsigned limit_ms);
/* Instructions retired in this run; 0 if they are not counted. */
uint64_t blk_side_count(const struct blk_side *s);
/* Write what differs after a run; false: nothing. */
bool blk_compare(const struct blk_side *a, const struct blk_side *b, char *buf, size_t len);

/* --- reports (blocks_report.c) --------------------------------------------------------------- */

/* Program and registers of @c, for a person. */
void blk_print_case(const struct blk_case *c);
