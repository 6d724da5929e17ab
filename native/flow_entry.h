/* The entries of the flow table, which the segment index marks. Internal to the C module, not for Python;
 * include flow_table.h before it. */
#ifndef FLOW_ENTRY_H
#define FLOW_ENTRY_H

#include <stdint.h>

/* One cache line. The places that 48 bits leave hold the rest. */
struct flow_entry {
    uint64_t identity; /* 0: never used */
    uint64_t first_ns;
    uint64_t last_ns;
    uint32_t packets[2];
    uint64_t wire_bytes_0 : 48;
    uint64_t is_lifted : 1;
    uint64_t is_closed : 1;
    uint64_t : 14;
    uint64_t wire_bytes_1 : 48;
    uint64_t : 16;
    uint64_t bytes_0 : 48;
    uint64_t number_low : 16; /* of the flow in the segment that is written; the segment index checks it */
    uint64_t bytes_1 : 48;
    uint64_t number_high : 16;
};
_Static_assert(sizeof(struct flow_entry) == 64, "one cache line");

struct flow_entry *flow_table_entry(struct flow_table *table, uint32_t slot);

static inline uint32_t flow_entry_number(const struct flow_entry *entry)
{
    return (uint32_t)entry->number_high << 16 | (uint32_t)entry->number_low;
}

static inline void flow_entry_set_number(struct flow_entry *entry, uint32_t number)
{
    entry->number_low = number & 0xffff;
    entry->number_high = (uint16_t)(number >> 16);
}

#endif
