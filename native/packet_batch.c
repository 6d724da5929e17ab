#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pcap_file.h"
#include "pcap_block.h"
#include "synth.h"
#include "packet_batch.h"
#include "packet_slots.h"

#define SLOT_BYTES_MAX 262144
#define HEADERS_MAX 80
#define ALIGNMENT 64

int packet_batch_open(size_t slots, size_t slot_bytes, struct packet_batch **out)
{
    *out = NULL;
    if (slots < 1 || slots > SLOTS_MAX || slot_bytes < 1 || slot_bytes > SLOT_BYTES_MAX)
        return EINVAL;
    struct packet_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return ENOMEM;
    batch->slots = slots;
    batch->slot_bytes = slot_bytes;
    batch->stride = (HEADROOM + slot_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    batch->messages = calloc(slots, sizeof *batch->messages);
    batch->vectors = calloc(slots, sizeof *batch->vectors);
    batch->controls = calloc(slots, sizeof *batch->controls);
    batch->names = calloc(slots, sizeof *batch->names);
    batch->packets = calloc(slots, sizeof *batch->packets);
    batch->data = malloc(slots * batch->stride);
    if (batch->messages == NULL || batch->vectors == NULL || batch->controls == NULL || batch->names == NULL ||
        batch->packets == NULL || batch->data == NULL) {
        packet_batch_close(batch);
        return ENOMEM;
    }
    packet_batch_set_names(batch, 0);
    *out = batch;
    return 0;
}

void packet_batch_close(struct packet_batch *batch)
{
    if (batch == NULL)
        return;
    free(batch->messages);
    free(batch->vectors);
    free(batch->controls);
    free(batch->names);
    free(batch->packets);
    free(batch->data);
    free(batch);
}

void packet_batch_prepare(struct packet_batch *batch, size_t i)
{
    batch->vectors[i] =
        (struct iovec){.iov_base = batch->data + i * batch->stride + HEADROOM, .iov_len = batch->slot_bytes};
    batch->messages[i].msg_hdr = (struct msghdr){
        .msg_name = batch->has_names ? &batch->names[i] : NULL,
        .msg_namelen = batch->has_names ? sizeof batch->names[i] : 0,
        .msg_iov = &batch->vectors[i],
        .msg_iovlen = 1,
        .msg_control = batch->controls[i].bytes,
        .msg_controllen = sizeof batch->controls[i].bytes,
    };
}

void packet_batch_set_names(struct packet_batch *batch, int has_names)
{
    batch->has_names = has_names;
    for (size_t i = 0; i < batch->slots; i++)
        packet_batch_prepare(batch, i);
}

size_t packet_batch_count(const struct packet_batch *batch)
{
    return batch->count;
}

const struct packet *packet_batch_packets(const struct packet_batch *batch)
{
    return batch->packets;
}

const uint8_t *packet_batch_data(const struct packet_batch *batch)
{
    return batch->data;
}

size_t packet_batch_data_bytes(const struct packet_batch *batch)
{
    return batch->slots * batch->stride;
}

static int copy_packet(const struct packet_batch *batch, const struct packet *packet, struct pcap_block *block,
                       uint64_t *room)
{
    uint8_t headers[HEADERS_MAX];
    size_t headers_len = 0;
    const uint8_t *data = batch->data + packet->offset;
    if (pcap_block_has_ip_headers(block) &&
        synth_udp((const uint8_t *)&packet->from, (const uint8_t *)&packet->to, data, packet->caplen,
                  packet->wire_len, headers, &headers_len) != 0)
        headers_len = 0;
    struct pcap_pieces pieces = {
        .ts_ns = packet->ts_ns,
        .head = headers,
        .head_len = (uint32_t)headers_len,
        .data = data,
        .caplen = packet->caplen,
        .payload_wire = packet->wire_len,
    };
    return pcap_block_put(block, &pieces, room);
}

int packet_batch_copy(const struct packet_batch *batch, struct pcap_block *block, uint64_t max_packets,
                      uint64_t max_bytes, size_t *next)
{
    if (*next > batch->count)
        return ERANGE;
    for (; *next < batch->count && max_packets > 0; ++*next, max_packets--) {
        int error = copy_packet(batch, &batch->packets[*next], block, &max_bytes);
        if (error != 0)
            return error;
    }
    return *next == batch->count ? EAGAIN : 0;
}
