#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcap_scan.h"

#define MAGIC_MICRO UINT32_C(0xa1b2c3d4)
#define MAGIC_NANO UINT32_C(0xa1b23c4d)
#define SECOND_NS UINT64_C(1000000000)
#define CAPLEN_MAX 262144        /* MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records */
#define LINKTYPE_MASK 0x03ffffff /* the bits above tell about frame check sequences, pcap-savefile(5) */
#define WINDOW_BYTES 65536
#define FILE_HEADER_BYTES 24
#define RECORD_HEADER_BYTES 16

/* draft-ietf-opsawg-pcapng */
#define SECTION_HEADER UINT32_C(0x0a0d0d0a)
#define INTERFACE_DESCRIPTION 1
#define OBSOLETE_PACKET 2
#define SIMPLE_PACKET 3
#define ENHANCED_PACKET 6
#define BYTE_ORDER_MAGIC UINT32_C(0x1a2b3c4d)
#define BLOCK_BYTES 12
#define SECTION_BYTES 28
#define INTERFACE_BYTES 20
#define PACKET_BYTES 32
#define SIMPLE_BYTES 16
#define OPTION_TSRESOL 9
#define OPTION_TSOFFSET 14
#define OPTIONS_MAX 4096
#define INTERFACES_MAX 65536

/* A piece of the input. A file is read through a buffer of its own, so that the scan neither maps the file (it may be
 * truncated meanwhile) nor moves its position. */
struct view {
    int fd;
    uint64_t size;
    uint64_t start;
    size_t len;
    const uint8_t *bytes;
    uint8_t *buffer;
};

/* Returns len bytes at offset in *out, or NULL in *out if the input ends before; len <= WINDOW_BYTES. */
static int view_at(struct view *view, uint64_t offset, size_t len, const uint8_t **out)
{
    *out = NULL;
    if (view->size < offset || view->size - offset < len)
        return 0;
    if (offset < view->start || view->start + view->len < offset + len) {
        view->start = offset;
        view->len = 0;
        while (view->len < len) {
            ssize_t n = pread(view->fd, view->buffer + view->len, WINDOW_BYTES - view->len,
                              (off_t)(offset + view->len));
            if (n == 0)
                return 0;
            if (n > 0)
                view->len += (size_t)n;
            else if (errno != EINTR)
                return errno;
        }
    }
    *out = view->bytes + (offset - view->start);
    return 0;
}

static uint32_t read32(const uint8_t *bytes, int swapped)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return swapped ? __builtin_bswap32(value) : value;
}

static uint16_t read16(const uint8_t *bytes, int swapped)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return swapped ? __builtin_bswap16(value) : value;
}

static void note_time(struct pcap_scan *out, uint64_t ts_ns, int *has_time)
{
    out->last_ns = ts_ns;
    if (!*has_time)
        out->first_ns = ts_ns;
    *has_time = 1;
}

/* ── PCAP ── */

static int scan_pcap(struct view *view, const uint8_t *header, struct pcap_scan *out)
{
    const uint8_t *bytes;
    int error = 0, has_time = 0;
    uint32_t magic = read32(header, 0);
    int swapped = magic == __builtin_bswap32(MAGIC_MICRO) || magic == __builtin_bswap32(MAGIC_NANO);
    magic = read32(header, swapped);
    if (magic != MAGIC_MICRO && magic != MAGIC_NANO)
        return EBADMSG;
    uint64_t fraction_ns = magic == MAGIC_NANO ? 1 : 1000;
    out->snaplen = read32(header + 16, swapped);
    out->linktype = read32(header + 20, swapped) & LINKTYPE_MASK;
    out->interfaces = 1;
    out->good_bytes = FILE_HEADER_BYTES;
    uint32_t caplen_max = out->snaplen > CAPLEN_MAX ? out->snaplen : CAPLEN_MAX;
    while ((error = view_at(view, out->good_bytes, RECORD_HEADER_BYTES, &bytes)) == 0 && bytes != NULL) {
        uint32_t caplen = read32(bytes + 8, swapped);
        if (caplen > caplen_max || view->size - out->good_bytes - RECORD_HEADER_BYTES < caplen)
            break;
        note_time(out, read32(bytes, swapped) * SECOND_NS + read32(bytes + 4, swapped) * fraction_ns, &has_time);
        out->packets++;
        out->good_bytes += RECORD_HEADER_BYTES + caplen;
    }
    return error;
}

/* ── pcapng ── */

struct interface {
    uint64_t offset_s;
    uint32_t snaplen;
    uint8_t resolution;
};

struct section {
    int swapped;
    int has_time;
    uint32_t count;
    uint32_t room;
    struct interface *interfaces;
};

struct block {
    uint32_t type;
    uint32_t len;
    uint64_t at;
};

static uint64_t saturated(unsigned __int128 value)
{
    return value > UINT64_MAX ? UINT64_MAX : (uint64_t)value;
}

/* if_tsresol: a negative power of ten, or of two if the highest bit is set. */
static uint64_t nanoseconds(const struct interface *interface, uint64_t ticks)
{
    uint8_t exponent = interface->resolution & 0x7f;
    unsigned __int128 ns = ticks;
    if (interface->resolution & 0x80) {
        ns = ns * SECOND_NS >> exponent;
    } else {
        for (; exponent < 9; exponent++)
            ns *= 10;
        for (; exponent > 9 && ns > 0; exponent--)
            ns /= 10;
    }
    int64_t offset_s;
    memcpy(&offset_s, &interface->offset_s, sizeof offset_s);
    if (offset_s >= 0)
        return saturated(ns + (unsigned __int128)offset_s * SECOND_NS);
    unsigned __int128 before = (unsigned __int128)(0 - interface->offset_s) * SECOND_NS;
    return ns > before ? saturated(ns - before) : 0;
}

/* What we need of an interface's options, if they are among its first ones. */
static int read_options(struct view *view, const struct block *block, int swapped, struct interface *interface)
{
    const uint8_t *bytes;
    size_t at = 0, len = block->len - INTERFACE_BYTES;
    if (len > OPTIONS_MAX)
        len = OPTIONS_MAX;
    int error = view_at(view, block->at + 16, len, &bytes);
    if (error != 0 || bytes == NULL)
        return error;
    while (len - at >= 4) {
        uint16_t code = read16(bytes + at, swapped), size = read16(bytes + at + 2, swapped);
        at += 4;
        if (code == 0 || size > len - at)
            break;
        if (code == OPTION_TSRESOL && size == 1)
            interface->resolution = bytes[at];
        if (code == OPTION_TSOFFSET && size == 8) {
            uint64_t value;
            memcpy(&value, bytes + at, sizeof value);
            interface->offset_s = swapped ? __builtin_bswap64(value) : value;
        }
        at += size + (-(size_t)size & 3) > len - at ? len - at : size + (-(size_t)size & 3);
    }
    return 0;
}

static int add_interface(struct view *view, const struct block *block, const uint8_t *bytes, struct section *section,
                         struct pcap_scan *out)
{
    struct interface interface = {.snaplen = read32(bytes + 12, section->swapped), .resolution = 6};
    uint16_t linktype = read16(bytes + 8, section->swapped);
    if (section->count == INTERFACES_MAX)
        return EBADMSG;
    if (section->count == section->room) {
        uint32_t room = section->room * 2 + 4;
        struct interface *interfaces = realloc(section->interfaces, room * sizeof *interfaces);
        if (interfaces == NULL)
            return ENOMEM;
        section->interfaces = interfaces;
        section->room = room;
    }
    int error = read_options(view, block, section->swapped, &interface);
    if (error != 0)
        return error;
    section->interfaces[section->count++] = interface;
    if (out->interfaces++ == 0) {
        out->linktype = linktype;
        out->snaplen = interface.snaplen;
    }
    return 0;
}

/* Returns whether the packet can be. */
static int add_packet(const struct block *block, const uint8_t *bytes, struct section *section, struct pcap_scan *out)
{
    int swapped = section->swapped;
    uint32_t number = block->type == OBSOLETE_PACKET ? read16(bytes + 8, swapped) : read32(bytes + 8, swapped);
    uint32_t caplen = read32(bytes + 20, swapped);
    if (number >= section->count || caplen > block->len - PACKET_BYTES)
        return 0;
    const struct interface *interface = &section->interfaces[number];
    if (caplen > CAPLEN_MAX && caplen > interface->snaplen)
        return 0;
    uint64_t ticks = (uint64_t)read32(bytes + 12, swapped) << 32 | read32(bytes + 16, swapped);
    note_time(out, nanoseconds(interface, ticks), &section->has_time);
    out->packets++;
    return 1;
}

static uint32_t least_bytes(uint32_t type)
{
    switch (type) {
    case SECTION_HEADER:
        return SECTION_BYTES;
    case INTERFACE_DESCRIPTION:
        return INTERFACE_BYTES;
    case OBSOLETE_PACKET:
    case ENHANCED_PACKET:
        return PACKET_BYTES;
    case SIMPLE_PACKET:
        return SIMPLE_BYTES;
    default:
        return BLOCK_BYTES;
    }
}

/* Find the block at the end of the good part; its length is 0 if there is no whole one. A section header brings its own
 * byte order. */
static int find_block(struct view *view, uint64_t at, struct section *section, struct block *block)
{
    const uint8_t *bytes;
    *block = (struct block){.at = at};
    int error = view_at(view, at, BLOCK_BYTES, &bytes);
    if (error != 0 || bytes == NULL)
        return error;
    uint32_t type = read32(bytes, section->swapped), magic = read32(bytes + 8, 0);
    if (type == SECTION_HEADER) {
        if (magic != BYTE_ORDER_MAGIC && magic != __builtin_bswap32(BYTE_ORDER_MAGIC))
            return 0;
        section->swapped = magic != BYTE_ORDER_MAGIC;
    }
    uint32_t len = read32(bytes + 4, section->swapped);
    if (len < least_bytes(type) || len % 4 != 0 || view->size - at < len)
        return 0;
    error = view_at(view, at + len - 4, 4, &bytes);
    if (error != 0 || bytes == NULL || read32(bytes, section->swapped) != len)
        return error;
    block->type = type;
    block->len = len;
    return 0;
}

/* Take the block into account; *is_good says whether it can be. */
static int use_block(struct view *view, const struct block *block, struct section *section, struct pcap_scan *out,
                     int *is_good)
{
    const uint8_t *bytes;
    uint32_t least = least_bytes(block->type);
    *is_good = 0;
    int error = view_at(view, block->at, least, &bytes);
    if (error != 0 || bytes == NULL)
        return error;
    *is_good = 1;
    if (block->type == SECTION_HEADER) {
        section->count = 0;
        *is_good = read16(bytes + 12, section->swapped) == 1;
    } else if (block->type == INTERFACE_DESCRIPTION) {
        error = add_interface(view, block, bytes, section, out);
    } else if (block->type == ENHANCED_PACKET || block->type == OBSOLETE_PACKET) {
        *is_good = add_packet(block, bytes, section, out);
    } else if (block->type == SIMPLE_PACKET) {
        *is_good = section->count > 0;
        if (*is_good)
            out->packets++;
    }
    return error;
}

static int scan_pcapng(struct view *view, const uint8_t *header, struct pcap_scan *out)
{
    struct section section = {0};
    struct block block;
    int error, is_good = 1;
    uint32_t magic = read32(header + 8, 0);
    if (magic != BYTE_ORDER_MAGIC && magic != __builtin_bswap32(BYTE_ORDER_MAGIC))
        return EBADMSG;
    out->format = 1;
    for (;;) {
        error = find_block(view, out->good_bytes, &section, &block);
        if (error != 0 || block.len == 0)
            break;
        error = use_block(view, &block, &section, out, &is_good);
        if (error == 0 && !is_good && out->good_bytes == 0)
            error = EBADMSG;
        if (error != 0 || !is_good)
            break;
        out->good_bytes += block.len;
    }
    free(section.interfaces);
    return error;
}

static int scan_view(struct view *view, struct pcap_scan *out)
{
    const uint8_t *header;
    memset(out, 0, sizeof *out);
    int error = view_at(view, 0, FILE_HEADER_BYTES, &header);
    if (error != 0 || header == NULL)
        return error;
    return read32(header, 0) == SECTION_HEADER ? scan_pcapng(view, header, out) : scan_pcap(view, header, out);
}

int pcap_scan_fd(int fd, struct pcap_scan *out)
{
    struct stat status;
    memset(out, 0, sizeof *out);
    if (fstat(fd, &status) < 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return ESPIPE;
    uint8_t *buffer = malloc(WINDOW_BYTES);
    if (buffer == NULL)
        return ENOMEM;
    struct view view = {.fd = fd, .size = (uint64_t)status.st_size, .bytes = buffer, .buffer = buffer};
    int error = scan_view(&view, out);
    free(buffer);
    return error;
}

int pcap_scan_bytes(const uint8_t *data, size_t len, struct pcap_scan *out)
{
    struct view view = {.fd = -1, .size = len, .len = len, .bytes = data};
    return scan_view(&view, out);
}
