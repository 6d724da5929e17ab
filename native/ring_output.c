#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define MAGIC_NANO UINT32_C(0xa1b23c4d)
#define CACHED_BYTES (256U << 10)
#define DIRECT_BYTES (1536U << 10) /* with a record of any length in 2 MiB */
#define BUFFER_MIN (64U << 10)
#define BUFFER_MAX (64U << 20)
#define MEMORY_MIN (1U << 20)
#define MEMORY_MAX (UINT64_C(64) << 30)

static int open_memory(struct ring_output *output)
{
    off_t size = (off_t)output->buffer_bytes;
    struct sysinfo machine;
    /* The kernel would kill processes before it refused. */
    if (sysinfo(&machine) < 0 || output->buffer_bytes / machine.mem_unit >= machine.totalram)
        return ENOMEM;
    output->fd = memfd_create("segment", MFD_CLOEXEC);
    if (output->fd < 0)
        return errno;
    /* A page that is not to be had must fail here and not as a signal under the copy. */
    int error = posix_fallocate(output->fd, 0, size);
    if (error != 0)
        return error == ENOSPC ? ENOMEM : error;
    void *map = mmap(NULL, output->buffer_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, output->fd, 0);
    if (map == MAP_FAILED)
        return errno;
    output->memory = map;
    return 0;
}

int ring_output_open(int kind, size_t buffer_bytes, struct ring_output **out)
{
    int is_memory = kind == RING_MEMORY;
    *out = NULL;
    if (kind < RING_AUTOMATIC || kind > RING_MEMORY || (is_memory && buffer_bytes == 0))
        return EINVAL;
    if (buffer_bytes != 0 && (buffer_bytes < (is_memory ? MEMORY_MIN : BUFFER_MIN) ||
                              buffer_bytes > (is_memory ? MEMORY_MAX : BUFFER_MAX)))
        return EINVAL;
    struct ring_output *output = calloc(1, sizeof *output);
    if (output == NULL)
        return ENOMEM;
    output->wanted_kind = kind;
    output->kind = is_memory ? RING_MEMORY : RING_CACHED;
    output->buffer_bytes = buffer_bytes;
    output->fd = -1;
    int error = is_memory ? open_memory(output) : 0;
    if (error != 0) {
        ring_output_close(output);
        return error;
    }
    *out = output;
    return 0;
}

void ring_output_close(struct ring_output *output)
{
    if (output->direct != NULL)
        direct_close(output->direct);
    if (output->memory != NULL)
        munmap(output->memory, output->buffer_bytes);
    if (output->wanted_kind == RING_MEMORY && output->fd >= 0)
        close(output->fd);
    free(output->cached);
    free(output);
}

static int begin_direct(struct ring_output *output, int fd)
{
    size_t bytes = output->buffer_bytes != 0 ? output->buffer_bytes : DIRECT_BYTES;
    int error = output->direct != NULL ? 0 : direct_open(bytes, &output->visible, &output->direct);
    if (error == 0)
        error = direct_begin(output->direct, fd, &output->start);
    if (error != 0)
        return error;
    output->kind = RING_DIRECT;
    output->limit = output->start + bytes;
    return 0;
}

static int begin_cached(struct ring_output *output)
{
    size_t bytes = output->buffer_bytes != 0 ? output->buffer_bytes : CACHED_BYTES;
    if (output->cached == NULL && (output->cached = malloc(bytes + RECORD_MAX)) == NULL)
        return ENOMEM;
    output->kind = RING_CACHED;
    output->start = output->cached;
    output->limit = output->cached + bytes;
    return 0;
}

static int begin_file(struct ring_output *output, int fd, uint64_t preallocate)
{
    int wants_direct = output->wanted_kind == RING_DIRECT ||
                       (output->wanted_kind == RING_AUTOMATIC && output_wants_direct(fd));
    int error = ENOTSUP;
    if (wants_direct)
        error = begin_direct(output, fd);
    if (error != 0)
        error = begin_cached(output);
    if (error != 0)
        return error;
    /* The size stays what was written, so that a crash leaves no zeros behind the last record. */
    if (preallocate > 0 && preallocate <= INT64_MAX && output_has_disk(fd))
        (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)preallocate);
    output->fd = fd;
    return 0;
}

static void put_header(struct ring_output *output, const struct ring_segment_options *options)
{
    uint32_t header[] = {MAGIC_NANO, 0, 0, 0, options->snaplen, options->linktype};
    uint16_t version[] = {2, 4};
    _Static_assert(sizeof header == PCAP_FILE_HEADER, "pcap-savefile(5)");
    memcpy(header + 1, version, sizeof version);
    memcpy(output->start, header, sizeof header);
    output->at = output->start + sizeof header;
}

int ring_output_begin(struct ring_output *output, int fd, const struct ring_segment_options *options)
{
    int error = 0;
    if (output->is_open)
        return EBUSY;
    if (options->snaplen < 1 || options->snaplen > CAPLEN_MAX)
        return EINVAL;
    atomic_store_explicit(&output->visible, 0, memory_order_release);
    if (output->wanted_kind == RING_MEMORY) {
        output->start = output->memory;
        output->limit = output->memory + output->buffer_bytes;
    } else {
        error = begin_file(output, fd, options->preallocate);
    }
    if (error != 0)
        return error;
    output->base = 0;
    output->error = 0;
    output->max_bytes = options->max_bytes;
    output->until_ns = options->every_ns == 0 ? options->until_ns : UINT64_MAX;
    output->every_ns = options->every_ns;
    memset(&output->segment, 0, sizeof output->segment);
    memset(output->marks, 0, sizeof output->marks);
    put_header(output, options);
    output->is_open = 1;
    return 0;
}

static void mark(struct ring_output *output)
{
    output->marks[1] = output->marks[0];
    ring_output_get(output, &output->marks[0]);
}

/* Cached writes: the whole buffer, which holds whole records. */
static int flush(struct ring_output *output)
{
    size_t done, used = (size_t)(output->at - output->start);
    if (output->error != 0)
        return output->error;
    output->error = output_pwrite(output->fd, output->start, used, output->base, &done);
    if (output->error != 0)
        return output->error;
    mark(output);
    output->base += used;
    output->at = output->start;
    atomic_store_explicit(&output->visible, output->base, memory_order_release);
    return 0;
}

/* The rest of less than a page moves into the next buffer, so that each begins on the boundary of a page. */
static int hand_over(struct ring_output *output)
{
    uint8_t *next, *before = output->start;
    size_t used = (size_t)(output->at - before), whole = used & ~(size_t)(DIRECT_ALIGN - 1), rest = used - whole;
    if (output->error != 0)
        return output->error;
    if (whole == 0)
        return 0;
    int error = direct_submit(output->direct, whole, output->base, output->marks, &next);
    if (error != 0) {
        output->error = error == EAGAIN ? 0 : error;
        return error;
    }
    mark(output);
    size_t capacity = (size_t)(output->limit - before);
    memcpy(next, before + whole, rest);
    output->base += whole;
    output->start = next;
    output->at = next + rest;
    output->limit = next + capacity;
    return 0;
}

int output_advance(struct ring_output *output)
{
    if (output->kind == RING_MEMORY)
        return EFBIG;
    return output->kind == RING_DIRECT ? hand_over(output) : flush(output);
}

int output_rest(struct ring_output *output)
{
    if (output->kind == RING_CACHED && output->at > output->start)
        return flush(output);
    if (output->kind == RING_DIRECT && output->error == 0)
        output->error = direct_error(output->direct);
    if (output->kind == RING_MEMORY)
        atomic_store_explicit(&output->visible, (uint64_t)(output->at - output->start), memory_order_release);
    return output->error;
}

/* Everything to the file; then the segment may go on. On failure *good and marks say where the file is good. */
static int write_rest(struct ring_output *output, uint64_t *good, struct ring_segment marks[2])
{
    size_t done = 0, used = (size_t)(output->at - output->start);
    int error = output->kind == RING_DIRECT ? direct_wait(output->direct, good, marks) : 0;
    if (error != 0)
        return error;
    /* A cached write that failed is tried again: how far it gets is the end of the file. */
    error = output_pwrite(output->fd, output->start, used, output->base, &done);
    *good = output->base + done;
    memcpy(marks, output->marks, sizeof output->marks);
    return error;
}

int ring_output_sync(struct ring_output *output)
{
    struct ring_segment marks[2];
    uint64_t good;
    if (!output->is_open)
        return EALREADY;
    if (output->kind != RING_DIRECT)
        return output_rest(output);
    if (output->error == 0 && (output->error = write_rest(output, &good, marks)) == 0)
        atomic_store_explicit(&output->visible, good, memory_order_release);
    return output->error;
}

static int finish_file(struct ring_output *output, struct ring_segment *out)
{
    struct ring_segment marks[2];
    uint64_t good;
    int error = write_rest(output, &good, marks);
    if (error != 0) {
        output_walk(output->fd, good, marks, out);
        out->lost_packets = output->segment.packets - out->packets;
        out->lost_bytes = output->segment.wire_bytes - out->wire_bytes;
    }
    if (output->kind == RING_DIRECT)
        direct_end(output->direct);
    /* Also gives back what was reserved. */
    if (ftruncate(output->fd, (off_t)out->bytes) < 0 && error == 0)
        error = errno;
    atomic_store_explicit(&output->visible, out->bytes, memory_order_release);
    output->fd = -1;
    return error;
}

int ring_output_finish(struct ring_output *output, struct ring_segment *out)
{
    if (!output->is_open)
        return EALREADY;
    ring_output_get(output, out);
    output->is_open = 0;
    if (output->kind != RING_MEMORY)
        return finish_file(output, out);
    return output_rest(output);
}

void ring_output_get(const struct ring_output *output, struct ring_segment *out)
{
    *out = output->segment;
    out->bytes = output->base + (uint64_t)(output->at - output->start);
}

int ring_output_error(const struct ring_output *output)
{
    return output->error;
}

uint64_t ring_output_visible(const struct ring_output *output)
{
    return atomic_load_explicit(&output->visible, memory_order_acquire);
}

int ring_output_kind(const struct ring_output *output)
{
    return output->kind;
}

int ring_output_fd(const struct ring_output *output)
{
    return output->fd;
}
