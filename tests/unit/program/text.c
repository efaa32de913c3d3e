/* What is the program's own data, also where the named functions are in a library. */

#include "ribs.h"

const char version_text[] = "QEMU emulator version 9.9.9 (compiled)\n";
int trace_events;

static const char *const message_names[] = {
    "checkpoint-ready", "checkpoint-request", "checkpoint-reply", "vmstate-send",
    "vmstate-size",     "vmstate-received",   "vmstate-loaded",   0,
};
const QEnumLookup COLOMessage_lookup = {message_names, 7};
