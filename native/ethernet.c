#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pcap_file.h"
#include "synth.h"
#include "packet_batch.h"
#include "packet_slots.h"
#include "receiver.h"
#include "receiver_kind.h"
#include "ethernet.h"

#define TAG_BYTES 4
#define ADDRESSES_BYTES 12
#define SNAPLEN_MAX 262144
#define DRAIN_MAX (UINT64_C(1) << 24) /* nothing more can come; but the end is not left to the kernel */

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

_Static_assert(TAG_BYTES == HEADROOM, "a tag goes before the slot");
_Static_assert(CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(struct tpacket_auxdata)) <= CONTROL_BYTES,
               "what the kernel attaches to a frame");

int ether_restore_tag(uint8_t *frame, size_t len, uint16_t tpid, uint16_t tci)
{
    if (len < ADDRESSES_BYTES)
        return 0;
    memmove(frame, frame + TAG_BYTES, ADDRESSES_BYTES);
    uint16_t words[2] = {htons(tpid), htons(tci)};
    memcpy(frame + ADDRESSES_BYTES, words, sizeof words);
    return 1;
}

static void restore_tag(struct packet_batch *batch, struct packet *packet, const struct tpacket_auxdata *aux)
{
    uint16_t tpid = aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : ETH_P_8021Q;
    uint8_t *frame = batch->data + packet->offset - TAG_BYTES;
    if (!ether_restore_tag(frame, packet->caplen, tpid, aux->tp_vlan_tci))
        return;
    packet->offset -= TAG_BYTES;
    packet->wire_len += TAG_BYTES;
    packet->caplen += TAG_BYTES;
    if (packet->caplen > batch->slot_bytes)
        packet->caplen = (uint32_t)batch->slot_bytes;
}

static void decode(struct receiver *receiver, struct packet_batch *batch, size_t i)
{
    struct mmsghdr *message = &batch->messages[i];
    struct packet *packet = &batch->packets[i];
    (void)receiver;
    *packet = (struct packet){
        .offset = i * batch->stride + HEADROOM,
        .caplen = message->msg_len < batch->slot_bytes ? message->msg_len : (uint32_t)batch->slot_bytes,
        .wire_len = message->msg_len,
    };
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message->msg_hdr); c != NULL; c = CMSG_NXTHDR(&message->msg_hdr, c)) {
        struct tpacket_auxdata aux;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            packet->ts_ns = control_time_ns(c);
        } else if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA &&
                   c->cmsg_len >= CMSG_LEN(sizeof aux)) {
            memcpy(&aux, CMSG_DATA(c), sizeof aux);
            /* A filter may have cut the frame before it was queued. */
            packet->wire_len = aux.tp_len > packet->wire_len ? aux.tp_len : packet->wire_len;
            if (aux.tp_status & TP_STATUS_VLAN_VALID)
                restore_tag(batch, packet, &aux);
        }
    }
}

/* Reading resets the kernel's counter. */
static void ask_drops(struct receiver *receiver)
{
    struct tpacket_stats stats = {0};
    socklen_t len = sizeof stats;
    if (getsockopt(receiver->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        receiver->counts.kernel_drops += stats.tp_drops;
}

/* A socket whose interface was unregistered loses its index; one whose interface is down keeps it. */
static int explain(struct receiver *receiver, int error)
{
    struct sockaddr_ll name = {0};
    socklen_t len = sizeof name;
    if (error == ENETDOWN && getsockname(receiver->fd, (struct sockaddr *)&name, &len) == 0 && name.sll_ifindex <= 0)
        return ENODEV;
    return error;
}

static const struct receiver_kind frames = {.decode = decode, .ask_drops = ask_drops, .explain = explain};

static int attach(int fd, const uint8_t *program, size_t program_bytes)
{
    struct sock_filter code[BPF_MAXINSNS];
    int unused = 0;
    if (program_bytes == 0)
        return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0 || errno == ENOENT ? 0 : errno;
    if (program_bytes % sizeof code[0] != 0 || program_bytes > sizeof code)
        return EINVAL;
    memcpy(code, program, program_bytes);
    struct sock_fprog fprog = {.len = (unsigned short)(program_bytes / sizeof code[0]), .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &fprog, sizeof fprog) == 0 ? 0 : errno;
}

static int want_buffer(int fd, uint32_t bytes)
{
    int size = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
    /* Beyond rmem_max with CAP_NET_ADMIN. */
    if (size == 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0)
        return 0;
    return errno;
}

/* Bind to what is not yet known to be Ethernet, and look. Nothing came before: the socket was made for no protocol. */
static int bind_interface(int fd, int index, const struct ether_options *options)
{
    struct packet_mreq membership = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_ifindex = index};
    socklen_t len = sizeof name;
    int on = 1;
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || getsockname(fd, (struct sockaddr *)&name, &len) < 0)
        return errno;
    if (name.sll_hatype != ARPHRD_ETHER && name.sll_hatype != ARPHRD_LOOPBACK)
        return EPFNOSUPPORT;
    if (name.sll_hatype == ARPHRD_LOOPBACK &&
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0)
        return errno;
    if (options->promiscuous && setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0)
        return errno;
    name.sll_protocol = htons(options->protocol == 0 ? ETH_P_ALL : (uint16_t)options->protocol);
    return bind(fd, (struct sockaddr *)&name, sizeof name) == 0 ? 0 : errno;
}

static int set_up(int fd, const char *interface, const struct ether_options *options)
{
    int on = 1;
    unsigned index = if_nametoindex(interface);
    if (index == 0)
        return errno == ENXIO ? ENODEV : errno;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) < 0)
        return errno;
    int error = want_buffer(fd, options->receive_buffer);
    if (error == 0 && options->program_bytes > 0)
        error = attach(fd, options->program, options->program_bytes);
    return error != 0 ? error : bind_interface(fd, (int)index, options);
}

int ether_open(const char *interface, const struct ether_options *options, struct receiver **out)
{
    *out = NULL;
    if (options->snaplen < 1 || options->snaplen > SNAPLEN_MAX || options->protocol > UINT16_MAX)
        return EINVAL;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int error = set_up(fd, interface, options);
    if (error == 0)
        error = receiver_open(&frames, fd, 1, options->slots, options->snaplen, out);
    if (error != 0)
        close(fd);
    return error;
}

size_t ether_granted(const struct receiver *receiver)
{
    int size = 0;
    socklen_t len = sizeof size;
    /* The kernel doubles the request for its own bookkeeping and reports the doubled value, socket(7). */
    if (getsockopt(receiver->fd, SOL_SOCKET, SO_RCVBUF, &size, &len) < 0)
        return 0;
    return (size_t)size / 2;
}

/* Returns the socket's error if there is one: it would not be told again. */
static int drain(struct receiver *receiver, uint64_t *count)
{
    uint8_t byte;
    while (*count < DRAIN_MAX)
        if (recv(receiver->fd, &byte, sizeof byte, MSG_DONTWAIT) >= 0)
            ++*count;
        else if (errno != EINTR)
            return errno == EAGAIN ? 0 : explain(receiver, errno);
    return 0;
}

int ether_set_filter(struct receiver *receiver, const uint8_t *program, size_t program_bytes, uint64_t *discarded)
{
    static const struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    *discarded = 0;
    /* Tried out before anything is lost. */
    int error = attach(receiver->fd, program, program_bytes);
    if (error == 0)
        error = attach(receiver->fd, (const uint8_t *)nothing, sizeof nothing);
    if (error != 0)
        return error;
    *discarded = receiver_pending(receiver);
    receiver->next = receiver->batch->count;
    int broken = drain(receiver, discarded);
    error = attach(receiver->fd, program, program_bytes);
    return error != 0 ? error : broken;
}
