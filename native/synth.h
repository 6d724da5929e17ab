/* IP headers for payloads that came without: RFC 791, RFC 8200, RFC 768, RFC 9293. */

/* Who sent a packet or where it went. */
struct endpoint {
    uint8_t address[16]; /* IPv4: the first four */
    uint16_t port;       /* host order */
    uint8_t version;     /* 4 or 6; 0: unknown */
    uint8_t unused;
};

/* Make the headers for payload_wire bytes of payload, of which caplen are at payload. out has room for 80 bytes;
 * *out_len are used. If caplen < payload_wire there is no UDP checksum (0). from and to are 20 bytes, struct endpoint.
 * Returns 0, or EINVAL if the versions differ or are unknown, or the payload is too long. */
int synth_udp(const uint8_t *from, const uint8_t *to, const uint8_t *payload, uint32_t caplen, uint32_t payload_wire,
              uint8_t *out, size_t *out_len);
/* The same for a TCP segment with len bytes of payload. flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16; a SYN gets options
 * for a window that a stream recorded from one side only does not fill. */
int synth_tcp(const uint8_t *from, const uint8_t *to, uint32_t sequence, uint32_t acknowledged, uint8_t flags,
              const uint8_t *payload, uint32_t len, uint8_t *out, size_t *out_len);
