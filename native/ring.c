#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define BLOCKS_MIN 2
#define BLOCKS_MAX 4096
#define RETIRE_MAX_MS 10000
#define FRAME_BYTES 2048 /* has no meaning in version 3, but must divide a block */

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

/* Types of interfaces whose frames a PCAP reader knows, as SOCK_RAW gives them: if_arp.h, tcpdump.org/linktypes.html. */
static const struct {
    unsigned short hardware;
    uint32_t linktype;
} linktypes[] = {
    {ARPHRD_ETHER, 1},
    {ARPHRD_LOOPBACK, 1},
    {ARPHRD_NONE, 101},
    {0x207 /* ARPHRD_RAWIP */, 101},
    {ARPHRD_TUNNEL, 101},
    {ARPHRD_TUNNEL6, 101},
    {ARPHRD_SIT, 101},
    {ARPHRD_IEEE80211, 105},
    {ARPHRD_IEEE80211_RADIOTAP, 127},
};

static int find_linktype(unsigned short hardware, uint32_t *linktype)
{
    for (size_t i = 0; i < sizeof linktypes / sizeof linktypes[0]; i++)
        if (linktypes[i].hardware == hardware) {
            *linktype = linktypes[i].linktype;
            return 0;
        }
    return EPFNOSUPPORT;
}

static int attach(int fd, const void *program, size_t program_bytes)
{
    struct sock_filter code[BPF_MAXINSNS];
    if (program_bytes % sizeof code[0] != 0 || program_bytes > sizeof code || program_bytes == 0)
        return EINVAL;
    memcpy(code, program, program_bytes);
    struct sock_fprog fprog = {.len = (unsigned short)(program_bytes / sizeof code[0]), .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &fprog, sizeof fprog) == 0 ? 0 : errno;
}

/* Also without a filter there is a program: it cuts what is longer than the snap length. */
static int attach_filter(const struct ring *ring, const uint8_t *program, size_t program_bytes)
{
    const struct sock_filter everything[] = {BPF_STMT(BPF_RET | BPF_K, ring->snaplen)};
    if (program_bytes == 0)
        return attach(ring->fd, everything, sizeof everything);
    return attach(ring->fd, program, program_bytes);
}

static int keep_program(struct ring *ring, const uint8_t *program, size_t program_bytes)
{
    uint8_t *copy = malloc(program_bytes + 1);
    if (copy == NULL)
        return ENOMEM;
    if (program_bytes > 0)
        memcpy(copy, program, program_bytes);
    free(ring->program);
    ring->program = copy;
    ring->program_bytes = program_bytes;
    return 0;
}

/* The interface may have no clock, or another program's settings; then the kernel's time does. */
static void ask_hardware_time(struct ring *ring, const char *interface)
{
    struct hwtstamp_config config = {.tx_type = HWTSTAMP_TX_OFF, .rx_filter = HWTSTAMP_FILTER_ALL};
    struct ifreq request = {.ifr_data = (void *)&config};
    int wanted = SOF_TIMESTAMPING_RAW_HARDWARE;
    memcpy(request.ifr_name, interface, strnlen(interface, sizeof request.ifr_name - 1));
    ring->has_hardware_time = ioctl(ring->fd, SIOCSHWTSTAMP, &request) == 0 &&
                              setsockopt(ring->fd, SOL_PACKET, PACKET_TIMESTAMP, &wanted, sizeof wanted) == 0;
}

static int make_ring(struct ring *ring, const struct ring_options *options)
{
    int version = TPACKET_V3;
    struct tpacket_req3 request = {
        .tp_block_size = RING_BLOCK,
        .tp_block_nr = options->blocks,
        .tp_frame_size = FRAME_BYTES,
        .tp_frame_nr = RING_BLOCK / FRAME_BYTES * options->blocks,
        .tp_retire_blk_tov = options->retire_ms,
    };
    if (setsockopt(ring->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0 ||
        setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) < 0)
        return errno;
    void *map = mmap(NULL, (size_t)RING_BLOCK * options->blocks, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
    if (map == MAP_FAILED)
        return errno;
    ring->map = map;
    ring->blocks = options->blocks;
    return 0;
}

static int join(struct ring *ring, int32_t fanout, int is_loopback)
{
    uint32_t flags = PACKET_FANOUT_HASH;
    uint32_t id = fanout == RING_NEW_GROUP ? 0 : (uint32_t)fanout;
    socklen_t len = sizeof id;
    if (fanout == RING_NEW_GROUP)
        flags |= PACKET_FANOUT_FLAG_UNIQUEID;
    if (is_loopback)
        flags |= PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    uint32_t argument = id | flags << 16;
    if (setsockopt(ring->fd, SOL_PACKET, PACKET_FANOUT, &argument, sizeof argument) < 0 ||
        getsockopt(ring->fd, SOL_PACKET, PACKET_FANOUT, &id, &len) < 0)
        return errno;
    ring->fanout = (int32_t)(id & UINT16_MAX);
    return 0;
}

static int bind_interface(struct ring *ring, unsigned index, const struct ring_options *options)
{
    struct packet_mreq membership = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_ifindex = (int)index};
    socklen_t len = sizeof name;
    int on = 1;
    /* For no protocol yet, and only to look. */
    if (bind(ring->fd, (struct sockaddr *)&name, sizeof name) < 0 ||
        getsockname(ring->fd, (struct sockaddr *)&name, &len) < 0)
        return errno;
    int error = find_linktype(name.sll_hatype, &ring->linktype);
    if (error != 0)
        return error;
    int is_loopback = name.sll_hatype == ARPHRD_LOOPBACK;
    if (is_loopback && setsockopt(ring->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0)
        return errno;
    if (options->promiscuous &&
        setsockopt(ring->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0)
        return errno;
    name.sll_protocol = htons(ETH_P_ALL);
    if (bind(ring->fd, (struct sockaddr *)&name, sizeof name) < 0)
        return errno;
    return options->fanout == RING_ALONE ? 0 : join(ring, options->fanout, is_loopback);
}

static int set_up(struct ring *ring, const char *interface, const struct ring_options *options)
{
    unsigned index = if_nametoindex(interface);
    if (index == 0)
        return errno == ENXIO ? ENODEV : errno;
    int error = make_ring(ring, options);
    if (error == 0) /* tried out before it is needed */
        error = attach_filter(ring, options->program, options->program_bytes);
    if (error == 0)
        error = keep_program(ring, options->program, options->program_bytes);
    if (error == 0)
        error = ring_deafen(ring);
    if (error == 0 && options->hardware_time)
        ask_hardware_time(ring, interface);
    return error != 0 ? error : bind_interface(ring, index, options);
}

static int is_valid(const struct ring_options *options)
{
    return options->blocks >= BLOCKS_MIN && options->blocks <= BLOCKS_MAX && options->retire_ms >= 1 &&
           options->retire_ms <= RETIRE_MAX_MS && options->snaplen >= 1 && options->snaplen <= CAPLEN_MAX &&
           options->fanout >= RING_ALONE && options->fanout <= UINT16_MAX;
}

int ring_open(const char *interface, const struct ring_options *options, struct ring **out)
{
    *out = NULL;
    if (!is_valid(options))
        return EINVAL;
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return ENOMEM;
    ring->snaplen = options->snaplen;
    ring->fanout = RING_ALONE;
    ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = ring->wake_fd < 0 || ring->fd < 0 ? errno : set_up(ring, interface, options);
    if (error != 0) {
        ring_close(ring);
        return error;
    }
    *out = ring;
    return 0;
}

void ring_close(struct ring *ring)
{
    if (ring->map != NULL)
        munmap(ring->map, (size_t)RING_BLOCK * ring->blocks);
    if (ring->fd >= 0)
        close(ring->fd);
    if (ring->wake_fd >= 0)
        close(ring->wake_fd);
    free(ring->program);
    free(ring);
}

int ring_listen(struct ring *ring)
{
    return attach_filter(ring, ring->program, ring->program_bytes);
}

int ring_set_filter(struct ring *ring, const uint8_t *program, size_t program_bytes)
{
    int error = attach_filter(ring, program, program_bytes);
    return error != 0 ? error : keep_program(ring, program, program_bytes);
}

int ring_deafen(struct ring *ring)
{
    static const struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    return attach(ring->fd, nothing, sizeof nothing);
}

int ring_fd(const struct ring *ring)
{
    return ring->fd;
}

uint32_t ring_linktype(const struct ring *ring)
{
    return ring->linktype;
}

int32_t ring_fanout(const struct ring *ring)
{
    return ring->fanout;
}

int ring_has_hardware_time(const struct ring *ring)
{
    return ring->has_hardware_time;
}

int ring_set_tap(struct ring *ring, const struct ring_tap *tap)
{
    if (ring->batch.next < ring->batch.n)
        return EBUSY;
    ring->tap = tap;
    return 0;
}

int ring_error(const struct ring *ring)
{
    return ring->error;
}

void ring_wake(struct ring *ring)
{
    uint64_t one = 1;
    /* Full is woken enough. */
    ssize_t n = write(ring->wake_fd, &one, sizeof one);
    (void)n;
}

void ring_get_counts(struct ring *ring, struct ring_counts *out)
{
    struct tpacket_stats_v3 stats = {0};
    socklen_t len = sizeof stats;
    /* Reading resets the kernel's counters. */
    if (getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0) {
        ring->counts.kernel_drops += stats.tp_drops;
        ring->counts.freezes += stats.tp_freeze_q_cnt;
    }
    *out = ring->counts;
    out->waiting = ring->batch.n - ring->batch.next;
}
