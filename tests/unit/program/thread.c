/* Two threads with the skeleton of a COLO pair: the same calls in the same order as QEMU's, in words of our own.
 * The MARKs say where each boundary's instruction is: the first call behind a "call" mark, the first call or branch
 * behind a "branch" mark. */

#include "ribs.h"

enum { READY, REQUEST, REPLY, SEND, SIZE, RECEIVED, LOADED, MESSAGES };

typedef struct {
    File *to, *from;
    int state;
    long wakeup, leaving, timer;
    unsigned char *data;
    size_t capacity, used;
} Side;

static Side primary_side, secondary_side;

#define TRACE(...) \
    do { \
        if (UNLIKELY(trace_events)) { \
            log_line(__VA_ARGS__); \
        } \
    } while (0)
#define ERROR(errp, ...) error_set(errp, "thread.c", __LINE__, __func__, __VA_ARGS__)

static void colo_send_message(File *file, unsigned message, Error **errp)
{
    int status;

    if (message >= MESSAGES) {
        ERROR(errp, "%s: Invalid message", __func__);
        return;
    }
    qemu_put_be32(file, message);
    status = qemu_fflush(file);
    if (status < 0) {
        ERROR(errp, "Can't send COLO message");
    }
    TRACE("sent %s", lookup_name(&COLOMessage_lookup, message));
}

static void colo_send_message_value(File *file, unsigned message, uint64_t value, Error **errp)
{
    Error *local = NULL;

    MARK("call primary put-begin");
    colo_send_message(file, message, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    qemu_put_be64(file, value);
    if (qemu_fflush(file) < 0) {
        ERROR(errp, "Failed to send value for message %s", lookup_name(&COLOMessage_lookup, message));
    }
}

static unsigned colo_receive_message(File *file, Error **errp)
{
    unsigned message = qemu_get_be32(file);

    if (qemu_file_get_error(file) < 0) {
        ERROR(errp, "Can't receive COLO message");
        return message;
    }
    if (message >= MESSAGES) {
        ERROR(errp, "%s: Invalid message", __func__);
        return message;
    }
    TRACE("received %s", lookup_name(&COLOMessage_lookup, message));
    return message;
}

static void colo_receive_check_message(File *file, unsigned expected, Error **errp)
{
    Error *local = NULL;
    unsigned message = colo_receive_message(file, &local);

    if (local) {
        error_take(errp, local);
        return;
    }
    if (message != expected) {
        ERROR(errp, "Unexpected COLO message %d, expected %d", message, expected);
    }
}

static uint64_t colo_receive_message_value(File *file, unsigned expected, Error **errp)
{
    Error *local = NULL;
    uint64_t value;

    MARK("call secondary put-begin");
    colo_receive_check_message(file, expected, &local);
    if (local) {
        error_take(errp, local);
        return 0;
    }
    MARK("call secondary size");
    value = qemu_get_be64(file);
    if (qemu_file_get_error(file) < 0) {
        ERROR(errp, "Failed to get value for COLO message: %s", lookup_name(&COLOMessage_lookup, expected));
    }
    return value;
}

static int colo_do_checkpoint_transaction(Side *side, File *buffer)
{
    Error *local = NULL;
    int status = -1;
#if SHAPE >= 111
    long pending[2];
#endif

    MARK("call primary transaction-begin");
    colo_send_message(side->to, REQUEST, &local);
    if (local) {
        goto out;
    }
    colo_receive_check_message(side->from, REPLY, &local);
    if (local) {
        goto out;
    }
    side->used = 0;
    MARK("call primary reply");
    LOCK(__LINE__);
    if (failover_get_state() != 0) {
        UNLOCK();
        goto out;
    }
    MARK("call primary vm-stop");
    vm_stop_force_state(7);
    MARK("call primary vm-stopped");
    UNLOCK();
    TRACE("%s to %s", "run", "stop");
    if (failover_get_state() != 0) {
        goto out;
    }
#if SHAPE < 52
    colo_notify_compares_event(NULL, 1, &local);
    if (local) {
        goto out;
    }
#endif
    LOCK(__LINE__);
    replication_do_checkpoint_all(&local);
    if (local) {
        UNLOCK();
        goto out;
    }
    MARK("call primary vmstate-send");
    colo_send_message(side->to, SEND, &local);
    if (local) {
        UNLOCK();
        goto out;
    }
#if SHAPE == 100
    qemu_savevm_maybe_send_switchover_start(side->to);
#endif
    MARK("call primary dev-begin");
    status = qemu_save_device_state(buffer);
#if SHAPE >= 111
    if (status < 0) {
        UNLOCK();
        goto out;
    }
    MARK("call primary dev-end");
    if (migrate_auto_converge()) {
        mig_throttle_counter_reset();
    }
    MARK("call primary ram-begin");
    if (!qemu_savevm_query_pending_final(side, pending, &local)) {
        UNLOCK();
        goto out;
    }
    qemu_savevm_state_complete_precopy_iterable(side->to, false);
    UNLOCK();
#else
    MARK("call primary dev-end");
    UNLOCK();
    if (status < 0) {
        goto out;
    }
#if SHAPE >= 72
    if (migrate_auto_converge()) {
        mig_throttle_counter_reset();
    }
#endif
    MARK("call primary ram-begin");
    qemu_savevm_live_state(side->to);
#endif
    qemu_fflush(buffer);
    colo_send_message_value(side->to, SIZE, side->used, &local);
    if (local) {
        goto out;
    }
    MARK("call primary device-state");
#if SHAPE >= 111
    qemu_put_buffer_async(side->to, side->data, side->used, false);
#else
    qemu_put_buffer(side->to, side->data, side->used);
#endif
    status = qemu_fflush(side->to);
    if (status < 0) {
        goto out;
    }
    MARK("call primary recv-begin");
    colo_receive_check_message(side->from, RECEIVED, &local);
    if (local) {
        goto out;
    }
#if SHAPE >= 52
    MARK("call primary recv-end");
    qemu_event_reset(&side->wakeup);
    colo_notify_compares_event(NULL, 1, &local);
    if (local) {
        goto out;
    }
    MARK("call primary load-begin");
#else
    MARK("call primary recv-end+load-begin");
#endif
    colo_receive_check_message(side->from, LOADED, &local);
    if (local) {
        goto out;
    }
    status = 0;
    MARK("call primary resume-begin");
    LOCK(__LINE__);
    MARK("call primary vm-start");
    vm_start();
    MARK("call primary vm-started");
    UNLOCK();
    MARK("branch primary transaction-end");
    TRACE("%s to %s", "stop", "run");
out:
    if (local) {
        error_print(local);
    }
    return status;
}

static void colo_process_checkpoint(Side *side)
{
    File *buffer = NULL;
    Error *local = NULL;

    if (current_mode() != 1) {
        log_line("wrong mode");
        return;
    }
    MARK("call primary init-begin");
    failover_init_state();
    side->from = file_open(1);
    if (!side->from) {
        log_line("no way back");
        goto out;
    }
    colo_compare_register_notifier(side);
    colo_receive_check_message(side->from, READY, &local);
    if (local) {
        goto out;
    }
    MARK("call primary ready");
    buffer = file_open(2);
    LOCK(__LINE__);
    replication_start_all(1, &local);
    if (local) {
        UNLOCK();
        goto out;
    }
    vm_start();
    UNLOCK();
    TRACE("%s to %s", "stop", "run");
    timer_arm(&side->timer, 100);
    while (side->state == 13) {
        if (failover_get_state() != 0) {
            log_line("failover");
            goto out;
        }
        MARK("call primary wait-begin");
#if SHAPE >= 52
        qemu_event_wait(&side->wakeup);
#else
        qemu_sem_wait(&side->wakeup);
#endif
        if (side->state != 13) {
            goto out;
        }
        if (colo_do_checkpoint_transaction(side, buffer) < 0) {
            goto out;
        }
    }
out:
    if (local) {
        error_print(local);
    }
    switch (failover_get_state()) {
    case 3:
        MARK("call primary colo-exit");
        qapi_event_send_colo_exit(1, 1);
        break;
    default:
        MARK("call primary colo-exit");
        qapi_event_send_colo_exit(1, 2);
    }
    qemu_sem_wait(&side->leaving);
    colo_compare_unregister_notifier(side);
    if (buffer) {
        qemu_fclose(buffer);
    }
}

void migrate_start_colo_process(Side *side);
void migrate_start_colo_process(Side *side)
{
    UNLOCK();
    qemu_event_init(&side->wakeup, 0);
    qemu_sem_init(&side->leaving, 0);
    colo_process_checkpoint(side);
    LOCK(__LINE__);
}

static void colo_wait_handle_message(File *file, int *request, Error **errp)
{
    Error *local = NULL;
    unsigned message;

    MARK("call secondary wait-begin");
    message = colo_receive_message(file, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    switch (message) {
    case REQUEST:
        *request = 1;
        break;
    default:
        *request = 0;
        ERROR(errp, "Got unknown COLO message: %d", message);
        break;
    }
}

static void colo_incoming_process_checkpoint(Side *side, File *buffer, Error **errp)
{
    Error *local = NULL;
    uint64_t value;
    size_t size;
    int status;

    MARK("call secondary transaction-begin");
    LOCK(__LINE__);
    MARK("call secondary vm-stop");
    vm_stop_force_state(7);
    MARK("call secondary vm-stopped");
    UNLOCK();
    TRACE("%s to %s", "run", "stop");
    MARK("call secondary reply");
    colo_send_message(side->to, REPLY, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    colo_receive_check_message(side->from, SEND, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    MARK("call secondary ram-begin");
#if SHAPE < 111
    LOCK(__LINE__);
    cpu_synchronize_all_states();
    status = qemu_loadvm_state_main(side->from, side);
    UNLOCK();
#else
    status = qemu_loadvm_state_main(side->from, side);
#endif
    if (status < 0) {
        ERROR(errp, "Load VM's live state (ram) error");
        return;
    }
    value = colo_receive_message_value(side->from, SIZE, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    if (value > side->capacity) {
        side->capacity = value;
        side->data = grow(side->data, side->capacity);
    }
    MARK("call secondary device-state");
    size = qemu_get_buffer(side->from, side->data, value);
    MARK("branch secondary put-end");
    if (size != value) {
        ERROR(errp, "Got %zu bytes, less than expected", size);
        return;
    }
    side->used = size;
    MARK("call secondary recv-begin");
    colo_send_message(side->to, RECEIVED, &local);
    if (local) {
        error_take(errp, local);
        return;
    }
    MARK("call secondary load-begin");
    LOCK(__LINE__);
#if SHAPE >= 111
    qemu_system_reset(0);
#endif
#if SHAPE >= 52
    MARK("call secondary cache-flush");
    colo_flush_ram_cache();
    MARK("call secondary cache-flushed");
#endif
    status = qemu_load_device_state(buffer);
    if (status < 0) {
        ERROR(errp, "COLO: load device state failed");
        UNLOCK();
        return;
    }
    replication_get_error_all(&local);
    if (local) {
        error_take(errp, local);
        UNLOCK();
        return;
    }
    replication_do_checkpoint_all(&local);
    if (local) {
        error_take(errp, local);
        UNLOCK();
        return;
    }
    colo_notify_filters_event(1, &local);
    if (local) {
        error_take(errp, local);
        UNLOCK();
        return;
    }
    MARK("call secondary vm-start");
    vm_start();
    MARK("call secondary vm-started");
    UNLOCK();
    TRACE("%s to %s", "stop", "run");
    if (failover_get_state() == 4) {
        return;
    }
    MARK("call secondary loaded");
    colo_send_message(side->to, LOADED, &local);
    MARK("branch secondary transaction-end");
    error_take(errp, local);
}

#if SHAPE >= 100
static
#else
void *colo_process_incoming_thread(void *opaque);
#endif
void *colo_process_incoming_thread(void *opaque)
{
    Side *side = opaque;
    File *buffer = NULL;
    Error *local = NULL;

    MARK("branch secondary init-begin");
    qemu_sem_init(&side->leaving, 0);
    if (current_mode() != 2) {
        log_line("wrong mode");
        return NULL;
    }
    failover_init_state();
    side->to = file_open(3);
    if (!side->to) {
        log_line("no way back");
        goto out;
    }
    buffer = file_open(4);
    LOCK(__LINE__);
    replication_start_all(2, &local);
    if (local) {
        UNLOCK();
        goto out;
    }
    vm_start();
    UNLOCK();
    TRACE("%s to %s", "stop", "run");
    MARK("call secondary ready");
    colo_send_message(side->to, READY, &local);
    if (local) {
        goto out;
    }
    while (side->state == 13) {
        int request = 0;

        colo_wait_handle_message(side->from, &request, &local);
        if (local) {
            error_print(local);
            break;
        }
        if (failover_get_state() != 0) {
            log_line("failover");
            break;
        }
        if (request) {
            colo_incoming_process_checkpoint(side, buffer, &local);
        }
        if (failover_get_state() == 4) {
            failover_set_state(4, 0);
            break;
        }
        if (local) {
            error_print(local);
            break;
        }
    }
out:
    switch (failover_get_state()) {
    case 3:
        MARK("call secondary colo-exit");
        qapi_event_send_colo_exit(2, 1);
        break;
    default:
        MARK("call secondary colo-exit");
        qapi_event_send_colo_exit(2, 2);
    }
    if (buffer) {
        qemu_fclose(buffer);
    }
    qemu_sem_wait(&side->leaving);
    return NULL;
}

void colo_incoming_co(void);
void colo_incoming_co(void)
{
    long thread;

    UNLOCK();
    qemu_thread_create(&thread, "COLO incoming", colo_process_incoming_thread, &secondary_side, 0);
    LOCK(__LINE__);
}

void begin(void);
void begin(void)
{
    log_line(version_text);
    if (current_mode() == 1) {
        migrate_start_colo_process(&primary_side);
    } else {
        colo_incoming_co();
    }
    for (;;) {
        log_line("idle");
    }
}
