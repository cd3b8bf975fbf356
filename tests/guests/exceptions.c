/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exceptions.c - faults in ring 0 with their error codes and return addresses, a double
 * fault on a stack of its own (IST), debug traps, and faults and interrupts in ring 3.
 */
#include "guest.h"
#include "user.h"

enum { VEC_TIMER = 0x52 };

static uint64_t vector, error, offset, ist_rsp;
uint64_t resume_rip; /* named in TRY */
static uint8_t ist_stack[4096] __attribute__((aligned(16)));

/* Every fault is reported and resumed behind the instruction that caused it. */
static void on_exception(struct frame *f)
{
	vector = f->vector;
	error = f->error;
	offset = f->rip - f->rbx; /* 0: RIP is the instruction's (fault) */
	f->rip = resume_rip;
}

static void on_double_fault(struct frame *f)
{
	ist_rsp = (uint64_t)f;
	on_exception(f);
}

static void on_debug(struct frame *f)
{
	on_exception(f);
	f->rip = f->rbx + offset; /* a trap: go on where it was */
	f->rflags &= ~0x100ULL;
	vector = f->vector;
}

/* Run @insn with EAX, EDX, ECX given.  RBX: the instruction; resume_rip: the one after. */
#define TRY(insn, a, d, c)                                                               \
	do {                                                                             \
		uint64_t a_ = (a), d_ = (d), c_ = (c);                                   \
		__asm__ volatile("lea 2f(%%rip), %%rbx\n\tmovq %%rbx, resume_rip\n\t"    \
				 "lea 1f(%%rip), %%rbx\n1:\t" insn "\n2:"                \
				 : "+a"(a_), "+d"(d_), "+c"(c_)::"rbx", "cc", "memory"); \
	} while (0)

static void report(const char *what)
{
	print(what);
	print(": vector ");
	print_hex(vector);
	print(" error ");
	print_hex(error);
	print_line(" at", offset);
	vector = error = offset = 0x999;
}

static void ring0_faults(void)
{
	for (unsigned v = 0; v < 32; v++)
		idt_set(v, v == 1 ? on_debug : v == 8 ? on_double_fault : on_exception);
	TRY("divl %%ecx", 1, 0, 0);
	report("division by zero");
	TRY("divl %%ecx", 0, 5, 3);
	report("quotient too large");
	TRY("ud2", 0, 0, 0);
	report("UD2");
	TRY("movw %%ax, %%ds", 0x1238, 0, 0);
	report("selector beyond the GDT");
	TRY("movw %%ax, %%ds", 0x38, 0, 0);
	report("TSS as data segment");
	TRY("movb (%%rax), %%cl", 0x8000000000000000ULL, 0, 0);
	report("non-canonical address");
	TRY("wrmsr", 0, 0, 0x12345);
	report("unknown MSR");
	TRY("rdmsr", 0, 0, 0x12345);
	report("unknown MSR read");
	TRY("mov %%rax, %%cr0", 0x80000000ULL, 0, 0);
	report("CR0 with PG but not PE");
	TRY("mov %%rax, %%cr4", 0x80000020ULL, 0, 0);
	report("reserved bit of CR4");
	TRY("wrmsr", 1, 0x80000000, 0xc0000082);
	report("non-canonical LSTAR");
	TRY("ltr %%ax", 0x10, 0, 0);
	report("data segment as TSS");
}

static void traps(void)
{
	TRY("pushfq; orq $0x100, (%%rsp); popfq; nop; nop", 0, 0, 0);
	report("single step");
}

/* #GP without a gate is #NP while #GP is delivered: two contributory faults. */
static void double_fault(void)
{
	idt_present(13, false);
	TRY("rdmsr", 0, 0, 0x12345);
	report("#GP without a gate");
	check(ist_rsp - (uint64_t)ist_stack < sizeof(ist_stack), "#DF runs on its own stack");
	print_line("stack used", (uint64_t)ist_stack + sizeof(ist_stack) - ist_rsp);
	idt_present(13, true);
}

static void report_user(const char *what)
{
	print(what);
	print(": vector ");
	print_hex(user.vector);
	print(" error ");
	print_hex(user.error);
	print(" cs ");
	print_hex(user.cs);
	print_line(" at", user.rip);
}

static void ring3_faults(void)
{
	user_run(user_ud);
	report_user("user: UD2");
	user_run(user_hlt);
	report_user("user: HLT");
	user_run(user_read_kernel);
	report_user("user: read of the kernel's page");
	print_line("CR2", user.cr2);
	user_run(user_divide);
	report_user("user: division by zero");
	apic_enable();
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, VEC_TIMER);
	apic_write(APIC_INITIAL, 1000000);
	user_run(user_spin);
	apic_eoi();
	report_user("user: timer");
}

int main(void)
{
	idt_init();
	tss_init((uint64_t)ist_stack + sizeof(ist_stack));
	idt_set_ist(8, 1);
	ring0_faults();
	traps();
	double_fault();
	user_init();
	ring3_faults();
	print("exceptions done\n");
	return 0;
}
