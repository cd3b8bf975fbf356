// SPDX-License-Identifier: Apache-2.0
/*
 * programs.c - rows that are real programs and libraries of Debian.
 *
 * Libraries are linked statically, so that host and guest run the same code.  gcc's cc1
 * and perl are run as they are installed; the guest's image holds copies of them.
 */
#include "work.h"

#include <bzlib.h>
#include <fcntl.h>
#include <libtcc.h>
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { TEXT = 512 << 10 };

uint64_t work_zlib(struct run *run)
{
	char *text = must_alloc(TEXT), *back = must_alloc(TEXT);
	uLongf room = compressBound(TEXT), packed = 0, unpacked;
	Bytef *out = must_alloc(room);
	uint64_t sum = 0;

	make_text(text, TEXT);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		packed = room;
		unpacked = TEXT;
		if (compress2(out, &packed, (Bytef *)text, TEXT, 6) != Z_OK ||
		    uncompress((Bytef *)back, &unpacked, out, packed) != Z_OK)
			fail("zlib");
		sum = mix(sum, packed);
		text[i] ^= 1;
	}
	run_stop(run);
	return mix(sum, hash_bytes(back, TEXT) ^ hash_bytes(out, packed));
}

uint64_t work_zstd(struct run *run)
{
	char *text = must_alloc(TEXT), *back = must_alloc(TEXT);
	size_t room = ZSTD_compressBound(TEXT), packed = 0;
	char *out = must_alloc(room);
	uint64_t sum = 0;

	make_text(text, TEXT);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		packed = ZSTD_compress(out, room, text, TEXT, 3);
		if (ZSTD_isError(packed) || ZSTD_decompress(back, TEXT, out, packed) != TEXT)
			fail("zstd");
		sum = mix(sum, packed);
		text[i] ^= 1;
	}
	run_stop(run);
	return mix(sum, hash_bytes(back, TEXT) ^ hash_bytes(out, packed));
}

uint64_t work_bzip2(struct run *run)
{
	char *text = must_alloc(TEXT), *back = must_alloc(TEXT), *out = must_alloc(TEXT);
	unsigned packed = 0, unpacked;
	uint64_t sum = 0;

	make_text(text, TEXT);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		packed = unpacked = TEXT;
		if (BZ2_bzBuffToBuffCompress(out, &packed, text, TEXT, 9, 0, 0) != BZ_OK ||
		    BZ2_bzBuffToBuffDecompress(back, &unpacked, out, packed, 0, 0) != BZ_OK)
			fail("bzip2");
		sum = mix(sum, packed);
		text[i] ^= 1;
	}
	run_stop(run);
	return mix(sum, hash_bytes(back, TEXT) ^ hash_bytes(out, packed));
}

static int sum_row(void *arg, int columns, char **values, char **names)
{
	uint64_t *sum = arg;

	(void)names;
	for (int i = 0; i < columns; i++)
		*sum = mix(*sum, values[i] ? hash_bytes(values[i], strlen(values[i])) : 0);
	return 0;
}

static void query(sqlite3 *db, const char *sql, uint64_t *sum)
{
	char *err = NULL;

	if (sqlite3_exec(db, sql, sum_row, sum, &err) != SQLITE_OK) {
		printf("ERROR sqlite: %s\n", err);
		exit(1);
	}
}

uint64_t work_sqlite(struct run *run)
{
	uint64_t sum = 0;
	char sql[512];
	sqlite3 *db;

	if (sqlite3_open(":memory:", &db) != SQLITE_OK)
		fail("sqlite3_open");
	query(db,
	      "create table a(id integer primary key, k integer, name text);"
	      "create table b(k integer primary key, v text);",
	      &sum);
	snprintf(sql, sizeof(sql),
		 "with recursive c(x) as (select 1 union all select x+1 from c where x<%u)"
		 " insert into a select x, x*7919 %% 1000, 'name-' || (x*31 %% 977) from c;",
		 run->n);
	query(db, sql, &sum);
	query(db,
	      "insert into b select distinct k, 'value ' || k from a;"
	      "create index ak on a(k); create index an on a(name);",
	      &sum);
	query(db,
	      "select b.v, count(*), sum(a.id) from a join b on a.k = b.k"
	      " where a.name like '%1' group by b.v order by 3 desc;"
	      "select count(*) from a where name between 'name-2' and 'name-5';"
	      "update a set name = upper(name) where k % 3 = 0;"
	      "select name, max(id) from a group by name order by 2 limit 100;"
	      "delete from a where k < 500; select count(*), sum(k) from a;",
	      &sum);
	sqlite3_close(db);
	return sum;
}

uint64_t work_lua(struct run *run)
{
	static const char script[] =
		"local n = ... local sum = 0\n"
		"local function fib(i) if i < 2 then return i end return fib(i-1) + fib(i-2) end\n"
		"for r = 1, n do\n"
		"  sum = sum + fib(20)\n"
		"  local t = {}\n"
		"  for i = 1, 5000 do t[i] = (i * 7919 + r) % 5003 end\n"
		"  table.sort(t)\n"
		"  local words = {}\n"
		"  for i = 1, 2000 do words[#words + 1] = 'w' .. t[i] end\n"
		"  local s = table.concat(words, ' ')\n"
		"  for w in s:gmatch('%d+') do sum = sum + #w end\n"
		"  local o = setmetatable({}, {__index = function(_, k) return k * 2 end})\n"
		"  for i = 1, 5000 do sum = sum + o[i] % 7 end\n"
		"end\n"
		"return sum\n";
	lua_State *lua = luaL_newstate();
	uint64_t sum;

	if (!lua)
		fail("lua");
	luaL_openlibs(lua);
	run_start(run);
	if (luaL_loadstring(lua, script) != LUA_OK)
		fail("lua script");
	lua_pushinteger(lua, run->n);
	if (lua_pcall(lua, 1, 1, 0) != LUA_OK)
		fail(lua_tostring(lua, -1));
	run_stop(run);
	sum = (uint64_t)lua_tointeger(lua, -1);
	lua_close(lua);
	return sum;
}

/* tcc compiles @n functions to memory; one of them is called as proof. */
uint64_t work_tcc(struct run *run)
{
	char *source = make_source(run->n);
	TCCState *tcc = tcc_new();
	long (*entry)(void) = NULL;
	void *symbol;

	if (!tcc)
		fail("tcc_new");
	tcc_set_options(tcc, "-nostdlib -nostdinc");
	tcc_set_output_type(tcc, TCC_OUTPUT_MEMORY);
	run_start(run);
	if (tcc_compile_string(tcc, source) || tcc_relocate(tcc, TCC_RELOCATE_AUTO) < 0)
		fail("tcc");
	symbol = tcc_get_symbol(tcc, "entry");
	if (!symbol)
		fail("tcc: entry");
	memcpy(&entry, &symbol, sizeof(entry));
	return (uint64_t)entry();
}

/* Run a program with its output in a file; returns the output's checksum. */
static uint64_t run_program(struct run *run, const char *path, char **argv, const char *output)
{
	static char buf[1 << 20];
	char *env[] = {NULL};
	int status, fd;
	ssize_t got;
	uint64_t sum = 0;
	pid_t pid;

	if (access(path, X_OK)) {
		run->skip = "program not installed";
		return 0;
	}
	run_start(run);
	pid = fork();
	if (!pid) {
		fd = open(output, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		dup2(fd, 1);
		execve(path, argv, env);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		fail(path);
	run_stop(run);
	fd = open(output, O_RDONLY);
	if (fd < 0)
		fail(output);
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		sum = mix(sum, hash_bytes(buf, (size_t)got));
	close(fd);
	return sum;
}

static char *scratch_dir(char *template)
{
	if (!mkdtemp(template) || chdir(template))
		fail(template);
	return template;
}

uint64_t work_gcc(struct run *run)
{
	static char dir[] = "/tmp/bench-gcc-XXXXXX";
	char *argv[] = {"cc1", "-quiet", "-O2", "in.c", "-o", "-", NULL};
	char *source = make_source(run->n);
	uint64_t sum;
	FILE *f;

	scratch_dir(dir);
	f = fopen("in.c", "w");
	if (!f || fputs(source, f) < 0 || fclose(f))
		fail("in.c");
	sum = run_program(run, CC1, argv, "out.s");
	unlink("in.c");
	unlink("out.s");
	rmdir(dir);
	return sum;
}

uint64_t work_perl(struct run *run)
{
	static char dir[] = "/tmp/bench-perl-XXXXXX";
	static const char script[] =
		"my ($n, %count, $text) = (shift);"
		"my @words = map { chr(97 + $_ % 26) . ($_ * 7919 % 997) } 1 .. 3000;"
		"for my $r (1 .. $n) {"
		"  $text = join ' ', @words;"
		"  $count{$1} += length $2 while $text =~ /([a-z])(\\d+)/g;"
		"  $text =~ s/(\\d)(\\d)/$2$1/g;"
		"  @words = map { $_ . substr($r, -1) } sort { $a cmp $b } map { substr $_, 0, 6 }"
		"    split / /, $text;"
		"}"
		"print \"$_ $count{$_}\\n\" for sort keys %count; print substr($text, 0, 9999);";
	char n[16], *argv[] = {"perl", "-e", (char *)script, n, NULL};
	uint64_t sum;

	snprintf(n, sizeof(n), "%u", run->n);
	scratch_dir(dir);
	sum = run_program(run, "/usr/bin/perl", argv, "out");
	unlink("out");
	rmdir(dir);
	return sum;
}

enum { BLOCK = 16 << 10 };

/* Encrypt @run->n blocks of 16 KiB, each with the tag of the block as checksum. */
static uint64_t encrypt(struct run *run, const EVP_CIPHER *cipher)
{
	unsigned char key[32] = "0123456789abcdef0123456789abcde", iv[16] = "nonce", tag[16];
	unsigned char *in = must_alloc(BLOCK), *out = must_alloc(BLOCK + 64);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint64_t sum = 0;
	int len;

	make_text((char *)in, BLOCK);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		memcpy(iv, &i, sizeof(i));
		if (EVP_EncryptInit_ex(ctx, cipher, NULL, key, iv) != 1 ||
		    EVP_EncryptUpdate(ctx, out, &len, in, BLOCK) != 1 ||
		    EVP_EncryptFinal_ex(ctx, out + len, &len) != 1 ||
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) != 1)
			fail("EVP");
		sum = mix(sum, hash_bytes(tag, 16));
	}
	run_stop(run);
	EVP_CIPHER_CTX_free(ctx);
	return sum;
}

uint64_t work_aes_gcm(struct run *run)
{
	return encrypt(run, EVP_aes_128_gcm());
}

uint64_t work_chacha(struct run *run)
{
	return encrypt(run, EVP_chacha20_poly1305());
}

uint64_t work_sha256(struct run *run)
{
	unsigned char *in = must_alloc(BLOCK), digest[32];
	uint64_t sum = 0;

	make_text((char *)in, BLOCK);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		if (EVP_Digest(in, BLOCK, digest, NULL, EVP_sha256(), NULL) != 1)
			fail("EVP_Digest");
		memcpy(in, digest, 32);
		sum = mix(sum, hash_bytes(digest, 32));
	}
	return sum;
}
