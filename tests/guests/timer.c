/* SPDX-License-Identifier: Apache-2.0 */
/* timer.c - APIC timer one-shot and periodic, TSC deadline, PIT through PIC, self-IPI, NMI-free. */
#include "guest.h"

static volatile unsigned ticks[256];

static void on_apic(struct frame *f)
{
	ticks[f->vector]++;
	apic_eoi();
}

static void on_pic(struct frame *f)
{
	ticks[f->vector]++;
	outb(0x20, 0x20);
}

static void wait_ticks(unsigned vec, unsigned n)
{
	while (ticks[vec] < n)
		wait_interrupt();
}

static void self_ipi(unsigned vec)
{
	apic_write(APIC_ICR2, apic_read(0x20) & 0xff000000);
	apic_write(APIC_ICR, vec);
}

int main(void)
{
	idt_init();
	apic_enable();
	for (unsigned v = 0x40; v < 0x50; v++)
		idt_set(v, on_apic);
	idt_set(0x20, on_pic);

	self_ipi(0x41);
	wait_ticks(0x41, 1);
	print_line("self-IPI", ticks[0x41]);

	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, 0x42);
	apic_write(APIC_INITIAL, 1000000);
	wait_ticks(0x42, 1);
	print_line("one shot", ticks[0x42]);

	apic_write(APIC_TIMER, 0x43 | 1 << 17);
	apic_write(APIC_INITIAL, 1000000);
	wait_ticks(0x43, 5);
	apic_write(APIC_INITIAL, 0);
	print("periodic\n");

	apic_write(APIC_TIMER, 0x44 | 2 << 17);
	wrmsr(0x6e0, rdtsc() + 2000000);
	wait_ticks(0x44, 1);
	print_line("deadline", ticks[0x44]);
	check(rdmsr(0x6e0) == 0, "the deadline is clear after it fired");
	apic_write(APIC_TIMER, 1 << 16);

	apic_write(0x350, 0x700); /* LINT0: ExtINT, the PIC */
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e); /* 11932: about 100 Hz */
	outb(0x21, 0xfe);
	wait_ticks(0x20, 3);
	outb(0x21, 0xff);
	print("pit\n");
	print("timer done\n");
	return 0;
}
