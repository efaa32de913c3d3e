/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bcc's helpers.h chooses among its macros by version; what it puts into the program's "version" section
 * has been ignored by the kernel since 5.0.
 */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 6, 0)
