/* SPDX-License-Identifier: Apache-2.0 */
/* user_lib.c - see user.h. */
#include "user.h"

#include "guest.h"

enum { P = 1, W = 2, U = 4, USER_CS = 0x33, USER_SS = 0x2b };

struct tss {
	uint32_t reserved;
	uint64_t rsp[3], reserved2, ist[7], reserved3;
	uint16_t reserved4, iomap;
} __attribute__((packed));

extern uint64_t gdt_tss[2];
struct user_result user;
uint64_t user_saved_rsp;

static struct tss tss;
static uint8_t ring0_stack[8192] __attribute__((aligned(16)));
static uint64_t pdpt3[512] __attribute__((aligned(4096)));
static uint64_t pd3[512] __attribute__((aligned(4096)));
static uint64_t pt3[512] __attribute__((aligned(4096)));
static uint8_t user_stack[4096] __attribute__((aligned(4096)));

void user_enter(uint64_t rip, uint64_t rsp);
void user_back(void);
void user_syscall_entry(void);
extern uint8_t user_code[], user_code_end[];

__asm__(
	/* user_enter(rip, rsp): leave ring 0; user_back takes it up again */
	".globl user_enter\n"
	"user_enter:\n"
	"	pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"	movq %rsp, user_saved_rsp\n"
	"	pushq $0x2b; pushq %rsi; pushq $0x202; pushq $0x33; pushq %rdi\n"
	"	iretq\n"
	".globl user_back\n"
	"user_back:\n"
	"	movq user_saved_rsp, %rsp\n"
	"	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
	"	ret\n"
	/* SYSCALL comes here, still on the user's stack, interrupts off */
	".globl user_syscall_entry\n"
	"user_syscall_entry:\n"
	"	cmpq $2, %rax\n" /* asks to be returned to */
	"	je 1f\n"
	"	movq %rcx, user+48; movq %r11, user+56; movq %rax, user+64\n"
	"	movq $0x1000, user\n"
	"	xorl %eax, %eax; movw %cs, %ax; movq %rax, user+16\n"
	"	movw %ss, %ax; movq %rax, user+24\n"
	"	jmp user_back\n"
	"1:	movl $3, %eax\n"
	"	sysretq\n"
	/* ring 3: copied to the user's page */
	"	.balign 64\n"
	".globl user_code\n"
	"user_code:\n"
	".globl user_ud\nuser_ud:		nop; ud2\n"
	".globl user_hlt\nuser_hlt:		hlt\n"
	".globl user_read_kernel\nuser_read_kernel:	movl $0x100000, %eax; movb (%rax), %al\n"
	".globl user_divide\nuser_divide:	xorl %ecx, %ecx; divl %ecx\n"
	".globl user_int\nuser_int:		nop; int $0x80\n"
	".globl user_syscall\nuser_syscall:	movl $1, %eax; syscall; ud2\n"
	".globl user_sysret\nuser_sysret:	movl $2, %eax; syscall; syscall; ud2\n"
	".globl user_spin\nuser_spin:		jmp user_spin\n"
	".globl user_code_end\n"
	"user_code_end:\n");

/* From interrupt(): @f is of ring 3.  Goes back to user_run() instead. */
void user_interrupt(struct frame *f)
{
	user.vector = f->vector;
	user.error = f->error;
	user.cs = f->cs;
	user.ss = f->ss;
	user.rip = f->rip;
	user.rax = f->rax;
	__asm__ volatile("mov %%cr2, %0" : "=r"(user.cr2));
	f->cs = 8;
	f->ss = 0x10;
	f->rip = (uint64_t)user_back;
	f->rsp = user_saved_rsp;
	f->rflags = 2;
}

void tss_init(uint64_t ist1)
{
	uint64_t base = (uint64_t)&tss;

	tss.rsp[0] = (uint64_t)ring0_stack + sizeof(ring0_stack);
	tss.ist[0] = ist1;
	tss.iomap = sizeof(tss);
	gdt_tss[0] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ULL << 40 |
		     (base >> 24 & 0xff) << 56;
	gdt_tss[1] = base >> 32;
	__asm__ volatile("ltr %w0" ::"r"(0x38));
}

void user_init(void)
{
	static uint8_t code[4096] __attribute__((aligned(4096)));
	uint64_t *pml4;

	memcpy(code, user_code, (size_t)(user_code_end - user_code));
	__asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
	pml4[USER_BASE >> 39 & 511] = (uint64_t)pdpt3 | P | W | U;
	pdpt3[0] = (uint64_t)pd3 | P | W | U;
	pd3[0] = (uint64_t)pt3 | P | W | U;
	pt3[0] = (uint64_t)code | P | U;
	pt3[1] = (uint64_t)user_stack | P | W | U;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);	   /* SCE */
	wrmsr(0xc0000081, 0x0023ULL << 48 | 0x8ULL << 32); /* SYSRET to 0x33, 0x2b */
	wrmsr(0xc0000082, (uint64_t)user_syscall_entry);
	wrmsr(0xc0000084, 0x300); /* IF and TF off */
}

void user_run(const uint8_t *snippet)
{
	uint64_t off = (uint64_t)(snippet - user_code);

	user = (struct user_result){0};
	user_enter(USER_BASE + off, USER_BASE + 0x2000);
	if (user.rip)
		user.rip -= USER_BASE + off;
	if (user.rcx)
		user.rcx -= USER_BASE + off;
}
