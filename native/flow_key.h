/* From a captured packet to the flow it belongs to: link type and bytes in, canonical 5-tuple and direction out.
 *
 * Pure: no allocation, no state, no byte read beyond the captured length, whatever the packet claims. Recognised are
 * Ethernet, Linux cooked (SLL, SLL2), raw IP and BSD loopback; below them any of VLAN tags (0x8100, 0x88a8, 0x9100),
 * PPPoE sessions and MPLS; IPv4 and IPv6 with their extension headers and fragments; TCP, UDP, SCTP, ICMP and ICMPv6.
 * Tunnels (GRE, VXLAN, IP in IP) are flows by their outer headers.
 */

enum {
    FLOW_KEY_PORTS = 1,   /* port[] was read from the packet: TCP, UDP, SCTP, and ICMP's mapped types */
    FLOW_KEY_ONE_WAY = 2, /* an ICMP message without a counterpart: addr[0] is the sender, never swapped */
};

enum { FLOW_WHOLE, FLOW_FIRST_FRAGMENT, FLOW_LATER_FRAGMENT };

/* Both directions of a flow have the same key, byte for byte: the end with the smaller (address, port) in network
 * order is the first, which is the order of Community ID. 40 bytes without padding, so keys compare by memcmp. */
struct flow_key {
    uint8_t addr[2][16]; /* network order; IPv4 in the first four bytes, zeros after them */
    uint16_t port[2];    /* host order; ICMP: type and counterpart (or code); no IP: the EtherType in port[0] */
    uint8_t version;     /* 4, 6, or 0 if the packet is not IP (then nothing but port[0] is set) */
    uint8_t proto;       /* IP protocol number after the extension headers */
    uint8_t flags;       /* FLOW_KEY_* */
    uint8_t unused;      /* 0 */
};

struct flow_packet {
    struct flow_key key;
    uint32_t payload;     /* bytes after the transport header by the lengths in the headers, captured or not */
    uint32_t fragment_id; /* of a fragment */
    uint8_t direction;    /* 0: sent by addr[0], 1: by addr[1] */
    uint8_t tcp_flags;    /* 0 if not TCP or not captured */
    uint8_t fragment;     /* FLOW_WHOLE, ... */
    uint8_t unused;
};

/* Fill *out for a packet of caplen bytes whose true length is wire_len. A packet too short for its ports, or a later
 * fragment, gets a key without FLOW_KEY_PORTS; one too short for its addresses counts as not IP. Never fails. */
void flow_parse(uint32_t linktype, const uint8_t *data, uint32_t caplen, uint32_t wire_len, struct flow_packet *out);

/* Key and direction of what src sends to dst, ordered as flow_parse() does; version 4 or 6. With has_ports the ports
 * of TCP, UDP and SCTP, or ICMP's type and code; for other protocols they are left out. EINVAL for another version. */
int flow_key_make(uint8_t version, const uint8_t *src, const uint8_t *dst, uint8_t proto, int has_ports,
                  uint16_t src_port, uint16_t dst_port, struct flow_key *out, uint8_t *direction);
