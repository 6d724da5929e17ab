/* Frames of one interface: packet(7) receivers. Frames that go out are seen as well, but on a loopback interface, where
 * each would be seen twice. A VLAN tag that the kernel took off is put back. */

struct ether_options {
    uint32_t protocol;       /* EtherType, host order; 0 and 3: all */
    uint32_t snaplen;        /* 1 to 262144 */
    uint32_t promiscuous;
    uint32_t receive_buffer; /* bytes; 0: the kernel's default */
    uint32_t slots;          /* frames for each system call (<= 1024) */
    const uint8_t *program;  /* struct sock_filter[]; needed during the call only */
    size_t program_bytes;    /* 0: no filter */
};

/* Returns 0 or an errno: EINVAL for the limits or the program, EPERM without CAP_NET_RAW, ENODEV, EPFNOSUPPORT for
 * interfaces that are not Ethernet. ENETDOWN is the business of the first receive. receiver_close() closes the socket.
 * Receiving returns ENETDOWN once when the interface goes down, ENODEV when it is gone. */
int ether_open(const char *interface, const struct ether_options *options, struct receiver **out);

/* Bytes that the kernel granted for what waits. */
size_t ether_granted(const struct receiver *receiver);

/* Replace the filter (none if program_bytes == 0); what waits in the kernel and what is pending was judged by the old
 * one and is thrown away, *discarded says how much. EINVAL: the kernel does not take it; nothing has changed. Errors of
 * receiving are returned as well, and the filter is the new one then. */
int ether_set_filter(struct receiver *receiver, const uint8_t *program, size_t program_bytes, uint64_t *discarded);

/* Insert a tag behind the addresses of a frame of len bytes, which begins HEADROOM (4) bytes behind frame; afterwards
 * it begins at frame and is 4 bytes longer. Returns 0 and does nothing if the frame is too short to hold one. */
int ether_restore_tag(uint8_t *frame, size_t len, uint16_t tpid, uint16_t tci);
