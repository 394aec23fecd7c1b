# SPDX-License-Identifier: GPL-2.0-only
#
# make deb      build/deb/bpfw_VERSION_ARCH.deb
# make release  build/release: static binaries, packages of them, changelog, checksums

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
	@mkdir -p build/release
	$(Q)$(INSTALL) -m 755 build/static/$*/bpfw build/release/bpfw-$(VERSION)-$*
	$(Q)BINARY=build/static/$*/bpfw ARCH=$(DEB_ARCH_$*) packaging/deb/build build/release

release:
	@rm -rf build/release
	@for arch in $(RELEASE_ARCHES); do $(MAKE) release-$$arch || exit 1; done
	$(Q)$(INSTALL) -m 644 CHANGELOG.md build/release/
	$(Q)cd build/release && sha256sum * >SHA256SUMS
	@echo 'build/release:' && cat build/release/SHA256SUMS
