/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_tramp.c - in and out of the instruction under test.
 *
 * diff_run_native() loads the x87, SSE and AVX state, segment bases, registers and
 * flags from the run area and enters the instruction by IRETQ, which also reaches
 * 32-bit code.  A completed instruction jumps by way of the tail page to diff_tail,
 * which stores everything without touching what it has not stored yet.  No signal is
 * involved.  An exception arrives at diff_signal_entry with the instruction's FS base,
 * and possibly AC set: both are put right before C code runs.
 */
#include "cpu/tests/diff_native.h"

#define RUN(offset) "0x10100000 + " #offset

__asm__(".pushsection .text\n"
	".global diff_run_native, diff_tail, diff_resume, diff_signal_entry\n"
	"diff_run_native:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, " RUN(
		184) "\n"
		     "	rdfsbase %rax\n		mov %rax, " RUN(
			     192) "\n"
				  "	rdgsbase %rax\n		mov %rax, " RUN(
					  200) "\n"
					       "	mov $7, %eax\n		xor %edx, %edx\n"
					       "	xrstor64 " RUN(320) "\n"
									    "	mov " RUN(168) ", "
											       "%rax\n	wrfsbase %rax\n"
											       "	mov " RUN(176) ", %rax\n	wrgsbase %rax\n"
														       "	mov $0x2b, %eax\n	mov %eax, %ds\n	mov %eax, %es\n"
														       "	mov $" RUN(128) ", %esp\n"
																		"	mov " RUN(0) ", %rax\n	mov " RUN(8) ", %rcx\n"
																							     "	mov " RUN(
																								     16) ", %rdx\n	mov " RUN(24) ", %rbx\n"
																												      "	mov " RUN(40) ", %rbp\n	mov " RUN(48) ", %rsi\n"
																																	      "	mov " RUN(56) ", %rdi\n	mov " RUN(
																																		      64) ", %r8\n"
																																			  "	mov " RUN(
																																				  72) ", %r9\n	mov " RUN(80) ", %r10\n"
																																							      "	mov " RUN(
																																								      88) ", %r11\n	mov " RUN(96) ", %r12\n"
																																												      "	mov " RUN(
																																													      104) ", %r13\n	mov " RUN(112) ", %r14\n"
																																																	       "	mov " RUN(
																																																		       120) ", %r15\n"
																																																			    "	iretq\n"
																																																			    "diff_tail:\n"
																																																			    "	mov %rax, " RUN(0) "\n	mov %rcx, " RUN(8) "\n"
																																																									   "	mov %rdx, " RUN(
																																																										   16) "\n	mov %rbx, " RUN(24) "\n"
																																																														    "	mov %rsp, " RUN(32) "\n	mov %rbp, " RUN(40) "\n"
																																																																				    "	mov %rsi, " RUN(48) "\n	mov %rdi, " RUN(56) "\n"
																																																																										    "	mov %r8, " RUN(64) "\n	mov %r9, " RUN(72) "\n"
																																																																																   "	mov %r10, " RUN(80) "\n	mov %r11, " RUN(88) "\n"
																																																																																						    "	mov %r12, " RUN(96) "\n	mov %r13, " RUN(
																																																																																							    104) "\n"
																																																																																								 "	mov %r14, " RUN(112) "\n	mov %r15, " RUN(120) "\n"
																																																																																															     "	mov " RUN(
																																																																																																     184) ", %rsp\n"
																																																																																																	  "	pushfq\n	popq " RUN(208) "\n	pushq $2\n	popfq\n"
																																																																																																						"	mov %ds, " RUN(
																																																																																																							232) "\n	mov %es, " RUN(234) "\n"
																																																																																																											    "	mov %fs, " RUN(236) "\n	mov %gs, " RUN(
																																																																																																												    238) "\n"
																																																																																																													 "	rdfsbase %rax\n		mov %rax, " RUN(216) "\n"
																																																																																																																			     "	rdgsbase %rax\n		mov %rax, " RUN(224) "\n"
																																																																																																																									     "	mov $7, %eax\n		xor %edx, %edx\n"
																																																																																																																									     "	xsave64 " RUN(1152) "\n"
																																																																																																																												    "diff_resume:\n"
																																																																																																																												    "	xor %eax, %eax\n"
																																																																																																																												    "	mov %eax, %ds\n	mov %eax, %es\n	mov %eax, %fs\n	mov %eax, %gs\n"
																																																																																																																												    "	mov " RUN(
																																																																																																																													    192) ", %rax\n	wrfsbase %rax\n"
																																																																																																																														 "	mov " RUN(
																																																																																																																															 200) ", %rax\n	wrgsbase %rax\n"
																																																																																																																															      "	fninit\n	push $0x1f80\n	ldmxcsr (%rsp)\n	pop %rax\n	vzeroupper\n"
																																																																																																																															      "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n"
																																																																																																																															      "	pop %rbx\n"
																																																																																																																															      "	ret\n"
																																																																																																																															      "diff_signal_entry:\n"
																																																																																																																															      "	mov %ds, " RUN(232) "\n	mov %es, " RUN(
																																																																																																																																      234) "\n"
																																																																																																																																	   "	mov %fs, " RUN(
																																																																																																																																		   236) "\n	mov %gs, " RUN(238) "\n"
																																																																																																																																						    "	rdfsbase %rax\n		mov %rax, " RUN(216) "\n"
																																																																																																																																												     "	rdgsbase %rax\n		mov %rax, " RUN(
																																																																																																																																													     224) "\n"
																																																																																																																																														  "	mov " RUN(
																																																																																																																																															  192) ", %rax\n	wrfsbase %rax\n"
																																																																																																																																															       "	mov " RUN(
																																																																																																																																																       200) ", %rax\n	wrgsbase %rax\n"
																																																																																																																																																	    "	pushq $2\n	popfq\n"
																																																																																																																																																	    "	jmp diff_on_signal\n"
																																																																																																																																																	    ".popsection\n");
