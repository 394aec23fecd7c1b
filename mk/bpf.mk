# SPDX-License-Identifier: GPL-2.0-only
#
# bpf/NAME.bpf.c -> build/bpf/NAME.bpf.o -> build/include/NAME.skel.h: the fast path, and the filter.
# Who uses one of them does not load the other.

BPF_OBJECTS := bpfw filter track sets reject connlimit
SKELETON := $(BPF_OBJECTS:%=build/include/%.skel.h)
VMLINUX_BTF ?= /sys/kernel/btf/vmlinux
VMLINUX_H := build/vmlinux/vmlinux.h

# The BPF side's byte order is that of the machine the program will run on.
BYTE_ORDER := $(shell $(CC) -dM -E -x c /dev/null | sed -n 's/^\#define __BYTE_ORDER__ //p')
BPF_TARGET := $(if $(filter __ORDER_BIG_ENDIAN__,$(BYTE_ORDER)),bpfeb,bpfel)

# <linux/*.h> wants <asm/*.h>, which Debian keeps in a directory per architecture that
# clang does not search for the BPF target: take the directories of $(CC), after clang's own.
CC_INCLUDES := $(shell LC_ALL=C $(CC) -E -Wp,-v -x c /dev/null 2>&1 >/dev/null | \
	sed -n '/^\#include </,/^End/s/^ //p')

BPF_CFLAGS := -target $(BPF_TARGET) -g -O2 -mcpu=v3 -std=gnu11 -Wall -Wextra -Werror \
	-Ibuild/vmlinux -Ibpf $(LIBBPF_CFLAGS) $(addprefix -idirafter ,$(CC_INCLUDES))

# Only sources that ask for kernel types need the kernel's BTF.
USES_VMLINUX := $(shell grep -ls 'include.*[<"]vmlinux\.h[>"]' bpf/*.[ch])

$(VMLINUX_H): FORCE | $(BPFTOOL_READY)
	@vmlinux/generate '$(BPFTOOL)' '$(VMLINUX_BTF)' $@

build/stamp/bpf: FORCE
	$(call stamp,$(CLANG) $(LLVM_STRIP) $(BPF_CFLAGS) $(BPF_LINE_INFO) $(CONFIG))

# BPF_LINE_INFO=0 leaves line numbers out, a third of an object, which only the verifier's log shows:
# for static binaries. The tool runs here, whatever the target.
HOSTCC ?= cc
LLVM_OBJCOPY ?= $(subst strip,objcopy,$(LLVM_STRIP))
STRIP_LINE_INFO := $(if $(filter 0,$(BPF_LINE_INFO)),build/host/strip-line-info)

build/host/strip-line-info: scripts/strip-line-info.c
	$(call say,HOSTCC,$@)
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) -O2 -Wall -Wextra -Werror -o $@ $<

define strip_line_info
$(Q)$(LLVM_OBJCOPY) --dump-section .BTF.ext=$1.ext $1 $1.copy && rm -f $1.copy && \
	$(STRIP_LINE_INFO) <$1.ext >$1.ext.new && \
	$(LLVM_OBJCOPY) --update-section .BTF.ext=$1.ext.new $1
endef

$(BPF_OBJECTS:%=build/bpf/%.clang.o): build/bpf/%.clang.o: bpf/%.bpf.c build/stamp/bpf $(if $(USES_VMLINUX),$(VMLINUX_H)) \
		| $(LIBBPF_READY)
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d).tmp -c -o $@.tmp $< && \
		mv -f $(@:.o=.d).tmp $(@:.o=.d) && mv -f $@.tmp $@

# Linking leaves the DWARF behind (and keeps the BTF). The name of the output becomes
# the name inside, hence a directory for the temporary file. clang before version 19 names every
# basic block: a seventh of the object, which libbpf does not look at. Symbols of functions stay, by
# them it finds the subprograms.
$(BPF_OBJECTS:%=build/bpf/%.bpf.o): build/bpf/%.bpf.o: build/bpf/%.clang.o $(STRIP_LINE_INFO) \
		| $(BPFTOOL_READY)
	$(call say,BPFLINK,$@)
	@mkdir -p $(@D)/tmp
	$(Q)$(BPFTOOL) gen object $(@D)/tmp/$(@F) $< && \
		$(LLVM_STRIP) --wildcard --strip-symbol='LBB*' $(@D)/tmp/$(@F)
	$(if $(STRIP_LINE_INFO),$(call strip_line_info,$(@D)/tmp/$(@F)))
	$(Q)mv -f $(@D)/tmp/$(@F) $@

# The objects are in the binary compressed, a fifth of what they are: flash is small.
build/host/pack-skeleton: scripts/pack-skeleton.c scripts/pack.h src/columns.h src/skeleton.h
	$(call say,HOSTCC,$@)
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) -O2 -Wall -Wextra -Werror -Isrc $(HOSTCFLAGS) -o $@ $< $(HOSTLDFLAGS) -lz

$(SKELETON): build/include/%.skel.h: build/bpf/%.bpf.o build/host/pack-skeleton | $(BPFTOOL_READY)
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@.plain && \
		build/host/pack-skeleton $< <$@.plain >$@.tmp && mv -f $@.tmp $@ && rm -f $@.plain
