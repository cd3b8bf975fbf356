// SPDX-License-Identifier: Apache-2.0
/* serial_test.c - the 16550A, driven through its ports, by its data sheet. */
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "dev/dev_fixture.h"

enum { PORT = 0x3f8, GSI = 4, RBR = PORT, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct uart {
	struct board b;
	struct chardev *chr;
	struct device *dev;
	int in, out; /* our ends of its stdin and stdout */
	int saved[2];
};

/* The chardev is stdio on two pipes. */
static int setup(void **state)
{
	struct uart *u = calloc(1, sizeof(*u));
	struct serial_config cfg = {PORT, GSI, NULL};
	struct errbuf err = {0};
	int in[2], out[2];

	dfx_init(&u->b);
	assert_int_equal(pipe(in) | pipe(out), 0);
	u->saved[0] = dup(0);
	u->saved[1] = dup(1);
	dup2(in[0], 0);
	dup2(out[1], 1);
	assert_int_equal(chardev_new(u->b.env.loop, "stdio", NULL, NULL, &u->chr, &err), 0);
	dup2(u->saved[0], 0);
	dup2(u->saved[1], 1);
	close(in[0]);
	close(out[1]);
	u->in = in[1];
	u->out = out[0];
	cfg.chr = u->chr;
	u->dev = dfx_add(&u->b, &serial_ops, &cfg);
	*state = u;
	return 0;
}

static int teardown(void **state)
{
	struct uart *u = *state;

	dev_free(u->dev);
	chardev_free(u->chr);
	close(u->in);
	close(u->out);
	close(u->saved[0]);
	close(u->saved[1]);
	dfx_fini(&u->b);
	free(u);
	return 0;
}

static uint8_t in(struct uart *u, uint16_t port)
{
	return dfx_in(&u->b, port);
}

static void out(struct uart *u, uint16_t port, uint8_t val)
{
	dfx_out(&u->b, port, val);
}

static void run(struct uart *u)
{
	for (int i = 0; i < 8; i++)
		loop_run_once(u->b.env.loop, 0);
}

/* Type at the other end. */
static void type(struct uart *u, const char *text)
{
	assert_int_equal(write(u->in, text, strlen(text)), strlen(text));
	run(u);
}

static void written_bytes_come_out_and_thr_is_empty_at_once(void **state)
{
	struct uart *u = *state;
	char buf[8] = "";

	for (const char *p = "hello"; *p; p++) {
		assert_int_equal(in(u, LSR) & 0x60, 0x60);
		out(u, RBR, (uint8_t)*p);
	}
	run(u);
	assert_int_equal(read(u->out, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "hello");
}

static void the_thre_interrupt_comes_back_after_each_byte(void **state)
{
	struct uart *u = *state;

	assert_int_equal(in(u, IIR), 0x01);
	out(u, IER, 2);
	assert_true(u->b.level[GSI]);
	assert_int_equal(in(u, IIR), 0x02); /* reading clears it */
	assert_false(u->b.level[GSI]);
	assert_int_equal(in(u, IIR), 0x01);
	out(u, RBR, 'x');
	assert_true(u->b.level[GSI]);
	out(u, IER, 0);
	assert_false(u->b.level[GSI]);
}

static void without_fifo_one_byte_is_taken_at_a_time(void **state)
{
	struct uart *u = *state;

	out(u, IER, 1);
	type(u, "ab");
	assert_true(u->b.level[GSI]);
	assert_int_equal(in(u, IIR), 0x04);
	assert_int_equal(in(u, LSR) & 3, 1); /* data, no overrun */
	assert_int_equal(in(u, RBR), 'a');
	assert_false(u->b.level[GSI]);
	run(u);
	assert_int_equal(in(u, RBR), 'b');
	assert_int_equal(in(u, LSR) & 1, 0);
}

static void the_fifo_triggers_and_times_out(void **state)
{
	struct uart *u = *state;

	out(u, IIR, 0x81); /* on, trigger at 8 */
	out(u, IER, 1);
	type(u, "abc");
	assert_int_equal(in(u, IIR), 0xcc);
	type(u, "defgh");
	assert_int_equal(in(u, IIR), 0xc4);
	for (char c = 'a'; c <= 'h'; c++)
		assert_int_equal(in(u, RBR), c);
	assert_int_equal(in(u, IIR), 0xc1);
	type(u, "xyz");
	out(u, IIR, 0x83); /* clear */
	assert_int_equal(in(u, LSR) & 1, 0);
	assert_int_equal(in(u, IIR), 0xc1);
}

static void more_than_the_fifo_holds_waits_outside(void **state)
{
	struct uart *u = *state;
	char text[101];

	for (unsigned i = 0; i < 100; i++)
		text[i] = (char)('!' + i % 90);
	text[100] = 0;
	out(u, IIR, 1);
	type(u, text);
	for (unsigned i = 0; i < 100; i++) {
		if (!(in(u, LSR) & 1))
			run(u);
		assert_int_equal(in(u, LSR) & 3, 1);
		assert_int_equal(in(u, RBR), text[i]);
	}
	assert_int_equal(in(u, LSR) & 3, 0);
}

static void loop_back_connects_output_to_input_and_modem_lines(void **state)
{
	struct uart *u = *state;
	char c;

	assert_int_equal(in(u, MSR), 0xb0);
	out(u, MCR, 0x10);
	assert_int_equal(in(u, MSR), 0x0b); /* all dropped: three deltas */
	assert_int_equal(in(u, MSR), 0x00);
	out(u, MCR, 0x1a);
	assert_int_equal(in(u, MSR) & 0xf0, 0x90); /* RTS is CTS, OUT2 is DCD */
	out(u, RBR, 'x');
	run(u);
	assert_int_equal(in(u, RBR), 'x');
	out(u, RBR, '1');
	out(u, RBR, '2');
	assert_int_equal(in(u, LSR) & 3, 3); /* overrun, once */
	assert_int_equal(in(u, LSR) & 3, 1);
	/* nothing came out, and typing waits */
	type(u, "z");
	assert_int_equal(in(u, RBR), '1');
	assert_int_equal(in(u, LSR) & 1, 0);
	out(u, MCR, 0);
	run(u);
	assert_int_equal(in(u, RBR), 'z');
	out(u, RBR, '!');
	run(u);
	assert_int_equal(read(u->out, &c, 1), 1);
	assert_int_equal(c, '!');
}

static void modem_and_line_status_interrupt(void **state)
{
	struct uart *u = *state;

	out(u, IER, 0x0c);
	out(u, MCR, 0x10);
	assert_int_equal(in(u, IIR), 0x00);
	in(u, MSR);
	assert_int_equal(in(u, IIR), 0x01);
	out(u, RBR, 1);
	out(u, RBR, 2);
	assert_int_equal(in(u, IIR), 0x06);
	in(u, LSR);
	assert_int_equal(in(u, IIR), 0x01);
}

static void the_divisor_hides_behind_dlab_and_scratch_keeps(void **state)
{
	struct uart *u = *state;

	out(u, LCR, 0x83);
	out(u, RBR, 0x34);
	out(u, IER, 0x12);
	assert_int_equal(in(u, RBR), 0x34);
	assert_int_equal(in(u, IER), 0x12);
	out(u, LCR, 3);
	assert_int_equal(in(u, IER), 0);
	out(u, SCR, 0x5a);
	assert_int_equal(in(u, SCR), 0x5a);
	assert_int_equal(in(u, LCR), 3);
	out(u, IER, 0xff);
	assert_int_equal(in(u, IER), 0x0f);
}

static void wide_accesses_are_guest_errors(void **state)
{
	struct uart *u = *state;

	assert_int_equal(bus_read(u->b.env.pio, PORT, 2), 0xffff);
	bus_write(u->b.env.pio, PORT, 0, 4);
	assert_int_equal(u->dev->guest_errors, 2);
}

static void *echo_main(void *arg)
{
	struct uart *u = arg;

	/* a guest that echoes what it gets, until it gets a dot */
	for (uint8_t c = 0; c != '.';) {
		if (!(in(u, LSR) & 1)) {
			sched_yield();
			continue;
		}
		c = in(u, RBR);
		out(u, RBR, c);
	}
	return NULL;
}

static void bytes_cross_threads_without_loss(void **state)
{
	struct uart *u = *state;
	char sent[4096], got[4096];
	size_t n = 0;
	pthread_t t;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)('0' + i % 70);
	sent[sizeof(sent) - 1] = '.';
	for (char *p = sent; p < sent + sizeof(sent) - 1; p++)
		*p = *p == '.' ? '-' : *p;
	out(u, IIR, 1);
	assert_int_equal(write(u->in, sent, sizeof(sent)), sizeof(sent));
	assert_int_equal(pthread_create(&t, NULL, echo_main, u), 0);
	fcntl(u->out, F_SETFL, O_NONBLOCK);
	while (n < sizeof(got)) {
		ssize_t k = read(u->out, got + n, sizeof(got) - n);

		n += k > 0 ? (size_t)k : 0;
		loop_run_once(u->b.env.loop, 1);
	}
	pthread_join(t, NULL);
	assert_memory_equal(sent, got, sizeof(sent));
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(written_bytes_come_out_and_thr_is_empty_at_once),
		T(the_thre_interrupt_comes_back_after_each_byte),
		T(without_fifo_one_byte_is_taken_at_a_time),
		T(the_fifo_triggers_and_times_out),
		T(more_than_the_fifo_holds_waits_outside),
		T(loop_back_connects_output_to_input_and_modem_lines),
		T(modem_and_line_status_interrupt),
		T(the_divisor_hides_behind_dlab_and_scratch_keeps),
		T(wide_accesses_are_guest_errors),
		T(bytes_cross_threads_without_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
