/* What the kinds of sockets bring along; not for Python. */

struct receiver_kind {
    size_t headers_max; /* of what a block may put before a payload */
    /* Make batch->packets[i] of message i. */
    void (*decode)(struct receiver *receiver, struct packet_batch *batch, size_t i);
    /* Add what the kernel has dropped since the last time. */
    void (*ask_drops)(struct receiver *receiver);
    /* What a failed receive really means; may be NULL. */
    int (*explain)(struct receiver *receiver, int error);
};

struct receiver {
    const struct receiver_kind *kind;
    int fd;
    int owns_fd;
    uint32_t seen_drops;     /* the kernel's counter when we last saw it */
    int has_addresses;       /* datagrams: both ends are wanted */
    uint16_t port;           /* datagrams: our port, host order */
    struct receiver_counts counts;
    struct packet_batch *batch;
    size_t next;             /* in batch: the first one that is pending */
};

/* Takes fd over only if owns_fd and it succeeds. */
int receiver_open(const struct receiver_kind *kind, int fd, int owns_fd, size_t slots, size_t slot_bytes,
                  struct receiver **out);

/* The SCM_TIMESTAMPNS of a control message in nanoseconds; 0 if it is another one. */
uint64_t control_time_ns(const struct cmsghdr *control);
