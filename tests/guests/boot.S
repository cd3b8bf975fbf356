/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.S - from a Multiboot 1 loader's 32-bit state to C in long mode, and the way
 * secondary processors take.  The first 4 GiB are mapped one to one with 2 MiB pages.
 */
	.set MAGIC, 0x1badb002
	.set FLAGS, 0x3			/* page-aligned modules, memory map */

	.section .multiboot, "a"
	.align 4
	.long MAGIC, FLAGS, -(MAGIC + FLAGS)

	.section .bss
	.align 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096 * 4
	.align 16
	.skip 65536
stack_top:
	.globl ap_stack_top
	.skip 65536
ap_stack_top:

	.section .data
	.align 16
	.globl gdt
gdt:	.quad 0
	.quad 0x00af9a000000ffff	/* 0x08: 64-bit code */
	.quad 0x00cf92000000ffff	/* 0x10: data */
	.quad 0x00cf9a000000ffff	/* 0x18: 32-bit code */
	.quad 0x00cffa000000ffff	/* 0x20: user 32-bit code */
	.quad 0x00cff2000000ffff	/* 0x28: user data */
	.quad 0x00affa000000ffff	/* 0x30: user 64-bit code */
	.globl gdt_tss
gdt_tss: .quad 0, 0			/* 0x38: TSS */
gdt_end:
	.globl gdt_ptr
gdt_ptr: .word gdt_end - gdt - 1
	.quad gdt

	.text
	.code32
	.globl _start
_start:
	movl %ebx, multiboot_info
	movl $stack_top, %esp
	movl $pdpt + 3, pml4
	movl $pdpt, %edi
	movl $pd + 3, %eax
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b
	movl $pd, %edi
	movl $0x83, %eax		/* present, writable, 2 MiB */
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	decl %ecx
	jnz 2b
	call enter_long_mode
	ljmp $8, $start64

/* CR4.PAE, EFER.LME, CR0.PG; clobbers EAX, ECX, EDX */
enter_long_mode:
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80010001, %eax		/* PG, WP, PE */
	movl %eax, %cr0
	lgdt gdt_ptr
	ret

	.code64
start64:
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movq $stack_top, %rsp
	xorl %ebp, %ebp
	call main
	movl %eax, %edi
	call guest_exit

/* Secondary processors start here in real mode, copied to 0x8000. */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl 0x8000 + (ap_gdt_ptr - ap_trampoline)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x18, $ap_start32
	.align 8
ap_gdt_ptr:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:

	.code32
ap_start32:
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $ap_stack_top, %esp
	call enter_long_mode
	ljmp $8, $ap_start64

	.code64
ap_start64:
	movq $ap_stack_top, %rsp
	call ap_main
1:	hlt
	jmp 1b

/* Interrupt stubs: push an error code where the CPU does not, the vector, then all registers. */
	.altmacro
	.macro stub n
stub_\n:
	.if !((\n == 8) || ((\n >= 10) && (\n <= 14)) || (\n == 17))
	pushq $0
	.endif
	pushq $\n
	jmp common
	.endm

	.set i, 0
	.rept 256
	stub %i
	.set i, i + 1
	.endr

common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	cld
	call interrupt
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.section .rodata
	.globl stub_table
	.macro entry n
	.quad stub_\n
	.endm
stub_table:
	.set i, 0
	.rept 256
	entry %i
	.set i, i + 1
	.endr

	.section .bss
	.globl multiboot_info
multiboot_info: .long 0
	.long 0
