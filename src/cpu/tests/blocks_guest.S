/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_guest.S - interrupt handlers of the guest that runs random blocks.
 *
 * Copied into guest memory one page below the mailbox (blocks.h), and not run here.
 * Vector N is entered at 16 * N.  Most halt: the frame on the stack and the number in
 * RIP tell what happened.  Some come back to the block as long as there is a budget:
 * traps, a page fault on the pages that are mapped on demand, #NM, SYSCALL, and the
 * interrupt.  An NMI starts the next run from the registers in the mailbox.
 */
	.set	BLOB_PAGES, 2
	.set	GPR, 0
	.set	FRAME, 128
	.set	FSBASE, 168
	.set	GSBASE, 176
	.set	BUDGET, 184
	.set	XSAVE, 256
	.set	S_BASE, 0xffffffff80000000
	.set	PT_USER_A, 0x5000
	.set	PT_KERNEL_A, 0xb000
	.set	PT_A_TO_B, 0x3000
	.set	U_REGION, 0x80		/* the windows' 2 MiB */
	.set	K_REGION, -0x380
	.set	PML4_B, 0x2000
	.set	DEMAND, 0x40
	.set	DEMAND_PAGES, 4

	.section .rodata
	.global	blk_handlers, blk_handlers_end
	.hidden	blk_handlers, blk_handlers_end
	.align	16
blk_handlers:
	.set	mailbox, blk_handlers + BLOB_PAGES * 4096
	.set	v, 0
	.rept	256
	.align	16, 0xf4
	.if v == 1
	jmp	debug
stop_debug:
	.elseif v == 2
	jmp	restart
	.elseif v == 3
	jmp	breakpoint
stop_breakpoint:
	.elseif v == 7
	jmp	no_fpu
stop_no_fpu:
	.elseif v == 14
	jmp	page_fault
stop_page_fault:
	.elseif v == 0x30
	jmp	interrupt
stop_interrupt:
	.elseif v == 0xff
	jmp	system_call		/* no gate: LSTAR is here */
stop_system_call:
	.endif
	hlt
	.set	v, v + 1
	.endr
	.align	16, 0xf4

debug:
	decl	mailbox + BUDGET(%rip)
	js	stop_debug
	iretq

breakpoint:
	decl	mailbox + BUDGET(%rip)
	js	stop_breakpoint
	iretq

interrupt:
	decl	mailbox + BUDGET(%rip)
	js	stop_interrupt
	iretq

no_fpu:
	decl	mailbox + BUDGET(%rip)
	js	stop_no_fpu
	clts
	iretq

system_call:
	decl	mailbox + BUDGET(%rip)
	js	stop_system_call
	sysretq

/* Pages DEMAND .. of either half become present and writable at the first touch. */
page_fault:
	decl	mailbox + BUDGET(%rip)
	js	stop_page_fault
	pushq	%rax
	pushq	%rcx
	movq	%cr2, %rax
	sarq	$21, %rax
	movq	$S_BASE + PT_USER_A, %rcx
	cmpq	$U_REGION, %rax
	je	1f
	movq	$S_BASE + PT_KERNEL_A, %rcx
	cmpq	$K_REGION, %rax
	jne	3f
1:	movq	%cr3, %rax
	andl	$0x3000, %eax
	cmpl	$PML4_B, %eax
	jne	2f
	addq	$PT_A_TO_B, %rcx
2:	movq	%cr2, %rax
	shrl	$12, %eax
	andl	$0x1ff, %eax
	leaq	(%rcx,%rax,8), %rcx
	subl	$DEMAND, %eax
	cmpl	$DEMAND_PAGES, %eax
	jae	3f
	movl	(%rcx), %eax
	andl	$3, %eax
	cmpl	$3, %eax
	je	3f			/* that was not the reason */
	orl	$3, (%rcx)
	movq	%cr2, %rax
	invlpg	(%rax)
	popq	%rcx
	popq	%rax
	addq	$8, %rsp
	iretq
3:	popq	%rcx
	popq	%rax
	jmp	stop_page_fault

restart:
	clts
	movl	$7, %eax
	xorl	%edx, %edx
	xrstor64 mailbox + XSAVE(%rip)
	movq	mailbox + FSBASE(%rip), %rax
	wrfsbase %rax
	movq	mailbox + GSBASE(%rip), %rax
	wrgsbase %rax
	movq	mailbox + GPR + 0(%rip), %rax
	movq	mailbox + GPR + 8(%rip), %rcx
	movq	mailbox + GPR + 16(%rip), %rdx
	movq	mailbox + GPR + 24(%rip), %rbx
	movq	mailbox + GPR + 40(%rip), %rbp
	movq	mailbox + GPR + 48(%rip), %rsi
	movq	mailbox + GPR + 56(%rip), %rdi
	movq	mailbox + GPR + 64(%rip), %r8
	movq	mailbox + GPR + 72(%rip), %r9
	movq	mailbox + GPR + 80(%rip), %r10
	movq	mailbox + GPR + 88(%rip), %r11
	movq	mailbox + GPR + 96(%rip), %r12
	movq	mailbox + GPR + 104(%rip), %r13
	movq	mailbox + GPR + 112(%rip), %r14
	movq	mailbox + GPR + 120(%rip), %r15
	leaq	mailbox + FRAME(%rip), %rsp
	iretq
	.align	16, 0xf4
blk_handlers_end:
	.section .note.GNU-stack, "", @progbits
