#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow_key.h"

#include "flow_hash.h"

#include "fragment_table.h"

#define WAYS 4

struct first {
    uint64_t datagram; /* hash of what all fragments of a datagram share; 0: empty */
    uint64_t ts_ns;
    struct flow_key key;
    uint8_t direction;
};

struct fragment_table {
    struct flow_secret secret;
    size_t sets;
    struct first firsts[];
};

struct fragment_table *fragment_table_open(size_t slots)
{
    struct fragment_table *table = calloc(1, sizeof *table + slots * sizeof table->firsts[0]);
    if (table == NULL)
        return NULL;
    flow_secret_make(&table->secret);
    table->sets = slots / WAYS;
    return table;
}

void fragment_table_close(struct fragment_table *table)
{
    free(table);
}

/* RFC 791: addresses, protocol, identification; RFC 8200: without the protocol. */
static uint64_t datagram_of(const struct fragment_table *table, const struct flow_packet *packet)
{
    const struct flow_key *key = &packet->key;
    struct flow_key datagram = {
        .port = {(uint16_t)packet->fragment_id, (uint16_t)(packet->fragment_id >> 16)},
        .version = key->version,
        .proto = key->version == 4 ? key->proto : 0,
    };
    memcpy(datagram.addr[0], key->addr[packet->direction], 16);
    memcpy(datagram.addr[1], key->addr[!packet->direction], 16);
    return flow_hash(&table->secret, &datagram) | 1;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

int fragment_table_resolve(struct fragment_table *table, uint64_t ts_ns, struct flow_packet *packet)
{
    int has_ports = (packet->key.flags & FLOW_KEY_PORTS) != 0;
    if (packet->fragment == FLOW_WHOLE || (packet->fragment == FLOW_FIRST_FRAGMENT && !has_ports))
        return has_ports;
    uint64_t datagram = datagram_of(table, packet);
    struct first *set = &table->firsts[(datagram >> 20 & (table->sets - 1)) * WAYS], *target = set;
    for (struct first *first = set; first < set + WAYS; first++) {
        if (first->datagram == datagram) {
            target = first;
            break;
        }
        if (first->ts_ns < target->ts_ns)
            target = first;
    }
    if (packet->fragment == FLOW_FIRST_FRAGMENT) {
        target->datagram = datagram;
        target->ts_ns = ts_ns;
        target->key = packet->key;
        target->direction = packet->direction;
    } else if (target->datagram == datagram && distance(ts_ns, target->ts_ns) <= FRAGMENT_TIMEOUT_NS) {
        packet->key = target->key;
        packet->direction = target->direction;
        has_ports = 1;
    }
    return has_ports;
}
