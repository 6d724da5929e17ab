#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pcap_scan.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int same(const struct pcap_scan *a, const struct pcap_scan *b)
{
    return a->good_bytes == b->good_bytes && a->packets == b->packets && a->first_ns == b->first_ns &&
           a->last_ns == b->last_ns && a->linktype == b->linktype && a->snaplen == b->snaplen &&
           a->format == b->format && a->interfaces == b->interfaces;
}

/* Memory and file must agree, and the good part must be wholly good. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pcap_scan scan, other;
    int error = pcap_scan_bytes(data, size, &scan);
    int fd = memfd_create("fuzz", 0);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    REQUIRE(pcap_scan_fd(fd, &other) == error);
    close(fd);
    REQUIRE(same(&scan, &other));
    REQUIRE(scan.good_bytes <= size);
    if (error == 0) {
        REQUIRE(scan.good_bytes > 0 || scan.format == 1 || size < 24);
        REQUIRE(scan.good_bytes == 0 || scan.good_bytes >= 24 + 16 * scan.packets);
        REQUIRE(pcap_scan_bytes(data, (size_t)scan.good_bytes, &other) == 0);
        REQUIRE(scan.good_bytes == 0 || same(&scan, &other));
    }
    return 0;
}
