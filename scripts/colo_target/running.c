/* Makes the program with COLO's skeleton run: one role of a pair whose peer answers at once, always, and rightly.
 *
 * Usage: colo_target primary|secondary RATE   checkpoints per second; 0 for as many as there can be
 * It reads words, a line each, and answers each with one line of JSON: `go` begins COLO, `stop` ends it after the
 * checkpoint under way, `counts` tells how far it is. It ends with its input.
 *
 * Its accounts are its own, kept in the functions that the COLO thread calls. Each sum of times is kept twice. A probe
 * on a call fires after the function called before it was left, and before the one called is entered: by clock readings
 * at those two moments an interval between two probes is not shorter than `within` and not longer than `around`. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "ribs.h"

typedef struct { /* thread.c's */
    File *to, *from;
    int state;
    long wakeup, leaving, timer;
    unsigned char *data;
    size_t capacity, used;
} Side;
enum { REQUEST = 1, REPLY, SEND, SIZE, RECEIVED, LOADED };
enum { IN_COLO = 13 };

typedef struct { /* a call by the COLO thread: the latest reading before it, and the first one behind it */
    int64_t before, after;
} Moment;

typedef struct {
    int64_t within, around;
} Sum;

extern struct { /* the beginning of counters.c's */
    int64_t transferred, remaining, total, spare, duplicate, skipped, normal;
} ram_counters;
enum { BYTES_OF_A_PAGE = 4104 };

static struct {
    uint64_t begun, completed, device_bytes, ram_bytes, ram_pages;
    Sum total, wait, pause;
} counts;

static Side primary_side, *side = &primary_side;
static int is_primary;
static int64_t period_ns;
static pthread_t thread;
static int64_t left; /* when the function called last was left */
static Moment wait_began, began, stopped;
static bool awaiting, in_transaction, restarted;

void migrate_start_colo_process(Side *side);
void colo_incoming_co(void);

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static Moment enter(void)
{
    return (Moment){left, now()};
}

static void leave(void)
{
    left = now();
}

static void add(Sum *sum, Moment from, Moment to)
{
    sum->within += to.before - from.after;
    sum->around += to.after - from.before;
}

static void end(Moment moment)
{
    if (in_transaction) {
        in_transaction = false;
        add(&counts.total, began, moment);
        counts.completed++;
    }
}

/* Until the next checkpoint is due; what was late is made up for. */
static void await(Moment moment)
{
    static int64_t due;
    struct timespec time;

    end(moment);
    wait_began = moment;
    awaiting = true;
    if (!period_ns) {
        return;
    }
    due = due ? due + period_ns : now();
    time.tv_sec = due / 1000000000;
    time.tv_nsec = due % 1000000000;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* The first function behind a wait: of the primary the one that sends, of the secondary the one that locks. */
static void begin_if_awaited(Moment moment, int by_primary)
{
    if (awaiting && by_primary == is_primary) {
        awaiting = false;
        add(&counts.wait, wait_began, moment);
        counts.begun++;
        began = moment;
        in_transaction = true;
    }
}

void qemu_event_wait(void *event)
{
    await(enter());
    leave();
}

void qemu_put_be32(File *file, unsigned message)
{
    begin_if_awaited(enter(), 1);
    leave();
}

unsigned qemu_get_be32(File *file)
{
    static const unsigned to_primary[] = {REPLY, RECEIVED, LOADED}, to_secondary[] = {REQUEST, SEND, SIZE};
    static unsigned next;
    Moment moment = enter();
    unsigned message = 0; /* READY, which the primary waits for at first */

    if (!is_primary || next) {
        message = (is_primary ? to_primary : to_secondary)[next % 3];
    }
    next += is_primary && !next ? 3 : 1;
    if (message == REQUEST) {
        await(moment);
    }
    leave();
    return message;
}

void qemu_mutex_lock_iothread_impl(const char *file, int line)
{
    begin_if_awaited(enter(), 0);
    leave();
}

int vm_stop_force_state(int state)
{
    stopped = enter();
    leave();
    return 0;
}

void vm_start(void)
{
    restarted = in_transaction;
    leave();
}

void qemu_mutex_unlock_iothread(void)
{
    Moment moment = enter();

    if (restarted) {
        restarted = false;
        add(&counts.pause, stopped, moment);
    }
    leave();
}

void qapi_event_send_colo_exit(int mode, int reason)
{
    end(enter());
}

static uint64_t device_state(void)
{
    uint64_t size = 1000 + counts.begun % 1000;

    counts.device_bytes += size;
    return size;
}

int qemu_save_device_state(File *file)
{
    side->used = device_state();
    return 0;
}

uint64_t qemu_get_be64(File *file)
{
    return device_state();
}

size_t qemu_get_buffer(File *file, void *data, size_t size)
{
    return size;
}

void qemu_savevm_live_state(File *file)
{
    uint64_t pages = counts.begun % 100;

    ram_counters.normal += pages;
    ram_counters.transferred += pages * BYTES_OF_A_PAGE;
    counts.ram_pages += pages;
    counts.ram_bytes += pages * BYTES_OF_A_PAGE;
}

int qemu_fflush(File *file)
{
    return 0;
}

int qemu_file_get_error(File *file)
{
    return 0;
}

int qemu_load_device_state(File *file)
{
    return 0;
}

int qemu_loadvm_state_main(File *file, void *state)
{
    return 0;
}

int failover_get_state(void)
{
    return 0;
}

int current_mode(void)
{
    return is_primary ? 1 : 2;
}

File *file_open(int way)
{
    return (File *)&primary_side;
}

void *grow(void *data, size_t size)
{
    return realloc(data, size);
}

void qemu_thread_create(void *unused, const char *name, void *(*start)(void *), void *argument, int mode)
{
    side = argument;
    side->state = IN_COLO;
    pthread_create(&thread, NULL, start, argument);
}

static void *run_primary(void *unused)
{
    migrate_start_colo_process(side);
    return NULL;
}

static void go(void)
{
    side->state = IN_COLO;
    if (is_primary) {
        pthread_create(&thread, NULL, run_primary, NULL);
    } else {
        colo_incoming_co();
    }
}

static void print_sum(const char *name, Sum sum)
{
    printf(", \"%s_ns\": [%lld, %lld]", name, (long long)sum.within, (long long)sum.around);
}

static void print_counts(void)
{
    printf("{\"begun\": %llu, \"completed\": %llu, \"device_bytes\": %llu, \"ram_bytes\": %llu, \"ram_pages\": %llu",
           (unsigned long long)counts.begun, (unsigned long long)counts.completed,
           (unsigned long long)counts.device_bytes, (unsigned long long)counts.ram_bytes,
           (unsigned long long)counts.ram_pages);
    print_sum("total", counts.total);
    print_sum("wait", counts.wait);
    print_sum("pause", counts.pause);
    puts("}");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char word[16];
    double rate = argc == 3 ? atof(argv[2]) : -1;

    is_primary = argc == 3 && !strcmp(argv[1], "primary");
    if (rate < 0 || !(is_primary || !strcmp(argv[1], "secondary"))) {
        fputs("usage: colo_target primary|secondary RATE\n", stderr);
        return 2;
    }
    period_ns = rate ? 1e9 / rate : 0;
    prctl(PR_SET_TIMERSLACK, 1); /* threads inherit it: a wait of 100 us must not become one of 150 */
    while (fgets(word, sizeof(word), stdin)) {
        if (!strcmp(word, "go\n")) {
            go();
        } else if (!strcmp(word, "stop\n")) {
            __atomic_store_n(&side->state, 0, __ATOMIC_SEQ_CST);
            pthread_join(thread, NULL);
        }
        print_counts();
    }
    return 0;
}
