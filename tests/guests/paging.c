/* SPDX-License-Identifier: Apache-2.0 */
/* paging.c - own page tables: mapping, faults with their error codes, A and D bits, INVLPG. */
#include "guest.h"

static uint64_t pt[512] __attribute__((aligned(4096))), pd2[512] __attribute__((aligned(4096)));
static uint64_t pdpt2[512] __attribute__((aligned(4096)));
static uint8_t page_a[4096] __attribute__((aligned(4096)));
static uint8_t page_b[4096] __attribute__((aligned(4096)));
static uint64_t fault_addr, fault_error, nfaults;

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40 };
#define NX     (1ULL << 63)
#define WINDOW 0x400000000000ULL /* PML4 entry 128 */

/* Steps over the faulting 7-byte or shorter instruction: RIP comes in RBX. */
static void on_fault(struct frame *f)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	fault_addr = cr2;
	fault_error = f->error;
	nfaults++;
	f->rip = f->rbx;
}

static void touch_read(uint64_t a)
{
	__asm__ volatile("lea 1f(%%rip), %%rbx; movb (%0), %%al; 1:" ::"r"(a)
			 : "rbx", "rax", "memory");
}

static void touch_write(uint64_t a)
{
	__asm__ volatile("lea 1f(%%rip), %%rbx; movb $0x5a, (%0); 1:" ::"r"(a) : "rbx", "memory");
}

static void jump_to(uint64_t a)
{
	__asm__ volatile("lea 1f(%%rip), %%rbx; jmp *%0; 1:" ::"r"(a) : "rbx", "memory");
}

static void invlpg(uint64_t a)
{
	__asm__ volatile("invlpg (%0)" ::"r"(a) : "memory");
}

static void expect(void (*fn)(uint64_t), uint64_t addr, uint64_t error, const char *what)
{
	nfaults = 0;
	fn(addr);
	check(nfaults == 1, what);
	print_line(what, fault_error);
	check(fault_addr == addr, "CR2");
	check(fault_error == error, "error code");
}

int main(void)
{
	uint64_t *pml4;

	idt_init();
	idt_set(14, on_fault);
	__asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1 << 11); /* NXE */
	pml4[128] = (uint64_t)pdpt2 | P | W;
	pdpt2[0] = (uint64_t)pd2 | P | W;
	pd2[0] = (uint64_t)pt | P | W;
	pt[0] = (uint64_t)page_a | P | W;
	pt[1] = (uint64_t)page_b | P | NX; /* read-only, no execution */

	touch_write(WINDOW);
	check(page_a[0] == 0x5a, "a write reaches the page");
	print_line("A and D after a write", pt[0] & (A | D));
	check((pt[0] & (A | D)) == (A | D), "A and D");
	page_b[7] = 0x77;
	touch_read(WINDOW + 0x1007);
	print_line("A and D after a read", pt[1] & (A | D));
	expect(touch_write, WINDOW + 0x1000, 3, "write to a read-only page");
	expect(touch_read, WINDOW + 0x2000, 0, "read of an absent page");
	expect(touch_write, WINDOW + 0x2000, 2, "write to an absent page");
	expect(jump_to, WINDOW + 0x1000, 0x11, "execution of an NX page");
	pt[0] = (uint64_t)page_b | P | W;
	invlpg(WINDOW);
	touch_write(WINDOW + 9);
	check(page_b[9] == 0x5a, "INVLPG takes the new mapping");
	pt[2] = (uint64_t)page_b | P | W | 1ULL << 51; /* reserved bit */
	expect(touch_read, WINDOW + 0x2000, 9, "reserved bit");
	print("paging done\n");
	return 0;
}
