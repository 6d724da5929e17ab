/* What a recorder pays at least: packets lie in memory as in the kernel's ring, and go to a file as PCAP records.
 *
 * recorder_floor FILE SIZE WAY, with SIZE bytes or 0 for IMIX (7:4:1). WAY is `write`: as many bytes from one warm buffer;
 * `copy`: through that buffer; `gather`: packets of 500 bytes and more go from the ring itself, with a record header in
 * the place of what the kernel told of them (pwritev(2)); `gather-all`: all of them do. One line: CPU seconds for a
 * million packets.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (64U << 20)
#define HEADROOM 82 /* struct tpacket3_hdr, struct sockaddr_ll and alignment before the frame */
#define FRAME_MAX 1514
#define BUFFER_BYTES (256U << 10)
#define AHEAD 1024
#define LINE 64
#define PASSES 15

struct pcap_record {
    uint32_t seconds, fraction, caplen, wire_len;
};

static const uint16_t imix[12] = {64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64};

static uint8_t *ring, buffer[BUFFER_BYTES + 2 * FRAME_MAX];
static uint32_t *offsets, packets;
static struct iovec parts[IOV_MAX];
static int fd, n_parts;
static uint64_t written;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint32_t step(uint32_t len)
{
    return (HEADROOM + len + 15) & ~15U;
}

static void fill(uint16_t size)
{
    ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    offsets = malloc(RING_BYTES / HEADROOM * sizeof *offsets);
    if (ring == MAP_FAILED || offsets == NULL)
        exit(1);
    for (uint32_t at = 0; at + step(FRAME_MAX) + AHEAD <= RING_BYTES; packets++) {
        uint32_t len = size != 0 ? size : imix[packets % 12];
        memcpy(ring + at, &len, sizeof len);
        offsets[packets] = at;
        at += step(len);
    }
}

static void flush(void)
{
    ssize_t n = pwritev(fd, parts, n_parts, (off_t)written);
    if (n < 0) {
        perror("pwritev");
        exit(1);
    }
    written += (uint64_t)n;
    n_parts = 0;
}

/* One pass over the ring; packets of least bytes or more are not copied. */
static void record(uint32_t least)
{
    uint8_t *begin = buffer, *at = buffer;
    size_t waiting = 0;
    for (uint32_t i = 0; i < packets; i++) {
        uint8_t *header = ring + offsets[i];
        uint32_t len;
        memcpy(&len, header, sizeof len);
        for (uint32_t ahead = 0; ahead < step(len); ahead += LINE)
            __builtin_prefetch(header + AHEAD + ahead);
        struct pcap_record told = {i, i, len, len};
        uint8_t *to = len < least ? at : header + HEADROOM - sizeof told;
        memcpy(to, &told, sizeof told);
        waiting += sizeof told + len;
        if (len < least) {
            for (uint32_t done = 0; done < len; done += LINE)
                memcpy(at + sizeof told + done, header + HEADROOM + done, LINE);
            at += sizeof told + len;
        } else {
            if (at > begin)
                parts[n_parts++] = (struct iovec){begin, (size_t)(at - begin)};
            begin = at;
            parts[n_parts++] = (struct iovec){to, sizeof told + len};
        }
        if (waiting >= BUFFER_BYTES || n_parts > IOV_MAX - 3 || i + 1 == packets) {
            if (at > begin)
                parts[n_parts++] = (struct iovec){begin, (size_t)(at - begin)};
            flush();
            begin = at = buffer;
            waiting = 0;
        }
    }
}

static void write_only(void)
{
    uint64_t bytes = 0, end = written;
    uint32_t len;
    for (uint32_t i = 0; i < packets; i++) {
        memcpy(&len, ring + offsets[i], sizeof len);
        bytes += sizeof(struct pcap_record) + len;
    }
    for (end += bytes; written < end;) {
        parts[n_parts++] = (struct iovec){buffer, end - written < BUFFER_BYTES ? end - written : BUFFER_BYTES};
        flush();
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int is_write = strcmp(argv[3], "write") == 0;
    uint32_t least = strcmp(argv[3], "gather") == 0 ? 500 : strcmp(argv[3], "gather-all") == 0 ? 0 : UINT32_MAX;
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return 1;
    fill((uint16_t)atoi(argv[2]));
    double began = now();
    for (int pass = 0; pass < PASSES; pass++)
        is_write ? write_only() : record(least);
    printf("%.4f\n", (now() - began) / ((double)PASSES * packets) * 1e6);
    unlink(argv[1]);
    return 0;
}
