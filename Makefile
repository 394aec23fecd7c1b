# SPDX-License-Identifier: GPL-2.0-only
#
# bpfw: `make` leaves the program at build/bpfw. `make help` lists the rest.
#
# The BPF side becomes one object inside the program (mk/bpf.mk); libbpf and
# bpftool come from the submodules or from the distribution (mk/deps.mk);
# mk/tests.mk builds what tests/run runs.

MAKEFLAGS += --no-print-directory --no-builtin-rules
# Variables of the command line reach sub-makes through the environment: as overrides
# they would silence every += in bpftool's Makefile.
MAKEOVERRIDES :=
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
PKG_CONFIG ?= pkg-config
INSTALL ?= install
DESTDIR ?=
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
CFLAGS ?= -O2 -g
V ?= 0
SAN ?= 0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' $1 '$2'
endif

# $(call which,TOOL): TOOL's path, empty if there is none
which = $(shell command -v $(firstword $1) 2>/dev/null)

# $(call stamp,TEXT): recipe that changes $@ only when TEXT differs from it, so
# that a different set of flags rebuilds what was made with the old one
define stamp
@mkdir -p $(@D)
@printf '%s\n' '$(subst ','\'',$(strip $1))' >$@.tmp
@if cmp -s $@.tmp $@; then rm -f $@.tmp; else mv -f $@.tmp $@; fi
endef

# The goals that only clean up, or that must first install what the others need,
# are not stopped by a missing library.
HELPER_GOALS := check check-vm demo bench bench-quick install-deps clean format help \
	static static-sources static-tree static-bpftool
GOALS := $(or $(MAKECMDGOALS),all)

.PHONY: all tests check demo bench bench-quick install install-strip uninstall install-deps \
	run-demo run-bench run-bench-quick show-cflags show-bpf-cflags clean format help FORCE
FORCE:

help:
	@echo 'make                 build/bpfw (SAN=1: build/asan/bpfw with ASan and UBSan)'
	@echo 'make check           install what is missing, build, run every test (as root)'
	@echo 'make check-vm        the tests on Debian kernels in virtual machines (KERNELS="6.1 6.12")'
	@echo 'make demo            install what is missing, build, show it at work (as root)'
	@echo 'make bench           install what is missing, build, measure all (as root, an hour)'
	@echo 'make bench-quick     the same in two minutes: instructions of a hit, share of the limit'
	@echo 'make tests           build what tests/run runs; tests/run [-v] [-k PATTERN] [FILE...]'
	@echo 'make static           build/static/ARCH/bpfw, musl (ARCH=x86_64, aarch64, s390x; docs/building.md)'
	@echo 'make deb              a Debian package; make release: all binaries, packages, checksums'
	@echo 'make install         into DESTDIR, PREFIX (install-strip: without debug information)'
	@echo 'make format          clang-format over all C files'
	@echo 'make clean           remove build/'
	@echo
	@echo 'Variables: CC CLANG LLVM_STRIP BPFTOOL PKG_CONFIG CFLAGS LDFLAGS VMLINUX_BTF=FILE V=1'

# Recursion, because what install-deps brings is looked for while make reads its files
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))

install-deps:
	@scripts/install-deps

check:
	@scripts/install-deps check vm
	@$(MAKE) $(JOBS) SAN=0 tests
	@tests/run

include mk/vm.mk
include mk/static.mk

demo: install-deps
	@$(MAKE) $(JOBS) SAN=0 run-demo

bench: install-deps
	@$(MAKE) $(JOBS) SAN=0 run-bench

bench-quick: install-deps
	@$(MAKE) $(JOBS) SAN=0 run-bench-quick

clean:
	$(call say,CLEAN,build)
	$(Q)rm -rf build

format:
	$(Q)find src bpf bench tests -name '*.[ch]' -exec clang-format -i {} +

ifneq ($(filter-out $(HELPER_GOALS),$(GOALS)),)

include mk/deps.mk
include mk/bpf.mk

# ---- User side -------------------------------------------------------------

VERSION := $(shell git -c safe.directory='$(CURDIR)' describe --tags --always --dirty 2>/dev/null || \
	cat VERSION 2>/dev/null || echo unknown)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
INCLUDES := -Isrc -Ibpf -Ibuild/include -Itests

# _FORTIFY_SOURCE needs the optimizer, and hides calls from ASan's interceptors
FORTIFY := $(if $(filter-out -O0,$(filter -O%,$(CFLAGS))),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDENING := -fstack-protector-strong -fPIE
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-U_FORTIFY_SOURCE
# As shared libraries gcc's runtimes are strangers to each other, and UBSan ignores the
# log_path by which tests/run finds reports. clang's are static by themselves.
SAN_LDFLAGS := $(SAN_FLAGS) $(if $(findstring clang,$(shell $(CC) --version)),,\
	-static-libasan -static-libubsan)

USER_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(HARDENING) $(INCLUDES) $(DEP_CFLAGS)
USER_LDFLAGS := -pie -Wl,-z,relro,-z,now

# Two variants of one tree: build/ and build/asan/. `private` keeps the flags
# from leaking into shared prerequisites such as the skeleton.
VARIANT_CFLAGS = $(FORTIFY)
VARIANT_LDFLAGS =
build/asan/%: private VARIANT_CFLAGS = $(SAN_FLAGS)
build/asan/%: private VARIANT_LDFLAGS = $(SAN_LDFLAGS)

SOURCES := $(wildcard src/*.c src/filter/*.c)
OBJECTS := $(SOURCES:%.c=obj/%.o)
LIB_OBJECTS := $(filter-out obj/src/main.o,$(OBJECTS))

all: $(if $(filter 1,$(SAN)),build/asan/bpfw,build/bpfw)

build/stamp/cflags: FORCE
	$(call stamp,$(CC) $(USER_CFLAGS) $(FORTIFY) $(SAN_FLAGS) $(CFLAGS) $(CPPFLAGS))

build/stamp/ldflags: FORCE
	$(call stamp,$(CC) $(USER_LDFLAGS) $(SAN_LDFLAGS) $(CFLAGS) $(LDFLAGS) \
		$(DEP_LIBS))

build/stamp/version: FORCE
	$(call stamp,$(VERSION))

build/stamp/objects: FORCE
	$(call stamp,$(LIB_OBJECTS))

# Only what prints the version is rebuilt when a commit changes it.
VERSIONED := $(shell grep -ls BPFW_VERSION $(SOURCES))
VERSIONED_OBJECTS := $(VERSIONED:%.c=build/obj/%.o) $(VERSIONED:%.c=build/asan/obj/%.o)
$(VERSIONED_OBJECTS): build/stamp/version
$(VERSIONED_OBJECTS): private override CPPFLAGS += -DBPFW_VERSION='"$(VERSION)"'

define compile
$(call say,CC,$@)
@mkdir -p $(@D)
$(Q)$(CC) $(USER_CFLAGS) $(VARIANT_CFLAGS) $(CFLAGS) $(CPPFLAGS) -MMD -MP -MT $@ \
	-MF $(@:.o=.d).tmp -c -o $@.tmp $< && mv -f $(@:.o=.d).tmp $(@:.o=.d) && mv -f $@.tmp $@
endef

# The skeleton is order-only here: the .d files say who includes it.
build/obj/%.o: %.c build/stamp/cflags | $(SKELETON) $(LIBBPF_READY)
	$(compile)

build/asan/obj/%.o: %.c build/stamp/cflags | $(SKELETON) $(LIBBPF_READY)
	$(compile)

define archive
$(call say,AR,$@)
$(Q)rm -f $@.tmp && $(AR) rcs $@.tmp $(filter %.o,$^) && mv -f $@.tmp $@
endef

build/libbpfw.a: $(LIB_OBJECTS:%=build/%) build/stamp/objects
	$(archive)

build/asan/libbpfw.a: $(LIB_OBJECTS:%=build/asan/%) build/stamp/objects
	$(archive)

define link
$(call say,LINK,$@)
@mkdir -p $(@D)
$(Q)$(CC) $(USER_LDFLAGS) $(VARIANT_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@.tmp $(filter %.o,$^) \
	$(filter %/libbpfw.a,$^) $(EXTRA_LIBS) $(DEP_LIBS) && mv -f $@.tmp $@
endef

build/bpfw: build/obj/src/main.o build/libbpfw.a $(LIBBPF_ARCHIVE) build/stamp/ldflags
	$(link)

build/asan/bpfw: build/asan/obj/src/main.o build/asan/libbpfw.a $(LIBBPF_ARCHIVE) \
		build/stamp/ldflags
	$(link)

include mk/tests.mk

# A bpftool made from the submodule is found like an installed one; a make started by what
# is run here is not part of this one.
outside = PATH='$(CURDIR)/build/bpftool':"$$PATH" MAKEFLAGS= MAKELEVEL=

run-demo: build/bpfw $(BPFTOOL_FULL)
	@$(outside) tests/demo/demo.py

# bench/ builds its own programs, with the same tools and libbpf.
bench_tools = $(outside) CC='$(CC)' CLANG='$(CLANG)' \
	BPFTOOL='$(if $(BPFTOOL_READY),$(CURDIR)/)$(BPFTOOL)' LIBBPF_CFLAGS='$(LIBBPF_CFLAGS)' \
	LIBBPF_LIBS='$(LIBBPF_LIBS)'

run-bench: build/bpfw $(VMLINUX_H) $(BPFTOOL_FULL)
	@$(bench_tools) bench/all

# Both parts, whatever the first one says; the second one fails only where it cannot measure.
run-bench-quick: build/bpfw $(VMLINUX_H) $(BPFTOOL_FULL)
	@status=0; $(bench_tools) bench/program --built --check || status=1; \
		$(bench_tools) bench/run --set v4 --only generator,bpfw-xdp,redirect --rounds 5 \
		--out build/bench/quick --csv build/bench/quick/run.csv || status=1; \
		exit $$status

# For tests/style.sh, which lets other tools compile
show-cflags:
	@printf '%s\n' '$(subst ','\'',$(USER_CFLAGS) $(CFLAGS) $(CPPFLAGS) \
		-DBPFW_VERSION="$(VERSION)")'

show-bpf-cflags:
	@printf '%s\n' '$(BPF_CFLAGS)'

-include $(shell find build/obj build/asan/obj build/bpf -name '*.d' 2>/dev/null)

# ---- Installation ----------------------------------------------------------

MAN_PAGE := $(wildcard docs/bpfw.8)

install: build/bpfw
	$(call say,INSTALL,$(DESTDIR)$(SBINDIR)/bpfw)
	$(Q)$(INSTALL) -D -m 755 build/bpfw '$(DESTDIR)$(SBINDIR)/bpfw'
	$(if $(MAN_PAGE),$(Q)$(INSTALL) -D -m 644 $(MAN_PAGE) '$(DESTDIR)$(MANDIR)/man8/bpfw.8')

install-strip: install
	$(Q)$(LLVM_STRIP) '$(DESTDIR)$(SBINDIR)/bpfw'

include mk/release.mk

endif

uninstall:
	$(Q)rm -f '$(DESTDIR)$(SBINDIR)/bpfw' '$(DESTDIR)$(MANDIR)/man8/bpfw.8'
