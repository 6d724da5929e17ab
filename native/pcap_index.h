/* Indexes for PCAP files that no ring has written. The PCAP is read as by pcap_reader.h. */

/* Index a whole PCAP: track and post every packet of pcap_fd from its start, then write the index to out_fd (an empty
 * file) unless that is -1. Begins the writer's segment with the link type of the file. A torn or impossible record
 * ends the PCAP, as counts->pcap_bytes then tells. */
int segidx_index_pcap(struct segidx_writer *writer, struct flow_table *table, uint16_t community_seed, int pcap_fd,
                      int out_fd, struct segidx_counts *counts);
