#define _GNU_SOURCE
#include <errno.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pcap_file.h"
#include "pcap_block.h"
#include "synth.h"
#include "packet_batch.h"
#include "packet_slots.h"
#include "receiver.h"
#include "receiver_kind.h"

#define SECOND_NS UINT64_C(1000000000)

int receiver_open(const struct receiver_kind *kind, int fd, int owns_fd, size_t slots, size_t slot_bytes,
                  struct receiver **out)
{
    *out = NULL;
    struct receiver *receiver = calloc(1, sizeof *receiver);
    if (receiver == NULL)
        return ENOMEM;
    int error = packet_batch_open(slots, slot_bytes, &receiver->batch);
    if (error != 0) {
        free(receiver);
        return error;
    }
    receiver->kind = kind;
    receiver->fd = fd;
    receiver->owns_fd = owns_fd;
    *out = receiver;
    return 0;
}

void receiver_close(struct receiver *receiver)
{
    if (receiver == NULL)
        return;
    if (receiver->owns_fd)
        close(receiver->fd);
    packet_batch_close(receiver->batch);
    free(receiver);
}

int receiver_fd(const struct receiver *receiver)
{
    return receiver->fd;
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * SECOND_NS + (uint64_t)time->tv_nsec;
}

uint64_t control_time_ns(const struct cmsghdr *control)
{
    struct timespec time;
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS ||
        control->cmsg_len < CMSG_LEN(sizeof time))
        return 0;
    memcpy(&time, CMSG_DATA(control), sizeof time);
    return nanoseconds(&time);
}

static void decode_all(struct receiver *receiver, struct packet_batch *batch)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < batch->count; i++) {
        receiver->kind->decode(receiver, batch, i);
        packet_batch_prepare(batch, i);
        if (batch->packets[i].ts_ns == 0) {
            batch->packets[i].ts_ns = nanoseconds(&now);
            receiver->counts.untimed++;
        }
    }
}

/* One system call for up to limit packets; *is_short if it brought less than it could. */
static int take(struct receiver *receiver, struct packet_batch *batch, size_t limit, int *is_short)
{
    int n;
    if (batch->has_names != receiver->has_addresses)
        packet_batch_set_names(batch, receiver->has_addresses);
    batch->count = 0;
    do
        n = recvmmsg(receiver->fd, batch->messages, (unsigned)limit, MSG_DONTWAIT | MSG_TRUNC, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return receiver->kind->explain == NULL || errno == EAGAIN ? errno : receiver->kind->explain(receiver, errno);
    batch->count = (size_t)n;
    *is_short = batch->count < limit;
    decode_all(receiver, batch);
    return 0;
}

static void count_packets(struct receiver *receiver, const struct packet_batch *batch, size_t from, size_t to)
{
    struct receiver_counts *counts = &receiver->counts;
    for (const struct packet *packet = batch->packets + from; packet < batch->packets + to; packet++) {
        counts->packets++;
        counts->bytes += packet->wire_len;
        counts->truncated += packet->wire_len > packet->caplen;
        if (counts->span_packets++ == 0)
            counts->first_ns = packet->ts_ns;
        counts->last_ns = packet->ts_ns;
    }
}

size_t receiver_pending(const struct receiver *receiver)
{
    return receiver->batch->count - receiver->next;
}

/* Copy what is pending. Returns what packet_batch_copy() does. */
static int hand_over(struct receiver *receiver, struct pcap_block *block, uint64_t *max_packets, uint64_t *max_bytes)
{
    size_t from = receiver->next, used = pcap_block_used(block);
    int error = packet_batch_copy(receiver->batch, block, *max_packets, *max_bytes, &receiver->next);
    count_packets(receiver, receiver->batch, from, receiver->next);
    *max_packets -= receiver->next - from;
    *max_bytes -= pcap_block_used(block) - used;
    /* A time that no file can hold must not stand in the way of those behind it. */
    if (error == EINVAL)
        receiver->next++;
    return error;
}

int receiver_receive(struct receiver *receiver, struct pcap_block *block, uint64_t max_packets, uint64_t max_bytes)
{
    size_t worst = pcap_block_worst(block, pcap_block_has_ip_headers(block) ? receiver->kind->headers_max : 0,
                                    receiver->batch->slot_bytes);
    int error, is_short = 0;
    while (max_packets > 0) {
        if (receiver_pending(receiver) > 0) {
            error = hand_over(receiver, block, &max_packets, &max_bytes);
            if (error != EAGAIN)
                return error;
            /* A short batch is the end as well. A socket error that cut it short waits for the next call. */
            if (is_short) {
                receiver->kind->ask_drops(receiver);
                return EAGAIN;
            }
            continue;
        }
        size_t limit = pcap_block_free(block) / worst;
        if (limit == 0)
            return ENOBUFS;
        if (limit > receiver->batch->slots)
            limit = receiver->batch->slots;
        if (limit > max_packets)
            limit = (size_t)max_packets;
        receiver->next = 0;
        error = take(receiver, receiver->batch, limit, &is_short);
        if (error == EAGAIN)
            receiver->kind->ask_drops(receiver);
        if (error != 0)
            return error;
    }
    return 0;
}

int receiver_fill(struct receiver *receiver, struct packet_batch *batch)
{
    int is_short = 0;
    if (receiver_pending(receiver) > 0)
        return EBUSY;
    int error = take(receiver, batch, batch->slots, &is_short);
    if (error == EAGAIN || is_short)
        receiver->kind->ask_drops(receiver);
    if (error != 0)
        return error;
    count_packets(receiver, batch, 0, batch->count);
    return is_short ? EAGAIN : 0;
}

uint64_t receiver_packets(const struct receiver *receiver)
{
    return receiver->counts.packets;
}

void receiver_get_memory(const struct receiver *receiver, uint32_t *used, uint32_t *limit)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof memory;
    int is_told = getsockopt(receiver->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0;
    *used = is_told ? memory[SK_MEMINFO_RMEM_ALLOC] : 0;
    *limit = is_told ? memory[SK_MEMINFO_RCVBUF] : 0;
}

void receiver_get_counts(struct receiver *receiver, struct receiver_counts *out)
{
    /* Under load the end of the queue, where drops are asked for, may never be seen. */
    if (receiver->owns_fd)
        receiver->kind->ask_drops(receiver);
    *out = receiver->counts;
}

void receiver_clear_span(struct receiver *receiver)
{
    receiver->counts.first_ns = 0;
    receiver->counts.last_ns = 0;
    receiver->counts.span_packets = 0;
}
