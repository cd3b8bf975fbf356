/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - caisson-vmm: one VM.
 *
 * Order: options, namespaces, back ends and machine (all that is opened), sandbox,
 * then the first guest instruction.  The main thread is the machine loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "api/vm_config.h"
#include "base/log.h"
#include "base/thread.h"
#include "machine/machine.h"
#include "vmm/control.h"
#include "vmm/sandbox.h"
#include "vmm/signals.h"

struct vmm { /* owner: the main thread */
	struct vm_config cfg;
	struct loop *loop;
	struct chardev *console;
	struct control *control;
	struct machine *machine;
	struct signals signals;
	int dump_fd, perf_fd;
	int status; /* exit status */
	bool host_quit;
};

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

static void end(struct vmm *v, int status)
{
	v->status = status;
	loop_stop(v->loop);
}

/* --- events ---------------------------------------------------------------------- */

static void tell(struct vmm *v, const char *name, json_t *data)
{
	if (v->control)
		control_event(v->control, name, data);
	else
		json_decref(data);
}

static json_t *cause(bool guest, const char *reason)
{
	return json_pack("{s:b,s:s}", "guest", guest, "reason", reason);
}

static void on_event(void *ctx, enum machine_event ev, int arg)
{
	struct vmm *v = ctx;

	switch (ev) {
	case MACHINE_EVENT_RESET:
		tell(v, "RESET", arg ? cause(true, "guest-reset") : cause(false, "host-request"));
		break;
	case MACHINE_EVENT_STOP: tell(v, "STOP", NULL); break;
	case MACHINE_EVENT_RESUME: tell(v, "RESUME", NULL); break;
	case MACHINE_EVENT_POWERDOWN: tell(v, "POWERDOWN", NULL); break;
	case MACHINE_EVENT_POWEROFF:
		tell(v, "SHUTDOWN", cause(true, "guest-shutdown"));
		end(v, STATUS_OK);
		break;
	case MACHINE_EVENT_DEBUG_EXIT:
		tell(v, "SHUTDOWN", cause(true, "guest-shutdown"));
		end(v, arg);
		break;
	case MACHINE_EVENT_ERROR: end(v, STATUS_FAILED); break;
	}
}

static void quit_by_host(void *ctx)
{
	struct vmm *v = ctx;

	tell(v, "SHUTDOWN", cause(false, "host-qmp-quit"));
	end(v, STATUS_OK);
}

static void on_signal(void *ctx, int signo)
{
	struct vmm *v = ctx;

	tell(v, "SHUTDOWN", cause(false, "host-signal"));
	end(v, 128 + signo);
}

static void show_menu(struct vmm *v)
{
	fprintf(stderr, "\r\nCtrl-A p  power button\r\nCtrl-A r  reset\r\nCtrl-A q  quit\r\n"
			"Ctrl-A Ctrl-A  send Ctrl-A\r\n");
}

static void on_escape(void *ctx, int key)
{
	struct vmm *v = ctx;
	struct errbuf err = {0};

	switch (key) {
	case 'p': machine_powerdown(v->machine); break;
	case 'r':
		if (machine_reset(v->machine, &err) < 0) {
			log_error("reset: %s", err.msg);
			end(v, STATUS_FAILED);
		}
		break;
	case 'q':
	case 'x':
		tell(v, "SHUTDOWN", cause(false, "host-ui"));
		end(v, STATUS_OK);
		break;
	default: show_menu(v); break;
	}
}

/* --- files for whoever looks into the engine ------------------------------------------ */

static int open_dump(struct vmm *v, struct errbuf *err)
{
	const char *path = v->cfg.dump_file;

	if (!path)
		v->dump_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		v->dump_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	if (v->dump_fd < 0)
		return err_set(err, -errno, "--dump-file %s: %m", path ? path : "on stderr");
	return 0;
}

/* In /tmp, where perf looks: nobody else's file is followed or written to. */
static int open_perf_map(struct vmm *v, struct errbuf *err)
{
	char path[32];

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	unlink(path); /* of an earlier process */
	v->perf_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
	return v->perf_fd < 0 ? err_set(err, -errno, "--perf-map: %s: %m", path) : 0;
}

static int open_look(struct vmm *v, struct machine_config *mc, struct errbuf *err)
{
	const struct vm_config *c = &v->cfg;
	int ret = 0;

	if (!c->dump && !c->perf_map)
		return 0;
	if (mc->engine != &engine_soft)
		return err_set(err, -EINVAL,
			       "%s: only engine soft translates, and this is %s; give --engine "
			       "soft",
			       c->dump ? "-d ops,ir,asm" : "--perf-map", mc->engine->name);
	if (c->dump)
		ret = open_dump(v, err);
	if (!ret && c->perf_map)
		ret = open_perf_map(v, err);
	mc->look = (struct engine_look){
		.dump = (c->dump & VM_DUMP_OPS ? ENGINE_DUMP_OPS : 0) |
			(c->dump & VM_DUMP_IR ? ENGINE_DUMP_IR : 0) |
			(c->dump & VM_DUMP_ASM ? ENGINE_DUMP_ASM : 0),
		.dump_fd = v->dump_fd,
		.dump_max = c->dump_max,
		.first = c->dump_first,
		.last = c->dump_last,
		.perf_map = c->perf_map,
		.perf_fd = v->perf_fd,
	};
	return ret;
}

/* --- start ----------------------------------------------------------------------------- */

static int thread_init(void *ctx, const char *kind)
{
	struct vmm *v = ctx;

	return v->cfg.sandbox_off ? 0 : sandbox_thread(kind);
}

static void fill_machine_config(struct vmm *v, struct machine_config *mc)
{
	const struct vm_config *c = &v->cfg;

	*mc = (struct machine_config){
		.name = c->name,
		.cpu_model = c->cpu_model,
		.ram_bytes = c->memory_bytes,
		.ncpus = c->cpus,
		.kernel = c->kernel,
		.initrd = c->initrd,
		.append = c->append,
		.ephemeral = c->ephemeral,
		.debug_exit = c->debug_exit,
		.check = c->check,
		.count = c->count,
		.code_cache = c->code_cache,
		.no_reboot = c->no_reboot,
		.console = v->console,
		.thread_init = thread_init,
		.event = on_event,
		.ctx = v,
		.ndisks = c->ndisks,
		.nnets = c->nnets,
	};
	for (unsigned i = 0; i < c->ndisks; i++)
		mc->disk[i] = (struct machine_disk){c->disk[i].path, c->disk[i].readonly};
	for (unsigned i = 0; i < c->nnets; i++) {
		struct machine_net *n = &mc->net[i];

		n->kind = c->net[i].kind == VM_NET_TAP ? MACHINE_NET_TAP : MACHINE_NET_USER;
		n->tap = c->net[i].tap;
		n->nforwards = c->net[i].nforwards;
		for (unsigned f = 0; f < n->nforwards; f++)
			n->forward[f] = c->net[i].forward[f];
	}
}

static void announce(struct vmm *v, const struct machine_config *mc, const char *why)
{
	bool stdio = !strcmp(v->cfg.console, "stdio");

	if (v->cfg.sandbox_off)
		log_warn("the VM's process is not locked down (--sandbox off)");
	if (v->cfg.quiet)
		return;
	log_info("VM '%s': engine %s%s%s, CPU %s, %u vCPU%s, %llu MiB%s", mc->name,
		 mc->engine->name, *why ? " because " : "", why, mc->cpu_model, mc->ncpus,
		 mc->ncpus == 1 ? "" : "s", (unsigned long long)mc->ram_bytes >> 20,
		 stdio ? "; Ctrl-A h: menu" : "");
}

/* Where KVM opens but fails to make the machine, "auto" goes on without it. */
static int make_machine(struct vmm *v, struct machine_config *mc, char *why, size_t why_len,
			struct errbuf *err)
{
	const struct engine_ops *first = mc->engine;
	char failure[sizeof(err->msg)];
	int ret = machine_new(mc, v->loop, &v->machine, err);

	if (!ret || strcmp(v->cfg.engine, "auto") != 0 || strcmp(first->name, "kvm") != 0)
		return ret;
	memcpy(failure, err->msg, sizeof(failure));
	mc->engine = engine_find("soft", why, why_len, err);
	ret = mc->engine ? machine_new(mc, v->loop, &v->machine, err) : -ENODEV;
	if (!ret)
		log_info("KVM failed (%s): going on with soft", failure);
	return ret;
}

static int start(struct vmm *v, struct errbuf *err)
{
	struct machine_config mc;
	char why[256] = "";
	int ret;

	fill_machine_config(v, &mc);
	mc.engine = engine_find(v->cfg.engine, why, sizeof(why), err);
	if (!mc.engine)
		return -ENODEV;
	if (!v->cfg.sandbox_off)
		sandbox_namespaces();
	ret = loop_new(&v->loop);
	if (ret)
		return err_set(err, ret, "event loop: %s", strerror(-ret));
	ret = signals_init(&v->signals, v->loop, on_signal, v, err);
	if (!ret)
		ret = chardev_new(v->loop, v->cfg.console, on_escape, v, &v->console, err);
	if (!ret && v->cfg.control)
		ret = control_new(v->loop, v->cfg.control, &v->control, err);
	mc.console = v->console;
	if (!ret)
		ret = open_look(v, &mc, err);
	if (!ret)
		ret = make_machine(v, &mc, why, sizeof(why), err);
	if (ret)
		return ret;
	if (v->control)
		control_attach(v->control, v->machine, quit_by_host, v);
	announce(v, &mc, why);
	return v->cfg.sandbox_off ? 0 : sandbox_process(err);
}

static void show_counts(struct vmm *v)
{
	for (unsigned i = 0; i < v->cfg.cpus; i++) {
		struct machine_vcpu_stats s;

		machine_vcpu_stats(v->machine, i, &s);
		log_info("cpu%u: %llu instructions", i, (unsigned long long)s.engine.insns);
	}
}

static void finish(struct vmm *v)
{
	if (v->machine)
		machine_pause(v->machine);
	if (v->machine && v->cfg.count)
		show_counts(v);
	control_free(v->control);
	v->control = NULL;
	if (v->console)
		chardev_flush(v->console);
	machine_free(v->machine);
	chardev_free(v->console);
	if (v->dump_fd >= 0)
		close(v->dump_fd);
	if (v->perf_fd >= 0)
		close(v->perf_fd);
	signals_fini(&v->signals);
	loop_free(v->loop);
	vm_config_fini(&v->cfg);
}

int main(int argc, char **argv)
{
	struct vmm v = {.dump_fd = -1, .perf_fd = -1};
	struct errbuf err = {0};
	int ret;

	thread_name("caisson-vmm");
	signals_follow_parent(); /* started by caisson run, ends with it */
	vm_config_init(&v.cfg);
	ret = vm_config_parse(&v.cfg, argc, argv, &err);
	if (!ret && v.cfg.help) {
		printf("usage: caisson-vmm [OPTION]...\n%s", vm_config_help());
		vm_config_fini(&v.cfg);
		return STATUS_OK;
	}
	if (!ret)
		ret = vm_config_check(&v.cfg, &err);
	if (ret) {
		log_error("%s", err.msg);
		vm_config_fini(&v.cfg);
		return STATUS_USAGE;
	}
	log_kinds = v.cfg.log_kinds;
	json_object_seed(0); /* reads /dev/urandom, which the sandbox would refuse later */
	ret = start(&v, &err);
	if (ret) {
		chardev_restore_terminal();
		log_error("%s", err.msg);
		finish(&v);
		return STATUS_FAILED;
	}
	machine_resume(v.machine);
	loop_run(v.loop);
	finish(&v);
	return v.status;
}
