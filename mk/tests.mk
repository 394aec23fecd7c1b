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

# ---- BPF objects of tests: tests/probe/NAME.bpf.c -> build/include/NAME_probe.skel.h ----

build/tests/probe/%.clang.o: tests/probe/%.bpf.c build/stamp/bpf \
		$(if $(USES_VMLINUX),$(VMLINUX_H)) | $(LIBBPF_READY)
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -Itests/probe -MMD -MP -MT $@ -MF $(@:.o=.d).tmp -c -o $@.tmp $< && \
		mv -f $(@:.o=.d).tmp $(@:.o=.d) && mv -f $@.tmp $@

build/include/%_probe.skel.h: build/tests/probe/%.clang.o | $(BPFTOOL_READY)
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen object build/tests/probe/$*.bpf.o $< && \
		$(BPFTOOL) gen skeleton build/tests/probe/$*.bpf.o name $*_probe_bpf >$@.tmp && \
		mv -f $@.tmp $@

.PRECIOUS: build/tests/probe/%.clang.o
build/obj/tests/packet/set_test.o build/obj/bench/set.o: | build/include/set_probe.skel.h
-include $(wildcard build/tests/probe/*.d)

# ---- tests/verifier: the BPF side by each compiler that is here, named by major version ----

clang_major = $(shell echo __clang_major__ | $1 -E -P -x c - 2>/dev/null)
VERIFIER_OBJECTS :=

VERIFIED := bpfw filter track sets reject connlimit

define verifier_object
VERIFIER_OBJECTS += $(VERIFIED:%=build/bpf/verifier/%-clang-$2.bpf.o)
$(VERIFIED:%=build/bpf/verifier/%-clang-$2.bpf.o): private VERIFIER_CLANG := $1
endef

$(foreach c,$(CLANG) clang-14 clang-19,$(if $(call which,$c),$(foreach v,$(call clang_major,$c),\
	$(if $(filter %-clang-$v.bpf.o,$(VERIFIER_OBJECTS)),,$(eval $(call verifier_object,$c,$v))))))

.SECONDEXPANSION:
build/bpf/verifier/%.bpf.o: bpf/$$(firstword $$(subst -, ,$$*)).bpf.c build/stamp/bpf $(if $(USES_VMLINUX),$(VMLINUX_H)) \
		| $(LIBBPF_READY)
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(VERIFIER_CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d).tmp -c -o $@.tmp $< && \
		mv -f $(@:.o=.d).tmp $(@:.o=.d) && mv -f $@.tmp $@

build/tests/verifier/verify: build/obj/tests/verifier/verify.o $(LIBBPF_ARCHIVE) build/stamp/ldflags
	$(link)

# ---- tests/filter: prints rules, for the comparison with iptables ----

build/asan/tests/filter/print: build/asan/obj/tests/filter/print.o build/asan/libbpfw.a \
		$(LIBBPF_ARCHIVE) build/stamp/ldflags
	$(link)

# ---- tests/fuzz: libFuzzer, which is clang's. Where its library is missing the tests say so. ----

FUZZ_FLAGS := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
FUZZ_RULESET := $(addprefix src/filter/,names.c option.c value.c lexer.c reader.c rule.c parser.c \
	check.c nat.c state.c printer.c ruleset.c)
FUZZ_SET := $(addprefix src/filter/,set_parse.c set_tree.c set_fast6.c names.c)
FUZZERS := $(if $(filter tests fuzz,$(GOALS)),$(if $(shell echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | $(CLANG) \
	$(FUZZ_FLAGS) -o /dev/null -x c - 2>&1),,build/tests/fuzz/ruleset build/tests/fuzz/set))

build/tests/fuzz/ruleset: $(FUZZ_RULESET)
build/tests/fuzz/set: $(FUZZ_SET)
build/tests/fuzz/%: tests/fuzz/%_fuzz.c $(wildcard src/filter/*.h bpf/*_layout.h)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -Isrc -Ibpf -g -O1 $(FUZZ_FLAGS) -o $@.tmp \
		$(filter %.c,$^) && mv -f $@.tmp $@

.PHONY: fuzz
fuzz: $(FUZZERS)
	tests/fuzz/fuzz_test.py

.PHONY: verifier-tests
verifier-tests: build/tests/verifier/verify $(VERIFIER_OBJECTS)

tests: build/bpfw build/asan/bpfw $(unit_TESTS:%=build/%) $(unit_TESTS:%=build/asan/%) \
	$(packet_TESTS:%=build/%) verifier-tests build/asan/tests/filter/print $(FUZZERS) \
	$(BPFTOOL_FULL)

# ---- bench/set, which is linked to bpfw's own sets ----

build/bench/set: build/obj/bench/set.o build/libbpfw.a $(LIBBPF_ARCHIVE) build/stamp/ldflags
	$(link)
