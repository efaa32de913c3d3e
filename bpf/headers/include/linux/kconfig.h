/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bcc's compiler includes this first of all; its helpers.h refuses to go on without CONFIG_BPF_SYSCALL. */
#define CONFIG_BPF_SYSCALL 1
