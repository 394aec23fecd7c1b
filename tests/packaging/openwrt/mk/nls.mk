# SPDX-License-Identifier: GPL-2.0-only
#
# Stand-in for OpenWrt's nls.mk, which adds flags for libintl and libiconv: nothing to imitate.
