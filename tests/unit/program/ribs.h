/* The functions that a COLO thread calls by name, as a program of ours that has the same skeleton needs them.
 * SHAPE is the version of QEMU whose way of calling is built: 50, 52, 72, 100 or 111. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Error Error;
typedef struct File File;

typedef struct {
    const char *const *array;
    int size;
} QEnumLookup;
extern const QEnumLookup COLOMessage_lookup;

extern int trace_events;
extern const char version_text[];

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noipa))
#endif
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* MARK tells the address of the instruction that follows it, in a section that is no part of the running program. */
#define MARK(name) __asm__ volatile("1:\n\t.pushsection .marks,\"\",@progbits\n\t.quad 1b\n\t.asciz \"" name "\"\n\t.popsection")

#if SHAPE >= 100
#define LOCK(line) bql_lock_impl("thread.c", line)
#define UNLOCK() bql_unlock()
#else
#define LOCK(line) qemu_mutex_lock_iothread_impl("thread.c", line)
#define UNLOCK() qemu_mutex_unlock_iothread()
#endif

void qemu_mutex_lock_iothread_impl(const char *file, int line);
void qemu_mutex_unlock_iothread(void);
void bql_lock_impl(const char *file, int line);
void bql_unlock(void);
void qemu_event_wait(void *event);
void qemu_event_reset(void *event);
void qemu_event_init(void *event, int value);
void qemu_sem_wait(void *semaphore);
void qemu_sem_init(void *semaphore, int value);

void qemu_put_be32(File *file, unsigned value);
unsigned qemu_get_be32(File *file);
void qemu_put_be64(File *file, uint64_t value);
uint64_t qemu_get_be64(File *file);
int qemu_fflush(File *file);
int qemu_file_get_error(File *file);
void qemu_put_buffer(File *file, const void *data, size_t size);
void qemu_put_buffer_async(File *file, const void *data, size_t size, bool may_free);
size_t qemu_get_buffer(File *file, void *data, size_t size);
void qemu_fclose(File *file);
File *file_open(int way);
void *grow(void *data, size_t size);

void error_set(Error **errp, const char *file, int line, const char *function, const char *format, ...);
void error_take(Error **to, Error *from);
void error_print(Error *error);
void log_line(const char *format, ...);
const char *lookup_name(const QEnumLookup *lookup, int value);

void failover_init_state(void);
int failover_get_state(void);
void failover_set_state(int from, int to);
int current_mode(void);
void replication_start_all(int mode, Error **errp);
void replication_do_checkpoint_all(Error **errp);
void replication_get_error_all(Error **errp);
void vm_start(void);
int vm_stop_force_state(int state);
int qemu_save_device_state(File *file);
int qemu_load_device_state(File *file);
void qemu_savevm_live_state(File *file);
int qemu_savevm_maybe_send_switchover_start(File *file);
bool qemu_savevm_query_pending_final(void *state, void *pending, Error **errp);
int qemu_savevm_state_complete_precopy_iterable(File *file, bool postcopy);
int qemu_loadvm_state_main(File *file, void *state);
bool migrate_auto_converge(void);
void mig_throttle_counter_reset(void);
void colo_notify_compares_event(void *opaque, int event, Error **errp);
void colo_notify_filters_event(int event, Error **errp);
void colo_compare_register_notifier(void *notifier);
void colo_compare_unregister_notifier(void *notifier);
void colo_flush_ram_cache(void);
void qemu_system_reset(int cause);
void cpu_synchronize_all_states(void);
void qapi_event_send_colo_exit(int mode, int reason);
void qemu_thread_create(void *thread, const char *name, void *(*start)(void *), void *argument, int mode);
void timer_arm(void *timer, int64_t when);
