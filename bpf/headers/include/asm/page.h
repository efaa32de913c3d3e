/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BPF_RINGBUF_OUTPUT counts its buffer in pages. */
#define PAGE_SIZE 4096
