/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_tramp.S - in and out of the instruction under test.
 *
 * diff_run_native() loads the x87, SSE and AVX state, segments, registers and flags
 * from the run area (struct run_area in diff_native.h, at a fixed address) and enters
 * the instruction by IRETQ, which also reaches 16- and 32-bit code.  A completed
 * instruction gets to diff_tail by way of the tail page, without a signal; there
 * everything is stored before it is touched.  An exception arrives at
 * diff_signal_entry with the instruction's segments, and possibly AC set: both are put
 * right before C code runs.
 */
	.set	run, 0x2b150000
	.set	rip, run + 128
	.set	fsbase, run + 168
	.set	gsbase, run + 176
	.set	host_rsp, run + 184
	.set	host_fsbase, run + 192
	.set	host_gsbase, run + 200
	.set	out_rflags, run + 208
	.set	out_fsbase, run + 216
	.set	out_gsbase, run + 224
	.set	out_ds, run + 232
	.set	out_es, run + 234
	.set	out_fs, run + 236
	.set	out_gs, run + 238
	.set	data_sel, run + 240
	.set	out_ss, run + 248
	.set	xin, run + 320
	.set	xout, run + 1152

	.text
	.global	diff_run_native, diff_tail, diff_resume, diff_signal_entry
	.hidden	diff_tail, diff_resume

	.type	diff_run_native, @function
diff_run_native:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, host_rsp
	rdfsbase %rax
	mov	%rax, host_fsbase
	rdgsbase %rax
	mov	%rax, host_gsbase
	mov	$7, %eax
	xor	%edx, %edx
	xrstor64 xin
	mov	fsbase, %rax
	wrfsbase %rax
	mov	gsbase, %rax
	wrgsbase %rax
	mov	data_sel, %ds
	mov	data_sel, %es
	mov	$rip, %esp
	mov	run + 0, %rax
	mov	run + 8, %rcx
	mov	run + 16, %rdx
	mov	run + 24, %rbx
	mov	run + 40, %rbp
	mov	run + 48, %rsi
	mov	run + 56, %rdi
	mov	run + 64, %r8
	mov	run + 72, %r9
	mov	run + 80, %r10
	mov	run + 88, %r11
	mov	run + 96, %r12
	mov	run + 104, %r13
	mov	run + 112, %r14
	mov	run + 120, %r15
	iretq

diff_tail:
	mov	%rax, run + 0
	mov	%rcx, run + 8
	mov	%rdx, run + 16
	mov	%rbx, run + 24
	mov	%rsp, run + 32
	mov	%rbp, run + 40
	mov	%rsi, run + 48
	mov	%rdi, run + 56
	mov	%r8, run + 64
	mov	%r9, run + 72
	mov	%r10, run + 80
	mov	%r11, run + 88
	mov	%r12, run + 96
	mov	%r13, run + 104
	mov	%r14, run + 112
	mov	%r15, run + 120
	mov	host_rsp, %rsp
	pushfq
	popq	out_rflags
	pushq	$2
	popfq
	mov	%ss, out_ss
	call	store_segments
	mov	$7, %eax
	xor	%edx, %edx
	xsave64 xout

diff_resume:
	mov	$0x2b, %eax
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	call	restore_bases
	fninit
	pushq	$0x1f80
	ldmxcsr	(%rsp)
	pop	%rax
	vzeroupper
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.type	diff_signal_entry, @function
diff_signal_entry:
	call	store_segments
	call	restore_bases
	pushq	$2
	popfq
	jmp	diff_on_signal

store_segments:
	mov	%ds, out_ds
	mov	%es, out_es
	mov	%fs, out_fs
	mov	%gs, out_gs
	rdfsbase %rax
	mov	%rax, out_fsbase
	rdgsbase %rax
	mov	%rax, out_gsbase
	ret

restore_bases:
	mov	host_fsbase, %rax
	wrfsbase %rax
	mov	host_gsbase, %rax
	wrgsbase %rax
	ret

	.section .note.GNU-stack, "", @progbits
