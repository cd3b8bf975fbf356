/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c - recognise the format; what all formats share.
 *
 * The kernel file is mapped, not read: its owner may truncate it meanwhile, so it
 * is copied into memory of our own first.  Kernels are small.
 */
#include "machine/loader/loader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { MAX_KERNEL = 1 << 30 };

static int file_size(int fd, const char *what, const char *name, uint64_t *out, struct errbuf *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "%s '%s': %m", what, name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s '%s': not a regular file", what, name);
	*out = (uint64_t)st.st_size;
	return 0;
}

static int read_all(int fd, void *buf, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static unsigned long long mib_up(uint64_t bytes)
{
	return (bytes >> 20) + (bytes % (1 << 20) != 0);
}

unsigned loader_memmap(const struct loader_config *cfg, struct e820_entry map[E820_MAX])
{
	unsigned n = 0;

	map[n++] = (struct e820_entry){0, LOAD_LOW_END, E820_RAM};
	map[n++] = (struct e820_entry){LOAD_LOW_END, 0x100000 - LOAD_LOW_END, E820_RESERVED};
	map[n++] = (struct e820_entry){0x100000, cfg->ram_low - 0x100000, E820_RAM};
	map[n++] = (struct e820_entry){0xe0000000, 0x10000000, E820_RESERVED}; /* ECAM */
	map[n++] = (struct e820_entry){0xfeffc000, 0x4000, E820_RESERVED};     /* KVM scratch */
	if (cfg->ram_high)
		map[n++] = (struct e820_entry){1ULL << 32, cfg->ram_high, E820_RAM};
	return n;
}

int loader_copy(struct mem *mem, const struct image *img, uint64_t off, uint64_t len, gpa_t gpa,
		uint64_t mem_len, struct errbuf *err)
{
	uint8_t *to;

	if (off > img->len || len > img->len - off || len > mem_len)
		return err_set(err, -EINVAL,
			       "kernel '%s' is truncated: %llu bytes at %#llx are missing",
			       img->name, (unsigned long long)len, (unsigned long long)off);
	if (!mem_len)
		return 0;
	if (gpa < 0x100000)
		return err_set(err, -ENOSPC,
			       "kernel '%s' wants to be at %#llx, but the first MiB is not free; "
			       "link it at 0x100000 or above",
			       img->name, (unsigned long long)gpa);
	to = mem_ptr_write(mem, gpa, mem_len);
	if (!to)
		return err_set(
			err, -ENOSPC,
			"kernel '%s' needs %llu KiB at %#llx, where there is no RAM; give at "
			"least --memory %lluM, or link it lower",
			img->name, (unsigned long long)(mem_len + 1023) >> 10,
			(unsigned long long)gpa, mib_up(gpa + mem_len));
	memcpy(to, img->data + off, len);
	memset(to + len, 0, mem_len - len);
	return 0;
}

int loader_initrd(struct mem *mem, const struct loader_config *cfg, uint64_t above, uint64_t limit,
		  gpa_t *gpa, uint64_t *size, struct errbuf *err)
{
	uint64_t len, at;
	int ret;

	*gpa = *size = 0;
	if (cfg->initrd_fd < 0)
		return 0;
	ret = file_size(cfg->initrd_fd, "initrd", cfg->initrd, &len, err);
	if (ret)
		return ret;
	if (!len)
		return err_set(err, -EINVAL, "initrd '%s' is empty", cfg->initrd);
	above = ALIGN_UP(above, 4096ULL);
	if (above > limit || len > limit - above)
		return err_set(err, -ENOSPC,
			       "initrd '%s': %llu MiB are more than this kernel can take",
			       cfg->initrd, mib_up(len));
	limit = MIN(limit, cfg->ram_low);
	if (above > limit || len > limit - above)
		return err_set(err, -ENOSPC,
			       "initrd '%s': %llu MiB do not fit behind the kernel, which ends at "
			       "%llu MiB; give at least --memory %lluM",
			       cfg->initrd, mib_up(len), mib_up(above), mib_up(above + len));
	at = ALIGN_DOWN(limit - len, 4096ULL);
	ret = read_all(cfg->initrd_fd, mem_ptr_write(mem, at, len), len);
	if (ret)
		return err_set(err, ret, "initrd '%s': %s", cfg->initrd, strerror(-ret));
	*gpa = at;
	*size = len;
	return 0;
}

int loader_cmdline(struct mem *mem, const struct loader_config *cfg, uint64_t max,
		   struct errbuf *err)
{
	uint64_t len = strlen(cfg->append);

	max = MIN(max, (uint64_t)LOAD_CMDLINE_MAX - 1);
	if (len > max)
		return err_set(err, -E2BIG, "--append: %llu characters, this kernel takes %llu",
			       (unsigned long long)len, (unsigned long long)max);
	return mem_write(mem, LOAD_CMDLINE, cfg->append, len + 1);
}

void loader_flat32(struct cpu_state *s, uint32_t entry)
{
	const struct cpu_seg code = {0, 0xffffffff, 8,
				     ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_DB | ATTR_G};
	const struct cpu_seg data = {0, 0xffffffff, 16,
				     ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DB | ATTR_G};

	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = data;
	s->seg[SEG_CS] = code;
	s->cr0 = CR0_PE | CR0_ET; /* and caches on, unlike after reset */
	s->rflags = FL_RES1;
	s->rip = entry;
}

/* What people give instead of a kernel. */
static const char *guess(const struct image *img)
{
	static const struct {
		size_t len;
		const char *bytes, *what;
	} known[] = {
		{2, "\x1f\x8b", "gzip data: unpack it first"},
		{6, "\xfd\x37zXZ", "xz data: unpack it first"},
		{4, "\x28\xb5\x2f\xfd", "zstd data: unpack it first"},
		{2, "MZ", "an EFI program, not a Linux kernel for x86-64"},
		{6, "070701", "an initrd"},
		{7, "!<arch>", "an archive or a Debian package"},
		{4, "QFI\xfb", "a disk image"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (img->len >= known[i].len && !memcmp(img->data, known[i].bytes, known[i].len))
			return known[i].what;
	return NULL;
}

static int load_image(struct mem *mem, const struct image *img, const struct loader_config *cfg,
		      struct cpu_state *bsp, struct errbuf *err)
{
	int64_t header = multiboot_find(img);
	const char *what;

	if (bzimage_probe(img))
		return bzimage_load(mem, img, cfg, bsp, err);
	if (header >= 0)
		return multiboot_load(mem, img, (uint64_t)header, cfg, bsp, err);
	if (elf_probe(img))
		return elf_load(mem, img, cfg, bsp, err);
	what = guess(img);
	if (what)
		return err_set(err, -ENOEXEC, "kernel '%s' is %s", img->name, what);
	return err_set(
		err, -ENOEXEC,
		"kernel '%s' is neither a Linux bzImage, nor an ELF file with a PVH entry, nor "
		"a Multiboot file",
		img->name);
}

int loader_load(struct mem *mem, const struct loader_config *cfg, struct cpu_state *bsp,
		struct errbuf *err)
{
	struct image img = {.name = cfg->kernel};
	void *copy;
	int ret = file_size(cfg->kernel_fd, "kernel", cfg->kernel, &img.len, err);

	if (ret)
		return ret;
	if (!img.len || img.len > MAX_KERNEL)
		return err_set(err, -ENOEXEC, "kernel '%s': %llu bytes is no kernel's size",
			       img.name, (unsigned long long)img.len);
	copy = mmap(NULL, img.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return err_set(err, -ENOMEM, "kernel '%s': out of memory", img.name);
	img.data = copy;
	ret = read_all(cfg->kernel_fd, copy, img.len);
	if (ret)
		err_set(err, ret, "kernel '%s': %s", img.name, strerror(-ret));
	else
		ret = load_image(mem, &img, cfg, bsp, err);
	munmap(copy, img.len);
	return ret;
}
