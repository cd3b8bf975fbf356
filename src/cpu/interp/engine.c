/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the interpreter as an engine (cpu/engine.h).
 *
 * vCPUs share guest memory, the FPU's stubs and one lock; all else is per vCPU.  A
 * kick is one bit.  log_changed() does not return before every vCPU has dropped its
 * write tags: a running one sees REQ_FLUSH at its next block, one outside run() sees
 * it before its first.
 */
#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "cpu/dbt/dbt.h"
#include "cpu/dbt/look.h"
#include "cpu/dbt/probe.h"
#include "cpu/interp/interp.h"

static int interp_probe(struct errbuf *err)
{
	return 0; /* any x86-64 host will do */
}

static void interp_vm_free(struct engine_vm *vm)
{
	if (!vm)
		return;
	dbt_free(vm->dbt);
	fpu_stubs_free(vm->soft.stubs);
	pthread_mutex_destroy(&vm->soft.split);
	free(vm);
}

static int interp_vm_new(const struct engine_vm_config *cfg, struct engine_vm **out,
			 struct errbuf *err)
{
	struct engine_vm *vm = calloc(1, sizeof(*vm) + cfg->ncpus * sizeof(vm->vcpu[0]));
	int ret;

	if (!vm)
		return err_set(err, -ENOMEM, "software engine: no memory for a VM");
	vm->ncpus = cfg->ncpus;
	vm->soft.mem = cfg->mem;
	vm->soft.model = *cfg->model;
	vm->soft.tsc_shift = cfg->tsc_shift;
	pthread_mutex_init(&vm->soft.split, NULL);
	ret = fpu_stubs_new(&vm->soft.stubs, err);
	if (ret) {
		interp_vm_free(vm);
		return ret;
	}
	vm->count = cfg->count;
	vm->no_avx512 = cfg->no_avx512;
	*out = vm;
	return 0;
}

static int soft_vm_new(const struct engine_vm_config *cfg, struct engine_vm **out,
		       struct errbuf *err)
{
	struct engine_vm *vm;
	int ret = interp_vm_new(cfg, &vm, err);

	if (ret)
		return ret;
	ret = dbt_new(cfg->mem, vm, cfg->code_cache ? cfg->code_cache : DBT_DEFAULT_CACHE, &vm->dbt,
		      err);
	if (ret) {
		interp_vm_free(vm);
		return ret;
	}
	vm->dbt->check = vm->dbt->verify_reuse = cfg->check;
	vm->dbt->may_warm_up = cfg->warm_up;
	vm->dbt->look = cfg->look;
	dbt_look_glue(vm->dbt);
	*out = vm;
	return 0;
}

static void interp_vcpu_free(struct engine_vcpu *v)
{
	if (!v)
		return;
	if (v->vm)
		v->vm->vcpu[v->c.index] = NULL;
	dbt_check_free(&v->c);
	block_cache_free(v->c.blocks);
	free(v);
}

/* A new state is in c->s: rebuild what is derived from it, forget what was under way. */
static void adopt_state(struct vcpu *c)
{
	c->memo_n = c->memo_pos = 0;
	c->ext_waiting = false;
	c->delivering = -1;
	c->db_pending = 0;
	c->db_hold = false;
	c->step_shadow = 0;
	c->step_flags = 0;
	memset(c->hidden, 0, sizeof(c->hidden));
	c->pdptr_stale = true;
	vcpu_update_mode(c);
	vcpu_debug_changed(c);
	tlb_flush_all(c);
	vcpu_request(c, REQ_EVENT);
}

static int interp_vcpu_new(struct engine_vm *vm, unsigned index, struct engine_vcpu **out,
			   struct errbuf *err)
{
	struct engine_vcpu *v;
	int ret;

	if (index >= vm->ncpus || vm->vcpu[index])
		return err_set(err, -EINVAL, "software engine: no vCPU %u to create", index);
	v = aligned_alloc(64, ALIGN_UP(sizeof(*v), 64));
	if (!v)
		return err_set(err, -ENOMEM, "software engine: no memory for vCPU %u", index);
	memset(v, 0, sizeof(*v));
	v->c.index = index;
	ret = block_cache_new(vm->dbt ? BLOCK_ARENA_SOFT : BLOCK_ARENA_BYTES, &v->c.blocks);
	if (ret) {
		interp_vcpu_free(v);
		return err_set(err, ret, "software engine: no memory for vCPU %u's code", index);
	}
	v->vm = vm;
	v->c.vm = &vm->soft;
	v->c.mem = vm->soft.mem;
	v->c.model = &vm->soft.model;
	v->c.stubs = vm->soft.stubs;
	v->c.dbt = vm->dbt;
	v->c.d.self = (uintptr_t)&v->c;
	if (vm->dbt) {
		v->c.d.code_base = (uintptr_t)vm->dbt->rx;
		v->c.d.jumps[0] = jump_void(0);
	}
	if (vm->dbt && vm->dbt->check && dbt_check_new(&v->c)) {
		interp_vcpu_free(v);
		return err_set(err, -ENOMEM, "software engine: no memory for vCPU %u", index);
	}
	tlb_init(&v->c);
	interp_count_stop(&v->c, COUNT_NEVER);
	for (int n = 0; n < 2 * COUNT_CHARGES; n++)
		v->c.d.charge[n] = n - COUNT_CHARGES;
	cpu_state_reset(&v->c.s, index == 0, false);
	adopt_state(&v->c);
	vm->vcpu[index] = v;
	*out = v;
	return 0;
}

/* Take the machine's answer to the access that run() last returned with. */
static void take_answer(struct vcpu *c, const struct engine_exit *exit)
{
	struct ext_memo *m = &c->memo[c->memo_n - 1];

	if (!m->write)
		m->data = exit->data;
	m->fail = exit->fail;
	c->ext_waiting = false;
}

static int interp_run(struct engine_vcpu *v, struct engine_exit *exit)
{
	struct vcpu *c = &v->c;

	if (c->ext_waiting)
		take_answer(c, exit);
	c->memo_pos = 0;
	c->exit = exit;
	__atomic_store_n(&v->running, true, __ATOMIC_SEQ_CST);
	if (c->pdptr_stale) {
		c->pdptr_stale = false;
		if (mmu_load_pdptrs(c))
			memset(c->pdptr, 0, sizeof(c->pdptr)); /* not present: #PF */
	}
	interp_loop(c);
	c->s.rip &= c->addr_mask;
	c->exits++;
	__atomic_store_n(&v->running, false, __ATOMIC_SEQ_CST);
	return 0;
}

static void interp_kick(struct engine_vcpu *v)
{
	vcpu_request(&v->c, REQ_KICK);
}

static bool engine_can_inject(struct engine_vcpu *v)
{
	return interp_can_inject(&v->c);
}

static void wake(struct vcpu *c)
{
	if (c->s.activity == CPU_HALTED)
		c->s.activity = CPU_ACTIVE;
	vcpu_request(c, REQ_EVENT);
}

static void interp_inject(struct engine_vcpu *v, uint8_t vector)
{
	v->c.s.int_injected = 1;
	v->c.s.int_vector = vector;
	wake(&v->c);
}

static void interp_inject_nmi(struct engine_vcpu *v)
{
	v->c.s.nmi_pending = 1;
	if (!v->c.s.nmi_blocked)
		wake(&v->c);
}

static void interp_window(struct engine_vcpu *v, bool want)
{
	v->c.want_window = want;
	if (want)
		vcpu_request(&v->c, REQ_EVENT);
}

static int interp_get_state(struct engine_vcpu *v, struct cpu_state *s)
{
	*s = v->c.s;
	if (v->c.db_pending && !s->exc_pending) /* a state has no other place for it */
		debug_queue(s, v->c.db_pending);
	vcpu_restore_bases(&v->c, s);
	s->tsc = (host_tsc() >> v->vm->soft.tsc_shift) + s->tsc_offset;
	return 0;
}

static int interp_set_state(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err)
{
	struct cpu_state copy = *s;
	int ret = cpu_state_desc.post_load ? cpu_state_desc.post_load(&copy, err) : 0;

	if (!ret)
		ret = interp_check_state(&copy, &v->vm->soft.model, err);
	if (ret)
		return err_prefix(err, "vCPU %u", v->c.index);
	v->c.s = copy;
	adopt_state(&v->c);
	return 0;
}

static uint64_t engine_insn_count(const struct engine_vcpu *v)
{
	return v->c.insns;
}

static int engine_count_stop(struct engine_vcpu *v, uint64_t count, struct errbuf *err)
{
	if (!v->vm->count)
		return err_set(err, -ENOTSUP, "this VM does not count instructions; use --count");
	if (count != COUNT_NEVER && v->c.dbt)
		dbt_count_stops(v->c.dbt, &v->c);
	interp_count_stop(&v->c, count);
	return 0;
}

/* Has @v dropped its TLB since it was asked to, or will it before it touches memory? */
static bool flushed(struct engine_vcpu *v)
{
	return !(__atomic_load_n(&v->c.requests, __ATOMIC_SEQ_CST) & REQ_FLUSH) ||
	       !__atomic_load_n(&v->running, __ATOMIC_SEQ_CST);
}

static void interp_log_changed(struct engine_vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->vcpu[i])
			vcpu_request(&vm->vcpu[i]->c, REQ_FLUSH);
	for (unsigned i = 0; i < vm->ncpus; i++)
		while (vm->vcpu[i] && !flushed(vm->vcpu[i]))
			sched_yield(); /* microseconds: it polls at every block */
}

/* Their owner counts without atomics: a reader may be one event behind. */
static uint64_t counter(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void interp_stats(const struct engine_vcpu *v, struct engine_stats *out)
{
	const struct dbt_vcpu *d = &v->c.d;

	*out = (struct engine_stats){
		.insns = counter(&v->c.insns),
		.insns_exact = !v->c.dbt || v->c.dbt->count,
		.exits = counter(&v->c.exits),
		.tlb_misses = counter(&v->c.tlb_misses),
		.decoded = counter(&v->c.decoded),
		.lookups = counter(&d->lookups),
		.lookup_misses = counter(&d->misses),
		.link_exits = counter(&d->links),
		.helpers = counter(&d->helpers),
		.steps = counter(&d->steps),
		.slow = counter(&d->slow),
		.refills = counter(&d->refills),
	};
}

static bool soft_vm_stats(const struct engine_vm *vm, struct engine_vm_stats *out)
{
	const struct dbt *d = vm->dbt;

	if (!d)
		return false;
	*out = (struct engine_vm_stats){
		.cache_bytes = d->limit,
		.cache_used = dbt_used(d),
		.blocks = counter(&d->stats.translated),
		.guest_bytes = counter(&d->stats.translated_bytes),
		.code_bytes = counter(&d->stats.code_bytes),
		.copied = counter(&d->stats.reused),
		.links = counter(&d->stats.links),
		.invalidated = counter(&d->stats.invalidated),
		.evictions = counter(&d->stats.flushes),
	};
	return true;
}

/* The two differ in whether a VM has a translator. */
#define SOFTWARE_OPS                                                                           \
	.vm_free = interp_vm_free, .vcpu_new = interp_vcpu_new, .vcpu_free = interp_vcpu_free, \
	.run = interp_run, .kick = interp_kick, .can_inject = engine_can_inject,               \
	.inject = interp_inject, .inject_nmi = interp_inject_nmi, .window = interp_window,     \
	.insn_count = engine_insn_count, .count_stop = engine_count_stop,                      \
	.get_state = interp_get_state, .set_state = interp_set_state,                          \
	.log_changed = interp_log_changed, .stats = interp_stats, .vm_stats = soft_vm_stats

const struct engine_ops engine_interp = {
	.name = "interp",
	.probe = interp_probe,
	.vm_new = interp_vm_new,
	SOFTWARE_OPS,
};

const struct engine_ops engine_soft = {
	.name = "soft",
	.probe = dbt_probe,
	.vm_new = soft_vm_new,
	SOFTWARE_OPS,
};
