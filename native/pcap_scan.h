/* How far a capture file is still good: PCAP (micro- or nanosecond) or pcapng, either byte order. */

struct pcap_scan {
    uint64_t good_bytes;   /* length of the file up to its last whole record; 0 if not even the header is whole */
    uint64_t packets;
    uint64_t first_ns;     /* of the first packet that has a time; 0 if there is none */
    uint64_t last_ns;      /* of the last one */
    uint32_t linktype;     /* pcapng: of the first interface */
    uint32_t snaplen;      /* the same; 0: no limit */
    uint32_t format;       /* 0 PCAP, 1 pcapng */
    uint32_t interfaces;   /* pcapng: in all sections; PCAP: 1 */
};

/* Walk the records. A record that cannot be (lengths that contradict each other, a captured length that exceeds
 * max(snaplen, 262144), an interface that is not described) or that runs past the end ends the good part; blocks of
 * pcapng of any other type are skipped. Returns 0, EBADMSG if it is no capture file (bad magic, another version of
 * pcapng; an empty or shorter-than-header file is 0 with good_bytes = 0), ENOMEM, or the errno of the I/O. Blocks. */
int pcap_scan_fd(int fd, struct pcap_scan *out);
/* The same on memory. */
int pcap_scan_bytes(const uint8_t *data, size_t len, struct pcap_scan *out);
