# SPDX-License-Identifier: GPL-2.0-only
#
# Where libbpf and bpftool come from: each from its submodule if that is checked
# out, otherwise from the distribution. What is missing or too old is said before
# anything is compiled.

LIBBPF_MIN := 1.4
BPFTOOL_MIN := 7.4
INSTALL_DEPS := run scripts/install-deps as root
SUBMODULES := $(INSTALL_DEPS), or check the submodules out (git submodule update --init --recursive)

# $(call at_least,VERSION,MINIMUM): non-empty if VERSION is MINIMUM or newer
at_least = $(filter $2,$(firstword $(shell printf '%s\n' $1 $2 | sort -V)))

ifeq ($(call which,$(PKG_CONFIG)),)
$(error $(PKG_CONFIG) not found: $(INSTALL_DEPS), or set PKG_CONFIG)
endif
ifeq ($(call which,$(CC)),)
$(error no compiler $(CC): $(INSTALL_DEPS), or set CC)
endif
ifeq ($(call which,$(CLANG)),)
$(error $(CLANG) not found, which compiles the BPF side: $(INSTALL_DEPS), or set CLANG)
endif
ifeq ($(call which,$(LLVM_STRIP)),)
$(error $(LLVM_STRIP) not found, which strips the BPF object: $(INSTALL_DEPS), or set LLVM_STRIP)
endif

LIBS := libnetfilter_conntrack libmnl libelf zlib
MISSING := $(foreach l,$(LIBS),$(if $(shell $(PKG_CONFIG) --exists $l || echo no),$l))
ifneq ($(strip $(MISSING)),)
$(error missing development files of: $(strip $(MISSING)): $(INSTALL_DEPS))
endif

# ---- libbpf ----------------------------------------------------------------

LIBBPF_SRC := $(wildcard libbpf/src/Makefile)

ifneq ($(LIBBPF_SRC),)
LIBBPF_ARCHIVE := build/libbpf/lib/libbpf.a
LIBBPF_READY := $(LIBBPF_ARCHIVE)
LIBBPF_CFLAGS := -isystem $(CURDIR)/build/libbpf/include
LIBBPF_LIBS := $(CURDIR)/$(LIBBPF_ARCHIVE) $(shell $(PKG_CONFIG) --libs libelf zlib)
LIBBPF_ORIGIN := libbpf $(shell sed -n 's/^LIBBPF_\(MAJOR\|MINOR\|PATCH\)_VERSION *:\?= *//p' \
	$(LIBBPF_SRC) | paste -sd.) (submodule)
else
LIBBPF_VERSION := $(shell $(PKG_CONFIG) --modversion libbpf 2>/dev/null)
ifeq ($(LIBBPF_VERSION),)
$(error libbpf not found, $(LIBBPF_MIN) or newer is needed: $(SUBMODULES))
endif
ifeq ($(call at_least,$(LIBBPF_VERSION),$(LIBBPF_MIN)),)
$(error libbpf $(LIBBPF_VERSION) is too old, $(LIBBPF_MIN) or newer is needed: $(SUBMODULES))
endif
LIBBPF_ARCHIVE :=
LIBBPF_READY :=
LIBBPF_CFLAGS := $(shell $(PKG_CONFIG) --cflags libbpf)
LIBBPF_LIBS := $(shell $(PKG_CONFIG) --libs libbpf)
LIBBPF_ORIGIN := libbpf $(LIBBPF_VERSION) (distribution)
endif

DEP_CFLAGS := $(LIBBPF_CFLAGS) $(shell $(PKG_CONFIG) --cflags $(LIBS))
DEP_LIBS := $(LIBBPF_LIBS) $(shell $(PKG_CONFIG) --libs $(LIBS))

build/libbpf/lib/libbpf.a: $(wildcard libbpf/src/*.[ch] libbpf/src/Makefile libbpf/include/*/*.h)
	$(call say,LIBBPF,$@)
	@mkdir -p build/libbpf/obj
	$(Q)$(MAKE) -C libbpf/src CC='$(CC)' AR='$(AR)' CFLAGS='-O2 -g -fPIE' BUILD_STATIC_ONLY=1 \
		OBJDIR='$(CURDIR)/build/libbpf/obj' DESTDIR='$(CURDIR)/build/libbpf' PREFIX= \
		INCLUDEDIR=/include LIBDIR=/lib PKG_CONFIG='$(PKG_CONFIG)' \
		install >build/libbpf/build.log 2>&1 || { cat build/libbpf/build.log >&2; exit 1; }
	@touch $@

# ---- bpftool ---------------------------------------------------------------

BPFTOOL_SRC := $(wildcard bpftool/src/Makefile)
HOSTCC ?= gcc
# bpftool's own libbpf submodule, or ours if that was not checked out
BPFTOOL_LIBBPF := $(firstword $(wildcard bpftool/libbpf/src/Makefile libbpf/src/Makefile))

ifneq ($(BPFTOOL),)
BPFTOOL_FROM := given
else ifneq ($(and $(BPFTOOL_SRC),$(BPFTOOL_LIBBPF)),)
BPFTOOL := build/bpftool/bootstrap/bpftool
BPFTOOL_READY := $(BPFTOOL)
BPFTOOL_FULL := build/bpftool/bpftool
ifneq ($(shell $(PKG_CONFIG) --exists libcrypto || echo no),)
$(error missing development files of libcrypto, which bpftool is linked to: $(INSTALL_DEPS))
endif
BPFTOOL_ORIGIN := bpftool (submodule)
else
# /usr/sbin is not in everybody's PATH
BPFTOOL := $(or $(call which,bpftool),$(firstword $(wildcard /usr/sbin/bpftool /sbin/bpftool)))
ifeq ($(BPFTOOL),)
$(error bpftool not found, $(BPFTOOL_MIN) or newer is needed: $(SUBMODULES), or set BPFTOOL)
endif
BPFTOOL_FROM := distribution
endif

ifneq ($(BPFTOOL_FROM),)
BPFTOOL_VERSION := $(shell $(BPFTOOL) version 2>/dev/null | sed -n 's/^.*bpftool v//p')
ifeq ($(BPFTOOL_VERSION),)
$(error $(BPFTOOL) does not tell its version, $(BPFTOOL_MIN) or newer is needed: $(SUBMODULES))
endif
ifeq ($(call at_least,$(BPFTOOL_VERSION),$(BPFTOOL_MIN)),)
$(error bpftool $(BPFTOOL_VERSION) is too old, $(BPFTOOL_MIN) or newer is needed: $(SUBMODULES))
endif
BPFTOOL_ORIGIN := bpftool $(BPFTOOL_VERSION) ($(BPFTOOL_FROM))
endif

# $(call build_bpftool,TARGET)
define build_bpftool
$(call say,BPFTOOL,$@)
@mkdir -p build/bpftool
$(Q)CFLAGS=-O2 LDFLAGS= $(MAKE) -C bpftool/src OUTPUT='$(CURDIR)/build/bpftool/' \
	BPF_DIR='$(CURDIR)/$(patsubst %/Makefile,%,$(BPFTOOL_LIBBPF))' HOSTCC='$(HOSTCC)' $1 \
	>build/bpftool/$1.log 2>&1 || { cat build/bpftool/$1.log >&2; exit 1; }
@touch $@
endef

build/bpftool/bootstrap/bpftool: $(wildcard bpftool/src/*.[ch] bpftool/src/Makefile)
	$(call build_bpftool,bootstrap)

# All of bpftool, with which the tests look at what is attached
build/bpftool/bpftool: build/bpftool/bootstrap/bpftool
	$(call build_bpftool,all)

# ---- Said once, and again when it changes ----------------------------------

CONFIG := $(LIBBPF_ORIGIN), $(BPFTOOL_ORIGIN)
ifneq ($(file <build/stamp/config),$(CONFIG))
$(info bpfw: $(CONFIG))
$(shell mkdir -p build/stamp && printf '%s' '$(CONFIG)' >build/stamp/config)
endif
