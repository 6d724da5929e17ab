/* A captured packet where it lies; what outlives the call that gets it is copied. */

struct packet_view {
    const uint8_t *data;
    uint64_t ts_ns;    /* since the epoch */
    uint32_t caplen;   /* bytes at data */
    uint32_t wire_len; /* true length */
};
