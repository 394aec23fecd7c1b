# SPDX-License-Identifier: GPL-2.0-only
#
# What the static binary is linked to (a make of its own, started by mk/static.mk when the
# sources are there): OUT/lib/NAME.a and OUT/lib/pkgconfig/NAME.pc from SRC/NAME.
# Only libelf has to be configured; the others are a list of files and their flags.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(Q),@printf '  %-8s %s\n' $1 '$2',@:)

MODULES := libbpf libelf zlib libmnl libnfnetlink libnetfilter_conntrack
LIB := $(OUT)/lib
OBJ := $(OUT)/obj

all: $(MODULES:%=$(LIB)/pkgconfig/%.pc)

# $(call configured,NAME): the version that NAME's configure.ac tells
configured = $(shell sed -n 's/^AC_INIT[^,]*, *\[*\([0-9.]*\).*/\1/p' $(SRC)/$1/configure.ac)

# ---- Sources, flags, and the flags of who uses it ----

zlib_FILES := $(wildcard $(SRC)/zlib/*.c)
zlib_FLAGS := -DHAVE_UNISTD_H -DHAVE_STDARG_H -DHAVE_HIDDEN
zlib_INCLUDE := -I$(SRC)/zlib
zlib_VERSION := $(shell sed -n 's/^\#define ZLIB_VERSION "\([^"]*\)"/\1/p' $(SRC)/zlib/zlib.h)

libelf_INCLUDE := -I$(OUT)/include/libelf
libelf_VERSION := $(call configured,elfutils)
libelf_REQUIRES := zlib

libbpf_FILES := $(wildcard $(SRC)/libbpf/src/*.c)
libbpf_FLAGS := -I$(SRC)/libbpf/include -I$(SRC)/libbpf/include/uapi -D_LARGEFILE64_SOURCE \
	-D_FILE_OFFSET_BITS=64 $(libelf_INCLUDE) $(zlib_INCLUDE)
libbpf_INCLUDE := -I$(OUT)/include/libbpf
libbpf_VERSION := $(shell sed -n 's/^LIBBPF_\(MAJOR\|MINOR\|PATCH\)_VERSION *:\?= *//p' \
	$(SRC)/libbpf/src/Makefile | paste -sd.)
libbpf_REQUIRES := libelf zlib

# The netfilter libraries, and libnfnetlink's header, take u_int8_t for granted.
NETFILTER := -D_GNU_SOURCE -include sys/types.h -I$(OUT)/include/none

libmnl_FILES := $(wildcard $(SRC)/libmnl/src/*.c)
libmnl_FLAGS := $(NETFILTER) -I$(SRC)/libmnl/include -DHAVE_VISIBILITY_HIDDEN
libmnl_INCLUDE := -I$(OUT)/include/libmnl
libmnl_VERSION := $(call configured,libmnl)

libnfnetlink_FILES := $(wildcard $(SRC)/libnfnetlink/src/*.c)
libnfnetlink_FLAGS := $(NETFILTER) -I$(SRC)/libnfnetlink/include
libnfnetlink_INCLUDE := -include sys/types.h -I$(OUT)/include/libnfnetlink
libnfnetlink_VERSION := $(call configured,libnfnetlink)

libnetfilter_conntrack_FILES := $(wildcard $(SRC)/libnetfilter_conntrack/src/*.c \
	$(SRC)/libnetfilter_conntrack/src/*/*.c)
libnetfilter_conntrack_FLAGS := $(NETFILTER) -I$(SRC)/libnetfilter_conntrack/include \
	$(libmnl_INCLUDE) $(libnfnetlink_INCLUDE)
libnetfilter_conntrack_INCLUDE := -I$(OUT)/include/libnetfilter_conntrack
libnetfilter_conntrack_VERSION := $(call configured,libnetfilter_conntrack)
libnetfilter_conntrack_REQUIRES := libnfnetlink libmnl

# Made anew when the compiler, a flag or a source directory is another
STAMP := $(OBJ)/stamp
$(shell mkdir -p $(OBJ))
FLAGS := $(CC) $(CODE) $(foreach m,$(MODULES),$($m_FLAGS) $($m_INCLUDE) $($m_VERSION)) \
	$(foreach d,$(wildcard $(SRC)/*),$(realpath $d))
ifneq ($(file <$(STAMP)),$(FLAGS))
$(file >$(STAMP),$(FLAGS))
endif

# A file's name is its path below the library's directory: two may have the same last part.
define library
$1_OBJECTS := $$($1_FILES:$(SRC)/%.c=$(OBJ)/%.o)

$(LIB)/$1.a: $$($1_OBJECTS)
	$$(call say,AR,$1.a)
	@mkdir -p $$(@D)
	$$(Q)rm -f $$@ && $$(AR) rcsD $$@ $$^

$$($1_OBJECTS): $(OBJ)/%.o: $(SRC)/%.c $(STAMP) | $(OUT)/include/ready \
		$(if $(filter libbpf,$1),$(LIB)/libelf.a)
	$$(if $$(Q),,@echo CC $$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) -std=gnu11 -w $$(CODE) $$($1_FLAGS) $$($1_INCLUDE) -c -o $$@ $$<
endef

$(foreach m,$(filter-out libelf,$(MODULES)),$(eval $(call library,$m)))

# Only the headers of the libraries themselves: beside them lie copies of the kernel's, old ones.
# <bpf/...> is libbpf's src. libmnl's config.h says only how to hide symbols.
HEADERS := libmnl libnfnetlink libnetfilter_conntrack
$(OUT)/include/ready: $(STAMP)
	@mkdir -p $(OUT)/include/libbpf $(OUT)/include/libelf $(OUT)/include/none
	@for name in $(HEADERS); do mkdir -p $(OUT)/include/$$name; \
		ln -sfn $(SRC)/$$name/include/$$name $(OUT)/include/$$name/$$name; done
	@ln -sfn $(SRC)/libbpf/src $(OUT)/include/libbpf/bpf
	@: >$(OUT)/include/none/config.h
	@touch $@

# musl has no argp, fts and obstack, which libelf itself does not use. Its search tree is in
# elfutils' lib/.
CONFIGURE_ELFUTILS = $(SRC)/elfutils/configure --host='$(shell $(CC) -dumpmachine)' \
	--disable-debuginfod --disable-libdebuginfod --disable-demangler --disable-nls \
	--without-bzlib --without-lzma --without-zstd --enable-deterministic-archives \
	ac_cv_search_argp_parse='none required' ac_cv_search_fts_close='none required' \
	ac_cv_search__obstack_free='none required' \
	CC='$(CC)' AR='$(AR)' CFLAGS='$(CODE) -w $(zlib_INCLUDE)' LDFLAGS='-L$(LIB)/search'

$(LIB)/libelf.a: $(LIB)/zlib.a $(STAMP)
	$(call say,LIBELF,libelf.a)
	@rm -rf $(OBJ)/elfutils && mkdir -p $(OBJ)/elfutils $(LIB)/search $(OUT)/include/libelf
	@ln -sf ../zlib.a $(LIB)/search/libz.a
	$(Q)cd $(OBJ)/elfutils && { $(CONFIGURE_ELFUTILS) && $(MAKE) -C lib eu-search.o && \
		$(MAKE) -C libelf libelf.a; } >build.log 2>&1 || { tail -n 30 build.log >&2; exit 1; }
	@cp $(SRC)/elfutils/libelf/libelf.h $(SRC)/elfutils/libelf/gelf.h \
		$(SRC)/elfutils/libelf/nlist.h $(SRC)/elfutils/libelf/elf.h $(OUT)/include/libelf
	$(Q)cp $(OBJ)/elfutils/libelf/libelf.a $@.tmp && \
		$(AR) rsD $@.tmp $(OBJ)/elfutils/lib/eu-search.o && mv -f $@.tmp $@

$(LIB)/pkgconfig/%.pc: $(LIB)/%.a
	@mkdir -p $(@D)
	@printf '%s\n' 'Name: $*' 'Description: static' 'Version: $($*_VERSION)' \
		'Requires: $($*_REQUIRES)' 'Cflags: $($*_INCLUDE)' 'Libs: $<' >$@
