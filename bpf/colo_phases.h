/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel program and user space share: cookies, records, totals.
 * Python's side is colotrace/phases.py (cookies) and colotrace/kernel/layout.py (structs); a test holds the two together.
 * All times are nanoseconds of CLOCK_MONOTONIC, all sizes bytes. A field is valid only if its bit in `seen` says so.
 */
#ifndef COLO_PHASES_H
#define COLO_PHASES_H

/* A cookie, one per probe: closes:4 opens:4 mark:4 role:4 effects:16 target:16 trigger:4. */
#define COOKIE_CLOSES(c) ((c) & 0xf)
#define COOKIE_OPENS(c) ((c) >> 4 & 0xf)
#define COOKIE_MARK(c) ((c) >> 8 & 0xf)
#define COOKIE_ROLE(c) ((c) >> 12 & 0xf)
#define COOKIE_EFFECTS(c) ((c) >> 16 & 0xffff)
#define COOKIE_TARGET(c) ((c) >> 32 & 0xffff)
#define COOKIE_TRIGGER(c) ((c) >> 48 & 0xf)

#define PHASE_INIT 1
#define PHASE_WAIT 2
#define PHASES 9
#define MARKS 13
#define TRIGGERS 4
#define TRIGGER_TIMER 1

#define EFFECT_OUTSIDE (1 << 0)
#define EFFECT_TRANSACTION_BEGIN (1 << 1)
#define EFFECT_TRANSACTION_END (1 << 2)
#define EFFECT_COMPLETES (1 << 3)
#define EFFECT_PAUSE_BEGIN (1 << 4)
#define EFFECT_PAUSE_END (1 << 5)
#define EFFECT_RAM_BEGIN (1 << 6)
#define EFFECT_RAM_END (1 << 7)
#define EFFECT_DEVICE_BYTES (1 << 8)
#define EFFECT_WAIT_BEGIN (1 << 9)
#define EFFECT_COLO_EXIT (1 << 10)
#define EFFECT_TAKEOVER (1 << 11)
#define EFFECT_EVENT_RESET (1 << 12)
#define EFFECT_THROUGH_TIMER (1 << 13)

/* Bits of `seen`: bit N-1 is phase N; then: */
#define SEEN_BEGIN (1u << 16)
#define SEEN_COMPLETE (1u << 17)
#define SEEN_PAUSE (1u << 18)
#define SEEN_DEVICE_BYTES (1u << 19)
#define SEEN_RAM (1u << 20)
#define SEEN_TOTAL (1u << 21)
#define SEEN_OTHER (1u << 22) /* only if all phases were seen: else their time would hide in it */
#define SEEN_NOTIFIES (1u << 23) /* notified_ns is all that there was since the event was last reset */

#define KIND_CHECKPOINT 1
#define KIND_INIT 2 /* times[0] begin, [1] end, [2] READY or 0 */
/* times[0] when, [1] the arguments of qapi_event_send_colo_exit(), mode and above it reason, [2] the last sequence */
#define KIND_COLO_EXIT 3
#define KIND_TAKEOVER 4 /* times[0] when, [1] when COLO exited */

#define OUTCOME_COMPLETED 1
#define OUTCOME_INCOMPLETE 2
#define OUTCOME_ABORTED 3

/* What user space knows of a target's probes. */
#define PROBES_NOT_ALL 0 /* they are set and removed one by one: what fires meanwhile would be mistaken */
#define PROBES_ARMED 1
#define PROBES_LOST 2 /* one of them is gone: nothing is completed any more */

/* What every message in the ring buffer begins with. */
struct event_header {
	__u8 kind;
	__u8 role;
	__u16 target;
	__u32 tid; /* in the initial pid namespace */
};

struct small_event {
	struct event_header header;
	__u64 times[3];
};

struct checkpoint_record {
	struct event_header header;
	__u32 sequence; /* counts every transaction of this target and role, from 1 */
	__u32 seen;
	__u8 outcome;
	__u8 open_phase; /* aborted: the phase in which, 0 for between phases */
	__u16 reserved0;
	__u32 suspended_ms; /* the host was, between the beginning of the wait before it and its end */
	__u64 begin_ns;
	__u64 total_ns;
	__u64 phase_ns[PHASES];
	__u64 other_ns; /* total less its phases */
	__u64 pause_ns;
	__u64 device_bytes;
	__u64 ram_bytes;
	__u64 ram_pages;
	__u64 marks_ns[MARKS];
	__u64 notified_ns[TRIGGERS]; /* when each first asked for this checkpoint, before it began; 0: it did not */
};

/* One per target and role; completed checkpoints only, in the order of the seed's struct. */
struct totals {
	__u64 writes_begun; /* a reader that finds these two equal, twice the same, has a consistent copy */
	__u64 tot_time;
	__u64 tot_num;
	__u64 phase_ns[PHASES];
	__u64 device_bytes;
	__u64 ram_bytes;
	__u64 ram_pages;
	__u64 pause_ns;
	__u64 other_ns;
	__u64 seen_num[PHASES]; /* checkpoints that each phase was seen in; for init 0 or 1 */
	__u64 device_num;
	__u64 ram_num;
	__u64 pause_num;
	__u64 incomplete;
	__u64 aborted;
	__u64 lost_records;
	__u64 sequence;
	__u64 last_completed_ns;
	__u64 idle_since_ns; /* no transaction is in flight since then; 0: one is, or nothing is known */
	__u64 writes_done;
};

/* One per target, written by user space before arming; the kernel writes what follows `parts`. */
struct target {
	__u64 tgid; /* 0: the link's own pid filter decides */
	__u64 ram_bytes_at[2]; /* addresses in the process of u64s whose sum counts bytes; 0 for none */
	__u64 ram_pages_at[2];
	__u32 expected[3]; /* per role number: the `seen` bits that a completed checkpoint must have */
	__u32 parts[3]; /* per role number: the phases that make up a total */
	__u64 hits;
	__u64 lost_events; /* of the small kind, or hits for which a map had no room */
	__u64 exit_ns; /* not 0: COLO has exited and nobody has taken over yet */
	__u64 exit_role;
	__u64 notified_ns[TRIGGERS]; /* who has asked for a checkpoint since the event was reset, and when first; 0: not */
	__u64 notifying; /* the thread that is on its way to the timer's place, without being the timer */
	__u64 reset_seen; /* not 0: notified_ns goes back to a reset */
	__u64 trigger_hits; /* hits by whoever asks for checkpoints, which tell nothing of the COLO thread */
};

#endif
