/* What the other files of this directory may do with a block, besides pcap_file.h; not for Python. */

/* A record whose bytes come in two pieces: headers, then payload. payload_wire is the payload's true length. */
struct pcap_pieces {
    uint64_t ts_ns;
    const uint8_t *head;
    uint32_t head_len;
    const uint8_t *data;
    uint32_t caplen;
    uint32_t payload_wire;
};

/* As pcap_block_record(), and EFBIG if the record exceeds *room, which is reduced by what it takes. */
int pcap_block_put(struct pcap_block *block, const struct pcap_pieces *pieces, uint64_t *room);
/* The largest record of payloads of at most payload_max bytes with head_max bytes of headers. */
size_t pcap_block_worst(const struct pcap_block *block, size_t head_max, size_t payload_max);
int pcap_block_has_ip_headers(const struct pcap_block *block);
