# SPDX-License-Identifier: GPL-2.0
# avm: virtual-memory primitives for user programs. All that is built goes to
# build/; the work is done by the scripts in tools/ and the Makefiles below.

prefix ?= /usr/local
DESTDIR ?=
KERNEL ?= 6.12
# Both at once would fight over build/.
.NOTPARALLEL:

build := $(CURDIR)/build
release := $(shell uname -r)
sudo := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
user_dirs = OUTPUT=$(build)/$1 LIBAVM=$(build)/libavm/libavm.a

.PHONY: all module libavm examples avm-bench
all: module libavm examples avm-bench

module:
	@tools/vm/module running

libavm:
	@$(MAKE) --no-print-directory -C libavm OUTPUT=$(build)/libavm prefix=$(prefix)

examples: libavm
	@$(MAKE) --no-print-directory -C examples/pager $(call user_dirs,pager)

avm-bench: libavm
	@$(MAKE) --no-print-directory -C bench $(call user_dirs,bench)

.PHONY: help
help:
	@echo 'make demo           see it work: boots a stock Debian kernel in QEMU'
	@echo '                    (KERNEL=6.1 or 6.12, FILE=a file to page)'
	@echo 'make check          build and test everything, on the host and in VMs'
	@echo 'make check-debug    test on kernels that find mistakes: builds them, or takes those'
	@echo '                    in DEBUG_KERNELS=DIR'
	@echo 'make check-long     test what takes long: a million views'
	@echo 'make mutants        break the code on purpose, see the tests fail (a debug kernel'
	@echo '                    for some: DEBUG_KERNELS=DIR; MUTANTS_ARGS, see tools/mutants --help)'
	@echo 'make bench          measure avm beside everything else, make tables and plots'
	@echo '                    (BENCH_ARGS="--quick 6.12", see tools/bench --help)'
	@echo 'make bench-check    count instructions, compare with bench/goals'
	@echo 'make stress         random operations against a model, on one kernel (KERNEL=)'
	@echo '                    (STRESS_ARGS="--seconds 600", see tools/stress --help)'
	@echo 'make coverage       which lines of the module the tests execute'
	@echo 'make fuzz           fuzz the module on a debug kernel (DEBUG_KERNELS=DIR)'
	@echo '                    (FUZZ_ARGS="--seconds N", see tools/fuzz --help)'
	@echo 'make lint           run the linters'
	@echo 'make                build for the running kernel (needs its headers)'
	@echo 'make install        install module, library and header (prefix=, DESTDIR=)'
	@echo 'make uninstall      remove them again'
	@echo 'make load, unload   load the module just built, unload it'
	@echo 'make clean          remove build/'

.PHONY: demo check check-debug check-long mutants stress coverage fuzz bench bench-check lint
demo:
	@tools/demo --kernel $(KERNEL) $(FILE)

check:
	@tools/check $(CHECK_ARGS)

check-debug:
	@dir="$(DEBUG_KERNELS)"; [ -n "$$dir" ] || dir=$$(tools/vm/debug-kernel --all) || exit; \
		tools/check --debug-kernels "$$dir" $(CHECK_ARGS)

check-long:
	@tools/check --long $(CHECK_ARGS)

mutants:
	@tools/mutants $(if $(DEBUG_KERNELS),--debug-kernels $(DEBUG_KERNELS)) $(MUTANTS_ARGS)

coverage:
	@tools/coverage $(COVERAGE_ARGS)

fuzz:
	@kernel="$(DEBUG_KERNELS)/6.12-debug"; \
		[ -n "$(DEBUG_KERNELS)" ] || kernel=$$(tools/vm/debug-kernel 6.12-debug) || exit; \
		tools/fuzz --kernel "$$kernel" $(FUZZ_ARGS)

bench:
	@tools/bench $(BENCH_ARGS)

bench-check:
	@tools/bench --check

stress:
	@tools/stress --kernel $(KERNEL) $(STRESS_ARGS)

lint:
	@tools/lint

# The module is installed where the kernel's own "make modules_install" puts
# those of others; without headers, only the library is.
.PHONY: install install-module install-libavm uninstall
install: install-module install-libavm

install-libavm: libavm
	@$(MAKE) --no-print-directory -C libavm OUTPUT=$(build)/libavm \
		prefix=$(prefix) DESTDIR=$(DESTDIR) install

install-module:
	@if [ -d /lib/modules/$(release)/build ]; then \
		set -e; \
		ko=$$(tools/vm/module running); \
		install -D -m 644 "$$ko" "$(DESTDIR)/lib/modules/$(release)/updates/avm.ko"; \
		[ -n "$(DESTDIR)" ] || depmod -a $(release); \
		echo "installed avm.ko for $(release)"; \
	else \
		echo "no headers for $(release) here: the module is not installed"; \
		echo "(on Debian: apt install linux-headers-$(release), then make install)"; \
	fi

uninstall:
	rm -f "$(DESTDIR)/lib/modules/$(release)/updates/avm.ko"
	rm -f "$(DESTDIR)$(prefix)/lib/libavm.a" "$(DESTDIR)$(prefix)"/lib/libavm.so*
	rm -f "$(DESTDIR)$(prefix)/lib/pkgconfig/libavm.pc"
	rm -f "$(DESTDIR)$(prefix)/include/avm.h" "$(DESTDIR)$(prefix)/include/linux/avm.h"
	@[ -n "$(DESTDIR)" ] || depmod -a $(release) || true

.PHONY: load unload
load:
	@$(sudo) insmod "$$(tools/vm/module running)" && echo 'avm is loaded: /dev/avm'

unload:
	@$(sudo) rmmod avm && echo 'avm is unloaded'

.PHONY: clean
clean:
	rm -rf $(build)
