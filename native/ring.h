/* The packets of one interface, at wire speed: a TPACKET_V3 ring (packet(7)) copied by the block into segments.
 *
 * No system call and no Python object for a packet. One thread at a time for each ring, but ring_wake(), which any
 * thread and signal handler may call; only ring_run() waits. Several rings of a fanout group share the packets of an
 * interface by flow; their packets are not defragmented, so later fragments may come through another one.
 */

struct ring;
struct ring_tap;

enum { RING_ALONE = -2, RING_NEW_GROUP = -1 };

struct ring_options {
    uint32_t blocks;        /* of 1 MiB, 2 to 4096 */
    uint32_t retire_ms;     /* a block that is not full is handed over after that; 1 to 10000 */
    uint32_t snaplen;       /* bytes kept of each packet, 1 to 262144 */
    uint32_t promiscuous;   /* as long as the ring lives */
    uint32_t hardware_time; /* ask the interface for its own times, which needs CAP_NET_ADMIN; else the kernel's */
    int32_t fanout;         /* RING_ALONE, RING_NEW_GROUP, or the ring_fanout() of another ring */
    const uint8_t *program; /* struct sock_filter[]; needed during the call only */
    size_t program_bytes;   /* 0: no filter */
};

/* A ring that is deaf until ring_listen(), so that none hears what belongs to another of its group. Returns 0 or an
 * errno: EINVAL for the limits or the program, EPERM without CAP_NET_RAW, ENODEV, EPFNOSUPPORT for interfaces whose
 * frames have no link type of PCAP, ENOMEM. An interface may be down; the first ring_run() says so. */
int ring_open(const char *interface, const struct ring_options *options, struct ring **out);
void ring_close(struct ring *ring);

/* Hear with the filter that was given. A packet that comes during ring_set_filter() is judged by the old or the new
 * one, and what waits in the ring was judged by the old one and stays. 0, or the errno: nothing has changed then. */
int ring_listen(struct ring *ring);
int ring_set_filter(struct ring *ring, const uint8_t *program, size_t program_bytes);
/* Hear no more. What is in the ring comes within the retire time: run until ring_pending() says no. */
int ring_deafen(struct ring *ring);
/* Whether packets are in the ring, handed over or not. */
int ring_pending(const struct ring *ring);

int ring_fd(const struct ring *ring);
uint32_t ring_linktype(const struct ring *ring);
int32_t ring_fanout(const struct ring *ring);
int ring_has_hardware_time(const struct ring *ring);

/* Whoever looks at the packets as they pass, before they are stored and after; NULL: nobody. It outlives the ring or is
 * replaced; not while ring_run() runs. EBUSY between two calls of it that leave a batch half done. */
int ring_set_tap(struct ring *ring, const struct ring_tap *tap);

enum {
    RING_IDLE,  /* the time is up, and nothing more is ready */
    RING_MORE,  /* the time is up or max_blocks are done, and more may be ready */
    RING_FULL,  /* the next packet belongs into the next segment: finish this one, begin another, go on */
    RING_WOKEN, /* by ring_wake() */
    RING_BUSY,  /* the disk is behind, all buffers wait for it: go on */
    RING_FAILED, /* the output has an error: finish the segment, go on with another or with none */
    RING_DOWN,  /* told once; it goes on by itself when the interface is up again */
    RING_GONE,  /* the interface was removed, and all that had come before is done: close */
    RING_BROKEN, /* another error of the socket: ring_error() */
};

/* Put packets into the output's segment; output NULL: discard them, which is counted. Returns after max_blocks (0: no
 * limit), after run_ms (0: never waits, but takes what is ready), or when there is something to do. Between two calls a
 * block may be half done: the next call goes on behind the last packet. */
int ring_run(struct ring *ring, struct ring_output *output, uint32_t max_blocks, uint32_t run_ms);
int ring_error(const struct ring *ring);
/* Make the ring_run() that runs, or else the next one, return RING_WOKEN. */
void ring_wake(struct ring *ring);

struct ring_counts {
    uint64_t packets;      /* out of the ring: stored + discarded + cut + waiting */
    uint64_t bytes;        /* their true lengths */
    uint64_t stored;       /* accepted by an output */
    uint64_t waiting;      /* of a batch that is half done */
    uint64_t discarded;    /* there was no output */
    uint64_t discarded_bytes;
    uint64_t cut;          /* the tap did not want them */
    uint64_t cut_bytes;
    uint64_t truncated;    /* longer than snaplen */
    uint64_t tags;         /* VLAN tags put back */
    uint64_t hardware_times;
    uint64_t blocks;
    uint64_t damaged;      /* blocks that did not make sense: their rest was left out */
    uint64_t kernel_drops; /* no room in the ring */
    uint64_t freezes;      /* how often the ring was full */
};

/* Asks the kernel as well. */
void ring_get_counts(struct ring *ring, struct ring_counts *out);
