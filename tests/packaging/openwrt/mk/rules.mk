# SPDX-License-Identifier: GPL-2.0-only
#
# Stand-in for OpenWrt's rules.mk: the tools that a package's Makefile uses. Here they are those of
# this machine; TARGET_CC can be given.

INCLUDE_DIR := $(TOPDIR)/include
STAGING_DIR := $(TOPDIR)/staging
STAGING_DIR_HOST := $(TOPDIR)/host
BUILD_DIR := $(TOPDIR)/build_dir

TARGET_CC ?= gcc
TARGET_AR := ar
TARGET_CFLAGS := -Os
TARGET_CPPFLAGS := -I$(STAGING_DIR)/usr/include
TARGET_LDFLAGS := -L$(STAGING_DIR)/usr/lib
PKG_CONFIG := pkg-config

CP := cp -fpR
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_DATA := install -m0644
INSTALL_CONF := install -m0600
