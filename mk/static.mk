# SPDX-License-Identifier: GPL-2.0-only
#
# make static [ARCH=x86_64|aarch64|s390x] [STATIC_SOURCES=DIR]: build/static/ARCH/bpfw,
# one static, position-independent musl binary for any Linux of that architecture
# (docs/building.md)
#
#   build/static/src/NAME       the libraries' sources (scripts/fetch-sources)
#   build/static/ARCH/sysroot   musl and the kernel's headers (scripts/musl-sysroot)
#   build/static/ARCH/lib       the libraries (mk/static-libraries.mk)
#   build/static/ARCH/bpftool   for the other byte order (scripts/foreign-bpftool)
#   build/static/ARCH/tree      links to this tree, and a build/ of its own: bpfw is built as
#                               always, only with another compiler and other libraries
#
# STATIC_CC=COMPILER is a musl compiler that needs no sysroot, such as an OpenWrt SDK's:
# make static ARCH=mips STATIC_CC=mips-openwrt-linux-musl-gcc

.PHONY: static

ARCH ?= $(shell uname -m)
STATIC := $(CURDIR)/build/static
STATIC_OUT := $(STATIC)/$(ARCH)
STATIC_TREE := $(STATIC_OUT)/tree
STATIC_VERSION = $(shell git -c safe.directory='$(CURDIR)' describe --tags --always --dirty \
	2>/dev/null || cat VERSION 2>/dev/null || echo unknown)

# Paths of this machine must not reach the binary (__FILE__, the BPF object's line numbers).
STATIC_MAP := -ffile-prefix-map=$(STATIC_TREE)=. -ffile-prefix-map=$(CURDIR)=.
# musl's getsockname() takes a struct sockaddr *, where glibc's takes a union.
STATIC_CFLAGS ?= -Os -flto=auto -ffat-lto-objects
STATIC_CODE := -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
	-fno-unwind-tables $(STATIC_MAP) $(STATIC_CFLAGS)
STATIC_LDFLAGS := -static-pie -Wl,--gc-sections -Wl,--build-id=none -Wl,-Map=build/bpfw.map

ifeq ($(STATIC_CC),)
STATIC_GCC := $(if $(filter $(shell uname -m),$(ARCH)),gcc,$(ARCH)-linux-gnu-gcc)
STATIC_COMPILER := $(STATIC_GCC) -specs=$(STATIC_OUT)/sysroot/musl.specs
else
STATIC_GCC := $(firstword $(STATIC_CC))
STATIC_COMPILER := $(STATIC_CC)
endif
STATIC_TOOL = $(shell $(STATIC_GCC) -print-prog-name=$1)

# bpftool runs here, so it is the dynamic build's, unless the byte order is another one.
byte_order = $(shell $1 -dM -E -x c /dev/null 2>/dev/null | sed -n 's/^\#define __BYTE_ORDER__ //p')
STATIC_ORDER = $(call byte_order,$(STATIC_GCC))
STATIC_FOREIGN = $(filter-out $(call byte_order,gcc),$(STATIC_ORDER))
STATIC_TARGET = $(if $(filter __ORDER_BIG_ENDIAN__,$(STATIC_ORDER)),bpfeb,bpfel)
STATIC_GIVEN = $(if $(filter-out undefined,$(origin BPFTOOL)),$(BPFTOOL),$(if \
	$(wildcard bpftool/src/Makefile),$(CURDIR)/build/bpftool/bootstrap/bpftool))
STATIC_BPFTOOL = $(if $(STATIC_FOREIGN),$(STATIC_OUT)/bpftool/bpftool,$(STATIC_GIVEN))

static-sources:
	@command -v $(STATIC_GCC) >/dev/null || { echo "bpfw: no compiler $(STATIC_GCC): install it" \
		"(package gcc$(if $(filter gcc,$(STATIC_GCC)),,-$(ARCH)-linux-gnu)), or set STATIC_CC" >&2; \
		exit 1; }
	@scripts/fetch-sources --sources '$(STATIC_SOURCES)' '$(STATIC)/src'
	$(if $(STATIC_CC),,@scripts/musl-sysroot $(ARCH) '$(STATIC_OUT)/sysroot')

static-tree:
	@mkdir -p '$(STATIC_TREE)/build'
	@for name in Makefile VERSION bpf mk scripts src tests vmlinux; do \
		ln -sfn ../../../../$$name '$(STATIC_TREE)'/$$name; done

static-bpftool:
	$(if $(filter $(CURDIR)/build/bpftool/%,$(STATIC_GIVEN)),@$(MAKE) \
		$(STATIC_GIVEN:$(CURDIR)/%=%))
	$(if $(STATIC_FOREIGN),@CLANG='$(CLANG)' scripts/foreign-bpftool $(STATIC_TARGET) \
		'$(STATIC_OUT)/bpftool' '$(or $(STATIC_GIVEN),bpftool)')

.PHONY: static-sources static-tree static-bpftool
static: static-sources static-tree static-bpftool
	@$(MAKE) -f mk/static-libraries.mk CC='$(STATIC_COMPILER)' AR='$(call STATIC_TOOL,ar)' \
		SRC='$(STATIC)/src' OUT='$(STATIC_OUT)' CODE='$(STATIC_CODE)' V='$(V)'
	@PKG_CONFIG_LIBDIR='$(STATIC_OUT)/lib/pkgconfig' PKG_CONFIG_PATH= PKG_CONFIG_SYSROOT_DIR= \
		$(MAKE) -C '$(STATIC_TREE)' build/bpfw SAN=0 V='$(V)' VERSION='$(STATIC_VERSION)' \
		CC='$(STATIC_COMPILER)' AR='$(call STATIC_TOOL,ar)' CFLAGS='$(STATIC_CODE)' \
		CLANG='$(CLANG) $(STATIC_MAP)' LLVM_STRIP='$(LLVM_STRIP)' BPF_LINE_INFO=0 LDFLAGS='$(STATIC_LDFLAGS)' \
		$(if $(STATIC_BPFTOOL),BPFTOOL='$(STATIC_BPFTOOL)')
	$(call say,STRIP,build/static/$(ARCH)/bpfw)
	$(Q)$(call STATIC_TOOL,strip) -o '$(STATIC_OUT)/bpfw.new' '$(STATIC_TREE)/build/bpfw' && \
		mv -f '$(STATIC_OUT)/bpfw.new' '$(STATIC_OUT)/bpfw'
