/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - engines by name.
 *
 * "auto" wants a hardware engine that is worth it: /dev/kvm can open on hosts whose
 * kernel emulates instead of virtualising, so the CPU's own flag decides first.
 */
#include "cpu/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Does a line of /proc/cpuinfo's flags name @flag? */
static bool line_has_flag(const char *line, const char *flag)
{
	size_t n = strlen(flag);

	for (const char *p = line; (p = strstr(p, flag)); p += n)
		if (p > line && (p[-1] == ' ' || p[-1] == '\t') &&
		    (p[n] == ' ' || p[n] == '\n' || !p[n]))
			return true;
	return false;
}

/* "vmx", "svm" or NULL. */
static const char *hardware_flag(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	const char *found = NULL;
	AUTO_PTR char *line = NULL;
	size_t cap = 0;

	if (!f)
		return NULL;
	while (!found && getline(&line, &cap, f) > 0) {
		if (strncmp(line, "flags", 5))
			continue;
		found = line_has_flag(line, "vmx")   ? "vmx"
			: line_has_flag(line, "svm") ? "svm"
						     : NULL;
		break;
	}
	fclose(f);
	return found;
}

static int probe_kvm(struct errbuf *err)
{
#ifdef HAVE_KVM_ENGINE
	return engine_kvm.probe(err);
#else
	return err_set(err, -ENOSYS, "this build has no kvm engine");
#endif
}

static const struct engine_ops *kvm_ops(void)
{
#ifdef HAVE_KVM_ENGINE
	return &engine_kvm;
#else
	return NULL;
#endif
}

/* The translator where the host can run it. */
static const struct engine_ops *software(void)
{
	struct errbuf no = {0};

	return engine_soft.probe(&no) ? &engine_interp : &engine_soft;
}

static const struct engine_ops *choose(char *why, size_t why_len)
{
	const char *flag = hardware_flag();
	struct errbuf no = {0};

	if (!flag) {
		snprintf(why, why_len, "the CPU has neither vmx nor svm");
		return software();
	}
	if (probe_kvm(&no)) {
		snprintf(why, why_len, "the CPU has %s, but %s", flag, no.msg);
		return software();
	}
	snprintf(why, why_len, "the CPU has %s and /dev/kvm works", flag);
	return kvm_ops();
}

const struct engine_ops *engine_find(const char *name, char *why, size_t why_len,
				     struct errbuf *err)
{
	if (!strcmp(name, "auto"))
		return choose(why, why_len);
	snprintf(why, why_len, "%s", ""); /* it was asked for */
	if (!strcmp(name, "soft")) {
		if (engine_soft.probe(err)) {
			err_prefix(err, "engine 'soft' (use interp)");
			return NULL;
		}
		return &engine_soft;
	}
	if (!strcmp(name, "interp"))
		return &engine_interp;
	if (strcmp(name, "kvm")) {
		err_set(err, -EINVAL, "engine '%s' is unknown; use auto, kvm, soft or interp",
			name);
		return NULL;
	}
	if (probe_kvm(err)) {
		err_prefix(err, "engine 'kvm'");
		return NULL;
	}
	return kvm_ops();
}
