/* The inside of a batch, for those who receive into it; not for Python. */

#define SLOTS_MAX 1024
#define HEADROOM 4 /* before each slot, for a VLAN tag */
#define CONTROL_BYTES 256

struct slot_control {
    _Alignas(struct cmsghdr) uint8_t bytes[CONTROL_BYTES];
};

struct packet_batch {
    size_t slots;
    size_t slot_bytes;
    size_t stride;
    size_t count;
    int has_names; /* whether recvmmsg(2) is asked who sent them, which costs */
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct slot_control *controls;
    struct sockaddr_storage *names;
    struct packet *packets;
    uint8_t *data;
};

/* Make slot i ready for recvmmsg(2). */
void packet_batch_prepare(struct packet_batch *batch, size_t i);
/* Change has_names, and make all slots ready. */
void packet_batch_set_names(struct packet_batch *batch, int has_names);
