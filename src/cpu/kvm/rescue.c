/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rescue.c - go on where the kernel gives up: have the interpreter execute the
 * instruction that KVM's emulator does not know, and hand the state back.
 *
 * While the machine answers an access of such an instruction, the vCPU's state is the
 * interpreter's; at the instruction's end, and so whenever somebody may look, it is the
 * kernel's again.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "cpu/kvm/assist.h"
#include "cpu/kvm/kvm.h"

#define CAP_EXIT_ON_EMULATION_FAILURE 204 /* Linux 5.14; newer than the headers of Debian 11 */

int kvm_rescue_init(struct engine_vm *vm, const struct engine_vm_config *cfg, struct errbuf *err)
{
	struct engine_vm_config soft = *cfg;
	/* what the guest may execute was the kernel's decision */
	struct cpu_model most;
	int ret;
	struct kvm_enable_cap cap = {.cap = CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};

	/* Without it the kernel gives ring 3 #UD, and hands over ring 0 with #UD pending. */
	vm->exits_clean = ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
	ret = cpu_model_find("max", cfg->ncpus, &most, err);
	if (ret)
		return ret;
	soft.model = &most;
	return engine_interp.vm_new(&soft, &vm->soft, err);
}

void kvm_rescue_fini(struct engine_vm *vm)
{
	engine_interp.vm_free(vm->soft);
}

void kvm_rescue_vcpu_fini(struct engine_vcpu *v)
{
	engine_interp.vcpu_free(v->soft);
}

/* Registers to the kernel; translations that the instruction dropped are dropped there. */
static int give_back(struct engine_vcpu *v, bool flushed, struct engine_exit *e)
{
	struct errbuf err = {0};
	struct cpu_state s;
	int ret = engine_interp.get_state(v->soft, &s);

	if (!ret)
		ret = kvm_change_state(v, &v->rescued, &s, flushed, &err);
	if (ret) {
		e->reason = EXIT_ERROR;
		snprintf(e->error, sizeof(e->error), "rescue: %.150s", err.msg);
	} else {
		e->reason = s.activity == CPU_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_KICK;
	}
	return ret;
}

void kvm_rescue_go_on(struct engine_vcpu *v, struct engine_exit *e)
{
	bool flushed;

	v->rescuing = assist_step(v->soft, e, &flushed) == ASSIST_EXIT;
	if (!v->rescuing)
		give_back(v, flushed, e);
}

bool kvm_rescue(struct engine_vcpu *v, struct engine_exit *e)
{
	struct cpu_state *s = &v->rescued;
	struct errbuf err = {0};

	if (!v->soft && engine_interp.vcpu_new(v->vm->soft, v->index, &v->soft, &err) < 0)
		return false;
	if (kvm_get_state(v, s) < 0)
		return false;
	if (!v->vm->exits_clean && s->exc_pending && s->exc_vector == EXC_UD)
		s->exc_pending = 0;
	if (s->exc_pending || s->int_injected) /* what was to be delivered comes first */
		return false;
	if (engine_interp.set_state(v->soft, s, &err) < 0) {
		log_debug(LOG_EXEC, "cpu%u: no rescue: %s", v->index, err.msg);
		return false;
	}
	v->rescues++;
	kvm_rescue_go_on(v, e);
	return true;
}
