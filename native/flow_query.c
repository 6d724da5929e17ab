#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "flow_key.h"
#include "community_id.h"
#include "flow_query.h"

static int fits_addr(const struct flow_query *query, int i, const struct flow_key *key, int side)
{
    return query->version[i] == 0 ||
           (query->version[i] == key->version && memcmp(query->addr[i], key->addr[side], 16) == 0);
}

static int fits_port(const struct flow_query *query, int i, const struct flow_key *key, int side)
{
    return query->port[i] < 0 || query->port[i] == key->port[side];
}

static int is_icmp(int proto)
{
    return proto == 1 || proto == 58;
}

static int wants_ports(const struct flow_query *query, const struct flow_key *key)
{
    if (query->port[0] < 0 && query->port[1] < 0)
        return 1;
    return (key->flags & FLOW_KEY_PORTS) != 0 && (!is_icmp(key->proto) || query->proto == key->proto);
}

/* As if the first end of the query were the side of the key. */
static int wants_turned(const struct flow_query *query, const struct flow_key *key, int side)
{
    if (!fits_addr(query, 0, key, side) || !fits_addr(query, 1, key, !side))
        return 0;
    if (query->is_conn) {
        int is_portless = query->proto >= 0 && !(key->flags & FLOW_KEY_PORTS);
        return is_portless || (fits_port(query, 0, key, side) && fits_port(query, 1, key, !side));
    }
    return (fits_port(query, 0, key, 0) && fits_port(query, 1, key, 1)) ||
           (fits_port(query, 0, key, 1) && fits_port(query, 1, key, 0));
}

int flow_query_wants(const struct flow_query *query, const struct flow_key *key)
{
    int has_ends = query->version[0] != 0 || query->version[1] != 0 || query->port[0] >= 0 || query->port[1] >= 0;
    if (query->proto < 0 && !has_ends && !query->has_community)
        return 1;
    if (key->version == 0 || (query->proto >= 0 && query->proto != key->proto))
        return 0;
    if (!wants_ports(query, key) && !(query->is_conn && query->proto >= 0 && !(key->flags & FLOW_KEY_PORTS)))
        return 0;
    if (!wants_turned(query, key, 0) && !wants_turned(query, key, 1))
        return 0;
    if (query->has_community) {
        uint8_t digest[20];
        community_id_digest(key, query->community_seed, digest);
        return memcmp(digest, query->community, sizeof digest) == 0;
    }
    return 1;
}
