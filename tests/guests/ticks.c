/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ticks.c - many one-shot timers, one after the other: none may be lost or come twice,
 * whenever the machine is stopped and wherever it goes on.
 */
#include "guest.h"

enum { VEC = 0x52, DEFAULT_SHOTS = 60 };

static volatile unsigned nticks;

static void on_timer(struct frame *f)
{
	(void)f;
	nticks++;
	apic_eoi();
}

int main(void)
{
	unsigned shots = guest_option("shots", DEFAULT_SHOTS);

	idt_init();
	apic_enable();
	idt_set(VEC, on_timer);
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, VEC);
	for (unsigned i = 1; i <= shots; i++) {
		apic_write(APIC_INITIAL, 200000 + i % 7 * 300000); /* 0.2 to 2 ms */
		while (nticks < i)
			wait_interrupt();
		check(nticks == i, "a shot comes once");
		if (i % 20 == 0)
			print_line("shots", i);
	}
	print("ticks done\n");
	return 0;
}
