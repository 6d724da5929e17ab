#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "big_endian.h"
#include "flow_key.h"

_Static_assert(sizeof(struct flow_key) == 40, "keys are hashed and compared as five words");

/* LINKTYPE_* of pcap-linktype(7); 12 is DLT_RAW of Linux, which libpcap's files also show. */
enum {
    LINK_NULL = 0,
    LINK_ETHERNET = 1,
    LINK_DLT_RAW = 12,
    LINK_RAW = 101,
    LINK_LOOP = 108,
    LINK_SLL = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_SLL2 = 276,
};

enum {
    TYPE_IPV4 = 0x0800,
    TYPE_VLAN = 0x8100,
    TYPE_IPV6 = 0x86dd,
    TYPE_MPLS = 0x8847,
    TYPE_MPLS_UPSTREAM = 0x8848,
    TYPE_PPPOE = 0x8864,
    TYPE_QINQ = 0x88a8,
    TYPE_QINQ_OLD = 0x9100,
};

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, OPTIONS = 60, MOBILITY = 135, HIP = 139,
       SHIM6 = 140 };

#define TAGS_MAX 16       /* VLAN tags and MPLS labels; more is an attack on our time */
#define EXTENSIONS_MAX 32 /* likewise */

/* What is left of a packet: captured bytes, and how many there were on the wire. */
struct rest {
    const uint8_t *p;
    uint32_t len;
    uint32_t wire;
};

static int skip(struct rest *rest, uint32_t n)
{
    if (rest->len < n)
        return 0;
    rest->p += n;
    rest->len -= n;
    rest->wire = rest->wire > n ? rest->wire - n : 0;
    return 1;
}

/* The lengths of the IP header end the packet: Ethernet pads behind them. */
static void end_at(struct rest *rest, uint32_t wire)
{
    rest->wire = wire;
    if (rest->len > wire)
        rest->len = wire;
}

/* The type that answers or is answered by this one, or -1. Community ID specification, after Zeek. */
static int icmp_counterpart(uint8_t type)
{
    switch (type) {
    case 0: return 8;
    case 8: return 0;
    case 9: return 10;
    case 10: return 9;
    case 13: return 14;
    case 14: return 13;
    case 15: return 16;
    case 16: return 15;
    case 17: return 18;
    case 18: return 17;
    default: return -1;
    }
}

static int icmpv6_counterpart(uint8_t type)
{
    switch (type) {
    case 128: return 129;
    case 129: return 128;
    case 130: return 131;
    case 131: return 130;
    case 133: return 134;
    case 134: return 133;
    case 135: return 136;
    case 136: return 135;
    case 139: return 140;
    case 140: return 139;
    case 144: return 145;
    case 145: return 144;
    default: return -1;
    }
}

/* ICMP's type and code become ports. */
static void map_icmp(uint8_t proto, uint16_t *src_port, uint16_t *dst_port, uint8_t *flags)
{
    uint8_t type = (uint8_t)*src_port;
    int counterpart = proto == ICMP ? icmp_counterpart(type) : icmpv6_counterpart(type);
    if (counterpart >= 0)
        *dst_port = (uint16_t)counterpart;
    else
        *flags |= FLOW_KEY_ONE_WAY;
}

static uint8_t order(struct flow_key *key, const uint8_t *src, const uint8_t *dst, uint16_t src_port, uint16_t dst_port)
{
    size_t len = key->version == 4 ? 4 : 16;
    int sign = memcmp(src, dst, len);
    uint8_t swapped = 0;
    if (!(key->flags & FLOW_KEY_ONE_WAY))
        swapped = sign > 0 || (sign == 0 && src_port > dst_port);
    memcpy(key->addr[swapped], src, len);
    memcpy(key->addr[!swapped], dst, len);
    key->port[swapped] = src_port;
    key->port[!swapped] = dst_port;
    return swapped;
}

static void parse_transport(struct rest rest, const uint8_t *src, const uint8_t *dst, struct flow_packet *out)
{
    uint16_t src_port = 0, dst_port = 0;
    uint32_t header = 0;
    uint8_t proto = out->key.proto;
    if (out->fragment == FLOW_LATER_FRAGMENT) {
        proto = 0;
    } else if ((proto == TCP || proto == UDP || proto == SCTP) && rest.len >= 4) {
        src_port = be16(rest.p);
        dst_port = be16(rest.p + 2);
        out->key.flags = FLOW_KEY_PORTS;
        header = proto == UDP ? 8 : proto == SCTP ? 12 : 20;
        if (proto == TCP && rest.len >= 14) {
            header = (uint32_t)(rest.p[12] >> 4) * 4;
            out->tcp_flags = rest.p[13];
        }
    } else if ((proto == ICMP || proto == ICMPV6) && rest.len >= 2) {
        src_port = rest.p[0];
        dst_port = rest.p[1];
        out->key.flags = FLOW_KEY_PORTS;
        map_icmp(proto, &src_port, &dst_port, &out->key.flags);
        header = 8;
    }
    out->payload = rest.wire > header ? rest.wire - header : 0;
    out->direction = order(&out->key, src, dst, src_port, dst_port);
}

static int parse_ipv4(struct rest rest, struct flow_packet *out)
{
    if (rest.len < 20 || rest.p[0] >> 4 != 4)
        return 0;
    const uint8_t *ip = rest.p;
    uint32_t header = (uint32_t)(ip[0] & 15) * 4, total = be16(ip + 2);
    if (header < 20)
        return 0;
    if (total >= header) /* 0 before segmentation offload */
        end_at(&rest, total);
    out->key.version = 4;
    out->key.proto = ip[9];
    uint16_t fragment = be16(ip + 6);
    if ((fragment & 0x3fff) != 0) {
        out->fragment = (fragment & 0x1fff) != 0 ? FLOW_LATER_FRAGMENT : FLOW_FIRST_FRAGMENT;
        out->fragment_id = be16(ip + 4);
    }
    if (!skip(&rest, header))
        end_at(&rest, 0);
    parse_transport(rest, ip + 12, ip + 16, out);
    return 1;
}

/* Leaves the protocol after the extension headers in the key; what cannot be passed is that protocol. */
static void skip_extensions(struct rest *rest, struct flow_packet *out)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        uint32_t len;
        if (rest->len < 8)
            return;
        switch (out->key.proto) {
        case FRAGMENT: {
            uint16_t offset = be16(rest->p + 2);
            if ((offset & 0xfff9) != 0) { /* else it is whole all the same, RFC 6946 */
                out->fragment = (offset & 0xfff8) != 0 ? FLOW_LATER_FRAGMENT : FLOW_FIRST_FRAGMENT;
                out->fragment_id = be32(rest->p + 4);
            }
            len = 8;
            break;
        }
        case AUTHENTICATION: len = ((uint32_t)rest->p[1] + 2) * 4; break;
        case HOP_BY_HOP:
        case ROUTING:
        case OPTIONS:
        case MOBILITY:
        case HIP:
        case SHIM6: len = ((uint32_t)rest->p[1] + 1) * 8; break;
        default: return;
        }
        uint8_t next = rest->p[0];
        if (!skip(rest, len))
            return;
        out->key.proto = next;
        if (out->fragment == FLOW_LATER_FRAGMENT)
            return;
    }
}

static int parse_ipv6(struct rest rest, struct flow_packet *out)
{
    if (rest.len < 40 || rest.p[0] >> 4 != 6)
        return 0;
    const uint8_t *ip = rest.p;
    uint32_t payload = be16(ip + 4);
    if (payload > 0) /* 0 for jumbograms, before segmentation offload, and where nothing but padding follows */
        end_at(&rest, 40 + payload);
    if (!skip(&rest, 40))
        return 0;
    out->key.version = 6;
    out->key.proto = ip[6];
    skip_extensions(&rest, out);
    parse_transport(rest, ip + 8, ip + 24, out);
    return 1;
}

/* IP by its version, as after an MPLS stack or on raw links. */
static int parse_ip(struct rest rest, struct flow_packet *out)
{
    return rest.len > 0 && (rest.p[0] >> 4 == 4 ? parse_ipv4(rest, out) : parse_ipv6(rest, out));
}

static int parse_mpls(struct rest rest, struct flow_packet *out)
{
    for (int i = 0; i < TAGS_MAX; i++) {
        int is_last = rest.len >= 4 && (rest.p[2] & 1) != 0;
        if (!skip(&rest, 4))
            return 0;
        if (is_last)
            return parse_ip(rest, out);
    }
    return 0;
}

/* Returns whether it is IP; out->key.port[0] gets the last EtherType. */
static int parse_type(uint16_t type, struct rest rest, struct flow_packet *out)
{
    for (int i = 0; i < TAGS_MAX && (type == TYPE_VLAN || type == TYPE_QINQ || type == TYPE_QINQ_OLD); i++) {
        if (rest.len < 4)
            break;
        type = be16(rest.p + 2);
        skip(&rest, 4);
    }
    int is_ip = 0;
    if (type == TYPE_IPV4)
        is_ip = parse_ipv4(rest, out);
    else if (type == TYPE_IPV6)
        is_ip = parse_ipv6(rest, out);
    else if (type == TYPE_MPLS || type == TYPE_MPLS_UPSTREAM)
        is_ip = parse_mpls(rest, out);
    else if (type == TYPE_PPPOE && rest.len >= 8 && (be16(rest.p + 6) == 0x0021 || be16(rest.p + 6) == 0x0057))
        is_ip = skip(&rest, 8) && parse_ip(rest, out);
    if (!is_ip) {
        memset(out, 0, sizeof *out);
        out->key.port[0] = type;
    }
    return is_ip;
}

/* AF_INET is 2 everywhere, AF_INET6 is not; the four bytes are in the order of the host that captured. */
static void parse_loopback(struct rest rest, struct flow_packet *out)
{
    if (rest.len < 4)
        return;
    uint32_t family = be32(rest.p);
    if (family > 0xffff)
        family = __builtin_bswap32(family);
    skip(&rest, 4);
    if (family == 2)
        parse_type(TYPE_IPV4, rest, out);
    else if (family == 10 || family == 24 || family == 28 || family == 30)
        parse_type(TYPE_IPV6, rest, out);
}

void flow_parse(uint32_t linktype, const uint8_t *data, uint32_t caplen, uint32_t wire_len, struct flow_packet *out)
{
    struct rest rest = {.p = data, .len = caplen, .wire = wire_len};
    memset(out, 0, sizeof *out);
    switch (linktype) {
    case LINK_ETHERNET:
        if (skip(&rest, 14))
            parse_type(be16(data + 12), rest, out);
        break;
    case LINK_SLL:
        if (skip(&rest, 16))
            parse_type(be16(data + 14), rest, out);
        break;
    case LINK_SLL2:
        if (skip(&rest, 20))
            parse_type(be16(data), rest, out);
        break;
    case LINK_NULL:
    case LINK_LOOP: parse_loopback(rest, out); break;
    case LINK_DLT_RAW:
    case LINK_RAW:
    case LINK_IPV4:
    case LINK_IPV6:
        if (!parse_ip(rest, out))
            memset(out, 0, sizeof *out);
        break;
    default: break;
    }
}

int flow_key_make(uint8_t version, const uint8_t *src, const uint8_t *dst, uint8_t proto, int has_ports,
                  uint16_t src_port, uint16_t dst_port, struct flow_key *out, uint8_t *direction)
{
    memset(out, 0, sizeof *out);
    if (version != 4 && version != 6)
        return EINVAL;
    out->version = version;
    out->proto = proto;
    if (has_ports && (proto == TCP || proto == UDP || proto == SCTP || proto == ICMP || proto == ICMPV6))
        out->flags = FLOW_KEY_PORTS;
    else
        src_port = dst_port = 0;
    if (out->flags != 0 && (proto == ICMP || proto == ICMPV6))
        map_icmp(proto, &src_port, &dst_port, &out->flags);
    *direction = order(out, src, dst, src_port, dst_port);
    return 0;
}
