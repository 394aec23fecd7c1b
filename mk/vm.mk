# SPDX-License-Identifier: GPL-2.0-only
#
# make check-vm [KERNELS="6.1 6.12"] [MARKDOWN=FILE]: the tests on Debian's kernels in virtual
# machines

.PHONY: check-vm

check-vm:
	@scripts/install-deps check vm
	@$(MAKE) $(JOBS) SAN=0 tests
	@tests/vm/check $(if $(KERNELS),--kernels '$(KERNELS)') $(if $(MARKDOWN),--markdown '$(MARKDOWN)')
