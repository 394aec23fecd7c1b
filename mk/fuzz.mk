# SPDX-License-Identifier: GPL-2.0-only
#
# make fuzz [FUZZ=NAME...] [FUZZ_SECONDS=60]: libFuzzer, each tests/fuzz/NAME_fuzz.c for so long from
# the corpus tests/fuzz/corpus/NAME on. What is found new stays in build/fuzz/corpus/NAME.

.PHONY: fuzz

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_ALL := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZ ?= $(FUZZ_ALL)
FUZZ_CFLAGS := -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_OBJECTS := $(patsubst %.c,build/fuzz/obj/%.o,$(wildcard src/filter/*.c) src/log.c)

build/fuzz/obj/%.o: %.c build/stamp/cflags | $(LIBBPF_READY)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -std=gnu11 -D_GNU_SOURCE $(INCLUDES) $(DEP_CFLAGS) $(FUZZ_CFLAGS) -MMD -MP -MT $@ \
		-MF $(@:.o=.d) -c -o $@ $<

build/fuzz/%: build/fuzz/obj/tests/fuzz/%_fuzz.o $(FUZZ_OBJECTS) $(LIBBPF_ARCHIVE)
	$(call say,LINK,$@)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o,$^) $(DEP_LIBS)

.PRECIOUS: build/fuzz/obj/%.o

fuzz: $(FUZZ:%=build/fuzz/%)
	$(Q)for name in $(FUZZ); do mkdir -p build/fuzz/corpus/$$name; \
		build/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix=build/fuzz/$$name- \
			build/fuzz/corpus/$$name tests/fuzz/corpus/$$name || exit 1; done

-include $(shell find build/fuzz/obj -name '*.d' 2>/dev/null)
