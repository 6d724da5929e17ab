/* Whether a packet is one that a query asks for. Internal to the C module, not for Python; include flow_key.h,
 * flow_query.h before it.
 */
#ifndef PACKET_MATCH_H
#define PACKET_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "filter_run.h"
#include "fragment_table.h"
#include "pcap_reader.h"

#define MATCH_REFUSED 1024 /* keys that are remembered as unwanted, for a Community ID costs a SHA-1 to refuse */

struct packet_match {
    struct flow_query query;
    struct filter_run filter;
    struct fragment_table *fragments;
    struct flow_key refused[MATCH_REFUSED];
};

/* 0 or ENOMEM. Whatever is returned, packet_match_close() is due; also for a zeroed one. */
int packet_match_open(struct packet_match *match, const struct flow_query *query);
void packet_match_close(struct packet_match *match);

/* Packets come in the order of time, so that later fragments find their first one. */
int packet_match_wants(struct packet_match *match, uint32_t linktype, const struct pcap_record *record);

#endif
