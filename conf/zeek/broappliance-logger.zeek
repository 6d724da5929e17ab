##! Makes broappliance a logger of a cluster on the ZeroMQ backend (Zeek 7.1 and later): every node that is not a log
##! destination itself pushes a share of its log batches to the appliance.
##!
##! Load it in local.zeek, on all nodes:
##!
##!     @load ./broappliance-logger.zeek
##!
##! Logs are SPLIT between all loggers, batch by batch: what the appliance gets, the others do not. And a node queues up
##! to 1000 batches for a logger that does not answer. So take the line out when the appliance goes for good. For a full
##! copy that leaves the loggers alone see docs/zeek.md.

module BroAppliance;

export {
	## The appliance's log_bind, as the nodes reach it.
	const log_endpoint = "tcp://127.0.0.1:27790" &redef;
}

# Between 100, when Zeek makes the list from the cluster's layout, and 10, when the backend connects.
event zeek_init() &priority=50
	{
	# A node that is a log destination pushes to nobody.
	if ( Cluster::local_node_type() == Cluster::LOGGER )
		return;

	if ( Cluster::local_node_type() == Cluster::MANAGER && Cluster::manager_is_logger )
		return;

	Cluster::Backend::ZeroMQ::connect_log_endpoints += log_endpoint;
	}
