/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - timers in order, messages between threads, a clock that stands still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/loop.h"

enum { NTIMERS = 200 };

struct fixture {
	struct loop *loop;
	struct vclock clock;
	struct timer timers[NTIMERS];
	uint64_t last_deadline;
	int fired;
};

static struct fixture *current; /* the callbacks' way to the running test */

static void on_timer(struct timer *t)
{
	assert_true(t->deadline_ns >= current->last_deadline);
	assert_true(vclock_ns(t->clock) >= t->deadline_ns);
	current->last_deadline = t->deadline_ns;
	current->fired++;
}

static void timers_fire_once_in_order_of_their_deadlines(void **state)
{
	struct fixture f = {0};
	unsigned seed = (unsigned)time(NULL);
	int stopped = 0;

	print_message("seed %u\n", seed);
	srand(seed);
	current = &f;
	assert_int_equal(loop_new(&f.loop), 0);
	vclock_start(&f.clock);
	for (int i = 0; i < NTIMERS; i++) {
		timer_init(&f.timers[i], f.loop, &f.clock, on_timer);
		timer_arm(&f.timers[i],
			  vclock_ns(&f.clock) + 5000000 + (uint64_t)rand() % 20000000);
	}
	for (int i = 0; i < NTIMERS; i += 7, stopped++)
		timer_stop(&f.timers[i]);
	for (int i = 3; i < NTIMERS; i += 7)
		timer_arm(&f.timers[i],
			  vclock_ns(&f.clock) + 5000000 + (uint64_t)rand() % 20000000);
	while (f.fired < NTIMERS - stopped)
		assert_int_equal(loop_run_once(f.loop, 1000), 0);
	for (int i = 0; i < NTIMERS; i++)
		assert_false(timer_armed(&f.timers[i]));
	loop_free(f.loop);
}

static void a_timer_waits_while_its_clock_stands_still(void **state)
{
	struct fixture f = {0};

	current = &f;
	assert_int_equal(loop_new(&f.loop), 0);
	timer_init(&f.timers[0], f.loop, &f.clock, on_timer);
	timer_arm(&f.timers[0], 1000000);
	for (int i = 0; i < 5; i++)
		loop_run_once(f.loop, 2);
	assert_int_equal(f.fired, 0);
	vclock_start(&f.clock);
	loop_clock_changed(f.loop);
	while (!f.fired)
		loop_run_once(f.loop, 1000);
	assert_int_equal(f.fired, 1);
	loop_free(f.loop);
}

static void count_up(void *arg)
{
	(*(int *)arg)++;
}

enum { POSTS = 20000 };

static void *poster(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < POSTS; i++)
		assert_int_equal(loop_post(f->loop, count_up, &f->fired), 0);
	return NULL;
}

static void messages_of_several_threads_all_arrive(void **state)
{
	struct fixture f = {0};
	pthread_t t[3];

	assert_int_equal(loop_new(&f.loop), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, poster, &f);
	while (f.fired < (int)ARRAY_SIZE(t) * POSTS)
		loop_run_once(f.loop, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	loop_free(f.loop);
}

static void a_call_has_run_when_it_returns(void **state)
{
	struct iothread *t;
	int n = 0;

	assert_int_equal(iothread_new("test", NULL, NULL, &t), 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(loop_call(iothread_loop(t), count_up, &n), 0);
		assert_int_equal(n, i + 1);
	}
	iothread_free(t);
}

struct watcher {
	struct loop_watch w, *other;
	int calls;
};

static void remove_the_other(struct loop_watch *w, uint32_t events)
{
	struct watcher *me = container_of(w, struct watcher, w);

	me->calls++;
	loop_del(me->other);
}

static void a_watch_removed_by_another_in_the_same_round_is_not_called(void **state)
{
	struct watcher a = {0}, b = {0};
	struct loop *loop;
	int fds[2];

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	a.w = (struct loop_watch){.fd = fds[0], .fn = remove_the_other};
	b.w = (struct loop_watch){.fd = dup(fds[0]), .fn = remove_the_other};
	a.other = &b.w;
	b.other = &a.w;
	assert_int_equal(loop_add(loop, &a.w, EPOLLIN), 0);
	assert_int_equal(loop_add(loop, &b.w, EPOLLIN), 0);
	loop_run_once(loop, 1000);
	assert_int_equal(a.calls + b.calls, 1);
	loop_free(loop);
	close(b.w.fd);
	close(fds[0]);
	close(fds[1]);
}

static void a_slow_clock_runs_at_its_fraction(void **state)
{
	struct vclock c = {.slow_shift = 4};
	uint64_t outer = host_ns(), inner, mid, now;

	vclock_start(&c);
	inner = host_ns();
	do
		mid = host_ns();
	while (mid - inner < 3200000);
	now = vclock_ns(&c);
	assert_in_range(now, (mid - inner) >> 4, (host_ns() - outer) >> 4);
	vclock_stop(&c);
	now = vclock_ns(&c);
	vclock_start(&c);
	assert_true(vclock_ns(&c) >= now);
}

static void on_slow_timer(struct timer *t)
{
	current->fired++;
}

static void a_timer_of_a_slow_clock_does_not_fire_early(void **state)
{
	struct fixture f = {.clock.slow_shift = 4};
	uint64_t start = host_ns();

	current = &f;
	assert_int_equal(loop_new(&f.loop), 0);
	vclock_start(&f.clock);
	timer_init(&f.timers[0], f.loop, &f.clock, on_slow_timer);
	timer_arm(&f.timers[0], vclock_ns(&f.clock) + 1000000);
	while (!f.fired)
		assert_int_equal(loop_run_once(f.loop, 1000), 0);
	assert_true(host_ns() - start >= 16000000);
	loop_free(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_clock_runs_at_its_fraction),
		cmocka_unit_test(a_timer_of_a_slow_clock_does_not_fire_early),
		cmocka_unit_test(timers_fire_once_in_order_of_their_deadlines),
		cmocka_unit_test(a_timer_waits_while_its_clock_stands_still),
		cmocka_unit_test(messages_of_several_threads_all_arrive),
		cmocka_unit_test(a_call_has_run_when_it_returns),
		cmocka_unit_test(a_watch_removed_by_another_in_the_same_round_is_not_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
