#define _GNU_SOURCE
#include <errno.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "pcap_file.h"
#include "dgram.h"

#define SLOTS_MAX 1024
#define SLOT_BYTES_MAX 65535
#define RECORD_HEADER_BYTES 16
#define SECOND_NS UINT64_C(1000000000)

/* What the kernel may attach to one datagram: its time and the drop counter. */
struct control {
    _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t))];
};

struct dgram_receiver {
    int fd;
    size_t slots;
    size_t slot_bytes;
    uint32_t seen_drops; /* the kernel's counter when we last saw it */
    struct dgram_counts counts;
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct control *controls;
    uint8_t *data;
};

static void prepare(struct dgram_receiver *receiver, size_t i)
{
    receiver->vectors[i] =
        (struct iovec){.iov_base = receiver->data + i * receiver->slot_bytes, .iov_len = receiver->slot_bytes};
    receiver->messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &receiver->vectors[i],
        .msg_iovlen = 1,
        .msg_control = receiver->controls[i].bytes,
        .msg_controllen = sizeof receiver->controls[i].bytes,
    };
}

int dgram_open(int fd, size_t slots, size_t slot_bytes, struct dgram_receiver **out)
{
    int on = 1, type = 0;
    socklen_t len = sizeof type;
    *out = NULL;
    if (slots < 1 || slots > SLOTS_MAX || slot_bytes < 1 || slot_bytes > SLOT_BYTES_MAX)
        return EINVAL;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return errno;
    /* MSG_TRUNC means something else on a stream: bytes thrown away, the slots left as they were. */
    if (type == SOCK_STREAM)
        return EPROTOTYPE;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on) < 0)
        return errno;
    struct dgram_receiver *receiver = calloc(1, sizeof *receiver);
    if (receiver == NULL)
        return ENOMEM;
    receiver->fd = fd;
    receiver->slots = slots;
    receiver->slot_bytes = slot_bytes;
    receiver->messages = calloc(slots, sizeof *receiver->messages);
    receiver->vectors = calloc(slots, sizeof *receiver->vectors);
    receiver->controls = calloc(slots, sizeof *receiver->controls);
    receiver->data = malloc(slots * slot_bytes);
    if (receiver->messages == NULL || receiver->vectors == NULL || receiver->controls == NULL ||
        receiver->data == NULL) {
        dgram_close(receiver);
        return ENOMEM;
    }
    for (size_t i = 0; i < slots; i++)
        prepare(receiver, i);
    *out = receiver;
    return 0;
}

void dgram_close(struct dgram_receiver *receiver)
{
    if (receiver == NULL)
        return;
    free(receiver->messages);
    free(receiver->vectors);
    free(receiver->controls);
    free(receiver->data);
    free(receiver);
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * SECOND_NS + (uint64_t)time->tv_nsec;
}

/* The kernel's counter has 32 bits and wraps. A datagram carries its value from when it was queued, which may be
 * older than one seen since, so a step backwards is not a wrap. */
static void note_drops(struct dgram_receiver *receiver, uint32_t drops)
{
    uint32_t step = drops - receiver->seen_drops;
    if (step > INT32_MAX)
        return;
    receiver->counts.kernel_drops += step;
    receiver->seen_drops = drops;
}

/* Datagrams lost behind the last one that was queued are told by no datagram. */
static void ask_drops(struct dgram_receiver *receiver)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof memory;
    if (getsockopt(receiver->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0 &&
        len > SK_MEMINFO_DROPS * sizeof memory[0])
        note_drops(receiver, memory[SK_MEMINFO_DROPS]);
}

/* Returns the kernel's time of the datagram, 0 if there is none. */
static uint64_t read_control(struct dgram_receiver *receiver, struct msghdr *header)
{
    uint64_t ts_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_TIMESTAMPNS && c->cmsg_len >= CMSG_LEN(sizeof(struct timespec))) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(c), sizeof time);
            ts_ns = nanoseconds(&time);
        } else if (c->cmsg_type == SO_RXQ_OVFL && c->cmsg_len >= CMSG_LEN(sizeof(uint32_t))) {
            uint32_t drops;
            memcpy(&drops, CMSG_DATA(c), sizeof drops);
            note_drops(receiver, drops);
        }
    }
    return ts_ns;
}

static int store(struct dgram_receiver *receiver, struct pcap_block *block, size_t i, uint64_t now_ns)
{
    struct dgram_counts *counts = &receiver->counts;
    struct mmsghdr *message = &receiver->messages[i];
    uint32_t wire_len = message->msg_len; /* the true length, because of MSG_TRUNC */
    uint32_t caplen = wire_len < receiver->slot_bytes ? wire_len : (uint32_t)receiver->slot_bytes;
    uint64_t ts_ns = read_control(receiver, &message->msg_hdr);
    if (ts_ns == 0) {
        ts_ns = now_ns;
        counts->untimed++;
    }
    counts->packets++;
    counts->bytes += wire_len;
    counts->truncated += wire_len > caplen;
    if (counts->span_packets++ == 0)
        counts->first_ns = ts_ns;
    counts->last_ns = ts_ns;
    return pcap_block_record(block, ts_ns, receiver->data + i * receiver->slot_bytes, caplen, wire_len);
}

/* One system call for up to batch datagrams, which have room in the block. */
static int receive_batch(struct dgram_receiver *receiver, struct pcap_block *block, size_t batch, size_t *count)
{
    struct timespec now;
    int n, error = 0;
    do
        n = recvmmsg(receiver->fd, receiver->messages, (unsigned)batch, MSG_DONTWAIT | MSG_TRUNC, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    *count = (size_t)n;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < *count; i++) {
        int failure = store(receiver, block, i, nanoseconds(&now));
        if (error == 0)
            error = failure;
        prepare(receiver, i);
    }
    return error;
}

int dgram_receive(struct dgram_receiver *receiver, struct pcap_block *block, size_t max_packets)
{
    while (max_packets > 0) {
        size_t count = 0, batch = pcap_block_free(block) / (RECORD_HEADER_BYTES + receiver->slot_bytes);
        if (batch == 0)
            return ENOBUFS;
        if (batch > receiver->slots)
            batch = receiver->slots;
        if (batch > max_packets)
            batch = max_packets;
        int error = receive_batch(receiver, block, batch, &count);
        max_packets -= count;
        /* A short batch is the end as well. A socket error that cut it short waits for the next call. */
        if (error == EAGAIN || (error == 0 && count < batch)) {
            ask_drops(receiver);
            return EAGAIN;
        }
        if (error != 0)
            return error;
    }
    return 0;
}

void dgram_get_counts(const struct dgram_receiver *receiver, struct dgram_counts *out)
{
    *out = receiver->counts;
}

void dgram_clear_span(struct dgram_receiver *receiver)
{
    receiver->counts.first_ns = 0;
    receiver->counts.last_ns = 0;
    receiver->counts.span_packets = 0;
}
