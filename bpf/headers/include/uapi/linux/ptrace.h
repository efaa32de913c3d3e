/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers at a probe, as the kernel lays them out: the x86-64 and arm64 ABI's struct pt_regs. */
#ifndef COLOTRACE_STUB_PTRACE_H
#define COLOTRACE_STUB_PTRACE_H

#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
struct pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
#else
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#endif

#endif
