# SPDX-License-Identifier: Apache-2.0
# The short way to everything; Meson and Ninja do the work.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=

.PHONY: all build run test deps install image clean fuzz bench test-kvm-linux diff

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

install: build
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-clang $(BUILD)-tsan
