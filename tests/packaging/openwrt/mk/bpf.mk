# SPDX-License-Identifier: GPL-2.0-only
#
# Stand-in for OpenWrt's bpf.mk: the BPF toolchain's compiler, and what a package that uses it
# depends on.

BPF_DEPENDS := @HAS_BPF_TOOLCHAIN +@NEED_BPF_TOOLCHAIN
CLANG := clang
LLVM_STRIP := llvm-strip
