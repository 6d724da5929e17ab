#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcap_reader.h"

#define MAGIC_MICRO UINT32_C(0xa1b2c3d4)
#define MAGIC_NANO UINT32_C(0xa1b23c4d)
#define SECOND_NS UINT64_C(1000000000)
#define LINKTYPE_MASK 0x03ffffff /* the bits above tell about frame check sequences, pcap-savefile(5) */

static uint32_t number_at(const struct pcap_reader *reader, const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return reader->is_swapped ? __builtin_bswap32(value) : value;
}

/* Move the window to offset and fill it as far as the span and the file go. */
static int fill(struct pcap_reader *reader, uint64_t offset)
{
    uint64_t left = reader->end - offset;
    reader->start = offset;
    reader->len = 0;
    reader->asked = left < reader->window ? (size_t)left : reader->window;
    while (reader->len < reader->asked) {
        ssize_t n = pread(reader->fd, reader->buffer + reader->len, reader->asked - reader->len,
                          (off_t)(offset + reader->len));
        if (n == 0)
            break;
        if (n > 0)
            reader->len += (size_t)n;
        else if (errno != EINTR)
            return errno;
    }
    reader->bytes_read += reader->len;
    return 0;
}

int pcap_reader_open(struct pcap_reader *reader, int fd, size_t window)
{
    struct stat status;
    memset(reader, 0, sizeof *reader);
    reader->fd = fd;
    if (fstat(fd, &status) < 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return ESPIPE;
    reader->window = window;
    reader->buffer = malloc(window);
    if (reader->buffer == NULL)
        return ENOMEM;
    reader->end = PCAP_HEADER_BYTES;
    int error = fill(reader, 0);
    reader->end = UINT64_MAX;
    if (error != 0)
        return error;
    if (reader->len < PCAP_HEADER_BYTES)
        return EBADMSG;
    uint32_t magic = number_at(reader, reader->buffer);
    reader->is_swapped = magic == __builtin_bswap32(MAGIC_MICRO) || magic == __builtin_bswap32(MAGIC_NANO);
    magic = number_at(reader, reader->buffer);
    if (magic != MAGIC_MICRO && magic != MAGIC_NANO)
        return EBADMSG;
    reader->fraction_ns = magic == MAGIC_NANO ? 1 : 1000;
    reader->snaplen = number_at(reader, reader->buffer + 16);
    reader->linktype = number_at(reader, reader->buffer + 20) & LINKTYPE_MASK;
    reader->position = PCAP_HEADER_BYTES;
    return 0;
}

void pcap_reader_close(struct pcap_reader *reader)
{
    free(reader->buffer);
    reader->buffer = NULL;
}

void pcap_reader_seek(struct pcap_reader *reader, uint64_t start, uint64_t end)
{
    reader->position = start;
    reader->end = end;
}

int pcap_reader_next_in_window(struct pcap_reader *reader, struct pcap_record *record)
{
    if (reader->position >= reader->end)
        return ENODATA;
    if (reader->position < reader->start || reader->position - reader->start > reader->len)
        return EAGAIN;
    size_t at = (size_t)(reader->position - reader->start), left = reader->len - at;
    if (left < PCAP_RECORD_BYTES)
        return EAGAIN;
    const uint8_t *p = reader->buffer + at;
    record->caplen = number_at(reader, p + 8);
    if (record->caplen > PCAP_RECORD_MAX - PCAP_RECORD_BYTES)
        return EBADMSG;
    if (left - PCAP_RECORD_BYTES < record->caplen)
        return EAGAIN;
    record->offset = reader->position;
    record->ts_ns = number_at(reader, p) * SECOND_NS + (uint64_t)number_at(reader, p + 4) * reader->fraction_ns;
    record->wire_len = number_at(reader, p + 12);
    record->data = p + PCAP_RECORD_BYTES;
    reader->position += PCAP_RECORD_BYTES + record->caplen;
    return 0;
}

int pcap_reader_next(struct pcap_reader *reader, struct pcap_record *record)
{
    int error = pcap_reader_next_in_window(reader, record);
    if (error != EAGAIN)
        return error;
    error = fill(reader, reader->position);
    if (error != 0)
        return error;
    error = pcap_reader_next_in_window(reader, record);
    return error == EAGAIN ? ENODATA : error;
}
