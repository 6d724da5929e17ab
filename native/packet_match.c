#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "flow_key.h"
#include "flow_query.h"
#include "packet_match.h"

#include "keyed_hash.h"

#define FRAGMENT_SLOTS 1024

int packet_match_open(struct packet_match *match, const struct flow_query *query)
{
    memset(match, 0, sizeof *match);
    match->query = *query;
    match->fragments = fragment_table_open(FRAGMENT_SLOTS);
    return match->fragments != NULL ? 0 : ENOMEM;
}

void packet_match_close(struct packet_match *match)
{
    filter_run_close(&match->filter);
    fragment_table_close(match->fragments);
    match->fragments = NULL;
}

static int wants_flow(struct packet_match *match, const struct flow_key *key)
{
    if (!match->query.has_community)
        return flow_query_wants(&match->query, key);
    struct flow_key *refused = &match->refused[kh_hash(0, (const uint8_t *)key, sizeof *key) % MATCH_REFUSED];
    if (memcmp(refused, key, sizeof *key) == 0)
        return 0;
    int is_wanted = flow_query_wants(&match->query, key);
    if (!is_wanted)
        *refused = *key;
    return is_wanted;
}

int packet_match_wants(struct packet_match *match, uint32_t linktype, const struct pcap_record *record)
{
    struct flow_packet packet;
    if (record->ts_ns < match->query.from_ns || record->ts_ns > match->query.to_ns)
        return 0;
    flow_parse(linktype, record->data, record->caplen, record->wire_len, &packet);
    if (packet.fragment != FLOW_WHOLE)
        fragment_table_resolve(match->fragments, record->ts_ns, &packet);
    return wants_flow(match, &packet.key) &&
           filter_run_wants(&match->filter, record->data, record->wire_len, record->caplen);
}
