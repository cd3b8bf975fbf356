/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what the freestanding test guests share: ports, serial, interrupts, APIC.
 *
 * A guest prints what it finds on the serial port and ends through the debug exit
 * port; the same guest must print the same on every engine.  Only general
 * registers are used, so that it runs where the kernel's KVM emulates ring 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame { /* as common in boot.S pushes it */
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint16_t inw(uint16_t port)
{
	uint16_t v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline void sti(void)
{
	__asm__ volatile("sti" ::: "memory");
}
static inline void cli(void)
{
	__asm__ volatile("cli" ::: "memory");
}
static inline void wait_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}
static inline void mmio_write32(uint64_t a, uint32_t v)
{
	*(volatile uint32_t *)a = v;
}
static inline uint32_t mmio_read32(uint64_t a)
{
	return *(volatile uint32_t *)a;
}

int main(void);
void ap_main(void); /* weak; secondary processors */
void interrupt(struct frame *f);
extern uint64_t stub_table[256];
extern uint8_t ap_trampoline[], ap_trampoline_end[];

void guest_exit(int status) __attribute__((noreturn)); /* 0: success */
void print(const char *s);
void print_hex(uint64_t v);
void print_line(const char *name, uint64_t v);
/* The decimal number behind "@name=" on the command line, or @otherwise. */
unsigned guest_option(const char *name, unsigned otherwise);
void idt_init(void);
/* Call @fn for vector @vec; without one an interrupt prints itself and ends the guest. */
void idt_set(unsigned vec, void (*fn)(struct frame *f));
void idt_set_ist(unsigned vec, unsigned ist);
void idt_set_dpl(unsigned vec, unsigned dpl);
void idt_present(unsigned vec, bool present);
/* An interrupt came in ring 3: weak; user_lib.c's ends the user's run. */
void user_interrupt(struct frame *f);
void check(bool ok, const char *what); /* prints what failed and ends with status 1 */

enum {
	APIC = 0xfee00000,
	APIC_EOI = 0xb0,
	APIC_SVR = 0xf0,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_TIMER = 0x320,
	APIC_INITIAL = 0x380,
	APIC_CURRENT = 0x390,
	APIC_DIVIDE = 0x3e0
};
static inline void apic_write(uint32_t reg, uint32_t v)
{
	mmio_write32(APIC + reg, v);
}
static inline uint32_t apic_read(uint32_t reg)
{
	return mmio_read32(APIC + reg);
}
static inline void apic_enable(void)
{
	apic_write(APIC_SVR, 0x1ff);
}
static inline void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}
void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
