/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.c - the thread behind each vCPU: run the engine, answer its exits, deliver
 * interrupts, sleep while halted, park while the machine is paused.
 *
 * With controllers in software, the chip calls vcpu_notify() (its lock held) when
 * something may have become pending; that only sets a flag under the vCPU's lock
 * and wakes or kicks.  What is really pending is asked for later, on the vCPU's
 * own thread with no lock held.  Lock order: chip lock, then vCPU lock; park_lock
 * is taken alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/thread.h"
#include "machine/internal.h"

static const struct engine_ops *engine(const struct machine_vcpu *v)
{
	return v->m->cfg.engine;
}

static bool flag(const bool *f)
{
	return __atomic_load_n(f, __ATOMIC_ACQUIRE); /* pairs with set_flag() */
}

static void set_flag(bool *f, bool val)
{
	__atomic_store_n(f, val, __ATOMIC_RELEASE);
}

/* --- from other threads --------------------------------------------------- */

/* Wake it when it sleeps, else make the engine return.  @v->lock held. */
static void wake_locked(struct machine_vcpu *v)
{
	if (v->sleeping)
		pthread_cond_signal(&v->cond);
	else if (!v->started || !pthread_equal(v->thread, pthread_self()))
		engine(v)->kick(v->ev);
}

void vcpu_post_event(struct machine_vcpu *v, unsigned event)
{
	LOCK_SCOPE(&v->lock);
	v->events |= event;
	wake_locked(v);
}

void vcpu_notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg)
{
	struct machine *m = ctx;
	struct machine_vcpu *v = &m->vcpu[cpu];
	LOCK_SCOPE(&v->lock);

	switch (ev) {
	case SOFT_EVENT_IRQ: v->irq_hint = true; break;
	case SOFT_EVENT_NMI: v->events |= VEV_NMI; break;
	case SOFT_EVENT_INIT: v->events |= VEV_INIT; break;
	case SOFT_EVENT_SIPI:
		v->events |= VEV_SIPI;
		v->sipi_vector = (uint8_t)arg;
		break;
	case SOFT_EVENT_SMI: return;
	}
	wake_locked(v);
}

/* --- sleeping and parking --------------------------------------------------- */

static bool must_stop(const struct machine *m)
{
	return flag(&m->stop_vcpus) || flag(&m->quit);
}

/* Halted: until something may end that.  Spurious returns are harmless. */
static void wait_halted(struct machine_vcpu *v)
{
	LOCK_SCOPE(&v->lock);
	v->sleeping = true;
	while (!v->events && !v->irq_hint && !must_stop(v->m))
		pthread_cond_wait(&v->cond, &v->lock);
	v->sleeping = false;
	v->irq_hint = false;
}

static void park(struct machine_vcpu *v)
{
	struct machine *m = v->m;
	LOCK_SCOPE(&m->park_lock);

	m->nparked++;
	pthread_cond_broadcast(&m->park_cond);
	while (flag(&m->stop_vcpus) && !flag(&m->quit))
		pthread_cond_wait(&m->park_cond, &m->park_lock);
	m->nparked--;
}

static void wake_all(struct machine *m)
{
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		LOCK_SCOPE(&m->vcpu[i].lock);
		if (m->vcpu[i].ev)
			wake_locked(&m->vcpu[i]);
	}
}

void vcpu_park_request(struct machine *m)
{
	set_flag(&m->stop_vcpus, true);
	wake_all(m);
}

void vcpu_park_all(struct machine *m)
{
	vcpu_park_request(m);
	LOCK_SCOPE(&m->park_lock);
	while (m->nparked < m->cfg.ncpus)
		pthread_cond_wait(&m->park_cond, &m->park_lock);
}

void vcpu_unpark_all(struct machine *m)
{
	LOCK_SCOPE(&m->park_lock);
	set_flag(&m->stop_vcpus, false);
	pthread_cond_broadcast(&m->park_cond);
}

/* --- interrupts and events ---------------------------------------------------- */

static void set_window(struct machine_vcpu *v, bool want)
{
	if (v->window == want)
		return;
	v->window = want;
	engine(v)->window(v->ev, want);
}

/* Give the engine the next interrupt, or ask to be told when it can take it. */
static void deliver_interrupt(struct machine_vcpu *v)
{
	struct softchip *chip = v->m->chip;
	int vec;

	if (!softchip_pending(chip, v->index)) {
		set_window(v, false);
		return;
	}
	if (!engine(v)->can_inject(v->ev)) {
		set_window(v, true);
		return;
	}
	vec = softchip_ack(chip, v->index);
	if (vec < 0)
		return;
	log_debug(LOG_INT, "cpu%u: interrupt %#x", v->index, (unsigned)vec);
	engine(v)->inject(v->ev, (uint8_t)vec);
	v->activity = CPU_ACTIVE;
	set_window(v, softchip_pending(chip, v->index));
}

/* Change the registers outside of run(); states we make ourselves are valid. */
static void edit_state(struct machine_vcpu *v,
		       void (*edit)(struct machine_vcpu *, struct cpu_state *))
{
	struct errbuf err = {0};
	struct cpu_state s;

	if (engine(v)->get_state(v->ev, &s) < 0)
		return;
	edit(v, &s);
	if (engine(v)->set_state(v->ev, &s, &err) < 0)
		log_error("cpu%u: %s", v->index, err.msg);
	v->activity = s.activity;
}

static void edit_init(struct machine_vcpu *v, struct cpu_state *s)
{
	uint64_t apic_base = s->apic_base, offset = s->tsc_offset;

	cpu_state_reset(s, v->index == 0, true);
	s->apic_base = apic_base;
	s->tsc_offset = offset;
	s->activity = CPU_WAIT_SIPI;
}

/* SDM vol. 3A, 9.4.4.1: CS:IP = vector << 8 : 0. */
static void edit_sipi(struct machine_vcpu *v, struct cpu_state *s)
{
	s->seg[SEG_CS].sel = (uint16_t)(v->sipi_vector << 8);
	s->seg[SEG_CS].base = (uint64_t)v->sipi_vector << 12;
	s->rip = 0;
	s->activity = CPU_ACTIVE;
}

static void edit_unhalt(struct machine_vcpu *v, struct cpu_state *s)
{
	s->activity = CPU_ACTIVE;
}

/*
 * The guest's KVM_HC_KICK_CPU may come before the HLT it is meant for, so it stays for the next
 * one: who was to be woken has its interrupts off and would sleep for good.
 */
static unsigned take_events(struct machine_vcpu *v)
{
	LOCK_SCOPE(&v->lock);
	unsigned ev = v->events;

	v->events = v->activity == CPU_ACTIVE ? ev & VEV_UNHALT : 0;
	return ev;
}

static void handle_events(struct machine_vcpu *v)
{
	unsigned ev = take_events(v);

	if (ev & VEV_INIT) {
		softchip_init_cpu(v->m->chip, v->index);
		edit_state(v, edit_init);
	}
	if ((ev & VEV_SIPI) && v->activity == CPU_WAIT_SIPI)
		edit_state(v, edit_sipi);
	if ((ev & VEV_NMI) && v->activity != CPU_WAIT_SIPI) {
		engine(v)->inject_nmi(v->ev);
		v->activity = CPU_ACTIVE;
	}
	if ((ev & VEV_UNHALT) && v->activity == CPU_HALTED)
		edit_state(v, edit_unhalt);
}

void vcpu_settle(struct machine_vcpu *v)
{
	if (v->m->chip)
		handle_events(v);
}

/* --- exits ---------------------------------------------------------------------- */

static bool is_apic_page(const struct machine_vcpu *v, uint64_t addr)
{
	return v->m->chip && addr - MAP_APIC < 0x1000;
}

static void exit_mmio(struct machine_vcpu *v, struct engine_exit *e)
{
	if (is_apic_page(v, e->addr)) {
		uint32_t off = (uint32_t)(e->addr - MAP_APIC);

		if (e->write)
			lapic_mmio_write(v->m->chip, v->index, off, (uint32_t)e->data);
		else
			e->data = lapic_mmio_read(v->m->chip, v->index, off);
		return;
	}
	if (e->write)
		bus_write(v->m->mmio, e->addr, e->data, e->size);
	else
		e->data = bus_read(v->m->mmio, e->addr, e->size);
}

static void exit_pio(struct machine_vcpu *v, struct engine_exit *e)
{
	if (e->write)
		bus_write(v->m->pio, e->addr, e->data, e->size);
	else
		e->data = bus_read(v->m->pio, e->addr, e->size);
}

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };

static bool is_lapic_msr(uint64_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || msr - MSR_X2APIC < 0x100;
}

/* The deadline is in guest TSC: the chip needs the vCPU's offset as it is now. */
static void refresh_tsc_offset(struct machine_vcpu *v)
{
	struct cpu_state s;

	if (!engine(v)->get_state(v->ev, &s))
		__atomic_store_n(&v->tsc_offset, s.tsc_offset, __ATOMIC_RELAXED);
}

static void exit_rdmsr(struct machine_vcpu *v, struct engine_exit *e)
{
	uint32_t msr = (uint32_t)e->addr;
	int ret;

	if (v->m->chip && is_lapic_msr(msr))
		ret = lapic_msr_read(v->m->chip, v->index, msr, &e->data);
	else
		ret = paravirt_rdmsr(v, msr, &e->data);
	e->fail = ret < 0;
	if (ret < 0)
		log_debug(LOG_MSR, "cpu%u: rdmsr %#x: #GP", v->index, msr);
}

static void exit_wrmsr(struct machine_vcpu *v, struct engine_exit *e)
{
	uint32_t msr = (uint32_t)e->addr;
	int ret;

	if (v->m->chip && is_lapic_msr(msr)) {
		if (msr == MSR_TSC_DEADLINE)
			refresh_tsc_offset(v);
		ret = lapic_msr_write(v->m->chip, v->index, msr, e->data);
	} else {
		refresh_tsc_offset(v);
		ret = paravirt_wrmsr(v, msr, e->data);
	}
	e->fail = ret < 0;
	if (ret < 0)
		log_debug(LOG_MSR, "cpu%u: wrmsr %#x = %#llx: #GP", v->index, msr,
			  (unsigned long long)e->data);
}

static void exit_cr8(struct machine_vcpu *v, struct engine_exit *e)
{
	if (e->write)
		lapic_set_cr8(v->m->chip, v->index, (unsigned)e->data);
	else
		e->data = lapic_get_cr8(v->m->chip, v->index);
}

static void exit_error(struct machine_vcpu *v, const struct engine_exit *e)
{
	log_error("cpu%u: the %s engine cannot go on: %s", v->index, engine(v)->name, e->error);
	v->m->env.request(v->m, DEV_REQ_ERROR, 0);
}

static void handle_exit(struct machine_vcpu *v, struct engine_exit *e)
{
	switch (e->reason) {
	case EXIT_PIO: exit_pio(v, e); break;
	case EXIT_MMIO: exit_mmio(v, e); break;
	case EXIT_RDMSR: exit_rdmsr(v, e); break;
	case EXIT_WRMSR: exit_wrmsr(v, e); break;
	case EXIT_CR8: exit_cr8(v, e); break;
	case EXIT_HYPERCALL: e->data = paravirt_hypercall(v, e); break;
	case EXIT_HLT: v->activity = CPU_HALTED; break;
	case EXIT_SHUTDOWN:
		/* as on a board: a processor in shutdown resets the machine */
		log_debug(LOG_EXEC, "cpu%u: triple fault", v->index);
		v->activity = CPU_SHUTDOWN;
		v->m->env.request(v->m, DEV_REQ_RESET, 0);
		break;
	case EXIT_WINDOW: v->window = false; break;
	case EXIT_KICK:
	case EXIT_COUNT:
	case EXIT_EOI: break;
	case EXIT_ERROR: exit_error(v, e); break;
	}
}

/* --- the thread -------------------------------------------------------------------- */

/* Exits whose answer the engine takes when it runs next, to finish the instruction. */
static bool wants_completion(enum exit_reason r)
{
	return r == EXIT_PIO || r == EXIT_MMIO || r == EXIT_RDMSR || r == EXIT_WRMSR ||
	       r == EXIT_CR8 || r == EXIT_HYPERCALL;
}

static void run_engine(struct machine_vcpu *v, struct engine_exit *e)
{
	if (engine(v)->run(v->ev, e) < 0) {
		e->reason = EXIT_ERROR;
		strcpy(e->error, "run failed");
	}
	__atomic_store_n(&v->exits[e->reason], v->exits[e->reason] + 1, __ATOMIC_RELAXED);
	v->mid_insn = wants_completion(e->reason);
	handle_exit(v, e);
}

/* Reach an instruction boundary: only there the registers tell the whole state. */
static void finish_insn(struct machine_vcpu *v, struct engine_exit *e)
{
	while (v->mid_insn) {
		engine(v)->kick(v->ev);
		run_engine(v, e);
	}
}

static void run_once(struct machine_vcpu *v, struct engine_exit *e)
{
	if (v->m->chip) {
		handle_events(v);
		if (v->activity == CPU_ACTIVE || v->activity == CPU_HALTED)
			deliver_interrupt(v);
		if (v->activity != CPU_ACTIVE) {
			wait_halted(v);
			return;
		}
	}
	run_engine(v, e);
}

static void *vcpu_main(void *arg)
{
	struct machine_vcpu *v = arg;
	struct engine_exit *e = calloc(1, sizeof(*e));
	char name[16] = "vcpu";

	name[4] = (char)('0' + v->index / 10);
	name[5] = (char)('0' + v->index % 10);
	thread_name(name);
	v->tid = (int)syscall(SYS_gettid);
	if (!e || (v->m->cfg.thread_init && v->m->cfg.thread_init(v->m->cfg.ctx, "vcpu") < 0)) {
		log_error("cpu%u: cannot set up the thread", v->index);
		abort();
	}
	while (!flag(&v->m->quit)) {
		if (flag(&v->m->stop_vcpus)) {
			finish_insn(v, e);
			park(v);
		} else {
			run_once(v, e);
		}
	}
	free(e);
	return NULL;
}

int vcpu_start_threads(struct machine *m, struct errbuf *err)
{
	set_flag(&m->stop_vcpus, true);
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];
		int ret = pthread_create(&v->thread, NULL, vcpu_main, v);

		if (ret)
			return err_set(err, -ret, "thread of vCPU %u: %s; use fewer --cpus", i,
				       strerror(ret));
		v->started = true;
	}
	vcpu_park_all(m);
	return 0;
}

void vcpu_stop_threads(struct machine *m)
{
	set_flag(&m->quit, true);
	wake_all(m);
	pthread_mutex_lock(&m->park_lock);
	pthread_cond_broadcast(&m->park_cond);
	pthread_mutex_unlock(&m->park_lock);
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		if (m->vcpu[i].started)
			pthread_join(m->vcpu[i].thread, NULL);
		m->vcpu[i].started = false;
	}
}
