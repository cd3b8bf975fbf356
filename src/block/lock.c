/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - a disk belongs to one writer, and a lock that says who that is.
 *
 * Open file description locks: the kernel drops them with the last descriptor,
 * whatever happens to the process, and they work between processes, between two
 * disks of one process and over NFS.  A writer holds a write lock over the data, a
 * reader a read lock.
 *
 * Such a lock names no process.  So the name is in the locks: far beyond any
 * data, one more lock for every 7 bytes of the name starts at
 *
 *	NAME_BASE + chunk number * 2^56 + the 7 bytes as a number
 *
 * and F_OFD_GETLK, which reports where a conflicting lock starts, reads it back.
 * No file is left behind, and anyone who may open the disk may read the name.  The
 * first byte is the name's length.  Several readers hold such locks; the kernel
 * reports those of the same one first, and a name that does not make sense is
 * not shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "block/internal.h"

#define DATA_BYTES (1LL << 62)
#define NAME_BASE  (1LL << 62)

enum { CHUNK_SHIFT = 56, CHUNK_BYTES = 7, MAX_CHUNKS = LOCK_HOLDER_MAX / CHUNK_BYTES };

static int set_lock(int fd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* The lock in the way of a write lock on the range; l_type F_UNLCK: none. */
static struct flock get_lock(int fd, off_t start, off_t len)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		l.l_type = F_UNLCK;
	return l;
}

/* --- the name -------------------------------------------------------------------------- */

static off_t chunk_base(unsigned i)
{
	return NAME_BASE + ((off_t)i << CHUNK_SHIFT);
}

static void write_name(int fd, short type, const char *name)
{
	uint8_t text[LOCK_HOLDER_MAX] = {0};
	size_t len = strnlen(name, sizeof(text) - 1);

	text[0] = (uint8_t)len;
	memcpy(text + 1, name, len);
	for (unsigned i = 0; i * CHUNK_BYTES <= len; i++) {
		off_t value = 0;

		for (unsigned k = 0; k < CHUNK_BYTES; k++)
			value = value << 8 | text[i * CHUNK_BYTES + k];
		/* the name is a courtesy: the data is locked without it */
		if (set_lock(fd, type, chunk_base(i) + value, 1) < 0)
			return;
	}
}

/* False: whoever holds the lock left no name. */
static bool read_name(int fd, char name[LOCK_HOLDER_MAX])
{
	uint8_t text[LOCK_HOLDER_MAX] = {0};
	unsigned len = 0;

	for (unsigned i = 0; i < MAX_CHUNKS && i * CHUNK_BYTES <= len; i++) {
		struct flock l = get_lock(fd, chunk_base(i), 1LL << CHUNK_SHIFT);
		off_t value = l.l_start - chunk_base(i);

		/* a lock over the whole file is another program's */
		if (l.l_type == F_UNLCK || l.l_len != 1 || value < 0)
			return false;
		for (unsigned k = 0; k < CHUNK_BYTES; k++)
			text[i * CHUNK_BYTES + k] = (uint8_t)(value >> (8 * (6 - k)));
		len = text[0];
	}
	if (!len || len >= LOCK_HOLDER_MAX)
		return false;
	for (unsigned i = 1; i <= len; i++)
		if (text[i] < ' ' || text[i] == 0x7f)
			return false;
	memcpy(name, text + 1, len);
	name[len] = '\0';
	return true;
}

/* --- the lock --------------------------------------------------------------------------- */

static int say_who(int fd, const char *path, bool write, struct errbuf *err)
{
	char name[LOCK_HOLDER_MAX], who[LOCK_HOLDER_MAX + 8];
	struct flock l = get_lock(fd, 0, DATA_BYTES);

	if (read_name(fd, name))
		snprintf(who, sizeof(who), "VM '%s'", name);
	else
		snprintf(who, sizeof(who), "another program");
	if (write && l.l_type == F_RDLCK)
		return err_set(err, -EBUSY,
			       "disk '%s' is being read by %s; stop that first, or attach the disk "
			       "read-only or with --ephemeral",
			       path, who);
	return err_set(err, -EBUSY,
		       "disk '%s' is in use by %s; stop that first, or use a copy of the disk",
		       path, who);
}

int lock_take(int fd, const char *path, bool write, const char *holder, struct errbuf *err)
{
	short type = write ? F_WRLCK : F_RDLCK;
	int ret = set_lock(fd, type, 0, DATA_BYTES);

	if (ret == -EAGAIN || ret == -EACCES)
		return say_who(fd, path, write, err);
	if (ret) {
		/* some network file systems have no locks; that is no reason not to run */
		log_warn("disk '%s' cannot be locked (%s): make sure that no other VM uses it",
			 path, strerror(-ret));
		return 0;
	}
	if (holder && *holder)
		write_name(fd, type, holder);
	return 0;
}

void lock_drop(int fd)
{
	/* not left to close(): the kernel may still hold the file for a moment */
	if (set_lock(fd, F_UNLCK, 0, 0) < 0)
		return; /* there was none */
}
