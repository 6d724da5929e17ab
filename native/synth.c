#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "synth.h"

#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define UDP_BYTES 8
#define TCP_BYTES 20
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define TTL 64
#define DONT_FRAGMENT 0x40
#define FLAG_SYN 2
#define LENGTH_MAX 65535

_Static_assert(sizeof(struct endpoint) == 20, "the binding packs it");

/* RFC 7323, section 2.2: MSS 65495, no operation, window scale 14. */
static const uint8_t syn_options[] = {2, 4, 0xff, 0xd7, 1, 3, 3, 14};

static void put16(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void put32(uint8_t *out, uint32_t value)
{
    put16(out, value >> 16);
    put16(out + 2, value);
}

/* Adds up 16-bit words in host order, which the Internet checksum allows (RFC 1071, section 2 (B)); a piece of odd
 * length must be the last one. */
static uint64_t add_words(uint64_t sum, const uint8_t *data, size_t len)
{
    uint32_t word;
    for (; len >= sizeof word; data += sizeof word, len -= sizeof word) {
        memcpy(&word, data, sizeof word);
        sum += word;
    }
    word = 0;
    if (len > 0)
        memcpy(&word, data, len);
    return sum + word;
}

static void put_checksum(uint8_t *out, uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    uint16_t folded = (uint16_t)~sum;
    memcpy(out, &folded, sizeof folded);
}

static size_t ip_bytes(const struct endpoint *end)
{
    return end->version == 4 ? IPV4_BYTES : IPV6_BYTES;
}

static size_t address_bytes(const struct endpoint *end)
{
    return end->version == 4 ? 4 : 16;
}

/* The longest that upper-layer header and payload may be together. */
static uint32_t upper_max(const struct endpoint *end)
{
    return end->version == 4 ? LENGTH_MAX - IPV4_BYTES : LENGTH_MAX;
}

static int read_ends(const uint8_t *from, const uint8_t *to, struct endpoint *source, struct endpoint *target)
{
    memcpy(source, from, sizeof *source);
    memcpy(target, to, sizeof *target);
    return source->version == target->version && (source->version == 4 || source->version == 6);
}

static void put_ip(uint8_t *out, const struct endpoint *source, const struct endpoint *target, uint8_t protocol,
                   uint32_t upper_len)
{
    size_t len = address_bytes(source);
    memset(out, 0, ip_bytes(source));
    if (source->version == 4) {
        out[0] = 4 << 4 | IPV4_BYTES / 4;
        put16(out + 2, IPV4_BYTES + upper_len);
        out[6] = DONT_FRAGMENT;
        out[8] = TTL;
        out[9] = protocol;
        memcpy(out + 12, source->address, len);
        memcpy(out + 16, target->address, len);
        put_checksum(out + 10, add_words(0, out, IPV4_BYTES));
    } else {
        out[0] = 6 << 4;
        put16(out + 4, upper_len);
        out[6] = protocol;
        out[7] = TTL;
        memcpy(out + 8, source->address, len);
        memcpy(out + 24, target->address, len);
    }
}

/* Over the pseudo-header (RFC 768; RFC 8200, section 8.1), the upper-layer header and the payload. */
static uint64_t sum_upper(const struct endpoint *source, const struct endpoint *target, uint8_t protocol,
                          uint32_t upper_len, const uint8_t *header, size_t header_len, const uint8_t *payload,
                          size_t len)
{
    uint8_t pseudo[8] = {0};
    put32(pseudo, upper_len);
    pseudo[7] = protocol;
    uint64_t sum = add_words(0, pseudo, sizeof pseudo);
    sum = add_words(sum, source->address, address_bytes(source));
    sum = add_words(sum, target->address, address_bytes(target));
    sum = add_words(sum, header, header_len);
    return add_words(sum, payload, len);
}

int synth_udp(const uint8_t *from, const uint8_t *to, const uint8_t *payload, uint32_t caplen, uint32_t payload_wire,
              uint8_t *out, size_t *out_len)
{
    struct endpoint source, target;
    if (!read_ends(from, to, &source, &target) || caplen > payload_wire ||
        payload_wire > upper_max(&source) - UDP_BYTES)
        return EINVAL;
    uint32_t upper_len = UDP_BYTES + payload_wire;
    uint8_t *udp = out + ip_bytes(&source);
    put_ip(out, &source, &target, PROTOCOL_UDP, upper_len);
    put16(udp, source.port);
    put16(udp + 2, target.port);
    put16(udp + 4, upper_len);
    put16(udp + 6, 0);
    if (caplen == payload_wire) {
        put_checksum(udp + 6, sum_upper(&source, &target, PROTOCOL_UDP, upper_len, udp, UDP_BYTES, payload, caplen));
        if (udp[6] == 0 && udp[7] == 0)
            put16(udp + 6, 0xffff); /* zero means that there is none */
    }
    *out_len = ip_bytes(&source) + UDP_BYTES;
    return 0;
}

int synth_tcp(const uint8_t *from, const uint8_t *to, uint32_t sequence, uint32_t acknowledged, uint8_t flags,
              const uint8_t *payload, uint32_t len, uint8_t *out, size_t *out_len)
{
    struct endpoint source, target;
    size_t header_len = TCP_BYTES + (flags & FLAG_SYN ? sizeof syn_options : 0);
    if (!read_ends(from, to, &source, &target) || len > upper_max(&source) - header_len)
        return EINVAL;
    uint32_t upper_len = (uint32_t)header_len + len;
    uint8_t *tcp = out + ip_bytes(&source);
    put_ip(out, &source, &target, PROTOCOL_TCP, upper_len);
    put16(tcp, source.port);
    put16(tcp + 2, target.port);
    put32(tcp + 4, sequence);
    put32(tcp + 8, acknowledged);
    tcp[12] = (uint8_t)(header_len / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, LENGTH_MAX);
    put32(tcp + 16, 0);
    if (flags & FLAG_SYN)
        memcpy(tcp + TCP_BYTES, syn_options, sizeof syn_options);
    put_checksum(tcp + 16, sum_upper(&source, &target, PROTOCOL_TCP, upper_len, tcp, header_len, payload, len));
    *out_len = ip_bytes(&source) + header_len;
    return 0;
}
