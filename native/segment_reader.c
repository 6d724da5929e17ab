#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"

#include "segment_reader.h"

#define INDEX_BYTES_MAX (UINT64_C(1) << 36) /* its checksums take 64 MiB of memory */
#define FLOWS_MAX (1U << 24)

int segment_pread(int fd, void *out, size_t len, uint64_t offset)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n == 0)
            return ENODATA;
        if (n < 0) {
            if (errno != EINTR)
                return errno;
            continue;
        }
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int is_section_sound(const struct segment_header *header, int i)
{
    static const uint32_t units[SECTIONS] = {
        [SECTION_CHUNKS] = sizeof(struct segment_chunk),
        [SECTION_FLOWS] = sizeof(struct segidx_flow),
        [SECTION_POSTINGS] = 1,
        [SECTION_HOSTS] = sizeof(uint32_t),
        [SECTION_PORTS] = sizeof(uint32_t),
        [SECTION_COMMUNITIES] = sizeof(uint32_t),
        [SECTION_FILTERS] = SEGMENT_FILTER_BYTES,
        [SECTION_SUMS] = sizeof(uint32_t),
    };
    const struct segment_section *section = &header->sections[i];
    uint64_t limit = i == SECTION_SUMS ? INDEX_BYTES_MAX : header->sections[SECTION_SUMS].offset;
    if (section->offset < SEGMENT_PAGE || section->offset > limit || section->bytes > limit - section->offset)
        return 0;
    uint64_t n = section->bytes / units[i];
    int is_whole = section->bytes % units[i] == 0;
    switch (i) {
    case SECTION_CHUNKS: return is_whole && n == header->chunks && n <= SEGMENT_CHUNKS_MAX;
    case SECTION_FLOWS: return is_whole && n == header->flows && n <= FLOWS_MAX;
    case SECTION_HOSTS: return is_whole && n == header->flows;
    case SECTION_PORTS: return is_whole && n <= 2 * (uint64_t)header->flows;
    case SECTION_COMMUNITIES: return is_whole && n <= header->flows;
    case SECTION_SUMS: return is_whole && n == (section->offset + SEGMENT_PAGE - 1) / SEGMENT_PAGE;
    default: return is_whole;
    }
}

static int load_header(struct segidx_reader *reader)
{
    struct segment_header *header = &reader->header;
    int error = segment_pread(reader->fd, header, sizeof *header, 0);
    if (error != 0)
        return error == ENODATA ? EBADMSG : error;
    int is_known = header->magic == SEGMENT_MAGIC_INDEX || header->magic == SEGMENT_MAGIC_JOURNAL;
    if (!is_known || header->version != SEGMENT_VERSION || header->chunk_bytes != SEGMENT_CHUNK_BYTES ||
        header->checksum != segment_checksum(0, header, offsetof(struct segment_header, checksum)))
        return EBADMSG;
    if (header->magic == SEGMENT_MAGIC_JOURNAL)
        return header->flows <= FLOWS_MAX ? 0 : EBADMSG;
    for (int i = 0; i < SECTIONS; i++)
        if (!is_section_sound(header, i))
            return EBADMSG;
    return 0;
}

static int load_sums(struct segidx_reader *reader)
{
    const struct segment_section *section = &reader->header.sections[SECTION_SUMS];
    struct stat status;
    if (fstat(reader->fd, &status) < 0)
        return errno;
    if ((uint64_t)status.st_size < section->offset + section->bytes)
        return EBADMSG;
    reader->sums = malloc(section->bytes + 1);
    if (reader->sums == NULL)
        return ENOMEM;
    int error = segment_pread(reader->fd, reader->sums, section->bytes, section->offset);
    if (error == 0 && reader->header.sums_checksum != segment_checksum(section->offset, reader->sums, section->bytes))
        error = EBADMSG;
    return error == ENODATA ? EBADMSG : error;
}

int segidx_reader_open(int fd, struct segidx_reader **out)
{
    *out = NULL;
    struct segidx_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return ENOMEM;
    reader->fd = fd;
    int error = load_header(reader);
    if (error == 0 && reader->header.magic == SEGMENT_MAGIC_INDEX)
        error = load_sums(reader);
    if (error != 0) {
        segidx_reader_close(reader);
        return error;
    }
    *out = reader;
    return 0;
}

void segidx_reader_close(struct segidx_reader *reader)
{
    if (reader == NULL)
        return;
    free(reader->sums);
    free(reader);
}

void segidx_get_info(const struct segidx_reader *reader, struct segidx_info *out)
{
    const struct segment_header *header = &reader->header;
    int is_complete = header->magic == SEGMENT_MAGIC_INDEX;
    *out = (struct segidx_info){
        .linktype = header->linktype,
        .community_seed = header->community_seed,
        .flows = is_complete ? header->flows : 0,
        .chunks = header->chunks,
        .pcap_bytes = header->pcap_bytes,
        .packets = header->packets,
        .unindexed = header->unindexed,
        .first_ns = header->first_ns,
        .last_ns = header->last_ns,
        .is_complete = is_complete != 0,
    };
}

static int load_page(struct segidx_reader *reader, uint64_t number, const uint8_t **out)
{
    size_t place = number % CACHED_PAGES;
    *out = reader->pages[place];
    if (reader->cached[place] == number)
        return 0;
    uint64_t start = number * SEGMENT_PAGE, end = reader->header.sections[SECTION_SUMS].offset;
    size_t len = end - start < SEGMENT_PAGE ? (size_t)(end - start) : SEGMENT_PAGE;
    reader->cached[place] = 0;
    int error = segment_pread(reader->fd, reader->pages[place], len, start);
    if (error != 0)
        return error == ENODATA ? EBADMSG : error;
    if ((uint32_t)segment_checksum(number, reader->pages[place], len) != reader->sums[number])
        return EBADMSG;
    reader->cached[place] = number;
    return 0;
}

int segment_read(struct segidx_reader *reader, int section, uint64_t offset, void *out, size_t len)
{
    const struct segment_section *in = &reader->header.sections[section];
    uint8_t *to = out;
    if (offset > in->bytes || len > in->bytes - offset)
        return EBADMSG;
    offset += in->offset;
    while (len > 0) {
        const uint8_t *page;
        size_t at = offset % SEGMENT_PAGE, n = SEGMENT_PAGE - at < len ? SEGMENT_PAGE - at : len;
        int error = load_page(reader, offset / SEGMENT_PAGE, &page);
        if (error != 0)
            return error;
        memcpy(to, page + at, n);
        to += n;
        offset += n;
        len -= n;
    }
    return 0;
}

int extents_add(struct extents *extents, uint64_t offset, uint64_t end)
{
    if (offset >= end)
        return 0;
    if (extents->len > 0) {
        struct segidx_extent *last = &extents->items[extents->len - 1];
        if (last->offset + last->bytes == offset) {
            last->bytes += end - offset;
            return 0;
        }
    }
    if (extents->len == extents->capacity) {
        size_t capacity = extents->capacity > 0 ? 2 * extents->capacity : 64;
        struct segidx_extent *items = realloc(extents->items, capacity * sizeof *items);
        if (items == NULL)
            return ENOMEM;
        extents->items = items;
        extents->capacity = capacity;
    }
    extents->items[extents->len++] = (struct segidx_extent){.offset = offset, .bytes = end - offset};
    return 0;
}

int segment_wants_all(const struct flow_query *query)
{
    return query->proto < 0 && query->version[0] == 0 && query->version[1] == 0 && query->port[0] < 0 &&
           query->port[1] < 0 && !query->has_community;
}

int segment_filter_wants(const struct flow_secret *secret, const struct flow_query *query, const uint8_t *filter)
{
    if (filter == NULL)
        return 1;
    for (int i = 0; i < 2; i++)
        if (query->version[i] != 0 &&
            !segment_filter_has(filter, segment_addr_hash(secret, query->version[i], query->addr[i])))
            return 0;
    /* ICMP's order depends on the sender; it is left to the addresses. */
    if (!query->is_conn || query->proto < 0 || query->proto == 1 || query->proto == 58 || query->version[0] == 0 ||
        query->version[0] != query->version[1] || query->port[0] < 0 || query->port[1] < 0)
        return 1;
    for (int has_ports = 0; has_ports < 2; has_ports++) {
        struct flow_key key;
        uint8_t direction;
        flow_key_make(query->version[0], query->addr[0], query->addr[1], (uint8_t)query->proto, has_ports,
                      (uint16_t)query->port[0], (uint16_t)query->port[1], &key, &direction);
        if (segment_filter_has(filter, flow_hash(secret, &key)))
            return 1;
    }
    return 0;
}
