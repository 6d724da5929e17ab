/* Capture filters compiled by the system's libpcap, which is loaded at the first use and stays loaded. */

/* Compile text (pcap-filter(7)) for an interface, or if that is empty for the files' link type. *program is an array of struct
 * sock_filter, *bytes long, to be given to filter_free(). message, of message_bytes, says why if it fails: EINVAL, the
 * text is no filter; EPERM, the interface may not be opened; ENODEV, it cannot be opened; ELIBACC, libpcap is not
 * installed; ENOMEM. Blocks: names in text are looked up. Threads may call it at the same time. */
int filter_compile(const char *text, int linktype, int snaplen, const char *interface, uint8_t **program,
                   size_t *bytes, char *message, size_t message_bytes);
void filter_free(uint8_t *program);
