/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus.h - starting up to four processors that run the same function together.
 *
 * A guest defines worker(cpu); main() here starts it on "cpus=" processors and ends with
 * success once all have returned.  Included once, by the guest itself.
 */
#pragma once

#include "guest.h"

enum { MAX_CPUS = 4, STACK_BYTES = 16384, APIC_ID = 0x20, IPI_OTHERS = 0xc4000 };

static void worker(unsigned cpu);

static unsigned ncpus, rounds; /* set before the others start */
static volatile unsigned up, returned;
static volatile unsigned barrier_count, barrier_turn;

uint8_t litmus_stacks[MAX_CPUS][STACK_BYTES] __attribute__((aligned(64)));
volatile uint32_t litmus_next = 1;
void litmus_ap(unsigned cpu);

/* All processors come here on one stack, one after the other: each takes its own. */
__asm__(".text\n\t"
	".globl ap_main\n"
	"ap_main:\n\t"
	"movl $1, %edi\n\t"
	"lock xaddl %edi, litmus_next\n\t"
	"leal 1(%rdi), %eax\n\t"
	"shll $14, %eax\n\t"
	"leaq litmus_stacks(%rax), %rsp\n\t"
	"call litmus_ap\n\t"
	"ud2\n");
_Static_assert(STACK_BYTES == 1 << 14, "ap_main");

static inline void pause_cpu(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void invlpg(const volatile void *p)
{
	__asm__ volatile("invlpg (%0)" ::"r"(p) : "memory");
}

static inline void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
}

/* Wait for all processors. */
static void barrier(void)
{
	unsigned turn = barrier_turn;

	if (__atomic_add_fetch(&barrier_count, 1, __ATOMIC_SEQ_CST) == ncpus) {
		barrier_count = 0;
		__atomic_store_n(&barrier_turn, turn + 1, __ATOMIC_SEQ_CST);
		return;
	}
	while (__atomic_load_n(&barrier_turn, __ATOMIC_SEQ_CST) == turn)
		pause_cpu();
}

static void print_number(uint64_t v)
{
	char buf[21];
	char *p = buf + sizeof(buf) - 1;

	*p = 0;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	print(p);
}

void litmus_ap(unsigned cpu)
{
	idt_init();
	apic_enable();
	__atomic_add_fetch(&up, 1, __ATOMIC_SEQ_CST);
	worker(cpu);
	__atomic_add_fetch(&returned, 1, __ATOMIC_SEQ_CST);
	for (;;)
		wait_interrupt();
}

static void start_others(void)
{
	memcpy((void *)0x8000, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
	for (unsigned n = 1; n < ncpus; n++) {
		apic_write(APIC_ICR2, n << 24);
		apic_write(APIC_ICR, 0x4500); /* INIT */
		apic_write(APIC_ICR2, n << 24);
		apic_write(APIC_ICR, 0x4608); /* SIPI, vector 8 */
		while (up < n)
			pause_cpu();
	}
}

static void run_on_all(unsigned default_rounds)
{
	ncpus = guest_option("cpus", 2);
	rounds = guest_option("rounds", default_rounds);
	check(ncpus >= 2 && ncpus <= MAX_CPUS, "cpus= is 2 to 4");
	idt_init();
	apic_enable();
	start_others();
	worker(0);
	while (returned < ncpus - 1)
		pause_cpu();
}
