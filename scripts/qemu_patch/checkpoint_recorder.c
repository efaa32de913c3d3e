/*
 * The accounting behind info_checkpoint and reset_checkpoint.
 *
 * Times are get_clock()'s nanoseconds. checkpoint_recorder_variant.h, which is generated, defines every CR_DEFECT_* as
 * 0 or 1: with all of them 0 the figures are right, and each 1 brings back one mistake of the patch's original text.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-migration.h"
#include "qemu/timer.h"
#include "migration/ram.h"
#include "checkpoint_recorder.h"
#include "checkpoint_recorder_variant.h"

#define FIGURES_OF_A_PARTIAL_RESET 8

/* The order of the members is part of what CR_DEFECT_RESET_EIGHT does. */
QEMU_BUILD_BUG_ON(offsetof(CheckpointRecorder, tot_time) != 0);
QEMU_BUILD_BUG_ON(offsetof(CheckpointRecorder, put_time) != FIGURES_OF_A_PARTIAL_RESET * sizeof(int64_t));
QEMU_BUILD_BUG_ON(offsetof(CheckpointRecorder, info) != 14 * sizeof(int64_t));

/* Sums, not averages; its info stays NULL. Under the lock: QMP reads and clears what COLO's thread adds to. */
static CheckpointRecorder sums;
static GMutex lock;

/* COLO's thread alone: the checkpoint under way, and when each of its phases began. */
static CheckpointRecorder pending;
static int64_t begun[CR__COUNT];
static uint64_t ram_bytes_before;
static CheckpointRole role;

static int64_t now(void)
{
    return CR_DEFECT_MICROSECONDS ? get_clock() / 1000 : get_clock();
}

static int64_t *time_of(CheckpointRecorder *figures, CheckpointPhase phase)
{
    switch (phase) {
    case CR_INIT:
        return &figures->init_time;
    case CR_WAIT:
        return &figures->wait_time;
    case CR_TOTAL:
        return &figures->tot_time;
    case CR_STAT:
        return &figures->stat_time;
    case CR_DEV:
        return &figures->dev_time;
    case CR_RAM:
        return &figures->ram_time;
    case CR_PUT:
        return &figures->put_time;
    case CR_RECV:
        return &figures->recv_time;
    case CR_LOAD:
        return &figures->load_time;
    case CR_RESUME:
        return &figures->resume_time;
    default:
        g_assert_not_reached();
    }
}

static bool is_negated(CheckpointPhase phase)
{
    return (CR_DEFECT_INIT_NEGATED && phase == CR_INIT) ||
           (CR_DEFECT_STAT_NEGATED && phase == CR_STAT && role == CR_SECONDARY);
}

/* Where a checkpoint's figures go while it runs. */
static CheckpointRecorder *collector(void)
{
    return CR_DEFECT_ADD_AT_ONCE ? &sums : &pending;
}

static void clear_sums(void)
{
    size_t bytes = CR_DEFECT_RESET_EIGHT ? FIGURES_OF_A_PARTIAL_RESET * sizeof(int64_t) : sizeof(sums);

    g_mutex_lock(&lock);
    memset(&sums, 0, bytes);
    g_mutex_unlock(&lock);
}

void checkpoint_recorder_enter(CheckpointRole entered)
{
    role = entered;
    clear_sums();
    checkpoint_recorder_begin(CR_INIT);
}

void checkpoint_recorder_begin(CheckpointPhase phase)
{
    if (phase == CR_WAIT) {
        memset(&pending, 0, sizeof(pending));
    }
    if (phase == CR_RAM) {
        ram_bytes_before = ram_counters.transferred;
    }
    begun[phase] = now();
}

void checkpoint_recorder_end(CheckpointPhase phase)
{
    int64_t took = now() - begun[phase];
    CheckpointRecorder *figures = phase == CR_INIT ? &sums : collector();

    if (is_negated(phase)) {
        took = -took;
    }
    g_mutex_lock(&lock);
    if (phase == CR_RAM && role == CR_PRIMARY && !CR_DEFECT_NO_RAM_SIZE) {
        figures->ram_size += ram_counters.transferred - ram_bytes_before;
    }
    if (CR_DEFECT_RECV_IN_PUT && phase == CR_RECV && role == CR_PRIMARY) {
        phase = CR_PUT;
    }
    *time_of(figures, phase) += took;
    g_mutex_unlock(&lock);
}

void checkpoint_recorder_device_bytes(uint64_t bytes)
{
    g_mutex_lock(&lock);
    collector()->dev_size += bytes;
    g_mutex_unlock(&lock);
}

void checkpoint_recorder_finish(bool counts)
{
    int64_t took = now() - begun[CR_TOTAL];
    CheckpointPhase phase;

    if (!counts && !CR_DEFECT_ADD_AT_ONCE) {
        return;
    }
    g_mutex_lock(&lock);
    sums.tot_time += took;
    sums.tot_num++;
    if (!CR_DEFECT_ADD_AT_ONCE) {
        for (phase = CR_WAIT; phase < CR__COUNT; phase++) {
            *time_of(&sums, phase) += *time_of(&pending, phase);
        }
        sums.dev_size += pending.dev_size;
        sums.ram_size += pending.ram_size;
    }
    g_mutex_unlock(&lock);
}

CheckpointRecorder *qmp_info_checkpoint(Error **errp)
{
    CheckpointRecorder *answer;
    CheckpointRecorder sum;

    g_mutex_lock(&lock);
    sum = sums;
    g_mutex_unlock(&lock);

    if (sum.tot_num == 0 && !CR_DEFECT_UNGUARDED_DIVISION) {
        error_setg(errp, "no checkpoint has completed yet");
        return NULL;
    }
    answer = g_new0(CheckpointRecorder, 1);
    answer->tot_time = sum.tot_time;
    answer->tot_num = sum.tot_num;
    answer->init_time = sum.init_time;
    answer->wait_time = sum.wait_time / sum.tot_num;
    answer->avg_time = sum.tot_time / sum.tot_num;
    answer->stat_time = sum.stat_time / sum.tot_num;
    answer->dev_time = sum.dev_time / sum.tot_num;
    answer->ram_time = sum.ram_time / sum.tot_num;
    answer->put_time = sum.put_time / sum.tot_num;
    answer->recv_time = sum.recv_time / sum.tot_num;
    answer->load_time = sum.load_time / sum.tot_num;
    answer->resume_time = sum.resume_time / sum.tot_num;
    answer->dev_size = sum.dev_size / sum.tot_num;
    answer->ram_size = sum.ram_size / sum.tot_num;
    answer->info = qmp_query_migrate(NULL);
    return answer;
}

void qmp_reset_checkpoint(Error **errp)
{
    clear_sums();
}
