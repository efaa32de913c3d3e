/*
 * The accounting behind info_checkpoint: what the lines inserted into COLO's code call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CHECKPOINT_RECORDER_H
#define CHECKPOINT_RECORDER_H

typedef enum CheckpointRole {
    CR_PRIMARY,
    CR_SECONDARY,
} CheckpointRole;

typedef enum CheckpointPhase {
    CR_INIT,
    CR_WAIT,
    CR_TOTAL,   /* the checkpoint itself, without the wait before it; ends in checkpoint_recorder_finish() */
    CR_STAT,
    CR_DEV,
    CR_RAM,
    CR_PUT,
    CR_RECV,
    CR_LOAD,
    CR_RESUME,
    CR__COUNT,
} CheckpointPhase;

/* COLO begins, and with it CR_INIT. */
void checkpoint_recorder_enter(CheckpointRole role);

void checkpoint_recorder_begin(CheckpointPhase phase);
void checkpoint_recorder_end(CheckpointPhase phase);

/* How many bytes of device state this checkpoint carries. */
void checkpoint_recorder_device_bytes(uint64_t bytes);

/* CR_TOTAL ends; @counts: whether the checkpoint was a whole one. */
void checkpoint_recorder_finish(bool counts);

#endif
