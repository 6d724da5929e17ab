/* The records of a PCAP file, a span at a time. Internal to the C module, not for Python.
 *
 * Micro- and nanoseconds, either byte order (pcap-savefile(5)). Reads with pread(2), so the descriptor's position is
 * neither used nor moved.
 */
#ifndef PCAP_READER_H
#define PCAP_READER_H

#include <stddef.h>
#include <stdint.h>

#define PCAP_HEADER_BYTES 24
#define PCAP_RECORD_BYTES 16
#define PCAP_RECORD_MAX (262144 + PCAP_RECORD_BYTES) /* of what libpcap reads, with its header */

struct pcap_reader {
    int fd;
    int is_swapped;
    uint32_t fraction_ns;
    uint32_t linktype;
    uint32_t snaplen;
    uint64_t position; /* of the next record */
    uint64_t end;      /* where the last record ends, or UINT64_MAX */
    uint64_t bytes_read;
    uint64_t start; /* where the window begins */
    size_t len;     /* what it holds */
    size_t asked;   /* what it was to hold; less is the end of the file */
    size_t window;  /* the most to read at once */
    uint8_t *buffer;
};

struct pcap_record {
    uint64_t offset;
    uint64_t ts_ns;
    uint32_t caplen;
    uint32_t wire_len;
    const uint8_t *data; /* good until the next call with the reader */
};

/* window: bytes to read at once, at least PCAP_RECORD_MAX. 0, ENOMEM, EBADMSG if it is no PCAP file, or I/O's errno.
 * Whatever is returned, pcap_reader_close() is due. */
int pcap_reader_open(struct pcap_reader *reader, int fd, size_t window);
void pcap_reader_close(struct pcap_reader *reader);

/* Continue with the record at start, until end or the end of the file. */
void pcap_reader_seek(struct pcap_reader *reader, uint64_t start, uint64_t end);

/* The next record: 0, ENODATA at the end of the span or in a torn record, EBADMSG for an impossible one, or I/O's
 * errno. */
int pcap_reader_next(struct pcap_reader *reader, struct pcap_record *record);
/* The same, but EAGAIN where the window has to move, which would take away the data of the records before. */
int pcap_reader_next_in_window(struct pcap_reader *reader, struct pcap_record *record);

#endif
