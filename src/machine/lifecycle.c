/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle.c - run, pause, reset, power off: who may follow whom, and how.
 *
 * Pausing goes from the CPUs outward: vCPUs park at an instruction boundary, then
 * devices drain what is under way, then VM time stops.  Resuming goes the other
 * way.  The guest's TSC stands still while the VM is paused: every vCPU's offset
 * moves by what the host counted meanwhile.
 *
 * A device's request (reset, power off) comes on a vCPU thread.  That thread only
 * asks all vCPUs to park and posts the rest to the machine loop, so the guest
 * executes nothing after the instruction that asked.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/thread.h"
#include "dev/devices.h"
#include "machine/internal.h"

/* allowed[from] has bit "to" */
static const unsigned allowed[] = {
	[MACHINE_PRELAUNCH] = 1 << MACHINE_RUNNING | 1 << MACHINE_PAUSED,
	[MACHINE_RUNNING] =
		1 << MACHINE_PAUSED | 1 << MACHINE_SHUTDOWN | 1 << MACHINE_INTERNAL_ERROR,
	[MACHINE_PAUSED] = 1 << MACHINE_RUNNING | 1 << MACHINE_SHUTDOWN,
	[MACHINE_SHUTDOWN] = 1 << MACHINE_PAUSED,	/* by reset */
	[MACHINE_INTERNAL_ERROR] = 1 << MACHINE_PAUSED, /* by reset */
};

static bool enter(struct machine *m, enum machine_status to)
{
	if (!(allowed[m->status] >> to & 1))
		return false;
	m->status = to;
	return true;
}

static void handle_request(void *arg);

static void event(struct machine *m, enum machine_event ev, int arg)
{
	if (m->cfg.event)
		m->cfg.event(m->cfg.ctx, ev, arg);
}

/* --- time -------------------------------------------------------------------------- */

static void stop_time(struct machine *m)
{
	vclock_stop(&m->clock);
	m->tsc_at_pause = vclock_tsc(&m->clock);
}

/* One pair of readings serves all vCPUs. */
static void start_time(struct machine *m)
{
	uint64_t tsc, delta;

	vclock_start(&m->clock);
	tsc = vclock_tsc(&m->clock);
	delta = m->tsc_at_pause - tsc;
	m->pv_host_tsc = tsc;
	m->pv_ns = vclock_ns(&m->clock);
	if (m->cfg.engine->set_clock)
		m->cfg.engine->set_clock(m->evm, m->pv_ns);
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];
		struct errbuf err = {0};
		struct cpu_state s;

		if (m->cfg.engine->get_state(v->ev, &s) < 0)
			continue;
		s.tsc_offset += delta;
		if (m->cfg.engine->set_state(v->ev, &s, &err) < 0)
			log_error("cpu%u: %s", i, err.msg);
		__atomic_store_n(&v->tsc_offset, s.tsc_offset, __ATOMIC_RELAXED);
		paravirt_update(v);
	}
	loop_clock_changed(m->loop);
	loop_clock_changed(m->env.io_loop);
	loop_clock_changed(m->env.net_loop);
}

/* --- pause and resume ----------------------------------------------------------------- */

static void stop_everything(struct machine *m)
{
	vcpu_park_all(m);
	list_for_each (l, &m->devices) {
		struct device *dev = list_entry(l, struct device, link);

		if (dev->ops->pause)
			dev->ops->pause(dev);
	}
	stop_time(m);
}

static void start_everything(struct machine *m)
{
	start_time(m);
	list_for_each (l, &m->devices) {
		struct device *dev = list_entry(l, struct device, link);

		if (dev->ops->resume)
			dev->ops->resume(dev);
	}
	vcpu_unpark_all(m);
}

void machine_pause(struct machine *m)
{
	bool was_running = m->status == MACHINE_RUNNING;

	if (!enter(m, MACHINE_PAUSED))
		return;
	if (!was_running)
		return;
	stop_everything(m);
	event(m, MACHINE_EVENT_STOP, 0);
}

void machine_resume(struct machine *m)
{
	bool first = m->status == MACHINE_PRELAUNCH;

	if (!enter(m, MACHINE_RUNNING))
		return;
	start_everything(m);
	if (!first)
		event(m, MACHINE_EVENT_RESUME, 0);
	if (__atomic_load_n(&m->request, __ATOMIC_ACQUIRE))
		handle_request(m); /* came while the machine was being paused */
}

/* --- reset ------------------------------------------------------------------------------- */

/* Power-on registers; the BSP's are then replaced by what the loader says. */
static int reset_vcpus(struct machine *m, struct errbuf *err)
{
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		struct machine_vcpu *v = &m->vcpu[i];
		struct cpu_state s;
		int ret;

		cpu_state_reset(&s, i == 0, false);
		s.tsc_offset = 0 - m->tsc_at_pause;
		if (i)
			s.activity = CPU_WAIT_SIPI;
		ret = m->cfg.engine->set_state(v->ev, &s, err);
		if (ret)
			return err_prefix(err, "cpu%u", i);
		v->activity = s.activity;
		v->events = 0;
		v->irq_hint = v->mid_insn = false;
		v->pvclock_msr = 0;
		v->tsc_offset = s.tsc_offset;
	}
	return 0;
}

/* @by_guest goes into the event. */
static int reset(struct machine *m, bool by_guest, struct errbuf *err)
{
	bool running = m->status == MACHINE_RUNNING;
	int ret;

	if (running)
		stop_everything(m);
	else
		vcpu_park_all(m);
	__atomic_store_n(&m->request, 0, __ATOMIC_RELEASE);
	m->tsc_at_pause = vclock_tsc(&m->clock);
	list_for_each (l, &m->devices)
		dev_reset(list_entry(l, struct device, link));
	ret = reset_vcpus(m, err);
	/* last: devices lower their lines while they are reset */
	if (!ret)
		ret = controllers_reset(m, err);
	if (!ret)
		ret = boot_load(m, err);
	if (ret)
		return ret;
	if (running)
		start_everything(m);
	else if (m->status != MACHINE_PRELAUNCH)
		m->status = MACHINE_PAUSED;
	if (m->status != MACHINE_PRELAUNCH)
		event(m, MACHINE_EVENT_RESET, by_guest);
	return 0;
}

int machine_reset(struct machine *m, struct errbuf *err)
{
	return reset(m, false, err);
}

/* --- what the guest or its devices ask for -------------------------------------------------- */

static void guest_reset(struct machine *m)
{
	struct errbuf err = {0};

	if (m->cfg.no_reboot) {
		stop_everything(m);
		enter(m, MACHINE_SHUTDOWN);
		event(m, MACHINE_EVENT_POWEROFF, 0);
		return;
	}
	if (reset(m, true, &err) < 0) {
		log_error("reset: %s", err.msg);
		m->status = MACHINE_INTERNAL_ERROR;
		event(m, MACHINE_EVENT_ERROR, 0);
	}
}

/* Machine loop's thread; the vCPUs are parking already. */
static void handle_request(void *arg)
{
	struct machine *m = arg;
	int req;

	if (m->status != MACHINE_RUNNING)
		return; /* machine_resume() comes back to it */
	req = __atomic_exchange_n(&m->request, 0, __ATOMIC_ACQ_REL) - 1;
	if (req < 0)
		return;
	if (req == DEV_REQ_RESET) {
		guest_reset(m);
		return;
	}
	stop_everything(m);
	enter(m, req == DEV_REQ_ERROR ? MACHINE_INTERNAL_ERROR : MACHINE_SHUTDOWN);
	if (req == DEV_REQ_ERROR)
		event(m, MACHINE_EVENT_ERROR, 0);
	else if (req == DEV_REQ_DEBUG_EXIT)
		event(m, MACHINE_EVENT_DEBUG_EXIT, m->request_arg);
	else
		event(m, MACHINE_EVENT_POWEROFF, 0);
}

/* The first request wins; it holds until the machine loop has handled it. */
void machine_request(void *ctx, enum dev_request req, int arg)
{
	struct machine *m = ctx;
	int none = 0;

	if (!__atomic_compare_exchange_n(&m->request, &none, (int)req + 1, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return;
	m->request_arg = arg;
	vcpu_park_request(m);
	if (loop_post(m->loop, handle_request, m) < 0)
		log_error("out of memory: the guest's request is lost");
}

void machine_powerdown(struct machine *m)
{
	if (m->status != MACHINE_RUNNING)
		return;
	pm_power_button(m->pm);
	event(m, MACHINE_EVENT_POWERDOWN, 0);
}

/* --- looking -------------------------------------------------------------------------------- */

enum machine_status machine_status(const struct machine *m)
{
	return m->status;
}

const struct machine_config *machine_config(const struct machine *m)
{
	return &m->cfg;
}

int machine_vcpu_tid(const struct machine *m, unsigned index)
{
	return m->vcpu[index].tid;
}

/* In a wait, activity is what it was when the vCPU took the lock. */
static unsigned vcpu_state(struct machine *m, struct machine_vcpu *v)
{
	LOCK_SCOPE(&v->lock);

	if (m->status != MACHINE_RUNNING)
		return VCPU_PAUSED;
	if (!v->sleeping)
		return VCPU_RUNNING;
	return v->activity == CPU_HALTED ? VCPU_HALTED : VCPU_OFFLINE;
}

static uint64_t thread_cpu_ns(const struct machine_vcpu *v)
{
	struct timespec ts;
	clockid_t clock;

	if (!v->started || pthread_getcpuclockid(v->thread, &clock) ||
	    clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void machine_vcpu_stats(struct machine *m, unsigned index, struct machine_vcpu_stats *out)
{
	struct machine_vcpu *v = &m->vcpu[index];

	*out = (struct machine_vcpu_stats){.state = vcpu_state(m, v), .cpu_ns = thread_cpu_ns(v)};
	for (unsigned r = 0; r < EXIT_REASONS; r++)
		out->exits[r] = __atomic_load_n(&v->exits[r], __ATOMIC_RELAXED);
	if (m->cfg.engine->stats)
		m->cfg.engine->stats(v->ev, &out->engine);
}

bool machine_vm_stats(const struct machine *m, struct engine_vm_stats *out)
{
	return m->cfg.engine->vm_stats && m->cfg.engine->vm_stats(m->evm, out);
}

int machine_vcpu_state(struct machine *m, unsigned index, struct cpu_state *out)
{
	return m->cfg.engine->get_state(m->vcpu[index].ev, out);
}

uint64_t machine_ram_resident(const struct machine *m)
{
	return mem_resident_bytes(m->mem);
}
