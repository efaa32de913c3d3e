/* The counters of RAM migration, in the two ways that QEMU has had: an object of the type that query-migrate answers
 * (up to 7.2), or atomic counters that are copied into one (from 8.1 on). The layouts are ours. */

#include "ribs.h"

typedef struct {
    int64_t transferred, remaining, total, spare, duplicate, skipped, normal, normal_bytes, multifd_bytes, downtime_bytes;
} Stats;

bool visit_type_int(void *visitor, const char *name, int64_t *value, Error **errp);
bool visit_type_MigrationStats_members(void *visitor, Stats *object, Error **errp);
void *make(size_t size);
uint64_t ram_bytes_total(void);

bool visit_type_MigrationStats_members(void *visitor, Stats *object, Error **errp)
{
    return visit_type_int(visitor, "transferred", &object->transferred, errp) &&
           visit_type_int(visitor, "remaining", &object->remaining, errp) &&
           visit_type_int(visitor, "total", &object->total, errp) &&
           visit_type_int(visitor, "duplicate", &object->duplicate, errp) &&
           visit_type_int(visitor, "skipped", &object->skipped, errp) &&
           visit_type_int(visitor, "normal", &object->normal, errp) &&
           visit_type_int(visitor, "normal-bytes", &object->normal_bytes, errp) &&
           visit_type_int(visitor, "multifd-bytes", &object->multifd_bytes, errp) &&
           visit_type_int(visitor, "downtime-bytes", &object->downtime_bytes, errp);
}

#if SHAPE < 100

Stats ram_counters;

static void ram_transferred_add(uint64_t bytes)
{
    ram_counters.transferred += bytes;
}

void acct_update_position(File *file, size_t size, bool zero);
void acct_update_position(File *file, size_t size, bool zero)
{
    uint64_t pages = size / 4096;

    if (zero) {
        ram_counters.duplicate += pages;
    } else {
        ram_counters.normal += pages;
        ram_transferred_add(size);
        qemu_fflush(file);
    }
}

#else

typedef struct {
    uint64_t value;
} Counter;

struct {
    Counter synced, spare, normal_pages, downtime_bytes, zero_pages, other, multifd_bytes;
} mig_stats;

typedef struct {
    long status;
    Stats *ram;
} Info;

static uint64_t stat64_get(const Counter *counter)
{
    return __atomic_load_n(&counter->value, __ATOMIC_RELAXED);
}

/* QEMU's is too large to be inlined in the places where it is called. */
__attribute__((noinline)) static void populate_ram_info(Info *info)
{
    info->ram = make(sizeof(Stats));
    info->ram->transferred = ram_bytes_total();
    info->ram->total = ram_bytes_total();
    info->ram->duplicate = stat64_get(&mig_stats.zero_pages);
    info->ram->normal = stat64_get(&mig_stats.normal_pages);
    info->ram->normal_bytes = info->ram->normal * 4096;
    info->ram->multifd_bytes = stat64_get(&mig_stats.multifd_bytes);
    info->ram->downtime_bytes = stat64_get(&mig_stats.downtime_bytes);
}

static void fill_source_migration_info(Info *info, int state)
{
    switch (state) {
    case 0:
        return;
    case 1:
        info->status = 3;
        break;
    case 2:
        info->status = 5;
        populate_ram_info(info);
        break;
    case 3:
        info->status = 7;
        populate_ram_info(info);
        break;
    case 4:
        qemu_fflush(0);
        break;
    case 5:
        make(7);
        break;
    }
    info->status += state;
}

Info *qmp_query_migrate(Error **errp);
Info *qmp_query_migrate(Error **errp)
{
    Info *info = make(sizeof(Info));

    fill_source_migration_info(info, failover_get_state());
    return info;
}

#endif
