#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcap_file.h"
#include "pcap_block.h"

#define MAGIC_NANO UINT32_C(0xa1b23c4d)
#define SECOND_NS UINT64_C(1000000000)
#define CAPLEN_MAX 262144 /* MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records */
#define FORMAT_PCAP 0
#define FORMAT_PCAPNG 1
#define ENHANCED_PACKET 6
#define NOWHERE SIZE_MAX

struct file_header {
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
    int32_t zone;
    uint32_t accuracy;
    uint32_t snaplen;
    uint32_t linktype;
};
_Static_assert(sizeof(struct file_header) == 24, "pcap-savefile(5)");

struct record_header {
    uint32_t seconds;
    uint32_t fraction;
    uint32_t caplen;
    uint32_t wire_len;
};
_Static_assert(sizeof(struct record_header) == 16, "pcap-savefile(5)");

struct packet_block {
    uint32_t type;
    uint32_t total;
    uint32_t interface;
    uint32_t ts_high;
    uint32_t ts_low;
    uint32_t caplen;
    uint32_t wire_len;
};
_Static_assert(sizeof(struct packet_block) == 28, "draft-ietf-opsawg-pcapng, section 4.3");

/* bytes[0, torn) are in the file already: the begin of a record of which bytes[torn, ...) is the rest. */
struct pcap_block {
    size_t capacity;
    size_t used;
    size_t torn;
    size_t header_at; /* of the PCAP file header, the only thing in a PCAP file that is no record */
    int format;
    int ip_headers;
    uint32_t snaplen;
    struct pcap_span span;
    uint8_t bytes[];
};

int pcap_block_open(size_t capacity, struct pcap_block **out)
{
    *out = NULL;
    if (capacity > SIZE_MAX / 2)
        return ENOMEM;
    struct pcap_block *block = malloc(sizeof *block + capacity);
    if (block == NULL)
        return ENOMEM;
    memset(block, 0, sizeof *block);
    block->capacity = capacity;
    block->header_at = NOWHERE;
    block->snaplen = CAPLEN_MAX;
    *out = block;
    return 0;
}

void pcap_block_close(struct pcap_block *block)
{
    free(block);
}

int pcap_block_configure(struct pcap_block *block, int format, uint32_t snaplen, int ip_headers)
{
    if (block->used > 0)
        return EBUSY;
    if ((format != FORMAT_PCAP && format != FORMAT_PCAPNG) || snaplen < 1 || snaplen > CAPLEN_MAX)
        return EINVAL;
    block->format = format;
    block->snaplen = snaplen;
    block->ip_headers = ip_headers;
    return 0;
}

int pcap_block_has_ip_headers(const struct pcap_block *block)
{
    return block->ip_headers;
}

static void append(struct pcap_block *block, const void *data, size_t len)
{
    if (len > 0)
        memcpy(block->bytes + block->used, data, len);
    block->used += len;
}

int pcap_block_header(struct pcap_block *block, uint32_t snaplen, uint32_t linktype)
{
    struct file_header header = {
        .magic = MAGIC_NANO, .version_major = 2, .version_minor = 4, .snaplen = snaplen, .linktype = linktype};
    if (pcap_block_free(block) < sizeof header)
        return ENOBUFS;
    if (block->header_at != NOWHERE)
        return EEXIST;
    block->header_at = block->used;
    append(block, &header, sizeof header);
    return 0;
}

int pcap_block_raw(struct pcap_block *block, const uint8_t *data, size_t len)
{
    if (pcap_block_free(block) < len)
        return ENOBUFS;
    append(block, data, len);
    return 0;
}

/* Blocks of pcapng end on a boundary of 32 bits. */
static uint32_t padding(uint32_t len)
{
    return -len & 3;
}

size_t pcap_record_bytes(int format, uint32_t caplen)
{
    if (format == FORMAT_PCAPNG)
        return sizeof(struct packet_block) + caplen + padding(caplen) + sizeof(uint32_t);
    return sizeof(struct record_header) + caplen;
}

static void begin_record(struct pcap_block *block, uint64_t ts_ns, uint32_t caplen, uint32_t wire_len)
{
    struct record_header header = {
        .seconds = (uint32_t)(ts_ns / SECOND_NS),
        .fraction = (uint32_t)(ts_ns % SECOND_NS),
        .caplen = caplen,
        .wire_len = wire_len,
    };
    append(block, &header, sizeof header);
}

static void begin_packet_block(struct pcap_block *block, uint64_t ts_ns, uint32_t caplen, uint32_t wire_len)
{
    struct packet_block header = {
        .type = ENHANCED_PACKET,
        .total = (uint32_t)pcap_record_bytes(FORMAT_PCAPNG, caplen),
        .ts_high = (uint32_t)(ts_ns >> 32),
        .ts_low = (uint32_t)ts_ns,
        .caplen = caplen,
        .wire_len = wire_len,
    };
    append(block, &header, sizeof header);
}

static void end_packet_block(struct pcap_block *block, uint32_t caplen)
{
    const uint32_t zero = 0, total = (uint32_t)pcap_record_bytes(FORMAT_PCAPNG, caplen);
    append(block, &zero, padding(caplen));
    append(block, &total, sizeof total);
}

static void note(struct pcap_span *span, const struct pcap_pieces *pieces, size_t size, unsigned is_cut)
{
    if (span->packets++ == 0 || pieces->ts_ns < span->first_ns)
        span->first_ns = pieces->ts_ns;
    if (pieces->ts_ns > span->last_ns)
        span->last_ns = pieces->ts_ns;
    span->size += size;
    span->wire_bytes += pieces->payload_wire;
    span->truncated += is_cut;
}

int pcap_block_put(struct pcap_block *block, const struct pcap_pieces *pieces, uint64_t *room)
{
    uint64_t wire_len = (uint64_t)pieces->head_len + pieces->payload_wire;
    if ((block->format == FORMAT_PCAP && pieces->ts_ns / SECOND_NS > UINT32_MAX) || wire_len > UINT32_MAX ||
        pieces->payload_wire < pieces->caplen || pieces->caplen > CAPLEN_MAX)
        return EINVAL;
    uint32_t stored = pieces->head_len + pieces->caplen < block->snaplen ? pieces->head_len + pieces->caplen
                                                                         : block->snaplen;
    uint32_t head = stored < pieces->head_len ? stored : pieces->head_len;
    size_t size = pcap_record_bytes(block->format, stored);
    if (size > *room)
        return EFBIG;
    if (pcap_block_free(block) < size)
        return ENOBUFS;
    if (block->format == FORMAT_PCAPNG)
        begin_packet_block(block, pieces->ts_ns, stored, (uint32_t)wire_len);
    else
        begin_record(block, pieces->ts_ns, stored, (uint32_t)wire_len);
    append(block, pieces->head, head);
    append(block, pieces->data, stored - head);
    if (block->format == FORMAT_PCAPNG)
        end_packet_block(block, stored);
    *room -= size;
    note(&block->span, pieces, size, stored < wire_len);
    return 0;
}

size_t pcap_block_worst(const struct pcap_block *block, size_t head_max, size_t payload_max)
{
    size_t stored = head_max + payload_max;
    return pcap_record_bytes(block->format, stored < block->snaplen ? (uint32_t)stored : block->snaplen);
}

int pcap_block_record(struct pcap_block *block, uint64_t ts_ns, const uint8_t *data, uint32_t caplen, uint32_t wire_len)
{
    struct pcap_pieces pieces = {.ts_ns = ts_ns, .data = data, .caplen = caplen, .payload_wire = wire_len};
    uint64_t room = UINT64_MAX;
    return pcap_block_put(block, &pieces, &room);
}

int pcap_block_extend(struct pcap_block *block, size_t count, const uint64_t *times_ns, const uint32_t *caplens,
                      const uint32_t *wire_lens, const uint8_t *data, uint64_t max_packets, uint64_t max_bytes,
                      size_t *done)
{
    size_t i = 0;
    int error = 0;
    for (; i < count && i < max_packets; i++) {
        struct pcap_pieces pieces = {
            .ts_ns = times_ns[i], .data = data, .caplen = caplens[i], .payload_wire = wire_lens[i]};
        error = pcap_block_put(block, &pieces, &max_bytes);
        if (error != 0)
            break;
        data += caplens[i];
    }
    *done = i;
    return i == count ? EAGAIN : error;
}

size_t pcap_block_used(const struct pcap_block *block)
{
    return block->used - block->torn;
}

size_t pcap_block_free(const struct pcap_block *block)
{
    return block->capacity - block->used;
}

const uint8_t *pcap_block_bytes(const struct pcap_block *block)
{
    return block->bytes + block->torn;
}

void pcap_block_take_span(struct pcap_block *block, struct pcap_span *out)
{
    *out = block->span;
    memset(&block->span, 0, sizeof block->span);
}

/* The length of the record, or of whatever else, that begins at at. */
static size_t length_at(const struct pcap_block *block, size_t at)
{
    uint32_t caplen, total;
    if (at == block->header_at)
        return sizeof(struct file_header);
    if (block->format == FORMAT_PCAPNG) {
        memcpy(&total, block->bytes + at + offsetof(struct packet_block, total), sizeof total);
        return total;
    }
    memcpy(&caplen, block->bytes + at + offsetof(struct record_header, caplen), sizeof caplen);
    return sizeof(struct record_header) + caplen;
}

/* bytes[0, done) are in the file: forget them, up to the last boundary of a record. */
static void forget(struct pcap_block *block, size_t done)
{
    size_t boundary = done;
    if (done < block->used) {
        size_t next = length_at(block, boundary = 0);
        for (; next <= done; next = boundary + length_at(block, boundary))
            boundary = next;
    }
    block->torn = done - boundary;
    block->header_at = block->header_at == NOWHERE || block->header_at < boundary ? NOWHERE
                                                                                  : block->header_at - boundary;
    block->used -= boundary;
    memmove(block->bytes, block->bytes + boundary, block->used);
}

int pcap_block_flush(struct pcap_block *block, int fd, size_t *written)
{
    size_t done = block->torn;
    int error = 0;
    while (done < block->used) {
        ssize_t n = write(fd, block->bytes + done, block->used - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            error = n == 0 ? EIO : errno;
            break;
        }
    }
    *written = done - block->torn;
    forget(block, done);
    return error;
}

size_t pcap_block_torn(const struct pcap_block *block)
{
    return block->torn;
}

size_t pcap_block_rewind(struct pcap_block *block)
{
    size_t torn = block->torn;
    block->torn = 0;
    return torn;
}
