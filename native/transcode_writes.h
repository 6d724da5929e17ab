/* The log writes that a Broker message holds. Internal to the C module, not for Python. */
#ifndef TRANSCODE_WRITES_H
#define TRANSCODE_WRITES_H

#include "transcode_record.h"

struct tc_write {
    const uint8_t *data;
    size_t len;
    size_t next; /* index + 1 of the group's next write, 0 if none */
};

struct tc_write_group {
    struct tc_group names;
    uint64_t hash;
    size_t first; /* index + 1 in writes */
    size_t last;
};

struct tc_writes {
    const uint8_t *payload;
    struct tc_write *writes;
    size_t write_count;
    size_t write_room;
    struct tc_write_group *groups;
    size_t group_count;
    size_t group_room;
    uint32_t *slots; /* index + 1 of the group, 0 if free; group_room * 2 of them */
    uint64_t seed;
    uint64_t others;
};

#endif
