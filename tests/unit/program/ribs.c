/* The bodies of the functions in ribs.h: they do nothing, but no compiler may know that. */

#include "ribs.h"

volatile long seen;

#define RIB(type, name, parameters, result) \
    NOINLINE type name parameters \
    { \
        seen += sizeof(#name); \
        return result; \
    }
#define NOTHING

RIB(void, qemu_mutex_lock_iothread_impl, (const char *file, int line), NOTHING)
RIB(void, qemu_mutex_unlock_iothread, (void), NOTHING)
RIB(void, bql_lock_impl, (const char *file, int line), NOTHING)
RIB(void, bql_unlock, (void), NOTHING)
RIB(void, qemu_event_wait, (void *event), NOTHING)
RIB(void, qemu_event_reset, (void *event), NOTHING)
RIB(void, qemu_event_init, (void *event, int value), NOTHING)
RIB(void, qemu_sem_wait, (void *semaphore), NOTHING)
RIB(void, qemu_sem_init, (void *semaphore, int value), NOTHING)
RIB(void, qemu_put_be32, (File *file, unsigned value), NOTHING)
RIB(unsigned, qemu_get_be32, (File *file), (unsigned)seen)
RIB(void, qemu_put_be64, (File *file, uint64_t value), NOTHING)
RIB(uint64_t, qemu_get_be64, (File *file), (uint64_t)seen)
RIB(int, qemu_fflush, (File *file), (int)seen)
RIB(int, qemu_file_get_error, (File *file), (int)seen)
RIB(void, qemu_put_buffer, (File *file, const void *data, size_t size), NOTHING)
RIB(void, qemu_put_buffer_async, (File *file, const void *data, size_t size, bool may_free), NOTHING)
RIB(size_t, qemu_get_buffer, (File *file, void *data, size_t size), (size_t)seen)
RIB(void, qemu_fclose, (File *file), NOTHING)
RIB(File *, file_open, (int way), (File *)seen)
RIB(void *, grow, (void *data, size_t size), (void *)seen)
RIB(void, error_set, (Error **errp, const char *file, int line, const char *function, const char *format, ...), NOTHING)
RIB(void, error_take, (Error **to, Error *from), NOTHING)
RIB(void, error_print, (Error *error), NOTHING)
RIB(void, log_line, (const char *format, ...), NOTHING)
RIB(const char *, lookup_name, (const QEnumLookup *lookup, int value), lookup->array[value + (int)seen])
RIB(void, failover_init_state, (void), NOTHING)
RIB(int, failover_get_state, (void), (int)seen)
RIB(void, failover_set_state, (int from, int to), NOTHING)
RIB(int, current_mode, (void), (int)seen)
RIB(void, replication_start_all, (int mode, Error **errp), NOTHING)
RIB(void, replication_do_checkpoint_all, (Error **errp), NOTHING)
RIB(void, replication_get_error_all, (Error **errp), NOTHING)
RIB(int, vm_stop_force_state, (int state), (int)seen)
RIB(int, qemu_save_device_state, (File *file), (int)seen)
RIB(int, qemu_load_device_state, (File *file), (int)seen)
RIB(void, qemu_savevm_live_state, (File *file), NOTHING)
RIB(int, qemu_savevm_maybe_send_switchover_start, (File *file), (int)seen)
RIB(bool, qemu_savevm_query_pending_final, (void *state, void *pending, Error **errp), seen & 1)
RIB(int, qemu_savevm_state_complete_precopy_iterable, (File *file, bool postcopy), (int)seen)
RIB(int, qemu_loadvm_state_main, (File *file, void *state), (int)seen)
RIB(bool, migrate_auto_converge, (void), seen & 1)
RIB(void, mig_throttle_counter_reset, (void), NOTHING)
RIB(void, colo_notify_compares_event, (void *opaque, int event, Error **errp), NOTHING)
RIB(void, colo_notify_filters_event, (int event, Error **errp), NOTHING)
RIB(void, colo_compare_register_notifier, (void *notifier), NOTHING)
RIB(void, colo_compare_unregister_notifier, (void *notifier), NOTHING)
#if SHAPE >= 52
RIB(void, colo_flush_ram_cache, (void), NOTHING)
#endif
RIB(void, qemu_system_reset, (int cause), NOTHING)
RIB(void, cpu_synchronize_all_states, (void), NOTHING)
RIB(void, qapi_event_send_colo_exit, (int mode, int reason), NOTHING)
RIB(void, timer_arm, (void *timer, int64_t when), NOTHING)
RIB(void, qemu_thread_create,
    (void *thread, const char *name, void *(*start)(void *), void *argument, int mode), NOTHING)

RIB(bool, visit_type_int, (void *visitor, const char *name, int64_t *value, Error **errp), seen & 1)
RIB(void *, make, (size_t size), (void *)seen)
RIB(uint64_t, ram_bytes_total, (void), (uint64_t)seen)

NOINLINE int vm_prepare_start(void)
{
    return (int)seen++;
}

NOINLINE void vm_start(void)
{
    if (!vm_prepare_start()) {
        seen += 2;
        cpu_synchronize_all_states();
    }
}
