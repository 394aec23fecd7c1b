# SPDX-License-Identifier: GPL-2.0-only
#
# make deb      build/deb/bpfw_VERSION_ARCH.deb
# make release  RELEASE_DIR: static binaries, packages of them, changelog, checksums

RELEASE_DIR ?= build/release
RELEASE_ARCHES ?= x86_64 aarch64 s390x
DEB_ARCH_x86_64 := amd64
DEB_ARCH_aarch64 := arm64
DEB_ARCH_s390x := s390x

.PHONY: deb release $(RELEASE_ARCHES:%=release-%)

deb: build/bpfw
	$(Q)packaging/deb/build

# One static binary serves every distribution, so the packages hold those.
$(RELEASE_ARCHES:%=release-%): release-%:
	@$(MAKE) static ARCH=$*
	@mkdir -p '$(RELEASE_DIR)'
	$(Q)$(INSTALL) -m 755 build/static/$*/bpfw '$(RELEASE_DIR)/bpfw-$(VERSION)-$*'
	$(Q)BINARY=build/static/$*/bpfw ARCH=$(DEB_ARCH_$*) packaging/deb/build '$(abspath $(RELEASE_DIR))'

# What an earlier one has left is of another version: nothing is there that has no sum.
release:
	@mkdir -p '$(RELEASE_DIR)'
	@cd '$(RELEASE_DIR)' && rm -f bpfw-* bpfw_*.deb CHANGELOG.md SHA256SUMS
	@for arch in $(RELEASE_ARCHES); do $(MAKE) release-$$arch || exit 1; done
	$(Q)$(INSTALL) -m 644 CHANGELOG.md '$(RELEASE_DIR)/'
	$(Q)cd '$(RELEASE_DIR)' && sha256sum bpfw-* bpfw_*.deb CHANGELOG.md >SHA256SUMS
	@echo '$(RELEASE_DIR):' && cat '$(RELEASE_DIR)/SHA256SUMS'
