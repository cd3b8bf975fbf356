/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_bench.c - guest instructions a second, by kind of code.
 *
 * Usage: interp-bench [SECONDS].  Each loop runs for that long (default 1) and is
 * stopped by a kick from a timer thread.
 */
#include "base/clock.h"
#include "cpu/interp/guest.h"

GUEST_CODE(bench_alu, "code64",
	   "1: addq %rax, %rbx\n"
	   "movl %ebx, %ecx\n"
	   "shrl $3, %ecx\n"
	   "xorq %rcx, %rdx\n"
	   "leaq 5(%rdx,%rcx,2), %rsi\n"
	   "subq %rsi, %rax\n"
	   "andl $0xfff, %esi\n"
	   "cmpl $77, %esi\n"
	   "je 1b\n"
	   "jmp 1b\n");

GUEST_CODE(bench_memory, "code64",
	   "movl $0x20000, %edi\n"
	   "1: movq (%rdi), %rax\n"
	   "addq $3, %rax\n"
	   "movq %rax, 8(%rdi)\n"
	   "incl 64(%rdi)\n"
	   "movzbl 65(%rdi), %ecx\n"
	   "cmpq %rcx, 16(%rdi)\n"
	   "je 1b\n"
	   "addl $8, %edi\n"
	   "andl $0x20fff, %edi\n"
	   "jmp 1b\n");

GUEST_CODE(bench_calls, "code64",
	   "1: movl $100, %edi\n"
	   "call 2f\n"
	   "testl %eax, %eax\n"
	   "jnz 1b\n"
	   "hlt\n"
	   "2: pushq %rbx\n"
	   "movl %edi, %ebx\n"
	   "call 3f\n"
	   "addl %ebx, %eax\n"
	   "popq %rbx\n"
	   "ret\n"
	   "3: leal 1(%rdi), %eax\n"
	   "ret\n");

GUEST_CODE(bench_fill, "code64",
	   "cld\n"
	   "1: movl $0x20000, %edi\n"
	   "movl $512, %ecx\n"
	   "rep stosq\n"
	   "jmp 1b\n");

struct loop_case {
	const char *name;
	const uint8_t *code, *end;
};

struct timer_arg {
	struct guest *g;
	uint64_t ns;
};

static void *timer_thread(void *arg)
{
	struct timer_arg *t = arg;
	struct timespec ts = {(time_t)(t->ns / 1000000000), (long)(t->ns % 1000000000)};

	nanosleep(&ts, NULL);
	GUEST_ENGINE.kick(t->g->v);
	return NULL;
}

static void measure(const struct loop_case *l, double seconds)
{
	struct guest *g = guest_new(1);
	struct timer_arg arg = {g, (uint64_t)(seconds * 1e9)};
	struct engine_stats st;
	pthread_t t;
	uint64_t start;

	guest_long(g);
	memcpy(g->ram + G_CODE, l->code, (size_t)(l->end - l->code));
	pthread_create(&t, NULL, timer_thread, &arg);
	start = host_ns();
	guest_run(g);
	start = host_ns() - start;
	pthread_join(t, NULL);
	GUEST_ENGINE.stats(g->v, &st);
	printf("%-8s %8.1f MIPS  (%llu instructions, %llu decoded)\n", l->name,
	       (double)st.insns * 1e3 / (double)start, (unsigned long long)st.insns,
	       (unsigned long long)st.decoded);
	guest_free(g);
}

int main(int argc, char **argv)
{
	static const struct loop_case loops[] = {
		{"alu", bench_alu, bench_alu_end},
		{"memory", bench_memory, bench_memory_end},
		{"calls", bench_calls, bench_calls_end},
		{"fill", bench_fill, bench_fill_end},
	};
	double seconds = argc > 1 ? atof(argv[1]) : 1;

	for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
		measure(&loops[i], seconds);
	return 0;
}
