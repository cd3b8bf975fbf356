/* SPDX-License-Identifier: Apache-2.0 */
/* vms.h - the VMs that run on this host for this user: finding them, asking them. */
#pragma once

#include <jansson.h>
#include "base/err.h"

enum { VM_NAME_MAX = 64, VM_PATH_MAX = 108 /* of a Unix socket */, VM_LIST_MAX = 256 };

/*
 * Where "caisson run" puts control sockets, created if need be, for its owner alone:
 * $CAISSON_HOME/run, $XDG_RUNTIME_DIR/caisson, /run/caisson for root, or
 * /tmp/caisson-UID.  0 or -errno with a sentence.
 */
MUST_CHECK int vms_folder(char *buf, size_t len, struct errbuf *err);
/* The control socket of a VM called @name that this process starts. */
MUST_CHECK int vms_own_socket(const char *name, char *buf, size_t len, struct errbuf *err);

struct vm { /* a connection to a running one */
	int fd;
	int pid;		    /* of its process */
	char name[VM_NAME_MAX + 1]; /* nothing in it but what can be printed */
	char path[VM_PATH_MAX];
	char *in; /* what was read and not used yet */
	size_t in_len;
	json_t *then, *now; /* vm_sample(): the latest two, or NULL */
};

/* A VM listens at @path.  0 or -errno with a sentence. */
MUST_CHECK int vm_connect(const char *path, struct vm **out, struct errbuf *err);
void vm_free(struct vm *vm);
DEFINE_AUTO(vm);

/*
 * The VM that @which names: its name, its process's ID, or its socket's path (with a
 * slash).  -ENOENT, -ENOTUNIQ or what connecting gives, with a sentence.
 */
MUST_CHECK int vm_find(const char *which, struct vm **out, struct errbuf *err);
/* Add to the @n in @vms those that are not among them, up to @max; how many there are then. */
unsigned vm_list(struct vm **vms, unsigned n, unsigned max);

/* What @command returns (a new reference); NULL with a sentence. */
json_t *vm_ask(struct vm *vm, const char *command, struct errbuf *err);

/* Ask for its counters. */
MUST_CHECK int vm_sample(struct vm *vm, struct errbuf *err);

/* @text with what a terminal might take for more than text made harmless, in place. */
void make_printable(char *text);
