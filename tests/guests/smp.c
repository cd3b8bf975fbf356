/* SPDX-License-Identifier: Apache-2.0 */
/* smp.c - start a second processor by INIT and SIPI; both count under a lock and atomically. */
#include "guest.h"

enum { ROUNDS = 20000 };

static volatile unsigned started, finished;
static volatile uint64_t plain, atomic;
static volatile uint32_t lock;

static void count(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
			__asm__ volatile("pause");
		plain = plain + 1;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
		__atomic_fetch_add(&atomic, 3, __ATOMIC_SEQ_CST);
	}
	__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
}

void ap_main(void)
{
	started = 1;
	count();
}

/* A kick that comes before the HLT it is meant for is not lost; interrupts are off. */
static void kick_then_halt(void)
{
	uint64_t call = 5; /* KVM_HC_KICK_CPU: flags, APIC ID */

	__asm__ volatile("vmcall" : "+a"(call) : "b"(0ULL), "c"(0ULL) : "memory");
	__asm__ volatile("hlt");
}

int main(void)
{
	idt_init();
	apic_enable();
	memcpy((void *)0x8000, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
	apic_write(APIC_ICR2, 1u << 24);
	apic_write(APIC_ICR, 0x4500); /* INIT */
	apic_write(APIC_ICR2, 1u << 24);
	apic_write(APIC_ICR, 0x4608); /* SIPI, vector 8 */
	while (!started)
		__asm__ volatile("pause");
	count();
	while (finished < 2)
		__asm__ volatile("pause");
	print_line("under a lock", plain);
	print_line("atomic", atomic);
	if (guest_option("kick", 0))
		kick_then_halt();
	check(plain == 2 * ROUNDS && atomic == 6 * ROUNDS, "counts");
	print("smp done\n");
	return 0;
}
