# SPDX-License-Identifier: Apache-2.0
# The short way to everything; Meson and Ninja do the work.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=

.PHONY: all build run test test-long test-kvm-linux diff fuzz bench deps install image clean

all: build

deps:
	@tools/install-deps packages.txt

$(BUILD)/build.ninja: | deps
	meson setup --prefix=$(PREFIX) $(BUILD) >/dev/null

build: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

image: build
	@$(BUILD)/caisson image build debian

run: image
	@$(BUILD)/caisson run debian --cpus 2 --memory 1G $(ARGS)

test: build
	@tools/run-tests $(BUILD) $(TESTS)

# An hour and a half on two cores, one VM at a time.  Both run, whatever the first finds.
test-long: build
	@status=0; tests/long/matrix $(BUILD) || status=1; \
	tests/long/guest_work $(BUILD) || status=1; exit $$status

CASES ?= 10000000
diff: build
	@$(BUILD)/src/cpu/tests/diff-cpu --cases $(CASES) $(ARGS)

FUZZ_SECONDS ?= 300
fuzz: build
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tools/run-tests $(BUILD) fuzz

bench: image
	@bench/boot $(BUILD) $(ARGS)

install: build
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-clang $(BUILD)-tsan
