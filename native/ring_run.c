#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pcap_file.h"
#include "synth.h"
#include "packet_batch.h"
#include "receiver.h"
#include "ethernet.h"
#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define GOES_ON (-1)

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct tpacket_block_desc *block_at(const struct ring *ring, uint32_t index)
{
    return (void *)(ring->map + (size_t)index * RING_BLOCK);
}

static int is_ours(const struct ring *ring)
{
    return __atomic_load_n(&block_at(ring, ring->index)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER;
}

static void enter(struct ring *ring)
{
    const struct tpacket_hdr_v1 *header = &block_at(ring, ring->index)->hdr.bh1;
    ring->cursor = (struct ring_cursor){
        .block = ring->map + (size_t)ring->index * RING_BLOCK,
        .at = header->offset_to_first_pkt,
        .left = header->num_pkts,
    };
    ring->is_in_block = 1;
    ring->counts.blocks++;
}

static void release(struct ring *ring)
{
    /* A ring that was full opens its next block later; until then this would look like packets that wait. */
    block_at(ring, ring->index)->hdr.bh1.num_pkts = 0;
    __atomic_store_n(&block_at(ring, ring->index)->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    ring->index = (ring->index + 1) % ring->blocks;
    ring->is_in_block = 0;
}

int ring_pending(const struct ring *ring)
{
    /* The kernel counts while it fills the block. */
    return ring->is_in_block || is_ours(ring) ||
           __atomic_load_n(&block_at(ring, ring->index)->hdr.bh1.num_pkts, __ATOMIC_ACQUIRE) > 0;
}

/* One record behind the last one; there is room. */
static inline void put(struct ring_output *output, const struct packet_view *packet, uint32_t tag, uint32_t caplen)
{
    struct pcap_record record = {
        .seconds = (uint32_t)(packet->ts_ns / SECOND_NS),
        .fraction = (uint32_t)(packet->ts_ns % SECOND_NS),
        .caplen = caplen,
        .wire_len = packet->wire_len,
    };
    uint8_t *at = output->at;
    memcpy(at, &record, sizeof record);
    at += sizeof record;
    if (tag == 0) {
        memcpy(at, packet->data, caplen);
    } else {
        /* caplen may end in the tag */
        uint8_t begin[ADDRESSES_BYTES + TAG_BYTES];
        uint32_t head = caplen < sizeof begin ? caplen : (uint32_t)sizeof begin;
        memcpy(begin + TAG_BYTES, packet->data, ADDRESSES_BYTES);
        ether_restore_tag(begin, ADDRESSES_BYTES, (uint16_t)(tag >> 16), (uint16_t)tag);
        memcpy(at, begin, head);
        memcpy(at + head, packet->data + ADDRESSES_BYTES, caplen - head);
    }
    output->at = at + caplen;
    struct ring_segment *segment = &output->segment;
    if (segment->packets++ == 0) {
        segment->first_ns = packet->ts_ns;
        if (output->every_ns > 0)
            output->until_ns = (packet->ts_ns / output->every_ns + 1) * output->every_ns;
    } else if (packet->ts_ns < segment->first_ns)
        segment->first_ns = packet->ts_ns;
    segment->last_ns = packet->ts_ns > segment->last_ns ? packet->ts_ns : segment->last_ns;
    segment->wire_bytes += packet->wire_len;
    segment->truncated += caplen < packet->wire_len;
}

/* Whether the packet begins the next segment. A segment without packets takes any. */
static inline int is_beyond(const struct ring_output *output, const struct packet_view *packet, uint32_t caplen)
{
    uint64_t end = output->base + (uint64_t)(output->at - output->start) + PCAP_RECORD_HEADER + caplen;
    return (end > output->max_bytes || packet->ts_ns >= output->until_ns) && output->segment.packets > 0;
}

static void tell(struct ring *ring)
{
    struct ring_news *news = &ring->news;
    if (news->n > 0)
        ring->tap->stored(ring->tap->context, ring->linktype, news->packets, news->places, news->n);
    news->n = 0;
}

/* The packet whose record is the last one. */
static inline void note(struct ring *ring, const struct ring_output *output, uint32_t caplen)
{
    struct ring_news *news = &ring->news;
    const struct packet_view *packet = &ring->batch.packets[ring->batch.next];
    if (news->n == RING_BATCH)
        tell(ring);
    uint64_t end = output->base + (uint64_t)(output->at - output->start);
    size_t index = ring->batch.is_judged ? ring->batch.next : RING_UNJUDGED;
    news->places[news->n] = (struct ring_place){end - caplen - PCAP_RECORD_HEADER, end, index};
    news->packets[news->n++] = (struct packet_view){output->at - caplen, packet->ts_ns, caplen, packet->wire_len};
}

/* The rest of the batch; 0 or what output_advance() says. */
static int store(struct ring *ring, struct ring_output *output)
{
    struct ring_batch *batch = &ring->batch;
    for (; batch->next < batch->n; batch->next++) {
        const struct packet_view *packet = &batch->packets[batch->next];
        uint32_t tag = batch->tags[batch->next];
        if (!batch->keep[batch->next])
            continue;
        uint32_t caplen = packet->caplen + (tag != 0 ? TAG_BYTES : 0);
        caplen = caplen < ring->snaplen ? caplen : ring->snaplen;
        if (is_beyond(output, packet, caplen))
            return EFBIG;
        if ((size_t)(output->limit - output->at) < PCAP_RECORD_HEADER + caplen) {
            tell(ring); /* while the bytes are where it sees them */
            int error = output_advance(output);
            if (error != 0)
                return error;
        }
        put(output, packet, tag, caplen);
        ring->counts.stored++;
        ring->counts.truncated += caplen < packet->wire_len;
        if (ring->tap != NULL)
            note(ring, output, caplen);
    }
    return 0;
}

static void discard(struct ring *ring)
{
    struct ring_batch *batch = &ring->batch;
    for (; batch->next < batch->n; batch->next++)
        if (batch->keep[batch->next]) {
            ring->counts.discarded++;
            ring->counts.discarded_bytes += batch->packets[batch->next].wire_len;
        }
}

static void judge(struct ring *ring, int is_judging)
{
    struct ring_batch *batch = &ring->batch;
    memset(batch->keep, 1, batch->n);
    if (batch->is_judged || is_judging)
        tell(ring);
    batch->is_judged = is_judging;
    if (!is_judging)
        return;
    ring->tap->judge(ring->tap->context, ring->linktype, batch->packets, batch->n, batch->keep);
    for (size_t i = 0; i < batch->n; i++)
        if (!batch->keep[i]) {
            ring->counts.cut++;
            ring->counts.cut_bytes += batch->packets[i].wire_len;
        }
}

/* The rest of the block. */
static int walk(struct ring *ring, struct ring_output *output)
{
    int damage = 0, error = 0;
    while (error == 0) {
        if (ring->batch.next == ring->batch.n) {
            int is_judging = ring->tap != NULL && atomic_load_explicit(&ring->tap->is_judging, memory_order_relaxed);
            /* Header, packet, header, packet is how the processor fetches ahead by itself; to look at many headers
             * first costs IMIX two thirds more. */
            size_t most = is_judging ? RING_BATCH : 1;
            if (ring->tap == NULL && output != NULL)
                ring_copy(ring, output);
            if (damage != 0 || ring_gather(&ring->cursor, most, &ring->batch, &ring->counts, &damage) == 0)
                break;
            judge(ring, is_judging);
        }
        if (output == NULL)
            discard(ring);
        else
            error = store(ring, output);
    }
    tell(ring);
    if (error != 0)
        return error == EFBIG ? RING_FULL : error == EAGAIN ? RING_BUSY : RING_FAILED;
    ring->counts.damaged += damage != 0;
    release(ring);
    return GOES_ON;
}

/* A socket whose interface was unregistered loses its index; one whose interface is down keeps it. */
static int explain(struct ring *ring)
{
    struct sockaddr_ll name = {0};
    socklen_t len = sizeof name;
    int error = 0;
    socklen_t error_len = sizeof error;
    if (getsockopt(ring->fd, SOL_SOCKET, SO_ERROR, &error, &error_len) < 0)
        error = errno;
    if (getsockname(ring->fd, (struct sockaddr *)&name, &len) == 0 && name.sll_ifindex <= 0) {
        ring->error = ENODEV;
        ring->is_gone = 1;
        return GOES_ON;
    }
    if (error == 0)
        return GOES_ON;
    ring->error = error;
    return error == ENETDOWN ? RING_DOWN : RING_BROKEN;
}

/* No block is ready. */
static int wait(struct ring *ring, int timeout_ms)
{
    struct pollfd polled[] = {{.fd = ring->fd, .events = POLLIN}, {.fd = ring->wake_fd, .events = POLLIN}};
    uint64_t woken;
    int n = poll(polled, 2, timeout_ms);
    if (n < 0 && errno != EINTR) {
        ring->error = errno;
        return RING_BROKEN;
    }
    if (n <= 0)
        return n == 0 && timeout_ms == 0 ? RING_IDLE : GOES_ON;
    if (polled[1].revents != 0 && read(ring->wake_fd, &woken, sizeof woken) > 0)
        return RING_WOKEN;
    /* What had come before is first. */
    if (polled[0].revents & (POLLERR | POLLHUP) && !is_ours(ring))
        return explain(ring);
    return timeout_ms == 0 && !is_ours(ring) ? RING_IDLE : GOES_ON;
}

int ring_run(struct ring *ring, struct ring_output *output, uint32_t max_blocks, uint32_t run_ms)
{
    uint64_t end_ms = now_ms() + run_ms;
    for (uint32_t blocks = 0;;) {
        if (ring->is_in_block || is_ours(ring)) {
            if (!ring->is_in_block)
                enter(ring);
            int status = walk(ring, output);
            if (status != GOES_ON)
                return status;
            if (++blocks == max_blocks || (run_ms > 0 && now_ms() >= end_ms))
                return RING_MORE;
            continue;
        }
        if (output != NULL && output_rest(output) != 0)
            return RING_FAILED;
        /* The timer of the last block goes on without the interface. */
        if (ring->is_gone && !ring_pending(ring))
            return RING_GONE;
        uint64_t now = now_ms();
        int status = wait(ring, now < end_ms ? (int)(end_ms - now) : 0);
        if (status != GOES_ON)
            return status;
    }
}
