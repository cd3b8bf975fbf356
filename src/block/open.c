/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.c - open a raw file or block device as a disk.
 *
 * Checks come before the lock, the lock before anything is read.  --ephemeral
 * opens the file for reading only, so that many such VMs share one image.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "block/internal.h"

static int say_open_failed(const char *path, bool write, struct errbuf *err)
{
	int code = -errno;

	switch (code) {
	case -ENOENT:
		return err_set(
			err, code,
			"disk '%s' does not exist; 'truncate -s 10G FILE' makes an empty one",
			path);
	case -EACCES:
	case -EROFS:
	case -EPERM:
		if (write && access(path, R_OK) == 0)
			return err_set(err, code,
				       "disk '%s' may not be written (%s); attach it read-only or "
				       "with --ephemeral",
				       path, strerror(-code));
		break;
	case -EBUSY:
		return err_set(err, code, "disk '%s' is mounted or in use by the kernel", path);
	case -EISDIR: return err_set(err, code, "disk '%s' is a directory", path);
	}
	return err_set(err, code, "disk '%s' cannot be opened: %s", path, strerror(-code));
}

static int check_size(struct file *f, const struct stat *st, struct errbuf *err)
{
	f->bytes = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(f->fd, BLKGETSIZE64, &f->bytes) < 0)
		return err_set(err, -errno, "disk '%s': its size cannot be read: %m", f->path);
	if (!f->bytes)
		return err_set(err, -EINVAL, "disk '%s' is empty; 'truncate -s 10G FILE' sizes it",
			       f->path);
	if (f->bytes % 512)
		return err_set(err, -EINVAL,
			       "disk '%s': size %llu is not a multiple of 512; 'truncate -s %%512 "
			       "FILE' rounds it up",
			       f->path, (unsigned long long)f->bytes);
	return 0;
}

/* An image of another format would look like a disk full of nonsense. */
static int check_format(const struct file *f, struct errbuf *err)
{
	static const struct {
		const char magic[9], name[8];
		size_t len;
	} formats[] = {
		{"QFI\xfb", "qcow2", 4},
		{"KDMV", "VMDK", 4},
		{"vhdxfile", "VHDX", 8},
		{"conectix", "VHD", 8},
	};
	char head[8] = {0};

	if (pread(f->fd, head, sizeof(head), 0) < 0)
		return err_set(err, -errno, "disk '%s' cannot be read: %m", f->path);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!memcmp(head, formats[i].magic, formats[i].len))
			return err_set(err, -EINVAL,
				       "disk '%s' is a %s image, and only raw ones are supported; "
				       "'qemu-img convert -O raw' makes one of it",
				       f->path, formats[i].name);
	return 0;
}

/*
 * Not blocking: a FIFO would make us wait for its other end.  Exclusive: a block
 * device that is mounted is not for a guest to write to.
 */
static int open_flags(const struct file *f)
{
	struct stat st;
	int flags = (f->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	if (!f->readonly && stat(f->path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	return flags;
}

static int open_file(struct file *f, const char *holder, struct errbuf *err)
{
	struct stat st;
	int flags, ret;

	f->fd = open(f->path, open_flags(f));
	if (f->fd < 0)
		return say_open_failed(f->path, !f->readonly, err);
	if (fstat(f->fd, &st) < 0)
		return err_set(err, -errno, "disk '%s': %m", f->path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "disk '%s' is a directory", f->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "disk '%s' is neither a file nor a block device",
			       f->path);
	/* io_uring would take it as "rather fail than wait" */
	flags = fcntl(f->fd, F_GETFL);
	if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return err_set(err, -errno, "disk '%s': %m", f->path);
	ret = check_size(f, &st, err);
	if (!ret)
		ret = lock_take(f->fd, f->path, !f->readonly, holder, err);
	return ret ? ret : check_format(f, err);
}

static int make_backend(const struct file *f, const struct block_open_opts *opts, struct loop *loop,
			struct block **out, struct errbuf *err)
{
	int ret = block_uring_new(f, loop, out);

	if (ret) {
		log_debug(LOG_BLOCK, "io_uring: %s; using threads", strerror(-ret));
		ret = block_pool_new(f, loop, opts, out);
	}
	return ret ? err_set(err, ret, "disk '%s': %s", f->path, strerror(-ret)) : 0;
}

int block_open(const char *path, const struct block_open_opts *opts, struct loop *loop,
	       struct block **out, struct errbuf *err)
{
	struct file f = {.fd = -1, .path = path};
	struct block *b = NULL;
	int ret;

	f.readonly = opts->readonly || opts->ephemeral;
	ret = open_file(&f, opts->holder, err);
	if (!ret)
		ret = make_backend(&f, opts, loop, &b, err);
	if (ret) {
		if (f.fd >= 0)
			close(f.fd);
		return ret;
	}
	if (opts->ephemeral && !opts->readonly) {
		ret = block_overlay_new(b, out, err);
		if (ret)
			block_free(b);
		return ret;
	}
	*out = b;
	return 0;
}
