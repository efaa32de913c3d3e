// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Times the phases of QEMU's COLO checkpoints.
 *
 * One program serves every probe of every target: the probe's cookie says which phase closes there, which one opens,
 * and what else happens (colotrace/phases.py has the meanings). The state machine runs here, per thread, so that totals
 * are exact even when user space stalls; records of single checkpoints go out through a ring buffer, and those that do
 * not fit are counted.
 *
 * Compiled by bcc with the stub headers beside this file. RING_PAGES and MAX_TARGETS are for the compiler alone: the maps
 * are made with the sizes asked for (colotrace/kernel/program.py).
 */
#include <uapi/linux/ptrace.h>
#include "colo_phases.h"

#define RING_PAGES 256
#define MAX_TARGETS 64
#ifndef BOOT_NS /* a test gives another: a host cannot be suspended for it */
#define BOOT_NS() bpf_ktime_get_boot_ns()
#endif
#define SUSPENSION_NS 10000000 /* the least: two clocks are read one after the other, perhaps with other work between */

struct thread_state {
	struct checkpoint_record record;
	__u64 phase_begin_ns;
	__u64 init_ns[3]; /* as in KIND_INIT */
	__u64 wait_ns; /* of the wait that has just ended */
	__u64 suspended_before_ns; /* in all, when it was first looked at for this checkpoint; 0: not yet */
	__u64 pause_begin_ns;
	__u64 ram_bytes_begin;
	__u64 ram_pages_begin;
	__u8 open_phase;
	__u8 in_transaction;
	__u8 ram_begun;
	__u8 role;
};

struct totals_key {
	__u32 target;
	__u32 role;
};

BPF_ARRAY(targets, struct target, MAX_TARGETS);
BPF_ARRAY(probes, __u32, MAX_TARGETS); /* PROBES_*, written by user space */
BPF_ARRAY(blank, struct thread_state, 1); /* zeros: the state is too large for the stack */
BPF_HASH(threads, __u64, struct thread_state, 1024);
BPF_HASH(totals, struct totals_key, struct totals, MAX_TARGETS * 2);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define COMPILER_BARRIER() asm volatile("" ::: "memory")

static __always_inline int read_counters(__u64 *at, __u64 *sum)
{
	__u64 value = 0;

	if (!at[0] || bpf_probe_read_user(&value, sizeof(value), (void *)at[0]))
		return 0;
	*sum = value;
	if (!at[1])
		return 1;
	if (bpf_probe_read_user(&value, sizeof(value), (void *)at[1]))
		return 0;
	*sum += value;
	return 1;
}

static __always_inline void send_small(struct target *target, struct event_header *header, __u8 kind, __u64 a, __u64 b,
				       __u64 c)
{
	struct small_event event = {.header = *header, .times = {a, b, c}};

	event.header.kind = kind;
	if (events.ringbuf_output(&event, sizeof(event), 0))
		__sync_fetch_and_add(&target->lost_events, 1);
}

/* Starts a transaction's record; begin_ns is 0 when it began unseen. */
static __always_inline void open_record(struct thread_state *state, struct totals *sums, __u64 begin_ns)
{
	struct checkpoint_record *record = &state->record;

	__builtin_memset(&record->sequence, 0, sizeof(*record) - sizeof(record->header));
	record->sequence = ++sums->sequence;
	record->begin_ns = begin_ns;
	if (begin_ns)
		record->seen = SEEN_BEGIN;
	if (begin_ns && state->wait_ns) {
		record->phase_ns[PHASE_WAIT - 1] = state->wait_ns;
		record->seen |= 1u << (PHASE_WAIT - 1);
	}
	sums->idle_since_ns = 0;
	state->wait_ns = 0;
	state->pause_begin_ns = 0;
	state->ram_begun = 0;
	state->in_transaction = 1;
}

static __always_inline void add_to_totals(struct totals *sums, struct checkpoint_record *record, __u64 now)
{
	int i;

	sums->writes_begun++;
	COMPILER_BARRIER();
	sums->tot_time += record->total_ns;
	sums->tot_num++;
#pragma unroll
	for (i = PHASE_WAIT - 1; i < PHASES; i++) {
		if (record->seen & 1u << i) {
			sums->phase_ns[i] += record->phase_ns[i];
			sums->seen_num[i]++;
		}
	}
	sums->other_ns += record->other_ns;
	if (record->seen & SEEN_DEVICE_BYTES) {
		sums->device_bytes += record->device_bytes;
		sums->device_num++;
	}
	if (record->seen & SEEN_RAM) {
		sums->ram_bytes += record->ram_bytes;
		sums->ram_pages += record->ram_pages;
		sums->ram_num++;
	}
	if (record->seen & SEEN_PAUSE) {
		sums->pause_ns += record->pause_ns;
		sums->pause_num++;
	}
	sums->last_completed_ns = now;
	COMPILER_BARRIER();
	sums->writes_done++;
}

/* How long the host has been suspended since it was booted: CLOCK_MONOTONIC stands still then, CLOCK_BOOTTIME goes on. */
static __always_inline __u64 suspended_in_all(__u64 now)
{
	return BOOT_NS() - now + 1;
}

/* A checkpoint with a suspension in it or in its wait says nothing of the others: frozen, thawed, its peer left waiting. */
static __always_inline void note_suspension(struct thread_state *state, __u64 now)
{
	__u64 before = state->suspended_before_ns;
	__s64 suspended = suspended_in_all(now) - before;

	state->suspended_before_ns = 0;
	if (before && suspended > SUSPENSION_NS)
		state->record.suspended_ms = (__u64)suspended / 1000000;
}

/* Closes the transaction's record, accounts for it and sends it. */
static __always_inline void close_record(struct thread_state *state, struct target *target, struct totals *sums,
					 __u8 outcome, __u64 now)
{
	struct checkpoint_record *record = &state->record;
	__u32 expected = target->expected[state->role & 1 ? 1 : 2];
	__u32 all = target->parts[state->role & 1 ? 1 : 2];
	__u64 parts = 0;
	int i, index = record->header.target;
	__u32 *known = probes.lookup(&index);
	bool lost = !known || *known == PROBES_LOST;

	if (record->seen & SEEN_BEGIN && outcome != OUTCOME_ABORTED) {
		record->seen |= SEEN_TOTAL;
		record->total_ns = now - record->begin_ns;
#pragma unroll
		for (i = PHASE_WAIT; i < PHASES; i++) {
			if (record->seen & 1u << i)
				parts += record->phase_ns[i];
		}
		if ((record->seen & all) == all) {
			record->seen |= SEEN_OTHER;
			record->other_ns = record->total_ns - parts;
		}
	}
	/* a lost probe, or a transaction that had succeeded and whose end was not heard: not QEMU's failure but ours */
	if (outcome == OUTCOME_ABORTED && (record->seen & SEEN_COMPLETE || lost))
		outcome = OUTCOME_INCOMPLETE;
	note_suspension(state, now);
	if (outcome == OUTCOME_COMPLETED &&
	    ((record->seen & expected) != expected || !(record->seen & SEEN_TOTAL) ||
	     !(record->seen & SEEN_COMPLETE) || lost || record->suspended_ms))
		outcome = OUTCOME_INCOMPLETE;
	record->outcome = outcome;
	record->open_phase = outcome == OUTCOME_ABORTED ? state->open_phase : 0;
	if (outcome == OUTCOME_COMPLETED)
		add_to_totals(sums, record, now);
	else if (outcome == OUTCOME_INCOMPLETE)
		sums->incomplete++;
	else
		sums->aborted++;
	/*
	 * No wake-up: it would let the tracer preempt the COLO thread here, of all places (measured: 0.5 to 0.8 ms more a
	 * checkpoint on two busy cores). User space looks by itself, often enough.
	 */
	if (events.ringbuf_output(record, sizeof(*record), BPF_RB_NO_WAKEUP))
		sums->lost_records++;
	state->in_transaction = 0;
	state->open_phase = 0;
}

static __always_inline void takeover(struct target *target, struct event_header *header, __u64 now)
{
	__u64 exit_ns = target->exit_ns;

	if (!exit_ns)
		return;
	target->exit_ns = 0;
	header->role = target->exit_role;
	send_small(target, header, KIND_TAKEOVER, now, exit_ns, 0);
}

/*
 * Somebody sets the event that the primary's loop waits for. Each has a place of its own, so that threads need not agree
 * on who was first. Setting what is set already does nothing, and so only the first time since the reset counts.
 */
static __always_inline void notified(struct target *target, __u8 trigger, __u32 effects, __u64 thread, __u64 now)
{
	__u32 i = (trigger - 1) & 0x3; /* the verifier wants to see the bound */

	if (effects & EFFECT_THROUGH_TIMER) {
		target->notifying = thread;
	} else if (trigger == TRIGGER_TIMER && target->notifying == thread) {
		target->notifying = 0;
		return;
	}
	if (!target->notified_ns[i])
		target->notified_ns[i] = now;
}

static __always_inline void event_reset(struct target *target)
{
	__builtin_memset(target->notified_ns, 0, sizeof(target->notified_ns));
	target->reset_seen = 1;
}

static __always_inline void close_phase(struct thread_state *state, struct target *target, struct totals *sums,
					__u8 phase, __u64 now)
{
	__u64 spent = now - state->phase_begin_ns;

	if (state->open_phase != phase) {
		/* init closes at every wait, once in earnest; any other has lost its beginning and stays unseen */
		if (phase != PHASE_INIT)
			state->open_phase = 0;
		return;
	}
	state->open_phase = 0;
	if (phase == PHASE_INIT) {
		sums->phase_ns[PHASE_INIT - 1] = spent;
		sums->seen_num[PHASE_INIT - 1] = 1;
		send_small(target, &state->record.header, KIND_INIT, state->phase_begin_ns, now, state->init_ns[2]);
	} else if (phase == PHASE_WAIT) {
		state->wait_ns = spent;
	} else {
		/* the verifier wants to see the bound */
		__u32 i = (phase - 1) & 0xf;

		if (i < PHASES) {
			state->record.phase_ns[i] = spent;
			state->record.seen |= 1u << i;
		}
	}
}

int on_boundary(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 effects = COOKIE_EFFECTS(cookie);
	__u8 role = COOKIE_ROLE(cookie);
	__u8 closes = COOKIE_CLOSES(cookie), opens = COOKIE_OPENS(cookie), mark = COOKIE_MARK(cookie);
	struct event_header header = {.role = role, .target = COOKIE_TARGET(cookie), .tid = (__u32)thread};
	struct totals_key key = {.target = header.target, .role = role};
	struct totals no_totals = {};
	struct thread_state *state, *zeros;
	struct checkpoint_record *record;
	struct target *target;
	struct totals *sums;
	int index = header.target, zero = 0;
	__u32 *known = probes.lookup(&index);

	target = targets.lookup(&index);
	if (!target || !known || *known == PROBES_NOT_ALL || (target->tgid && target->tgid != thread >> 32))
		return 0;
	__sync_fetch_and_add(&target->hits, 1);
	if (effects & EFFECT_TAKEOVER) {
		takeover(target, &header, now);
		return 0;
	}
	if (COOKIE_TRIGGER(cookie)) {
		notified(target, COOKIE_TRIGGER(cookie), effects, thread, now);
		return 0;
	}

	sums = totals.lookup_or_try_init(&key, &no_totals);
	zeros = blank.lookup(&zero);
	if (!sums || !zeros) {
		__sync_fetch_and_add(&target->lost_events, 1);
		return 0;
	}
	state = threads.lookup(&thread);
	if (!state || state->role != role) {
		threads.update(&thread, zeros);
		state = threads.lookup(&thread);
		if (!state) {
			__sync_fetch_and_add(&target->lost_events, 1);
			return 0;
		}
		state->role = role;
		state->record.header = header;
		state->record.header.kind = KIND_CHECKPOINT;
	}
	record = &state->record;
	if (!state->in_transaction && !(effects & (EFFECT_OUTSIDE | EFFECT_TRANSACTION_BEGIN)))
		open_record(state, sums, 0); /* its beginning was not seen: attached in its middle, or a lost probe */

	if (effects & (EFFECT_WAIT_BEGIN | EFFECT_COLO_EXIT | EFFECT_TRANSACTION_BEGIN) && state->in_transaction)
		close_record(state, target, sums, OUTCOME_ABORTED, now);
	if (effects & (EFFECT_WAIT_BEGIN | EFFECT_COLO_EXIT))
		sums->idle_since_ns = now;
	if (effects & EFFECT_WAIT_BEGIN || (effects & EFFECT_TRANSACTION_BEGIN && !state->suspended_before_ns))
		state->suspended_before_ns = suspended_in_all(now);
	if (closes)
		close_phase(state, target, sums, closes, now);
	if (effects & EFFECT_TRANSACTION_BEGIN) {
		open_record(state, sums, now);
		if (target->reset_seen && *known == PROBES_ARMED) {
			__builtin_memcpy(record->notified_ns, target->notified_ns, sizeof(record->notified_ns));
			record->seen |= SEEN_NOTIFIES;
		}
	}
	if (effects & EFFECT_EVENT_RESET || opens == PHASE_INIT)
		event_reset(target);
	if (opens) {
		state->open_phase = opens;
		state->phase_begin_ns = now;
		if (opens == PHASE_INIT) {
			state->init_ns[2] = 0;
			target->exit_ns = 0; /* COLO has begun again: nobody takes over any more */
		}
	}
	if (mark == 1)
		state->init_ns[2] = now;
	else if (mark) {
		/* the verifier wants to see the bound */
		__u32 i = (mark - 1) & 0xf;

		if (i < MARKS)
			record->marks_ns[i] = now;
	}
	if (effects & EFFECT_PAUSE_BEGIN)
		state->pause_begin_ns = now;
	if (effects & EFFECT_PAUSE_END && state->pause_begin_ns) {
		record->pause_ns = now - state->pause_begin_ns;
		record->seen |= SEEN_PAUSE;
	}
	if (effects & EFFECT_DEVICE_BYTES) {
		record->device_bytes = PT_REGS_PARM3(ctx);
		record->seen |= SEEN_DEVICE_BYTES;
	}
	if (effects & EFFECT_RAM_BEGIN)
		state->ram_begun = read_counters(target->ram_bytes_at, &state->ram_bytes_begin) &&
				   read_counters(target->ram_pages_at, &state->ram_pages_begin);
	if (effects & EFFECT_RAM_END && state->ram_begun) {
		__u64 bytes, pages;

		if (read_counters(target->ram_bytes_at, &bytes) && read_counters(target->ram_pages_at, &pages)) {
			record->ram_bytes = bytes - state->ram_bytes_begin;
			record->ram_pages = pages - state->ram_pages_begin;
			record->seen |= SEEN_RAM;
		}
	}
	if (effects & EFFECT_COMPLETES)
		record->seen |= SEEN_COMPLETE;
	if (effects & EFFECT_TRANSACTION_END && state->in_transaction)
		close_record(state, target, sums, OUTCOME_COMPLETED, now);
	if (effects & EFFECT_COLO_EXIT) {
		target->exit_role = role;
		COMPILER_BARRIER(); /* another thread's takeover() looks at exit_ns first */
		target->exit_ns = now;
		send_small(target, &record->header, KIND_COLO_EXIT, now,
			   (__u32)PT_REGS_PARM1(ctx) | (__u64)(__u32)PT_REGS_PARM2(ctx) << 32, sums->sequence);
		threads.delete(&thread);
	}
	return 0;
}
