/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the hardware engine: VT-x or AMD-V through Linux's KVM.
 *
 * Interrupt controllers live in the kernel, so HLT, IPIs and timers cause no exit
 * here; PIT and all devices are ours.  String I/O arrives as one kernel exit with
 * many elements and leaves run() as one exit an element, like the software engine's.
 * A kick sets immediate_exit and sends a signal: set before KVM_RUN it makes that
 * return at once, within it the signal does (Documentation/virt/kvm/api.rst, 5).
 */
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "cpu/kvm/kick.h"

enum { EXIT_MEMORY_FAULT = 39 }; /* KVM_EXIT_MEMORY_FAULT of Linux 6.8 */

static const struct {
	int cap;
	const char *name;
} needed_caps[] = {
	{KVM_CAP_IRQCHIP, "IRQCHIP"},
	{KVM_CAP_USER_MEMORY, "USER_MEMORY"},
	{KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR"},
	{KVM_CAP_EXT_CPUID, "EXT_CPUID"},
	{KVM_CAP_MP_STATE, "MP_STATE"},
	{KVM_CAP_IRQFD, "IRQFD"},
	{KVM_CAP_IOEVENTFD, "IOEVENTFD"},
	{KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT"},
	{KVM_CAP_XSAVE, "XSAVE"},
	{KVM_CAP_XCRS, "XCRS"},
	{KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS"},
	{KVM_CAP_DEBUGREGS, "DEBUGREGS"},
};

/* --- host and VM ------------------------------------------------------------------- */

static int open_kvm(int *out, struct errbuf *err)
{
	AUTO_FD int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == EACCES)
		return err_set(err, -EACCES, "/dev/kvm: permission denied; join the group kvm");
	if (fd < 0)
		return err_set(err, -errno, "/dev/kvm: %m; load kvm_intel or kvm_amd, or use soft");
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return err_set(err, -ENOTSUP, "/dev/kvm: not API version %d", KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed_caps); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed_caps[i].cap) <= 0)
			return err_set(err, -ENOTSUP, "/dev/kvm: the kernel's KVM lacks %s",
				       needed_caps[i].name);
	*out = MOVE_FD(fd);
	return 0;
}

static int kvm_probe(struct errbuf *err)
{
	AUTO_FD int fd = -1;

	return open_kvm(&fd, err);
}

static int set_slot(struct engine_vm *vm, unsigned i, uint32_t flags)
{
	const struct mem_region *r = &vm->mem->region[i];
	struct kvm_userspace_memory_region slot = {
		.slot = i,
		.flags = flags,
		.guest_phys_addr = r->gpa,
		.memory_size = r->bytes,
		.userspace_addr = (uintptr_t)r->hva,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static void kvm_vm_free(struct engine_vm *vm)
{
	if (!vm)
		return;
	kvm_rescue_fini(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	free(vm);
}

static int set_up_vm(struct engine_vm *vm, struct errbuf *err)
{
	uint64_t identity = 0xfeffc000; /* scratch pages for real mode on old VT-x */
	int n;

	do /* a signal to this thread interrupts the kernel's set-up */
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0)
		return err_set(err, -errno, "KVM: cannot create a VM: %m");
	n = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return err_set(err, -ENOTSUP, "KVM: run area of %d bytes", n);
	vm->run_bytes = (size_t)n;
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, identity + 0x1000) < 0)
		return err_set(err, -errno, "KVM: scratch pages: %m");
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_set(err, -errno, "KVM: interrupt controllers: %m");
	for (unsigned i = 0; i < vm->mem->nregions; i++) {
		int ret = set_slot(vm, i, 0);

		if (ret)
			return err_set(err, ret, "KVM: memory '%s': %s", vm->mem->region[i].name,
				       strerror(-ret));
	}
	return kick_install() < 0 ? err_set(err, -errno, "KVM: signal handler: %m") : 0;
}

static int kvm_vm_new(const struct engine_vm_config *cfg, struct engine_vm **out,
		      struct errbuf *err)
{
	struct engine_vm *vm;
	int ret;

	if (cfg->count)
		return err_set(err, -ENOTSUP, "KVM cannot count instructions");
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_set(err, -ENOMEM, "KVM: out of memory");
	vm->kvm_fd = vm->vm_fd = -1;
	vm->mem = cfg->mem;
	vm->model = cfg->model;
	vm->tsc_khz = cfg->tsc_khz;
	ret = open_kvm(&vm->kvm_fd, err);
	if (!ret)
		ret = set_up_vm(vm, err);
	if (!ret)
		ret = kvm_rescue_init(vm, cfg, err);
	if (ret) {
		kvm_vm_free(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

static void kvm_vcpu_free(struct engine_vcpu *v)
{
	if (!v)
		return;
	kvm_rescue_vcpu_fini(v);
	if (v->run)
		munmap(v->run, v->vm->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
}

/*
 * A VM from another host keeps its TSC frequency where the processor can scale.  Where
 * it cannot, the paravirtual clock still tells the truth.  Differences of measurement
 * (250 ppm, what NTP corrects) are left alone: unscaled is faster.
 */
static void set_tsc_khz(struct engine_vcpu *v)
{
	uint64_t want = v->vm->tsc_khz;
	int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	uint64_t diff = (uint64_t)khz > want ? (uint64_t)khz - want : want - (uint64_t)khz;

	if (khz > 0 && want && diff > want / 4000)
		ioctl(v->fd, KVM_SET_TSC_KHZ, (unsigned long)want);
}

static int set_up_vcpu(struct engine_vcpu *v, struct errbuf *err)
{
	void *run;
	int ret;

	v->fd = ioctl(v->vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)v->index);
	if (v->fd < 0)
		return err_set(err, -errno, "KVM: vCPU %u: %m", v->index);
	run = mmap(NULL, v->vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED)
		return err_set(err, -errno, "KVM: vCPU %u: run area: %m", v->index);
	v->run = run;
	set_tsc_khz(v);
	ret = kvm_set_cpuid(v, err);
	if (!ret)
		kvm_set_fixed_msrs(v->fd); /* after CPUID, which says whose processor it is */
	return ret;
}

static int kvm_vcpu_new(struct engine_vm *vm, unsigned index, struct engine_vcpu **out,
			struct errbuf *err)
{
	struct engine_vcpu *v = calloc(1, sizeof(*v));
	int ret;

	if (!v)
		return err_set(err, -ENOMEM, "KVM: out of memory");
	v->vm = vm;
	v->index = index;
	v->fd = -1;
	ret = set_up_vcpu(v, err);
	if (ret) {
		kvm_vcpu_free(v);
		return ret;
	}
	*out = v;
	return 0;
}

/* --- exits ---------------------------------------------------------------------------- */

/* The next element of the kernel's port exit; false when all are given out. */
static bool next_pio(struct engine_vcpu *v, struct engine_exit *e)
{
	const struct kvm_run *run = v->run;
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;

	if (v->pio_done >= run->io.count)
		return false;
	e->reason = EXIT_PIO;
	e->addr = run->io.port;
	e->size = run->io.size;
	e->write = run->io.direction == KVM_EXIT_IO_OUT;
	e->data = 0;
	if (e->write)
		memcpy(&e->data, data + v->pio_done * run->io.size, run->io.size);
	v->pio_answer = !e->write;
	v->pio_done++;
	return true;
}

/* Put the machine's answer to the last exit where the kernel takes it. */
static void take_answer(struct engine_vcpu *v, const struct engine_exit *e)
{
	struct kvm_run *run = v->run;

	if (v->pio_answer)
		memcpy((uint8_t *)run + run->io.data_offset + (v->pio_done - 1) * run->io.size,
		       &e->data, run->io.size);
	if (v->mmio_answer)
		memcpy(run->mmio.data, &e->data, MIN(run->mmio.len, 8u));
	v->pio_answer = v->mmio_answer = false;
}

static void mmio_exit(struct engine_vcpu *v, struct engine_exit *e)
{
	const struct kvm_run *run = v->run;

	e->reason = EXIT_MMIO;
	e->addr = run->mmio.phys_addr;
	e->size = (uint8_t)MIN(run->mmio.len, 8u);
	e->write = run->mmio.is_write;
	e->data = 0;
	if (e->write)
		memcpy(&e->data, run->mmio.data, e->size);
	v->mmio_answer = !e->write;
}

static const char *name_suberror(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION: return "an instruction it cannot emulate";
	case KVM_INTERNAL_ERROR_SIMUL_EX: return "two exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV: return "an exit while delivering an event";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: return "an exit nobody asked for";
	default: return "unknown";
	}
}

/* What nobody could execute, with the place, for the operator. */
static void internal_error(struct engine_vcpu *v, struct engine_exit *e)
{
	struct kvm_regs regs = {0};

	if (v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && kvm_rescue(v, e))
		return;
	ioctl(v->fd, KVM_GET_REGS, &regs);
	e->reason = EXIT_ERROR;
	snprintf(e->error, sizeof(e->error),
		 "KVM internal error %u (%s) at RIP %#llx, data %#llx %#llx",
		 v->run->internal.suberror, name_suberror(v->run->internal.suberror),
		 (unsigned long long)regs.rip,
		 v->run->internal.ndata > 0 ? (unsigned long long)v->run->internal.data[0] : 0,
		 v->run->internal.ndata > 1 ? (unsigned long long)v->run->internal.data[1] : 0);
}

static void translate_exit(struct engine_vcpu *v, struct engine_exit *e)
{
	const struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		v->pio_done = 0;
		if (!next_pio(v, e))
			e->reason = EXIT_KICK;
		break;
	case KVM_EXIT_MMIO: mmio_exit(v, e); break;
	case KVM_EXIT_HLT: e->reason = EXIT_HLT; break;
	case KVM_EXIT_SHUTDOWN: e->reason = EXIT_SHUTDOWN; break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN: e->reason = EXIT_KICK; break;
	case KVM_EXIT_INTERNAL_ERROR: internal_error(v, e); break;
	case KVM_EXIT_FAIL_ENTRY:
		e->reason = EXIT_ERROR;
		snprintf(e->error, sizeof(e->error),
			 "the processor refused the state: %#llx on host CPU %u",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason,
			 run->fail_entry.cpu);
		break;
	case KVM_EXIT_UNKNOWN:
		e->reason = EXIT_ERROR;
		snprintf(e->error, sizeof(e->error), "KVM does not know hardware exit %#llx",
			 (unsigned long long)run->hw.hardware_exit_reason);
		break;
	default:
		e->reason = EXIT_ERROR;
		snprintf(e->error, sizeof(e->error), "KVM exit reason %u", run->exit_reason);
		break;
	}
}

/* Memory that the host cannot provide: EFAULT, or EHWPOISON where its hardware broke. */
static void run_failed(struct engine_vcpu *v, int error, struct engine_exit *e)
{
	uint64_t fault[2] = {0}; /* flags, guest-physical address */

	e->reason = EXIT_ERROR;
	if (v->run->exit_reason == EXIT_MEMORY_FAULT) {
		memcpy(fault, &v->run->hw, sizeof(fault));
		snprintf(e->error, sizeof(e->error), "KVM_RUN: %s at guest address %#llx",
			 strerror(error), (unsigned long long)fault[1]);
	} else {
		snprintf(e->error, sizeof(e->error), "KVM_RUN: %s", strerror(error));
	}
}

static int kvm_run(struct engine_vcpu *v, struct engine_exit *e)
{
	int ret, saved;

	if (v->rescuing) {
		kvm_rescue_go_on(v, e);
		return 0;
	}
	take_answer(v, e);
	if (v->run->exit_reason == KVM_EXIT_IO && v->pio_done && next_pio(v, e))
		return 0;
	v->pio_done = 0;
	v->thread = pthread_self();
	__atomic_store_n(&v->in_run, true, __ATOMIC_SEQ_CST); /* pairs with kick() */
	ret = ioctl(v->fd, KVM_RUN, 0);
	saved = errno;
	__atomic_store_n(&v->in_run, false, __ATOMIC_SEQ_CST);
	v->exits++;
	if (ret < 0 && (saved == EINTR || saved == EAGAIN)) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		v->run->exit_reason = KVM_EXIT_INTR;
		e->reason = EXIT_KICK;
		return 0;
	}
	if (ret < 0) {
		run_failed(v, saved, e);
		return 0;
	}
	translate_exit(v, e);
	return 0;
}

static void kvm_kick(struct engine_vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&v->in_run, __ATOMIC_SEQ_CST))
		kick_send(v->thread);
}

/* --- what the in-kernel controllers leave to do ----------------------------------------- */

static bool kvm_can_inject(struct engine_vcpu *v)
{
	return false; /* the kernel's APIC injects */
}

static void kvm_inject(struct engine_vcpu *v, uint8_t vector)
{
}

static void kvm_window(struct engine_vcpu *v, bool want)
{
}

static void kvm_inject_nmi(struct engine_vcpu *v)
{
	ioctl(v->fd, KVM_NMI, 0);
}

static int kvm_ioeventfd(struct engine_vm *vm, int fd, uint64_t gpa, unsigned size, bool add)
{
	struct kvm_ioeventfd io = {
		.addr = gpa,
		.len = size,
		.fd = fd,
		.flags = add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static int kvm_set_clock(struct engine_vm *vm, uint64_t ns)
{
	struct kvm_clock_data c = {.clock = ns};

	return ioctl(vm->vm_fd, KVM_SET_CLOCK, &c) < 0 ? -errno : 0;
}

/* --- dirty log ---------------------------------------------------------------------------- */

static void kvm_log_changed(struct engine_vm *vm)
{
	bool on = __atomic_load_n(&vm->mem->logging, __ATOMIC_ACQUIRE);

	engine_interp.log_changed(vm->soft);
	if (on == vm->log_on)
		return;
	vm->log_on = on;
	vm->log_failed = false;
	for (unsigned i = 0; i < vm->mem->nregions; i++)
		if (set_slot(vm, i, on ? KVM_MEM_LOG_DIRTY_PAGES : 0) < 0)
			vm->log_failed = on;
}

/* Fetching a slot's bitmap also clears it and protects its pages again. */
static int sync_slot(struct engine_vm *vm, unsigned i)
{
	const struct mem_region *r = &vm->mem->region[i];
	size_t words = (r->bytes / MEM_PAGE_SIZE + 63) / 64;
	AUTO_PTR uint64_t *bits = calloc(words, 8);
	struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = bits};

	if (!bits)
		return -ENOMEM;
	if (ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return -errno;
	for (size_t w = 0; w < words; w++)
		for (uint64_t b = bits[w]; b; b &= b - 1)
			mem_mark_dirty(
				vm->mem,
				r->gpa + ((w * 64 + (size_t)__builtin_ctzll(b)) << MEM_PAGE_SHIFT),
				1);
	return 0;
}

static int kvm_log_sync(struct engine_vm *vm)
{
	int ret = vm->log_failed ? -ENOMEM : 0; /* told to the one who can give up */

	for (unsigned i = 0; !ret && vm->log_on && i < vm->mem->nregions; i++)
		ret = sync_slot(vm, i);
	return ret;
}

static void kvm_stats(const struct engine_vcpu *v, struct engine_stats *out)
{
	*out = (struct engine_stats){.exits = v->exits};
}

static int kvm_vm_fd(struct engine_vm *vm)
{
	return vm->vm_fd;
}

static int kvm_vcpu_fd(struct engine_vcpu *v)
{
	return v->fd;
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.probe = kvm_probe,
	.vm_new = kvm_vm_new,
	.vm_free = kvm_vm_free,
	.vcpu_new = kvm_vcpu_new,
	.vcpu_free = kvm_vcpu_free,
	.run = kvm_run,
	.kick = kvm_kick,
	.can_inject = kvm_can_inject,
	.inject = kvm_inject,
	.inject_nmi = kvm_inject_nmi,
	.window = kvm_window,
	.get_state = kvm_get_state,
	.set_state = kvm_set_state,
	.log_changed = kvm_log_changed,
	.log_sync = kvm_log_sync,
	.stats = kvm_stats,
	.vm_fd = kvm_vm_fd,
	.vcpu_fd = kvm_vcpu_fd,
	.set_clock = kvm_set_clock,
	.ioeventfd = kvm_ioeventfd,
};
