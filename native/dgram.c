#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "pcap_file.h"
#include "synth.h"
#include "packet_batch.h"
#include "packet_slots.h"
#include "receiver.h"
#include "receiver_kind.h"
#include "dgram.h"

#define SLOT_BYTES_MAX 65535
#define HEADERS_MAX 48 /* IPv6 and UDP */

_Static_assert(CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t)) +
                       CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) <=
                   CONTROL_BYTES,
               "what the kernel may attach to one datagram: time, drop counter, and where it went to");

/* The kernel's counter has 32 bits and wraps. A datagram carries its value from when it was queued, which may be
 * older than one seen since, so a step backwards is not a wrap. */
static void note_drops(struct receiver *receiver, uint32_t drops)
{
    uint32_t step = drops - receiver->seen_drops;
    if (step > INT32_MAX)
        return;
    receiver->counts.kernel_drops += step;
    receiver->seen_drops = drops;
}

/* Datagrams lost behind the last one that was queued are told by no datagram. */
static void ask_drops(struct receiver *receiver)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof memory;
    if (getsockopt(receiver->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0 &&
        len > SK_MEMINFO_DROPS * sizeof memory[0])
        note_drops(receiver, memory[SK_MEMINFO_DROPS]);
}

static void set_ipv4(struct endpoint *end, const struct in_addr *address)
{
    end->version = 4;
    memcpy(end->address, address, sizeof *address);
}

/* A socket for both versions shows IPv4 addresses in IPv6 clothes. */
static void set_ipv6(struct endpoint *end, const struct in6_addr *address)
{
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        end->version = 4;
        memcpy(end->address, address->s6_addr + 12, 4);
    } else {
        end->version = 6;
        memcpy(end->address, address->s6_addr, sizeof address->s6_addr);
    }
}

static void read_sender(struct endpoint *end, const void *name, size_t len)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    sa_family_t family = AF_UNSPEC;
    if (len >= sizeof family)
        memcpy(&family, name, sizeof family);
    if (family == AF_INET && len >= sizeof ipv4) {
        memcpy(&ipv4, name, sizeof ipv4);
        set_ipv4(end, &ipv4.sin_addr);
        end->port = ntohs(ipv4.sin_port);
    } else if (family == AF_INET6 && len >= sizeof ipv6) {
        memcpy(&ipv6, name, sizeof ipv6);
        set_ipv6(end, &ipv6.sin6_addr);
        end->port = ntohs(ipv6.sin6_port);
    }
}

static void read_control(struct receiver *receiver, struct packet *packet, const struct cmsghdr *control)
{
    const void *data = CMSG_DATA(control);
    if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
        packet->ts_ns = control_time_ns(control);
    } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL &&
               control->cmsg_len >= CMSG_LEN(sizeof(uint32_t))) {
        uint32_t drops;
        memcpy(&drops, data, sizeof drops);
        note_drops(receiver, drops);
    } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO &&
               control->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo))) {
        struct in_pktinfo info;
        memcpy(&info, data, sizeof info);
        set_ipv4(&packet->to, &info.ipi_addr);
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO &&
               control->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
        struct in6_pktinfo info;
        memcpy(&info, data, sizeof info);
        set_ipv6(&packet->to, &info.ipi6_addr);
    }
}

static void decode(struct receiver *receiver, struct packet_batch *batch, size_t i)
{
    struct mmsghdr *message = &batch->messages[i];
    struct packet *packet = &batch->packets[i];
    uint32_t wire_len = message->msg_len; /* the true length, because of MSG_TRUNC */
    *packet = (struct packet){
        .offset = i * batch->stride + HEADROOM,
        .caplen = wire_len < batch->slot_bytes ? wire_len : (uint32_t)batch->slot_bytes,
        .wire_len = wire_len,
        .to.port = receiver->port,
    };
    if (batch->has_names)
        read_sender(&packet->from, message->msg_hdr.msg_name, message->msg_hdr.msg_namelen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message->msg_hdr); c != NULL; c = CMSG_NXTHDR(&message->msg_hdr, c))
        read_control(receiver, packet, c);
}

static const struct receiver_kind datagrams = {.headers_max = HEADERS_MAX, .decode = decode, .ask_drops = ask_drops};

int dgram_set_addresses(struct receiver *receiver, int wanted)
{
    struct sockaddr_storage name = {0};
    struct endpoint own = {0};
    socklen_t len = sizeof name;
    int fd = receiver->fd, on = wanted != 0;
    if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
        return errno;
    read_sender(&own, &name, len);
    /* IPv4 through an IPv6 socket comes with the IPv6 one, as a mapped address; other families have no such thing. */
    if (name.ss_family == AF_INET && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0)
        return errno;
    if (name.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) < 0)
        return errno;
    receiver->port = own.port;
    receiver->has_addresses = on;
    return 0;
}

int dgram_open(int fd, size_t slots, size_t slot_bytes, struct receiver **out)
{
    int on = 1, type = 0;
    socklen_t len = sizeof type;
    *out = NULL;
    if (slots > SLOTS_MAX || slot_bytes > SLOT_BYTES_MAX)
        return EINVAL;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return errno;
    /* MSG_TRUNC means something else on a stream: bytes thrown away, the slots left as they were. */
    if (type == SOCK_STREAM)
        return EPROTOTYPE;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on) < 0)
        return errno;
    return receiver_open(&datagrams, fd, 0, slots, slot_bytes, out);
}
