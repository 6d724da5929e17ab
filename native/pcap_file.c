#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcap_file.h"

#define MAGIC_MICRO UINT32_C(0xa1b2c3d4)
#define MAGIC_NANO UINT32_C(0xa1b23c4d)
#define SECOND_NS UINT64_C(1000000000)
#define CAPLEN_MAX 262144        /* MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records */
#define LINKTYPE_MASK 0x03ffffff /* the bits above tell about frame check sequences, pcap-savefile(5) */
#define WINDOW_BYTES 65536

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

struct pcap_block {
    size_t capacity;
    size_t used;
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
    block->capacity = capacity;
    block->used = 0;
    *out = block;
    return 0;
}

void pcap_block_close(struct pcap_block *block)
{
    free(block);
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
    append(block, &header, sizeof header);
    return 0;
}

int pcap_block_record(struct pcap_block *block, uint64_t ts_ns, const uint8_t *data, uint32_t caplen, uint32_t wire_len)
{
    if (ts_ns / SECOND_NS > UINT32_MAX || wire_len < caplen || caplen > CAPLEN_MAX)
        return EINVAL;
    struct record_header header = {
        .seconds = (uint32_t)(ts_ns / SECOND_NS),
        .fraction = (uint32_t)(ts_ns % SECOND_NS),
        .caplen = caplen,
        .wire_len = wire_len,
    };
    if (pcap_block_free(block) < sizeof header + caplen)
        return ENOBUFS;
    append(block, &header, sizeof header);
    append(block, data, caplen);
    return 0;
}

size_t pcap_block_used(const struct pcap_block *block)
{
    return block->used;
}

size_t pcap_block_free(const struct pcap_block *block)
{
    return block->capacity - block->used;
}

int pcap_block_flush(struct pcap_block *block, int fd, size_t *written)
{
    size_t done = 0;
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
    memmove(block->bytes, block->bytes + done, block->used - done);
    block->used -= done;
    *written = done;
    return error;
}

/* A file seen through a window, or memory that is all window. */
struct view {
    int fd;
    uint64_t size;
    uint64_t start; /* where the window begins */
    size_t len;     /* what it holds */
    const uint8_t *bytes;
    uint8_t *buffer; /* NULL if there is no file behind it */
};

/* Points *out at len bytes from offset on, or at NULL if the file ends before; len <= WINDOW_BYTES. */
static int view_at(struct view *view, uint64_t offset, size_t len, const uint8_t **out)
{
    *out = NULL;
    if (offset > view->size || view->size - offset < len)
        return 0;
    if (view->buffer != NULL && (offset < view->start || offset + len > view->start + view->len)) {
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

static uint32_t host_order(uint32_t value, int swapped)
{
    return swapped ? __builtin_bswap32(value) : value;
}

struct dialect {
    int swapped;
    uint64_t fraction_ns;
    uint32_t caplen_max;
};

static int read_file_header(const uint8_t *bytes, struct dialect *dialect, struct pcap_scan *out)
{
    struct file_header header;
    memcpy(&header, bytes, sizeof header);
    dialect->swapped = header.magic == __builtin_bswap32(MAGIC_MICRO) || header.magic == __builtin_bswap32(MAGIC_NANO);
    uint32_t magic = host_order(header.magic, dialect->swapped);
    if (magic != MAGIC_MICRO && magic != MAGIC_NANO)
        return EBADMSG;
    dialect->fraction_ns = magic == MAGIC_NANO ? 1 : 1000;
    out->snaplen = host_order(header.snaplen, dialect->swapped);
    out->linktype = host_order(header.linktype, dialect->swapped) & LINKTYPE_MASK;
    dialect->caplen_max = out->snaplen > CAPLEN_MAX ? out->snaplen : CAPLEN_MAX;
    out->good_bytes = sizeof header;
    return 0;
}

static int scan_view(struct view *view, struct pcap_scan *out)
{
    struct dialect dialect;
    const uint8_t *bytes;
    memset(out, 0, sizeof *out);
    int error = view_at(view, 0, sizeof(struct file_header), &bytes);
    if (error != 0 || bytes == NULL)
        return error;
    error = read_file_header(bytes, &dialect, out);
    while (error == 0) {
        struct record_header header;
        error = view_at(view, out->good_bytes, sizeof header, &bytes);
        if (error != 0 || bytes == NULL)
            break;
        memcpy(&header, bytes, sizeof header);
        uint32_t caplen = host_order(header.caplen, dialect.swapped);
        if (caplen > dialect.caplen_max || view->size - out->good_bytes - sizeof header < caplen)
            break;
        out->last_ns = host_order(header.seconds, dialect.swapped) * SECOND_NS +
                       host_order(header.fraction, dialect.swapped) * dialect.fraction_ns;
        if (out->packets++ == 0)
            out->first_ns = out->last_ns;
        out->good_bytes += sizeof header + caplen;
    }
    return error;
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
