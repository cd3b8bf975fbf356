/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus_code.c - code and page tables that change while other processors use them.
 *
 * Processor 0 writes, the others run.  Code is changed by the SDM's protocols for
 * cross-modifying code (vol. 3A, 8.1.3): behind an INT3 with an interrupt that
 * serializes all processors between the steps, and behind a flag and CPUID.  Page tables
 * are changed with a shootdown by interrupt (vol. 3A, 4.10.5).  What the writer has
 * published before a processor looked is what it must see, or something newer.
 */
#include "litmus.h"

enum {
	VEC_SYNC = 0x40,
	VEC_FLUSH = 0x41,
	MOV_EAX = 0xb8,
	RET = 0xc3,
	INT3 = 0xcc,
	AT_LINE = 61,	/* in a code page: its immediate is in two cache lines */
	COUNTER = 2048, /* in a code page: data */
	P = 1,
	W = 2,
};
#define FROM_INT3 0xffffffffu
#define WINDOW	  0x400000000000ULL /* PML4 entry 128 */

static uint8_t code[4096] __attribute__((aligned(4096)));
static uint8_t pages[2][4096] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096))), pd[512] __attribute__((aligned(4096)));
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static volatile uint32_t published, acks, flag, flag_acks;
static volatile bool stop;
static volatile uint64_t int3s, faults, counts[MAX_CPUS];

/* --- interrupts ------------------------------------------------------------------------ */

static void on_sync(struct frame *f)
{
	(void)f;
	serialize();
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void on_flush(struct frame *f)
{
	(void)f;
	invlpg((void *)WINDOW);
	invlpg((void *)(WINDOW + 4096));
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

/* In place of the instruction that is being changed. */
static void on_int3(struct frame *f)
{
	check(f->rip == (uint64_t)code + AT_LINE + 1, "INT3 where code changes");
	f->rax = FROM_INT3;
	f->rip += 4;
	__atomic_add_fetch(&int3s, 1, __ATOMIC_SEQ_CST);
}

/* A write to the protected page: again, until it is allowed. */
static void on_fault(struct frame *f)
{
	check(f->error == (P | W), "only writes fault");
	__atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST);
}

static void tell_others(unsigned vec)
{
	acks = 0;
	apic_write(APIC_ICR, IPI_OTHERS | vec);
	while (acks < ncpus - 1)
		pause_cpu();
}

static uint32_t call(const volatile void *at)
{
	uint32_t v;

	__asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "cc");
	return v;
}

static void put_function(volatile uint8_t *at, uint32_t v)
{
	at[0] = MOV_EAX;
	for (unsigned n = 0; n < 4; n++)
		at[1 + n] = (uint8_t)(v >> 8 * n);
	at[5] = RET;
}

/* @v was seen between two looks at what is published. */
static void fresh(uint32_t before, uint32_t v, const char *what)
{
	if (v >= before && v <= published + 1)
		return;
	print_line("before", before);
	print_line("seen", v);
	print_line("after", published);
	check(false, what);
}

/* --- code -------------------------------------------------------------------------------- */

static void int3_writer(void)
{
	volatile uint8_t *at = code + AT_LINE;

	for (uint32_t v = 1; v <= rounds; v++) {
		at[0] = INT3;
		tell_others(VEC_SYNC);
		for (unsigned n = 0; n < 4; n++)
			at[1 + n] = (uint8_t)(v >> 8 * n);
		tell_others(VEC_SYNC);
		at[0] = MOV_EAX;
		tell_others(VEC_SYNC);
		published = v;
	}
}

static void int3_runner(unsigned cpu)
{
	do {
		uint32_t before = published, v = call(code + AT_LINE);

		if (v != FROM_INT3)
			fresh(before, v, "code behind INT3");
		counts[cpu]++;
	} while (published != rounds);
}

/* Everybody waits for the flag, serializes, and must run the new code. */
static void flag_protocol(unsigned cpu)
{
	for (uint32_t v = 1; v <= rounds; v++) {
		if (!cpu) {
			put_function(code + 256, v);
			flag_acks = 0;
			__atomic_store_n(&flag, v, __ATOMIC_RELEASE);
		} else {
			while (__atomic_load_n(&flag, __ATOMIC_ACQUIRE) != v)
				pause_cpu();
			serialize();
			check(call(code + 256) == v, "code behind a flag");
			__atomic_add_fetch(&flag_acks, 1, __ATOMIC_SEQ_CST);
		}
		while (!cpu && flag_acks < ncpus - 1)
			pause_cpu();
	}
}

/* All run code of a page and count in the same page. */
static void data_among_code(void)
{
	for (uint32_t n = 0; n < rounds; n++) {
		__asm__ volatile("lock; incq %0"
				 : "+m"(*(volatile uint64_t *)(code + COUNTER))::"memory", "cc");
		check(call(code + 512) == 0x1234, "code beside data");
	}
}

/* --- page tables --------------------------------------------------------------------------- */

static void map_window(unsigned n, const void *page, uint64_t attr)
{
	*(volatile uint64_t *)&pt[n] = (uint64_t)page | attr;
	invlpg((void *)(WINDOW + n * 4096));
}

static void build_window(void)
{
	uint64_t *pml4;

	__asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
	pml4[128] = (uint64_t)pdpt | P | W;
	pdpt[0] = (uint64_t)pd | P | W;
	pd[0] = (uint64_t)pt | P | W;
}

/* Two pages take turns, and hold a number and a function that returns it. */
static void remap_writer(void)
{
	for (uint32_t v = 1; v <= rounds; v++) {
		uint8_t *page = pages[v & 1];

		*(volatile uint32_t *)(page + COUNTER) = v;
		put_function(page, v);
		map_window(0, page, P | W);
		tell_others(VEC_FLUSH);
		published = v;
	}
}

static void remap_runner(unsigned cpu)
{
	do {
		uint32_t before = published, v = *(volatile uint32_t *)(WINDOW + COUNTER);

		fresh(before, v, "data of a remapped page");
		before = published;
		fresh(before, call((void *)WINDOW), "code of a remapped page");
		counts[cpu]++;
	} while (published != rounds);
}

static uint64_t sum_page(const volatile uint8_t *page)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < MAX_CPUS; n++)
		sum += *(volatile uint64_t *)(page + n * 64);
	return sum;
}

/* Nobody writes to a page that was made read-only once all have answered. */
static void protect_writer(void)
{
	for (uint32_t n = 0; n < rounds; n++) {
		uint64_t before;

		map_window(1, pages[0], P);
		tell_others(VEC_FLUSH);
		before = sum_page(pages[0]);
		for (unsigned wait = 0; wait < 200; wait++)
			pause_cpu();
		check(sum_page(pages[0]) == before, "a write to a read-only page");
		map_window(1, pages[0], P | W);
		tell_others(VEC_FLUSH);
		for (unsigned wait = 0; wait < 200; wait++)
			pause_cpu();
	}
	stop = true;
}

static void protect_runner(unsigned cpu)
{
	volatile uint64_t *mine = (volatile uint64_t *)(WINDOW + 4096 + cpu * 64);

	while (!stop) {
		__asm__ volatile("incq %0" : "+m"(*mine)::"memory", "cc");
		counts[cpu]++;
	}
	check(*mine == counts[cpu], "a write was lost");
}

/* --- all of it ------------------------------------------------------------------------------ */

static void report(const char *name)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < ncpus; n++)
		sum += counts[n];
	print(name);
	print(" ");
	print_number(sum);
	print(" times, int3 ");
	print_number(int3s);
	print(", faults ");
	print_number(faults);
	print("\n");
}

/* Between two parts: nobody runs, so all can be set back. */
static void next_part(unsigned cpu, const char *done)
{
	barrier();
	if (!cpu) {
		if (done)
			report(done);
		published = 0;
		stop = false;
		int3s = faults = 0;
		memset((void *)counts, 0, sizeof(counts));
	}
	barrier();
}

static void worker(unsigned cpu)
{
	if (!cpu) {
		idt_set(3, on_int3);
		idt_set(14, on_fault);
		idt_set(VEC_SYNC, on_sync);
		idt_set(VEC_FLUSH, on_flush);
		put_function(code + AT_LINE, 0);
		put_function(code + 512, 0x1234);
		build_window();
	}
	sti();
	next_part(cpu, NULL);
	if (cpu)
		int3_runner(cpu);
	else
		int3_writer();
	next_part(cpu, "code behind INT3");
	flag_protocol(cpu);
	next_part(cpu, "code behind a flag");
	data_among_code();
	next_part(cpu, "data among code");
	if (!cpu) {
		put_function(pages[0], 0);
		*(volatile uint32_t *)(pages[0] + COUNTER) = 0;
		map_window(0, pages[0], P | W);
	}
	next_part(cpu, NULL);
	if (cpu)
		remap_runner(cpu);
	else
		remap_writer();
	next_part(cpu, "remapping");
	if (!cpu) {
		memset(pages[0], 0, sizeof(pages[0]));
		map_window(1, pages[0], P | W);
	}
	next_part(cpu, NULL);
	if (cpu)
		protect_runner(cpu);
	else
		protect_writer();
	next_part(cpu, "protecting");
	cli();
	check(*(volatile uint64_t *)(code + COUNTER) == (uint64_t)ncpus * rounds,
	      "counted in code");
}

int main(void)
{
	run_on_all(60);
	print("PASS\nlitmus_code done\n");
	return 0;
}
