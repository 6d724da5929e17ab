#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000
#endif

/* What statx(2) puts behind stx_mnt_id since Linux 6.1; older C libraries do not name it. */
struct direct_alignment {
    uint32_t memory;
    uint32_t offset;
};
#define ALIGNMENT_AT 152
_Static_assert(sizeof(struct statx) >= ALIGNMENT_AT + sizeof(struct direct_alignment), "statx(2)");

int output_pwrite(int fd, const uint8_t *data, size_t len, uint64_t offset, size_t *done)
{
    *done = 0;
    while (*done < len) {
        ssize_t n = pwrite(fd, data + *done, len - *done, (off_t)(offset + *done));
        if (n > 0)
            *done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return n == 0 ? EIO : errno;
    }
    return 0;
}

/* Add the record at data to the segment if it is whole; how long it is, else 0. */
static size_t add_record(const uint8_t *data, size_t len, struct ring_segment *segment)
{
    struct pcap_record record;
    if (len < sizeof record)
        return 0;
    memcpy(&record, data, sizeof record);
    if (record.caplen > len - sizeof record)
        return 0;
    uint64_t ts_ns = record.seconds * SECOND_NS + record.fraction;
    segment->first_ns = segment->packets == 0 || ts_ns < segment->first_ns ? ts_ns : segment->first_ns;
    segment->last_ns = ts_ns > segment->last_ns ? ts_ns : segment->last_ns;
    segment->packets++;
    segment->wire_bytes += record.wire_len;
    segment->truncated += record.caplen < record.wire_len;
    segment->bytes += sizeof record + record.caplen;
    return sizeof record + record.caplen;
}

void output_walk(int fd, uint64_t good, const struct ring_segment marks[2], struct ring_segment *out)
{
    *out = good >= marks[0].bytes ? marks[0] : marks[1];
    if (out->bytes == 0 && good >= PCAP_FILE_HEADER)
        out->bytes = PCAP_FILE_HEADER;
    if (good <= out->bytes)
        return;
    /* Where there is no memory, or the disk does not give it back, a mark is still a boundary. */
    size_t len = good - out->bytes;
    uint8_t *data = malloc(len);
    if (data != NULL && pread(fd, data, len, (off_t)out->bytes) == (ssize_t)len)
        for (size_t at = 0, n = 1; n > 0; at += n)
            n = add_record(data + at, len - at, out);
    free(data);
}

int output_has_disk(int fd)
{
    struct statfs found;
    return fstatfs(fd, &found) == 0 && found.f_type != TMPFS_MAGIC && found.f_type != RAMFS_MAGIC;
}

int output_wants_direct(int fd)
{
    struct direct_alignment alignment;
    struct statfs file_system;
    struct statx found;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) == 0 && found.stx_mask & STATX_DIOALIGN) {
        memcpy(&alignment, (const uint8_t *)&found + ALIGNMENT_AT, sizeof alignment);
        return alignment.memory > 0 && alignment.offset > 0 && alignment.memory <= DIRECT_ALIGN &&
               alignment.offset <= DIRECT_ALIGN;
    }
    /* Kernels before 6.1 do not say. Elsewhere a direct write may be a disguised cached one, or worse than that. */
    return fstatfs(fd, &file_system) == 0 &&
           (file_system.f_type == EXT4_SUPER_MAGIC || file_system.f_type == XFS_SUPER_MAGIC);
}
