# SPDX-License-Identifier: GPL-2.0-only
#
# Stand-in for OpenWrt's package.mk: $(eval $(call BuildPackage,NAME)) makes the targets prepare,
# compile and install, which run Build/Prepare, Build/Configure, Build/Compile and
# Package/NAME/install with a root directory, and info, which prints the package's fields.
# (bpf-object is not OpenWrt's: the part of bpfw's Build/Compile that needs no library of the
# target.)

PKG_BUILD_DIR ?= $(BUILD_DIR)/$(PKG_NAME)-$(PKG_VERSION)
PKG_JOBS ?= -j2

define BuildPackage
prepare:
	rm -rf $(PKG_BUILD_DIR)
	$$(Build/Prepare)
	$$(Build/Configure)

compile: prepare
	$$(Build/Compile)

bpf-object: prepare
	+$$(BPFW_MAKE) build/bpf/bpfw.clang.o

install: compile
	$$(call Package/$(1)/install,$(TOPDIR)/root)

.PHONY: prepare compile bpf-object install info
$(call Package/$(1))

info:
	@echo "Package: $(1)"
	@echo "Version: $(PKG_VERSION)-r$(PKG_RELEASE)"
	@echo "License: $(PKG_LICENSE)"
	@echo "Depends: $$(DEPENDS)"
	@echo "Conffiles: $$(Package/$(1)/conffiles)"
endef
