# SPDX-License-Identifier: GPL-2.0-only
#
# Test programs: one per tests/unit/*_test.c and tests/packet/*_test.c. The other C
# files of a directory are linked to each of its tests. Unit tests are built with the
# sanitizers as well, and tests/run runs those.

define test_directory
$1_TESTS := $$(patsubst %.c,%,$$(wildcard tests/$1/*_test.c))
$1_SHARED := $$(patsubst %.c,obj/%.o,$$(filter-out %_test.c,$$(wildcard tests/$1/*.c)))

$$($1_TESTS:%=build/%): build/%: build/obj/%.o $$($1_SHARED:%=build/%) build/libbpfw.a \
		$$(LIBBPF_ARCHIVE) build/stamp/ldflags
	$$(link)

$$($1_TESTS:%=build/asan/%): build/asan/%: build/asan/obj/%.o $$($1_SHARED:%=build/asan/%) \
		build/asan/libbpfw.a $$(LIBBPF_ARCHIVE) build/stamp/ldflags
	$$(link)

build/tests/$1/% build/asan/tests/$1/%: private EXTRA_LIBS = $$($1_LIBS)
endef

unit_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

$(eval $(call test_directory,unit))
$(eval $(call test_directory,packet))

tests: build/bpfw build/asan/bpfw $(unit_TESTS:%=build/%) $(unit_TESTS:%=build/asan/%) \
	$(packet_TESTS:%=build/%) $(BPFTOOL_FULL)
