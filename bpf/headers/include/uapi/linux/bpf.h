/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Included by bcc; a uprobe program needs nothing of it. */
