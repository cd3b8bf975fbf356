/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - a computation that uses much of the processor's state and is the same
 * however often the machine is stopped, saved and rebuilt while it runs.
 *
 * Every round mixes integer instructions with all their flags, goes through page
 * tables that it changes, takes page faults and self-interrupts, and prints the
 * hash so far.  Interrupts by time are counted, but only their arrival matters.
 * "rounds=N" on the command line makes it longer.
 */
#include "guest.h"

enum { DEFAULT_ROUNDS = 40, STEPS = 400, PAGES = 8, VEC_SELF = 0x51, VEC_TIMER = 0x52 };
enum { P = 1, W = 2 };
#define WINDOW 0x400000000000ULL /* PML4 entry 128 */

static uint64_t pdpt2[512] __attribute__((aligned(4096)));
static uint64_t pd2[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint64_t page[PAGES][512] __attribute__((aligned(4096)));
static volatile uint64_t hash = 0xcbf29ce484222325ULL;
static volatile uint64_t nself, nfaults, nticks;

static void mix(uint64_t v)
{
	hash = (hash ^ v) * 0x100000001b3ULL;
	hash ^= hash >> 29;
}

static void on_self(struct frame *f)
{
	nself++;
	mix(f->vector);
	apic_eoi();
}

static void on_timer(struct frame *f)
{
	(void)f;
	nticks++; /* how many there are is not deterministic: not mixed */
	apic_eoi();
}

/* The page at CR2 was taken away: give it back and let the instruction run again. */
static void on_fault(struct frame *f)
{
	uint64_t cr2, i;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	i = (cr2 - WINDOW) >> 12;
	check(i < PAGES && !(f->error & 1), "a fault on an absent page of the window");
	pt[i] = (uint64_t)page[i] | P | W;
	nfaults++;
	mix(cr2);
	mix(f->error);
}

/* One step through many registers; returns the arithmetic flags in the upper half. */
static uint64_t step(uint64_t a, uint64_t b)
{
	uint64_t flags, lo = a, hi = b;

	__asm__ volatile("add %3, %0\n\t"
			 "adc $0, %1\n\t"
			 "rol $13, %0\n\t"
			 "imul %3, %1\n\t"
			 "bt $7, %0\n\t"
			 "rcr $3, %1\n\t"
			 "shld $9, %0, %1\n\t"
			 "bswap %0\n\t"
			 "sub %1, %0\n\t"
			 "pushfq\n\t"
			 "popq %2"
			 : "+&r"(lo), "+&r"(hi), "=&r"(flags)
			 : "r"(b | 1)
			 : "cc", "memory");
	mix(lo);
	mix(hi);
	return lo ^ hi << 1 ^ (flags & 0x8d5) << 40;
}

static uint64_t strings(uint64_t seed)
{
	uint64_t *from = page[0], *to = (uint64_t *)(WINDOW + 4096 * (1 + seed % (PAGES - 1)));
	uint64_t n = 64, si = (uint64_t)from, di = (uint64_t)to, sum = 0;

	__asm__ volatile("rep movsq" : "+c"(n), "+S"(si), "+D"(di)::"memory");
	for (unsigned i = 0; i < 64; i++)
		sum += to[i] * (i + 1);
	mix(si - (uint64_t)from + di - (uint64_t)to + n);
	return sum;
}

static void self_interrupt(void)
{
	uint64_t before = nself;

	apic_write(APIC_ICR2, apic_read(0x20) & 0xff000000);
	apic_write(APIC_ICR, VEC_SELF);
	while (nself == before)
		wait_interrupt();
}

static void one_round(uint64_t *acc, unsigned round)
{
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t p = *acc % PAGES, off = *acc >> 8 & 511;
		uint64_t *cell = (uint64_t *)(WINDOW + p * 4096 + off * 8);

		*acc = step(*acc, *cell + round);
		*cell ^= *acc;
		if (i % 100 == 50) {
			pt[p] = 0;
			__asm__ volatile("invlpg (%0)" ::"r"(WINDOW + p * 4096) : "memory");
		}
	}
	*acc ^= strings(*acc);
	cli();
	self_interrupt();
	sti();
}

static void set_up(void)
{
	uint64_t *pml4;

	idt_init();
	idt_set(14, on_fault);
	idt_set(VEC_SELF, on_self);
	idt_set(VEC_TIMER, on_timer);
	__asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
	pml4[128] = (uint64_t)pdpt2 | P | W;
	pdpt2[0] = (uint64_t)pd2 | P | W;
	pd2[0] = (uint64_t)pt | P | W;
	for (unsigned i = 0; i < PAGES; i++)
		page[i][0] = i * 0x9e3779b97f4a7c15ULL;
	apic_enable();
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, VEC_TIMER | 1 << 17);
	apic_write(APIC_INITIAL, 1000000); /* 1 ms, periodic */
}

static uint64_t memory_hash(void)
{
	for (unsigned p = 0; p < PAGES; p++)
		for (unsigned i = 0; i < 512; i++)
			mix(page[p][i]);
	return hash;
}

int main(void)
{
	uint64_t acc = 0x0123456789abcdefULL;
	unsigned rounds = guest_option("rounds", DEFAULT_ROUNDS);

	set_up();
	wrmsr(0xc0000102, 0x00005566778899aaULL); /* KernelGSBase: a register nobody looks at */
	__asm__ volatile("mov %0, %%dr1" ::"r"(0x1234567890ULL));
	sti();
	for (unsigned r = 0; r < rounds; r++) {
		one_round(&acc, r);
		print_line("round", r);
		print_line("hash", hash);
	}
	while (nticks < 3)
		wait_interrupt();
	cli();
	print_line("registers", acc);
	print_line("memory", memory_hash());
	print_line("self-interrupts", nself);
	check(nfaults > rounds, "pages that were taken away fault");
	print_line("KernelGSBase", rdmsr(0xc0000102));
	__asm__ volatile("mov %%dr1, %0" : "=r"(acc));
	print_line("DR1", acc);
	print("state done\n");
	return 0;
}
