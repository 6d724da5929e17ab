/* Which flow a later IP fragment belongs to: the ports of recent first fragments, in bounded memory. Internal to the C
 * module, not for Python; include flow_key.h before it.
 *
 * Fragments that come before their first one, longer than FRAGMENT_TIMEOUT_NS after it, or after it was pushed out by
 * newer ones stay with the key without ports, which queries for a connection between the two hosts include.
 */
#ifndef FRAGMENT_TABLE_H
#define FRAGMENT_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define FRAGMENT_TIMEOUT_NS UINT64_C(30000000000) /* Linux: net.ipv4.ipfrag_time */

struct fragment_table;

/* slots: first fragments remembered, a power of two >= 4. Returns NULL without memory. 80 bytes each. */
struct fragment_table *fragment_table_open(size_t slots);
void fragment_table_close(struct fragment_table *table);

/* Remember a first fragment; give a later one the key of its first. Returns 1 if packet has its ports now. */
int fragment_table_resolve(struct fragment_table *table, uint64_t ts_ns, struct flow_packet *packet);

#endif
